package repo

import (
	"context"
	"fmt"
	"slices"
	"time"

	"mbk/internal/fault"
)

const (
	// mostAhead is by how much the newest backup may be ahead of the clock.
	mostAhead = 5 * time.Minute

	// A gap between attempts is a jump of the clock, as far as an expiry is concerned,
	// if it is jumpFactor times as long as usual, and longer than shortJump, until
	// jumpAttempts attempts have been made after it in more than jumpTime: by then
	// somebody would have noticed.
	jumpFactor   = 10
	shortJump    = 48 * time.Hour
	jumpAttempts = 7
	jumpTime     = 72 * time.Hour

	usualGap = 24 * time.Hour // while nothing is known
)

// FutureError is returned by Expire if a backup was begun after now: either clock may
// be the wrong one, and the days before that backup are not those before now.
type FutureError struct {
	ID    string // the newest backup
	Ahead time.Duration
	Where string // its objects are: "/backup/db1/backups/20261121T201806Z-full"
}

// Error names the backup.
func (e *FutureError) Error() string {
	return fmt.Sprintf("backup %s began %s after now, so nothing is removed", e.ID, e.Ahead.Round(time.Second))
}

// Fault says that a clock is to be set.
func (e *FutureError) Fault() fault.Kind { return fault.Config }

// checkFuture returns a *FutureError if the newest of some backups is ahead of now.
func (r *Repository) checkFuture(backups []Summary, now time.Time) error {
	var newest *FutureError
	for i := range backups {
		s := &backups[i]
		if ahead := startOf(s).Sub(now); ahead > mostAhead && (newest == nil || ahead > newest.Ahead) {
			newest = &FutureError{ID: s.ID, Ahead: ahead, Where: r.String() + "/" + Folder(s.ID)}
		}
	}
	if newest == nil {
		return nil
	}
	return newest
}

// jump is a stretch of time in which nothing was begun.
type jump struct {
	before, after time.Time // the attempts around it
	usual         time.Duration
}

func (j *jump) String() string {
	return fmt.Sprintf("no backup was begun between %s and %s, while one is usually begun every %s",
		j.before.Format("2006-01-02 15:04"), j.after.Format("2006-01-02 15:04"), j.usual.Round(time.Minute))
}

// findJump looks for the newest jump among the times at which attempts were begun, nil
// if there is none that matters.
func findJump(times []time.Time) *jump {
	times = slices.Clone(times)
	slices.SortFunc(times, time.Time.Compare)
	times = slices.CompactFunc(times, time.Time.Equal)
	for i := len(times) - 1; i > 0; i-- {
		if len(times)-i > jumpAttempts && times[len(times)-1].Sub(times[i]) > jumpTime {
			return nil
		}
		usual := medianGap(times, i)
		if gap := times[i].Sub(times[i-1]); gap > shortJump && gap > jumpFactor*usual {
			return &jump{before: times[i-1], after: times[i], usual: usual}
		}
	}
	return nil
}

// medianGap is the median of the gaps between times, except the one before the time
// with the index but.
func medianGap(times []time.Time, but int) time.Duration {
	var gaps []time.Duration
	for i := 1; i < len(times); i++ {
		if i != but {
			gaps = append(gaps, times[i].Sub(times[i-1]))
		}
	}
	if len(gaps) == 0 {
		return usualGap
	}
	slices.Sort(gaps)
	return gaps[len(gaps)/2]
}

// holdBack returns why the removals of a plan have to wait, "" if they need not: they
// are due to a rule that counts days, and the clock seems to have jumped.
func (r *Repository) holdBack(ctx context.Context, p Policy, plan *Plan) (string, error) {
	if p.Days == 0 || len(plan.Remove) == 0 {
		return "", nil
	}
	_, ids, err := r.history(ctx)
	if err != nil {
		return "", err
	}
	var times []time.Time
	for _, id := range ids {
		if t, _, err := ParseID(id); err == nil {
			times = append(times, t)
		}
	}
	for i := range plan.Keep {
		times = append(times, startOf(&plan.Keep[i].Summary))
	}
	oldest := time.Time{}
	for i := range plan.Remove {
		t := startOf(&plan.Remove[i].Summary)
		times = append(times, t)
		if oldest.IsZero() || t.Before(oldest) {
			oldest = t
		}
	}
	j := findJump(times)
	if j == nil || oldest.After(j.before) {
		return "", nil
	}
	return "the clock may have jumped: " + j.String(), nil
}
