package repo

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"mbk/internal/fault"
)

// What interrupted attempts have left is told, and can be given back before its time; an
// attempt on which another has continued goes after that one.
func TestRemoveInterruptedAttempts(t *testing.T) {
	r, st := newRepository(t)
	good := mustBackUp(t, r, "2026-11-01 00:00:00")
	died(t, r)
	wantUnfinished := func(want ...string) {
		t.Helper()
		all, err := r.Unfinished(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for i, u := range all {
			ids = append(ids, u.ID)
			if u.Bytes < packSize || u.Last.IsZero() || u.Running != (i == len(all)-1) { // this test holds the lock
				t.Errorf("%+v", u)
			}
		}
		if !slices.Equal(ids, want) {
			t.Errorf("unfinished: %q, want %q", ids, want)
		}
	}
	wantUnfinished(try1, try2)
	if id, err := r.RemovableID(t.Context(), try2[:13]); id != try2 || err != nil {
		t.Errorf("RemovableID = %q, %v", id, err)
	}
	var continued *ContinuedError
	if _, err := r.Remove(t.Context(), try1, RemoveOptions{}); !errors.As(err, &continued) ||
		!slices.Equal(continued.By, []string{try2}) || fault.Of(err) != fault.Config {
		t.Errorf("Remove = %v, want a *ContinuedError", err)
	}
	dry, err := r.Remove(t.Context(), try1, RemoveOptions{Dependents: true, DryRun: true})
	if err != nil || len(dry.Remove) != 2 || dry.Remove[0].ID != try2 || dry.Remove[0].BytesStored < packSize ||
		dry.Left != 1 {
		t.Errorf("a dry run: %+v, %v", dry, err)
	}
	wantUnfinished(try1, try2)
	if got, err := r.Remove(t.Context(), try2, RemoveOptions{}); err != nil || !slices.Equal(got.Removed, []string{try2}) {
		t.Errorf("Remove = %q, %v", got.Removed, err)
	}
	wantUnfinished(try1)
	interruptedOf(t, r, try1)
	if _, err := r.Remove(t.Context(), try1, RemoveOptions{}); err != nil {
		t.Errorf("Remove: %v", err)
	}
	wantUnfinished()
	wantIDs(t, r, good)
	if left := objects(t, st, backupsPrefix); strings.Contains(left, "20261120") {
		t.Errorf("left: %s", left)
	}
	for _, id := range []string{try1, try2} {
		if a, err := r.Attempt(t.Context(), id); err != nil || a.Outcome != OutcomeFailed {
			t.Errorf("the history says %+v, %v", a, err)
		}
	}
}

// What a backup has continued on belongs to it, and is no attempt that can be removed.
func TestRemoveBackupThatWasContinued(t *testing.T) {
	r, st := newRepository(t)
	died(t, r)
	last := attemptAt(t, r, try3, interruptedOf(t, r, try2, try1)...)
	must(t, last.store(t.Context(), 3), last.store(t.Context(), 4), last.commit(t.Context()))
	if all, err := r.Unfinished(t.Context()); err != nil || len(all) > 0 {
		t.Errorf("unfinished: %+v, %v", all, err)
	}
	if _, err := r.Remove(t.Context(), try1, RemoveOptions{}); !errors.Is(err, ErrRemoved) {
		t.Errorf("Remove of a part of a backup = %v", err)
	}
	wantIDs(t, r, try3)
	if _, err := r.Remove(t.Context(), try3, RemoveOptions{}); err != nil {
		t.Errorf("Remove: %v", err)
	}
	if left := objects(t, st, backupsPrefix); left != "" {
		t.Errorf("left: %s", left)
	}
}
