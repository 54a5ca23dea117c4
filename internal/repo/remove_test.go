package repo

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/repo/store"
)

// chains are the ids of two chains: a full backup, three increments each on the one
// before, a branch of it, and a full backup with one increment.
type chains struct {
	full, one, two, three, branch string
	full2, last                   string
}

func (c chains) all() []string {
	return []string{c.full, c.one, c.two, c.three, c.branch, c.full2, c.last}
}

func backUpChains(t *testing.T, r *Repository) (c chains) {
	t.Helper()
	c.full = mustBackUp(t, r, "2026-11-01 00:00:00")
	c.one = mustBackUpOn(t, r, "2026-11-02 00:00:00", c.full)
	c.two = mustBackUpOn(t, r, "2026-11-03 00:00:00", c.one)
	c.three = mustBackUpOn(t, r, "2026-11-04 00:00:00", c.two)
	c.branch = mustBackUpOn(t, r, "2026-11-05 00:00:00", c.one)
	c.full2 = mustBackUp(t, r, "2026-11-06 00:00:00")
	c.last = mustBackUpOn(t, r, "2026-11-07 00:00:00", c.full2)
	return c
}

func TestRemove(t *testing.T) {
	type outcome struct {
		removed []string
		left    int
		err     func(error) bool
	}
	needed := func(by ...string) func(error) bool {
		return func(err error) bool {
			var e *NeededError
			return errors.As(err, &e) && slices.Equal(e.By, by) && len(e.Perhaps) == 0 && fault.Of(err) == fault.Config &&
				len(hint.Attached(err)) > 0
		}
	}
	for _, tt := range []struct {
		name       string
		id         func(c chains) string
		dependents bool
		want       func(c chains) outcome
	}{
		{"a leaf", func(c chains) string { return c.three }, false,
			func(c chains) outcome { return outcome{removed: []string{c.three}, left: 6} }},
		{"one in the middle", func(c chains) string { return c.two }, false,
			func(c chains) outcome { return outcome{err: needed(c.three)} }},
		{"one in the middle, with dependents", func(c chains) string { return c.two }, true,
			func(c chains) outcome { return outcome{removed: []string{c.three, c.two}, left: 5} }},
		{"a full backup", func(c chains) string { return c.full }, false,
			func(c chains) outcome { return outcome{err: needed(c.three, c.branch, c.two, c.one)} }},
		{"a full backup, with dependents", func(c chains) string { return c.full }, true, func(c chains) outcome {
			return outcome{removed: []string{c.three, c.branch, c.two, c.one, c.full}, left: 2}
		}},
		{"the newest chain", func(c chains) string { return c.full2 }, true,
			func(c chains) outcome { return outcome{removed: []string{c.last, c.full2}, left: 5} }},
		{"what is not there", func(chains) string { return "20261231T000000Z-full" }, true,
			func(chains) outcome { return outcome{err: func(err error) bool { return errors.Is(err, ErrRemoved) }} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, st := newRepository(t)
			c := backUpChains(t, r)
			id, want, before := tt.id(c), tt.want(c), objects(t, st, "")
			dry, dryErr := r.Remove(t.Context(), id, RemoveOptions{DryRun: true, Dependents: tt.dependents})
			if got := objects(t, st, ""); got != before || len(dry.Removed) > 0 {
				t.Errorf("the dry run changed the objects to %s", got)
			}
			got, err := r.Remove(t.Context(), id, RemoveOptions{Dependents: tt.dependents})
			if want.err != nil {
				if !want.err(err) || !want.err(dryErr) {
					t.Errorf("Remove = %v, in a dry run %v", err, dryErr)
				}
				wantIDs(t, r, c.all()...)
				return
			}
			if err != nil || dryErr != nil || !slices.Equal(got.Removed, want.removed) || got.Left != want.left {
				t.Errorf("Remove = %q, %d left, %v, in a dry run %v; want %q, %d", got.Removed, got.Left, err, dryErr, want.removed,
					want.left)
			}
			var planned []string
			for _, s := range dry.Remove {
				planned = append(planned, s.ID)
			}
			if !slices.Equal(planned, want.removed) || dry.Left != want.left {
				t.Errorf("the dry run planned %q, %d left", planned, dry.Left)
			}
			wantIDs(t, r, slices.DeleteFunc(c.all(), func(id string) bool { return slices.Contains(got.Removed, id) })...)
		})
	}
}

func TestRemoveNeedsTheLock(t *testing.T) {
	r, st := newRepository(t)
	id := mustBackUp(t, r, "2026-11-01 00:00:00")
	unlocked := &Repository{st: st, config: r.config}
	if _, err := unlocked.Remove(t.Context(), id, RemoveOptions{}); !errors.Is(err, ErrNotLocked) {
		t.Errorf("Remove = %v, want ErrNotLocked", err)
	}
	if _, err := unlocked.Remove(t.Context(), id, RemoveOptions{DryRun: true}); err != nil {
		t.Errorf("a dry run: %v", err)
	}
}

// A pinned increment keeps all that it needs, and nobody removes it as a dependent.
func TestRemoveBesidePins(t *testing.T) {
	r, _ := newRepository(t)
	c := backUpChains(t, r)
	if _, err := r.Pin(t.Context(), c.two, "audit", "me"); err != nil {
		t.Fatal(err)
	}
	var pinned *PinnedError
	if _, err := r.Remove(t.Context(), c.one, RemoveOptions{Dependents: true}); !errors.As(err, &pinned) ||
		!strings.Contains(err.Error(), c.two+" is pinned: audit") {
		t.Errorf("Remove = %v, want a *PinnedError", err)
	}
	var needed *NeededError
	if _, err := r.Remove(t.Context(), c.one, RemoveOptions{}); !errors.As(err, &needed) {
		t.Errorf("Remove without dependents = %v, want a *NeededError", err)
	}
	wantIDs(t, r, c.all()...)
	if _, err := r.Remove(t.Context(), c.three, RemoveOptions{}); err != nil {
		t.Errorf("Remove of one on a pinned one: %v", err)
	}
	plan, err := r.Expire(t.Context(), Policy{Last: 1}, ExpireOptions{Now: late})
	if err != nil || strings.Join(plan.Removed, " ") != c.branch {
		t.Errorf("Expire removed %q, %v, want %s", plan.Removed, err, c.branch)
	}
	wantIDs(t, r, c.full, c.one, c.two, c.full2, c.last)
}

// An increment whose label and manifest this user may not read may need any other backup.
func TestRemovalsBesideUnreadableIncrements(t *testing.T) {
	r, mem := newRepository(t)
	c := backUpChains(t, r)
	denied := &deniedStore{Store: mem, prefix: Folder(c.three)}
	r.st = denied
	var needed *NeededError
	if _, err := r.Remove(t.Context(), c.full2, RemoveOptions{}); !errors.As(err, &needed) ||
		!slices.Equal(needed.Perhaps, []string{c.three}) || !slices.Equal(needed.By, []string{c.last}) {
		t.Errorf("Remove = %v, want a *NeededError", err)
	}
	if _, err := r.Remove(t.Context(), c.branch, RemoveOptions{}); !errors.As(err, &needed) ||
		!strings.Contains(err.Error(), "may be needed by "+c.three) {
		t.Errorf("Remove = %v, want a *NeededError", err)
	}
	plan, err := r.Expire(t.Context(), Policy{Last: 5}, ExpireOptions{Now: late})
	if err != nil || len(plan.Removed) > 0 || len(plan.Keep) != 7 {
		t.Errorf("Expire removed %q and kept %d, %v; want nothing removed", plan.Removed, len(plan.Keep), err)
	}
	// It goes when it is old enough; if it cannot be removed, the others stay.
	denied.stuck = true
	plan, err = r.Expire(t.Context(), Policy{Last: 1}, ExpireOptions{Now: late})
	if err != nil || len(plan.Removed) > 0 || len(plan.NotRemoved) != len(plan.Remove) {
		t.Errorf("Expire removed %q and not %q, %v; want nothing removed", plan.Removed, plan.NotRemoved, err)
	}
	denied.stuck = false
	plan, err = r.Expire(t.Context(), Policy{Last: 1}, ExpireOptions{Now: late})
	if err != nil || len(plan.Removed) != 5 || plan.Removed[0] != c.three {
		t.Errorf("Expire removed %q, %v; want %s first", plan.Removed, err, c.three)
	}
	wantIDs(t, r, c.full2, c.last)
}

// deniedStore is a store in which some objects cannot be read, nor removed if they are
// stuck.
type deniedStore struct {
	store.Store
	prefix string
	stuck  bool
}

func (d *deniedStore) Open(ctx context.Context, name string, offset, n int64) (io.ReadCloser, error) {
	if strings.HasPrefix(name, d.prefix) {
		return nil, errUnlisted
	}
	return d.Store.Open(ctx, name, offset, n)
}

func (d *deniedStore) Delete(ctx context.Context, name string) error {
	if d.stuck && strings.HasPrefix(name, d.prefix) {
		return errUnlisted
	}
	return d.Store.Delete(ctx, name)
}
