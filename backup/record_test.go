package backup

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"mbk/internal/sys/signals"
)

// The history tells an interrupted attempt from one that failed.
func TestRecordOfFailure(t *testing.T) {
	for _, c := range []struct {
		cause error
		want  string
	}{
		{errors.New("disk full"), "disk full"},
		{fmt.Errorf("copy d/t.ibd: %w", context.Canceled), "interrupted: copy d/t.ibd: context canceled"},
		{signals.Received{Signal: syscall.SIGTERM}, "terminated signal received"},
		{
			errors.Join(signals.Received{Signal: syscall.SIGINT}, context.Canceled),
			"interrupt signal received\ncontext canceled",
		},
	} {
		if got := newFailure(Options{}, "id", time.Now(), c.cause).Error; got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}
