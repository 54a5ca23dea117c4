// Package signals turns the signals that ask a process to end into the end of a
// context. What is done then is the business of others.
package signals

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// signalled is why a context has ended.
type signalled struct{ which os.Signal }

func (s signalled) Error() string        { return s.which.String() + " signal received" }
func (s signalled) Is(target error) bool { return target == context.Canceled }

// Notify returns a context that ends with the first signal that asks the process
// to end: SIGINT, SIGTERM, SIGQUIT or SIGHUP. One that was ignored when the process
// began, as nohup does, stays ignored. The next one of them ends the process at
// once, but for SIGHUP: a terminal that goes away may send that several times.
//
// From then on a pipe that nobody reads any more is an error of the write, not the
// end of the process; programs that it starts know nothing of that.
func Notify(parent context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(parent)
	first, broken := make(chan os.Signal, 1), make(chan os.Signal, 1)
	var deadly []os.Signal
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP} {
		if signal.Ignored(s) {
			continue
		}
		signal.Notify(first, s)
		if s != syscall.SIGHUP {
			deadly = append(deadly, s)
		}
	}
	signal.Notify(broken, syscall.SIGPIPE) // not Ignore, which children would inherit
	go func() {
		which := <-first
		if len(deadly) > 0 { // without arguments it is about all signals
			signal.Reset(deadly...)
		}
		cancel(signalled{which})
	}()
	return ctx
}
