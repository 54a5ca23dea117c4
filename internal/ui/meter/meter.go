// Package meter counts what has been done of a long piece of work and reports it, not too
// often, to whoever shows it.
package meter

import (
	"sync"
	"time"
)

// Progress says how far a piece of work has come.
type Progress struct {
	Phase string
	Done  int64  // bytes, or whatever the phase counts
	Total int64  // 0 if it is not known
	Text  string // what a program that is at work last said
}

// Meter counts what was done in a phase. It is safe for concurrent use.
type Meter struct {
	report func(Progress) // nil: nobody is interested

	mu   sync.Mutex
	now  Progress
	last time.Time
}

// interval is the least time between two reports within a phase.
const interval = 100 * time.Millisecond

// New makes a meter. report is called one at a time, at most ten times a second and at
// each change of phase; it may be nil.
func New(report func(Progress)) *Meter { return &Meter{report: report} }

// Begin starts a phase.
func (m *Meter) Begin(phase string, total int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now = Progress{Phase: phase, Total: total}
	m.send(true)
}

// Add counts what was done in the phase.
func (m *Meter) Add(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now.Done += n
	m.send(false)
}

// Say sets the text, and how far the phase is if total is not 0.
func (m *Meter) Say(text string, done, total int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.now.Text = text
	if total > 0 {
		m.now.Done, m.now.Total = done, total
	}
	m.send(false)
}

// End reports the last state of the phase.
func (m *Meter) End() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.send(true)
}

// send calls the listener, with m.mu held.
func (m *Meter) send(always bool) {
	if m.report == nil || !always && time.Since(m.last) < interval {
		return
	}
	m.last = time.Now()
	m.report(m.now)
}
