package repo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"time"

	"mbk/internal/repo/store"
)

// trueParents finds the parents of backups whose labels cannot be read: what is removed
// must not hang on a record of the history. The error is ErrNewerFormat if a newer mbk
// made one of them, whose parents are therefore not known.
func (r *Repository) trueParents(ctx context.Context, backups []Summary) error {
	for i := range backups {
		s := &backups[i]
		if s.Problem == "" {
			continue // it is that of the label
		}
		if s.Newer {
			if _, err := r.Label(ctx, s.ID); err != nil {
				return err
			}
		}
		if _, kind, err := ParseID(s.ID); err == nil && kind == KindFull {
			s.Parent = "" // it needs no other
			continue
		}
		m, err := r.manifest(ctx, s.ID, nil)
		switch {
		case err == nil:
			s.Parent = m.Parent
		case errors.Is(err, ErrNewerFormat) || !lost(err):
			return err
		case errors.Is(err, ErrDamaged) || errors.Is(err, fs.ErrNotExist):
			// Neither label nor manifest: nobody restores it, whatever it needs.
		default:
			s.ParentUnknown = true // this user may not read it, or the disk cannot now
		}
	}
	return nil
}

// ExpireOptions say how an expiry goes about it.
type ExpireOptions struct {
	DryRun bool      // plan only
	Force  bool      // the clock is right, however far it is ahead of earlier attempts
	Now    time.Time // zero: time.Now
}

// Expire removes the backups that a policy does not keep, and returns the plan. Unless
// it only plans the lock must be held. If it fails or is cancelled half-way, what was
// not removed is still whole; Plan.Removed says how far it came. A backup that cannot
// be removed does not keep others: see Plan.NotRemoved.
//
// It removes nothing if a backup is newer than now, which is a *FutureError, or if the
// clock seems to have jumped, see Plan.HeldBack.
func (r *Repository) Expire(ctx context.Context, p Policy, o ExpireOptions) (Plan, error) {
	if err := p.Validate(); err != nil {
		return Plan{}, fmt.Errorf("expire: %w", err)
	}
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	var plan Plan
	err := r.removing(ctx, o.DryRun, func() error {
		backups, err := r.keepable(ctx)
		if err == nil {
			err = r.checkFuture(backups, o.Now)
		}
		if err != nil {
			return err
		}
		plan = p.Plan(backups)
		if !o.Force {
			if plan.HeldBack, err = r.holdBack(ctx, p, &plan); err != nil {
				return err
			}
		}
		if err := r.markRetained(ctx, &plan); err != nil || plan.HeldBack != "" {
			return err
		}
		if !o.DryRun {
			if err := r.remove(ctx, &plan); err != nil {
				return err
			}
		}
		return r.pruneFor(ctx, &plan, o.DryRun)
	})
	if err != nil {
		return plan, fmt.Errorf("expire: %w", err)
	}
	return plan, nil
}

// markRetained finds out which of the backups that a plan does not keep cannot be removed
// yet. What these need is retained with them.
func (r *Repository) markRetained(ctx context.Context, plan *Plan) error {
	for i := range plan.Remove {
		s := &plan.Remove[i]
		until, err := r.RetainedUntil(ctx, s.ID)
		if err != nil {
			return err
		}
		if !until.IsZero() {
			s.RetainedUntil = &until
		}
	}
	return nil
}

// pruneFor removes what no backup that stays needs of the archive of binary logs.
func (r *Repository) pruneFor(ctx context.Context, plan *Plan, dryRun bool) error {
	var oldest time.Time
	stays := func(s *Summary) {
		if oldest.IsZero() || s.Started.Before(oldest) {
			oldest = s.Started
		}
	}
	for i := range plan.Keep {
		stays(&plan.Keep[i].Summary)
	}
	for i := range plan.Remove {
		if u := &plan.Remove[i]; u.RetainedUntil != nil || !dryRun && !slices.Contains(plan.Removed, u.ID) {
			stays(&u.Summary)
		}
	}
	names, err := r.PruneArchive(ctx, oldest, dryRun)
	for _, name := range names {
		if strings.HasSuffix(name, segmentSuffix) {
			plan.Segments++
		}
	}
	return err
}

// keepable lists the backups with all that says what may be removed: parents and pins.
func (r *Repository) keepable(ctx context.Context) ([]Summary, error) {
	backups, err := r.List(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.trueParents(ctx, backups); err != nil {
		return nil, err
	}
	Connect(backups)
	pins, err := r.Pins(ctx)
	for i := range backups {
		backups[i].Pin = pins[backups[i].ID]
	}
	return backups, err
}

// remove removes what a plan does not keep.
func (r *Repository) remove(ctx context.Context, plan *Plan) error {
	stays := map[string]string{} // ids of backups that cannot be removed, and of what they need
	all := ""                    // a backup that cannot be removed and may need any other
	for i := range plan.Remove {
		s := &plan.Remove[i]
		if s.RetainedUntil != nil {
			stays[s.Parent] = s.ID
			continue
		}
		if by := cmp.Or(stays[s.ID], all); by != "" {
			plan.NotRemoved = append(plan.NotRemoved, fmt.Sprintf("%s is needed by %s, which cannot be removed", s.ID, by))
			stays[s.Parent] = by
			continue
		}
		switch err := r.Discard(ctx, s.ID); {
		case err == nil:
			plan.Removed = append(plan.Removed, s.ID)
		case stuck(err):
			plan.NotRemoved = append(plan.NotRemoved, err.Error())
			stays[s.Parent] = s.ID
			if s.ParentUnknown {
				all = s.ID
			}
		default:
			return err
		}
	}
	return nil
}

// stuck reports whether an object cannot be removed, while others can.
func stuck(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EIO) || errors.Is(err, store.ErrThroughLink) ||
		errors.Is(err, syscall.EISDIR)
}
