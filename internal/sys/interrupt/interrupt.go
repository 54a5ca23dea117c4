// Package interrupt bounds what is still done after a signal: what hangs by then, in
// an open(2) or in a file system, is left alone.
package interrupt

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ErrHangs is the error of what did not end in time after a signal.
var ErrHangs = errors.New("it hangs")

// Interruption is when the first signal came.
type Interruption struct {
	mu sync.Mutex
	at time.Time
}

// Watch notes when ctx ends.
func Watch(ctx context.Context) *Interruption {
	i := &Interruption{}
	context.AfterFunc(ctx, func() { i.since() })
	return i
}

// since is when the signal came, for a caller who knows that it has come.
func (i *Interruption) since() time.Time {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.at.IsZero() {
		i.at = time.Now()
	}
	return i.at
}

// late returns a channel that gets a value so long after the signal. stop ends the
// wait.
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

// Await does something, and no longer waits for it when a signal came and the limit
// is over: the error is ErrHangs then, and nothing that do uses may be touched again.
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

// Remaining is a context for what must be done whatever has happened, until so long
// after a signal. As long as there was none, it can be interrupted like everything
// else.
func (i *Interruption) Remaining(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if ctx.Err() == nil {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(context.WithoutCancel(ctx), i.since().Add(limit))
}
