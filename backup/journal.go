package backup

import (
	"slices"
	"sync/atomic"
	"time"

	"mbk/internal/repo"
)

// journal is what an attempt tells of itself while it runs, and when it is over. The
// counters may be added to from any goroutine, the rest belongs to the attempt's own.
type journal struct {
	id      string
	started time.Time
	try     int // from 1

	onStep    func(name string)
	steps     []repo.Step // that are over
	step      string      // the present one
	stepBegan time.Time

	window time.Duration // BLOCK_DDL granted to END
	read   atomic.Int64  // bytes, of files; the redo is not in it
	stored atomic.Int64
}

// begin notes that a step begins and the one before it is over.
func (j *journal) begin(step string) {
	j.steps = j.stepTimes()
	j.step, j.stepBegan = step, time.Now()
	j.onStep(step)
}

// stepTimes are the steps so far, the present one included.
func (j *journal) stepTimes() []repo.Step {
	if j.step == "" {
		return nil
	}
	return append(slices.Clone(j.steps), repo.Step{Name: j.step, MS: time.Since(j.stepBegan).Milliseconds()})
}

// describe adds to a record what the attempt tells of itself.
func (j *journal) describe(a *repo.Attempt) {
	a.Steps, a.LockMS = j.stepTimes(), j.window.Milliseconds()
	a.BytesRead, a.BytesStored = j.read.Load(), j.stored.Load()
}
