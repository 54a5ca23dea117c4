package backup

import (
	"mbk/internal/innodb"
	"mbk/internal/sys/priority"
)

// lower gives the session of this process a lower priority than the server has, until
// raise.
func (r *attempt) lower() {
	session, err := priority.LowerSession(r.opts.Priority.Nice, r.found.facts.PeerPID)
	if err != nil {
		r.log.Info("cannot step back behind other sessions", "error", err)
	}
	r.lowPriority.Store(session)
}

// mindLag is called by what follows the redo log, for each part of it. That steps
// back too, with the session: if the server leaves it so little time that half of the
// log waits to be copied, before it is overwritten, the session comes forward.
func (r *attempt) mindLag(tail *innodb.Tailer) {
	if r.lowPriority.Load() == nil || tail.Progress().Headroom >= tail.Ring().Capacity/2 || r.lagged.Swap(true) {
		return
	}
	r.log.Info("the server leaves too little time to follow its redo log: no longer behind it")
	r.forward.Go(r.raise) // it may take a moment
}

// raise ends that. It may be called from any goroutine.
func (r *attempt) raise() {
	session := r.lowPriority.Load()
	if err := session.Raise(); err != nil {
		r.log.Warn("the session of this process stays behind others", "error", err)
		return
	}
	r.lowPriority.CompareAndSwap(session, nil)
}
