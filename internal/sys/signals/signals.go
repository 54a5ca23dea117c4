// Package signals cancels a context when the process receives a signal that asks it to
// end. What to do then is up to the caller.
package signals

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// Received is the cause of the cancellation. It is a context.Canceled.
type Received struct{ Signal os.Signal }

func (r Received) Error() string        { return r.Signal.String() + " signal received" }
func (r Received) Is(target error) bool { return target == context.Canceled }

// Notify returns a context that is cancelled by the first signal that asks the process to
// end: SIGINT, SIGTERM, SIGQUIT or SIGHUP. A signal that was ignored when the process
// started, as with nohup, stays ignored. A second signal ends the process at once, except
// SIGHUP, which a closing terminal may send several times.
//
// From then on, writing to a broken pipe is an error and does not end the process;
// programs that it starts do not inherit this.
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
		if len(deadly) > 0 { // without arguments Reset means all signals
			signal.Reset(deadly...)
		}
		cancel(Received{which})
	}()
	return ctx
}
