package binlog

// Walk follows a log, transaction by transaction, and says which of them come after a position: in each
// domain those after the transaction of the position. One domain may come to it long before
// another. A walk belongs to one goroutine.
type Walk struct {
	from   Position
	open   map[uint32]bool // domains whose transaction was not met yet
	at     Position
	missed bool
}

// NewWalk begins a walk at a place of the log, to find what comes after a position. A domain that
// the position does not know begins after it.
func NewWalk(from, start Position) *Walk {
	w := &Walk{from: from, open: map[uint32]bool{}, at: from.Clone()}
	for domain, g := range from {
		if start[domain] != g {
			w.open[domain] = true
		}
	}
	return w
}

// After reports whether a transaction that is met now comes after the position.
func (w *Walk) After(g GTID) bool { return !w.open[g.Domain] }

// Pass moves the walk behind a transaction, and reports whether it comes after the position.
func (w *Walk) Pass(g GTID) (after bool) {
	if w.After(g) {
		w.at.Add(g)
		return true
	}
	switch want := w.from[g.Domain]; {
	case g == want:
		delete(w.open, g.Domain)
	case g.Sequence >= want.Sequence:
		w.missed = true
	}
	return false
}

// Met reports whether the walk has come to all of the position.
func (w *Walk) Met() bool { return len(w.open) == 0 }

// Missed reports whether the log leads past the position without having it: it is of another
// history.
func (w *Walk) Missed() bool { return w.missed }

// At returns the position, moved behind what was passed after it. It is changed by Pass.
func (w *Walk) At() Position { return w.at }
