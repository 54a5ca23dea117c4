package copier

import (
	"context"
	"sync/atomic"
	"time"
)

// Pauses before a page with a wrong checksum is read again: the first, doubled every time
// up to the longest. A page that the server is writing can be read half old and half new
// until its write ends, which takes seconds when the disk is overloaded.
const (
	firstPause   = 250 * time.Microsecond
	longestPause = 500 * time.Millisecond
)

// Limits of these pauses once copying is urgent, because the server is locked: for one
// page, and for all.
const (
	urgentPageTime = 200 * time.Millisecond
	urgentTime     = time.Second
)

// quickTries is how often a damaged page is read again, without pauses, when there is no
// time left for them.
const quickTries = 3

// patience is the time that all workers together have spent on pages that stayed damaged.
// A backup with many of them, which Options.DamagedOK allows, must not take forever, and
// must not lock the server for long.
type patience struct {
	limit  time.Duration
	spent  atomic.Int64 // nanoseconds
	urgent atomic.Int64 // of it, since copying is urgent
}

// used notes the pauses for a page that stayed damaged.
func (p *patience) used(pauses time.Duration, urgent bool) {
	p.spent.Add(int64(pauses))
	if urgent {
		p.urgent.Add(int64(pauses))
	}
}

// over reports whether there is no time left for pauses.
func (p *patience) over(urgent bool) bool {
	return p.spent.Load() > int64(p.limit) || urgent && p.urgent.Load() > int64(urgentTime)
}

// tries counts how often a page was read again, and spaces these reads.
type tries struct {
	reader *pageReader
	n      int
	pause  time.Duration // before the next
	spent  time.Duration // in pauses
}

// left reports whether the page may be read once more.
func (t *tries) left() bool {
	if t.n >= t.reader.opts.PageTries {
		return false
	}
	return t.n < quickTries || !t.over()
}

// over reports whether no time is left for pauses.
func (t *tries) over() bool {
	urgent := isClosed(t.reader.urgent)
	return t.reader.wait.over(urgent) || urgent && t.spent >= urgentPageTime
}

// wait waits before the page is read once more, if there is time for that. It ends early
// when copying becomes urgent.
func (t *tries) wait(ctx context.Context) error {
	if t.over() {
		return nil
	}
	began := time.Now()
	pause, urgent := t.pause, t.reader.urgent
	if isClosed(urgent) {
		pause, urgent = min(pause, urgentPageTime-t.spent), nil
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-urgent:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	t.spent += time.Since(began)
	t.pause = min(max(2*t.pause, firstPause), longestPause)
	return nil
}
