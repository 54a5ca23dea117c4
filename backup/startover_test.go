package backup

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"mbk/internal/innodb"
	"mbk/stage"
)

func TestStartsOver(t *testing.T) {
	replaced := &innodb.TailError{Kind: innodb.ErrRedoReplaced}
	for _, c := range []struct {
		name   string
		failed error
		want   bool
	}{
		{"nothing", nil, false},
		{"an ALTER", fmt.Errorf("tablespace 7: %w", ErrMadeLast), true},
		{"an import", fmt.Errorf("tablespace 7: %w", ErrReplaced), true},
		{"another log", replaced, true},
		{"another log, on a disk that fails", &innodb.TailError{Kind: innodb.ErrRedoReplaced, Cause: syscall.EIO}, false},
		{"another log, and no stages", errors.Join(replaced, stage.ErrStageLost), false},
		{"a log that was overwritten", &innodb.TailError{Kind: innodb.ErrRedoOverwritten}, false},
	} {
		if got := startsOver(c.failed); got != c.want {
			t.Errorf("%s: startsOver = %v", c.name, got)
		}
	}
}

// An idle server ends its log with the names of the files that it wrote, any number of
// bytes after its last checkpoint, and makes no other checkpoint. It was waited for in vain.
func TestQuiet(t *testing.T) {
	type look struct {
		second  float64
		current innodb.LSN
		flushed innodb.LSN
		point   innodb.LSN
		dirty   int64
		want    bool
	}
	same := func(second float64, dirty int64, want bool) look {
		return look{second, 47602, 47602, 47507, dirty, want}
	}
	for _, c := range []struct {
		name  string
		looks []look
	}{
		{
			"idle for long",
			[]look{same(0, 0, false), same(1, 0, false), same(3.9, 0, false), same(4, 0, true), same(5, 0, true)},
		},
		{"many names after the checkpoint", []look{{0, 90000, 90000, 47507, 0, false}, {4, 90000, 90000, 47507, 0, true}}},
		{"dirty pages all the time", []look{same(0, 3, false), same(5, 3, false), same(20, 1, false)}},
		{
			"dirty pages in between",
			[]look{same(0, 0, false), same(2, 1, false), same(4, 0, false), same(7, 0, false), same(8, 0, true)},
		},
		{
			"a log that grows",
			[]look{same(0, 0, false), {3, 47700, 47700, 47507, 0, false}, {6, 47800, 47800, 47507, 0, false}},
		},
		{
			"a checkpoint",
			[]look{same(0, 0, false), {3, 47602, 47602, 47602, 0, false},
				{6, 47602, 47602, 47602, 0, false}, {7, 47602, 47602, 47602, 0, true}},
		},
		{"a log that is not durable", []look{{0, 47602, 47000, 46000, 0, false}, {9, 47602, 47000, 46000, 0, false}}},
	} {
		var q quiet
		for _, l := range c.looks {
			now := time.Unix(1e9, 0).Add(time.Duration(l.second * float64(time.Second)))
			lsns := innodb.LSNs{Current: l.current, Flushed: l.flushed, Checkpoint: l.point}
			if got := q.lasts(now, lsns, l.dirty); got != l.want {
				t.Errorf("%s: after %v s: %v, want %v", c.name, l.second, got, l.want)
			}
		}
	}
}
