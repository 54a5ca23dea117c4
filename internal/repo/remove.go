package repo

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/ui/printable"
)

// RemoveOptions say how Remove goes about it.
type RemoveOptions struct {
	DryRun     bool // plan only
	Dependents bool // remove what needs the backup, too
}

// Removal says what Remove removes.
type Removal struct {
	ID      string    `json:"id"`
	Remove  []Summary `json:"remove"`  // in the order of removal: no backup before those that need it
	Removed []string  `json:"removed"` // ids of those that have been removed
	Left    int       `json:"left"`    // whole backups that the repository has then
}

// NeededError is returned by Remove if other backups need one, or may need it.
type NeededError struct {
	ID      string
	By      []string // in the order in which they can be removed
	Perhaps []string // it cannot be read what these need
}

// Error names them.
func (e *NeededError) Error() string {
	if len(e.By) == 0 {
		return fmt.Sprintf("backup %s may be needed by %s, of which cannot be read what they need",
			e.ID, printable.List(e.Perhaps))
	}
	return fmt.Sprintf("backup %s is needed by %s: %s", e.ID, printable.Count(len(e.By), "other"), printable.List(e.By))
}

// Fault says that something else is to be asked for.
func (e *NeededError) Fault() fault.Kind { return fault.Config }

// Hints says how to remove it.
func (e *NeededError) Hints() []hint.Text {
	return []hint.Text{"remove these first, in this order, or all of them with " + hint.Option("with-dependents")}
}

// PinnedError is returned by Remove if a backup that it would remove is pinned.
type PinnedError struct{ Pins []*Pin }

// Error names the backups.
func (e *PinnedError) Error() string {
	var texts []string
	for _, p := range e.Pins {
		texts = append(texts, p.ID+" is "+p.String())
	}
	return "backup " + strings.Join(texts, ", and ")
}

// Fault says that something else is to be asked for.
func (e *PinnedError) Fault() fault.Kind { return fault.Config }

// Hints says how to remove it.
func (e *PinnedError) Hints() []hint.Text {
	return []hint.Text{hint.Text(`if it may go: "mbk unpin ` + e.Pins[0].ID + `"`)}
}

// Remove removes one backup, whatever a policy says of it, or what an interrupted attempt
// has left; with Dependents those that need it, too, and these first. Unless it only plans
// the lock must be held. If it fails or is cancelled half-way, what was not removed is
// still whole.
//
// Errors: *NeededError, *ContinuedError, *PinnedError, *RetainedError.
func (r *Repository) Remove(ctx context.Context, id string, o RemoveOptions) (Removal, error) {
	plan := Removal{ID: id, Remove: []Summary{}, Removed: []string{}}
	err := r.removing(ctx, o.DryRun, func() error {
		backups, err := r.keepable(ctx)
		if err != nil {
			return err
		}
		if err := plan.choose(ctx, r, newFamily(backups), o.Dependents); err != nil {
			return err
		}
		for i := range plan.Remove { // before any is removed
			if err := r.wantRemovable(ctx, plan.Remove[i].ID); err != nil {
				return err
			}
		}
		if o.DryRun {
			return nil
		}
		for i := range plan.Remove {
			one := plan.Remove[i].ID
			if plan.Remove[i].Outcome == OutcomeFailed { // one that was killed has no record yet
				if err := r.recordDead(ctx, one); err != nil {
					return err
				}
			}
			if err := r.Discard(ctx, one); err != nil {
				return err
			}
			plan.Removed = append(plan.Removed, one)
		}
		return nil
	})
	if err != nil {
		return plan, fmt.Errorf("remove: %w", err)
	}
	return plan, nil
}

// choose fills in what is to be removed.
func (p *Removal) choose(ctx context.Context, r *Repository, f *family, dependents bool) error {
	for _, s := range f.all {
		if f.whole(s) {
			p.Left++
		}
	}
	if f.byID[p.ID] != nil {
		return p.chooseBackup(f, dependents)
	}
	found, err := p.chooseAttempt(ctx, r, dependents)
	if err == nil && !found {
		err = fmt.Errorf("%s: %w", p.ID, ErrRemoved)
	}
	return err
}

// chooseBackup fills in the backup that is to be removed, and those that need it.
func (p *Removal) chooseBackup(f *family, dependents bool) error {
	var pinned []*Pin
	needed := &NeededError{ID: p.ID}
	for _, s := range f.dependents(p.ID) {
		p.Remove = append(p.Remove, *s)
		if f.whole(s) {
			p.Left--
		}
		switch {
		case s.ID == p.ID:
		case s.ParentUnknown:
			needed.Perhaps = append(needed.Perhaps, s.ID)
		default:
			needed.By = append(needed.By, s.ID)
		}
		if s.Pin != nil && (dependents || s.ID == p.ID) {
			pinned = append(pinned, s.Pin)
		}
	}
	switch {
	case len(pinned) > 0:
		slices.SortFunc(pinned, func(a, b *Pin) int { return strings.Compare(b.ID, a.ID) })
		return &PinnedError{pinned}
	case len(p.Remove) > 1 && !dependents:
		return needed
	}
	return nil
}

// removing calls do, which removes backups unless it only plans, while nobody pins any.
func (r *Repository) removing(ctx context.Context, dry bool, do func() error) error {
	if dry {
		return do()
	}
	if err := r.CheckLock(); err != nil {
		return err
	}
	return r.whilePinning(ctx, func(func() error) error { return do() })
}
