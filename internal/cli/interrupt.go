package cli

import (
	"context"
	"errors"
	"io"
	"sync"
	"syscall"
	"time"

	"mbk/internal/ui/printable"
)

// What is still done after the first signal, each until so long after it. Whatever
// hangs then, an open(2) or a repository's file system, is left alone.
const (
	stopTime   = 12 * time.Second // the command itself: it frees the server and cleans up
	recordTime = 15 * time.Second // the history
	hookTime   = 22 * time.Second // programs for a failure
	noticeTime = 26 * time.Second // messages
	lastTime   = 28 * time.Second // the record of both
	endTime    = 30 * time.Second // then mbk ends
)

// errHangs is the error of what did not end in time after a signal.
var errHangs = errors.New("it hangs")

// interruption is when the first signal came.
type interruption struct {
	mu sync.Mutex
	at time.Time
}

// watchFor notes when ctx ends.
func watchFor(ctx context.Context) *interruption {
	i := &interruption{}
	context.AfterFunc(ctx, func() { i.since() })
	return i
}

// since is when the signal came, for a caller who knows that it has come.
func (i *interruption) since() time.Time {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.at.IsZero() {
		i.at = time.Now()
	}
	return i.at
}

// late returns a channel that gets a value so long after the signal. stop ends the
// wait.
func (i *interruption) late(ctx context.Context, limit time.Duration) (late <-chan time.Time, stop func()) {
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

// await does something, and no longer waits for it when a signal came and the limit
// is over: the error is errHangs then, and nothing that do uses may be touched again.
func await[T any](ctx context.Context, i *interruption, limit time.Duration, do func() (T, error)) (T, error) {
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
		return none, errHangs
	}
}

// outputError is that of printing a result, which is not that of the work.
type outputError struct{ cause error }

func (e *outputError) Error() string { return "the result could not be printed: " + e.cause.Error() }
func (e *outputError) Unwrap() error { return e.cause }

// resultWriter is where results are printed. What a terminal could take for a command
// is written out, which leaves JSON what it is. It remembers the first error.
type resultWriter struct {
	to  io.Writer
	raw bool // for a program that knows what it reads
	err error
}

func (w *resultWriter) Write(p []byte) (int, error) {
	text := string(p)
	if !w.raw {
		text = printable.Lines(text)
	}
	if _, err := io.WriteString(w.to, text); err != nil {
		err = &outputError{err}
		if w.err == nil {
			w.err = err
		}
		return 0, err
	}
	return len(p), nil
}

// unread reports whether err is only that the reader of a list has seen enough of it, as
// head has.
func unread(env Env, err error) bool {
	var output *outputError
	if !errors.As(err, &output) || !errors.Is(err, syscall.EPIPE) || len(env.Args) == 0 {
		return false
	}
	switch env.Args[0] {
	case "backup", "verify", "restore", "expire":
		return false
	}
	return true
}
