package backup

import (
	"mbk/internal/innodb"
	"mbk/internal/sys/priority"
)

// stepBack lets the session of this process step back behind the server's until
// comeForward.
func (r *attempt) stepBack() {
	session, err := priority.LowerSession(r.opts.Priority.Nice, r.found.facts.PeerPID)
	if err != nil {
		r.log.Info("cannot step back behind other sessions", "error", err)
	}
	r.behind.Store(session)
}

// mindLag is called by what follows the redo log, for each part of it. That steps
// back too, with the session: if the server leaves it so little time that half of the
// log waits to be copied, before it is overwritten, the session comes forward.
func (r *attempt) mindLag(tail *innodb.Tailer) {
	if r.behind.Load() == nil || tail.Progress().Headroom >= tail.Ring().Capacity/2 || r.lagged.Swap(true) {
		return
	}
	r.log.Info("the server leaves too little time to follow its redo log: no longer behind it")
	r.forward.Go(r.comeForward) // it may take a moment
}

// comeForward ends the stepping back. It may be called from any goroutine.
func (r *attempt) comeForward() {
	session := r.behind.Load()
	if err := session.Raise(); err != nil {
		r.log.Warn("the session of this process stays behind others", "error", err)
		return
	}
	r.behind.CompareAndSwap(session, nil)
}
