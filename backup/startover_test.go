package backup

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"mbk/innodb"
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
