// Package interrupt limits how long the program goes on after a signal. What hangs by
// then, in an open(2) or in a file system, is abandoned.
package interrupt

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ErrHangs is returned by Await for work that did not end in time after a signal.
var ErrHangs = errors.New("it hangs")

// Interruption holds the time of the first signal.
type Interruption struct {
	mu sync.Mutex
	at time.Time
}

// Watch returns an Interruption that notes when ctx ends.
func Watch(ctx context.Context) *Interruption {
	i := &Interruption{}
	context.AfterFunc(ctx, func() { i.since() })
	return i
}

// since returns the time of the signal. The caller knows that it has arrived.
func (i *Interruption) since() time.Time {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.at.IsZero() {
		i.at = time.Now()
	}
	return i.at
}

// late returns a channel that gets a value when the limit after the signal is over. stop
// ends the wait.
func (i *Interruption) late(ctx context.Context, limit time.Duration) (late <-chan time.Time, stop func()) {
	c, over := make(chan time.Time, 1), make(chan struct{})
	go func() {
		select {
		case <-ctx.Done():
		case <-over:
			return
		}
		timer := time.NewTimer(time.Until(i.since().Add(limit)))
		defer timer.Stop()
		select {
		case now := <-timer.C:
			c <- now
		case <-over:
		}
	}()
	return c, sync.OnceFunc(func() { close(over) })
}

// Await calls do and waits for it, but after a signal no longer than limit. It then
// returns ErrHangs, and nothing that do uses may be touched again.
func Await[T any](ctx context.Context, i *Interruption, limit time.Duration, do func() (T, error)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	done := make(chan outcome, 1)
	go func() {
		value, err := do()
		done <- outcome{value, err}
	}()
	late, stop := i.late(ctx, limit)
	defer stop()
	select {
	case o := <-done:
		return o.value, o.err
	case <-late:
		var none T
		return none, ErrHangs
	}
}

// Remaining returns a context for work that must be done even after a signal: it ends
// limit after the signal. Without a signal it is a child of ctx.
func (i *Interruption) Remaining(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if ctx.Err() == nil {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(context.WithoutCancel(ctx), i.since().Add(limit))
}
