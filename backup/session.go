package backup

import (
	"log/slog"
	"sync"
	"sync/atomic"

	"mbk/internal/innodb"
	"mbk/internal/sys/priority"
)

// session is this process's session of the operating system, which has a lower
// priority than the server until others may wait for us. Its methods may be called
// from any goroutine.
type session struct {
	log     *slog.Logger
	low     atomic.Pointer[priority.Session] // nil: the priority is not lowered
	lagged  atomic.Bool                      // the redo, by so much that the priority was raised
	raising sync.WaitGroup                   // because of that
}

// lower lowers the priority below that of the server's session until raise.
func (s *session) lower(nice, server int) {
	low, err := priority.LowerSession(nice, server)
	if err != nil {
		s.log.Info("cannot lower the priority of this session", "error", err)
	}
	s.low.Store(low)
}

// mindLag is called by what follows the redo log, for each part of it. That has the
// low priority too: if the server leaves it so little time that half of the log waits
// to be copied, before it is overwritten, the priority is raised.
func (s *session) mindLag(tail *innodb.Tailer) {
	if s.low.Load() == nil || tail.Progress().Headroom >= tail.Ring().Capacity/2 || s.lagged.Swap(true) {
		return
	}
	s.log.Info("the server leaves too little time to follow its redo log: the priority is raised again")
	s.raising.Go(s.raise) // it may take a moment
}

// raise ends the low priority.
func (s *session) raise() {
	low := s.low.Load()
	if err := low.Raise(); err != nil {
		s.log.Warn("the priority of this session stays low", "error", err)
		return
	}
	s.low.CompareAndSwap(low, nil)
}

// wait waits until nothing raises the priority any more. No redo is followed by then.
func (s *session) wait() { s.raising.Wait() }
