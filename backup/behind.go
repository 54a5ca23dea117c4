package backup

import (
	"context"
	"time"

	"mbk/internal/priority"
)

// stepBack lets the session of this process step back behind the server's until
// comeForward. What follows the redo log steps back with it: if that comes to lag
// because the server leaves no time, the session comes forward by itself.
func (r *attempt) stepBack(ctx context.Context) {
	var err error
	if r.behind, err = priority.LowerSession(r.opts.Priority.Nice, r.found.facts.PeerPID); err != nil {
		r.log.Info("cannot step back behind other sessions", "error", err)
	}
	if r.behind == nil {
		return
	}
	ctx, r.unwatch = context.WithCancel(ctx)
	go func() {
		const pause = 50 * time.Millisecond
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for !lagging(r.redo.tail.Progress().Headroom, r.redo.tail.Ring().Capacity) {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
		r.log.Info("the server leaves too little time to follow its redo log: no longer behind it")
		r.comeForward()
	}()
}

// lagging says whether the server could soon overwrite redo that is not copied:
// it may still write so many bytes, of so many that the log holds.
func lagging(headroom, capacity int64) bool { return headroom < capacity/2 }

// comeForward ends the stepping back. It may be called from any goroutine.
func (r *attempt) comeForward() {
	if r.behind == nil {
		return
	}
	r.unwatch()
	if err := r.behind.Raise(); err != nil {
		r.log.Warn("the session of this process stays behind others", "error", err)
	}
}
