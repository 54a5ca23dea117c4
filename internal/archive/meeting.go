package archive

import "mbk/internal/binlog"

// meeting is a walk along a log that looks for a position: in each domain for its transaction.
type meeting struct {
	position binlog.Position
	open     map[uint32]bool // domains whose transaction was not met yet
	missed   bool            // a later number was met, and not that of the position
}

// newMeeting begins a walk at a place of the log.
func newMeeting(position, start binlog.Position) *meeting {
	m := &meeting{position: position, open: map[uint32]bool{}}
	for domain, g := range position {
		if start[domain] != g {
			m.open[domain] = true
		}
	}
	return m
}

// follows reports whether a transaction that is met now comes after the position.
func (m *meeting) follows(g binlog.GTID) bool { return !m.open[g.Domain] }

// meet passes a transaction.
func (m *meeting) meet(g binlog.GTID) {
	if !m.open[g.Domain] {
		return
	}
	switch want := m.position[g.Domain]; {
	case g == want:
		delete(m.open, g.Domain)
	case g.Sequence >= want.Sequence:
		m.missed = true
	}
}

// met reports whether all of the position was met.
func (m *meeting) met() bool { return len(m.open) == 0 }

// passed reports whether the log leads past the position without having it.
func (m *meeting) passed() bool { return m.missed }
