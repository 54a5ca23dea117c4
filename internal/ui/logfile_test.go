package ui

import (
	"errors"
	"strings"
	"testing"
)

// fillingDisk takes one line, and says of all others that there is no room.
type fillingDisk struct{ strings.Builder }

func (d *fillingDisk) Write(p []byte) (int, error) {
	if d.Len() > 0 {
		return 0, errors.New("no space left")
	}
	return d.Builder.Write(p)
}

func (*fillingDisk) Close() error { return nil }

// A disk that is full in the middle of a run is told once, and what is said goes to stderr as
// without a log file.
func TestLogFileOnADiskThatFills(t *testing.T) {
	var stderr, disk = strings.Builder{}, fillingDisk{}
	u := New(Streams{Stderr: &stderr}, false)
	u.Quiet = true
	u.log = u.newLogFile(&disk, u.logFailed)
	u.Note("first")
	u.Warn("second")
	u.NewProgress().Step("third")
	u.Logger().Info("fourth")
	u.CloseLog("ends")
	const want = "mbk: warning: second\nmbk: warning: the log file lacks lines: no space left\n"
	if got := stderr.String(); got != want {
		t.Errorf("stderr has %q, want %q", got, want)
	}
	if got := disk.String(); !strings.Contains(got, "msg=first") || strings.Contains(got, "second") {
		t.Errorf("the log file has %q", got)
	}
}
