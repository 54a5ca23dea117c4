package pause_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"mbk/internal/sys/pause"
)

func TestFor(t *testing.T) {
	began := time.Now()
	if err := pause.For(t.Context(), 20*time.Millisecond); err != nil || time.Since(began) < 20*time.Millisecond {
		t.Errorf("For = %v after %s, want nil after 20ms", err, time.Since(began))
	}
	signal := errors.New("signal received")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(10*time.Millisecond, func() { cancel(signal) })
	if err := pause.For(ctx, time.Hour); !errors.Is(err, signal) {
		t.Errorf("For = %v, want the cause", err)
	}
}
