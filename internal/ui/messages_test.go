package ui

import (
	"bytes"
	"errors"
	"testing"
)

// Of the log, people read warnings and errors in the form of all messages.
func TestWarningsOfTheLog(t *testing.T) {
	const failed = "tablespace 6 is deleted\nand there"
	for name, c := range map[string]struct {
		streams Streams
		want    string
	}{
		"text": {Streams{}, "mbk: warning: starting over (try 2, wait 5s): tablespace 6 is deleted; and there\n" +
			"mbk: error: it ends: x\n"},
		"journal": {Streams{Journal: true}, "<4>mbk: warning: starting over (try 2, wait 5s): tablespace 6 is deleted; " +
			"and there\n<3>mbk: error: it ends: x\n"},
	} {
		var out bytes.Buffer
		c.streams.Stderr = &out
		l := New(c.streams, false).Logger()
		l.With("try", 2).Warn("starting over", "reason", errors.New(failed), "wait", "5s")
		l.Error("it ends", "error", errors.New("x"))
		l.Info("not told")
		if out.String() != c.want {
			t.Errorf("%s: %q, want %q", name, out.String(), c.want)
		}
	}
}
