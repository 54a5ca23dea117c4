package repotest_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"mbk/internal/repo"
	"mbk/internal/repo/repotest"
	"mbk/internal/repo/store"
	"mbk/internal/repo/store/storetest"
)

const (
	full  = "20261101T000000Z-full"
	incr  = "20261102T000000Z-incr"
	incr2 = "20261103T000000Z-incr"
	full2 = "20261104T000000Z-full"
)

func chains(t *testing.T) store.Store {
	st := storetest.NewMem()
	repotest.Chains(t, st, [2]string{full}, [2]string{incr, full}, [2]string{incr2, incr}, [2]string{full2})
	return st
}

// recorder is a test that is allowed to fail.
type recorder struct {
	testing.TB
	failed []string
}

func (r *recorder) Errorf(format string, args ...any) { r.failed = append(r.failed, format) }
func (r *recorder) Helper()                           {}

// What is listed and not whole is found, whatever it lacks.
func TestWantListedWhole(t *testing.T) {
	if got, want := repotest.WantListedWhole(t, chains(t)), []string{full, incr, incr2, full2}; !slices.Equal(got, want) {
		t.Errorf("listed %q, want %q", got, want)
	}
	for name, want := range map[string]int{
		"backups/" + full + "/data-0001.pack": 1, "backups/" + incr2 + "/redo.pack": 1,
		"backups/" + incr + "/manifest.json.zst": 1, "backups/" + full2 + "/lineage.bin.zst": 1,
		"backups/" + incr + "/label.json": 1, // of its increment
		"backups/" + full + "/label.json": 2,
	} {
		st := chains(t)
		if err := st.Delete(t.Context(), name); err != nil {
			t.Fatal(err)
		}
		r := &recorder{TB: t}
		if repotest.WantListedWhole(r, st); len(r.failed) != want {
			t.Errorf("without %s: %d complaints, want %d", name, len(r.failed), want)
		}
		st = chains(t)
		if err := storetest.Flip(t.Context(), st, name, 12, 1); err != nil {
			t.Fatal(err)
		}
		r = &recorder{TB: t}
		if repotest.WantListedWhole(r, st); len(r.failed) == 0 {
			t.Errorf("a flipped byte in %s is not found", name)
		}
	}
}

// Whatever fails in what makes or removes backups, those that are listed are whole.
func TestEveryPoint(t *testing.T) {
	late := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	open := func(ctx context.Context, st store.Store, do func(r *repo.Repository) error) error {
		r, err := repo.Open(ctx, st)
		if err != nil {
			return err
		}
		release, err := r.Lock(ctx)
		if err != nil {
			return err
		}
		return errors.Join(do(r), release())
	}
	for name, c := range map[string]struct {
		do   func(ctx context.Context, r *repo.Repository) error
		left []string // that are there whatever fails
		once bool     // when it is done it cannot be done again
	}{
		"an increment is made": {func(ctx context.Context, r *repo.Repository) error {
			return repotest.BackUp(ctx, r, "20261105T000000Z-incr", full2)
		}, []string{full, incr, incr2, full2}, false},
		"a chain expires": {func(ctx context.Context, r *repo.Repository) error {
			_, err := r.Expire(ctx, repo.Policy{Last: 1}, repo.ExpireOptions{Now: late})
			return err
		}, []string{full2}, false},
		"a chain is removed": {func(ctx context.Context, r *repo.Repository) error {
			_, err := r.Remove(ctx, incr, repo.RemoveOptions{Dependents: true})
			return err
		}, []string{full, full2}, true},
		"a backup is pinned": {func(ctx context.Context, r *repo.Repository) error {
			_, err := r.Pin(ctx, incr, "why", "me")
			return err
		}, []string{full, incr, incr2, full2}, false},
		"a backup is unpinned": {func(ctx context.Context, r *repo.Repository) error {
			_, err := r.Unpin(ctx, incr)
			return err
		}, []string{full, incr, incr2, full2}, false},
	} {
		t.Run(name, func(t *testing.T) {
			repotest.FailAtEvery(t, chains, func(ctx context.Context, st store.Store) error {
				return open(ctx, st, func(r *repo.Repository) error { return c.do(ctx, r) })
			}, func(t *testing.T, st store.Store) {
				listed := strings.Join(repotest.WantListedWhole(t, st), " ")
				for _, id := range c.left {
					if !strings.Contains(listed, id) {
						t.Errorf("%s is gone; listed: %s", id, listed)
					}
				}
				// What is left is cleared away, and the next try does the rest.
				err := open(t.Context(), st, func(r *repo.Repository) error {
					_, err := r.Sweep(t.Context(), repo.SweepOptions{})
					if again := c.do(t.Context(), r); !c.once || !errors.Is(again, repo.ErrRemoved) {
						err = errors.Join(err, again)
					}
					return err
				})
				if err != nil {
					t.Errorf("Sweep, and the next try: %v", err)
				}
				repotest.WantListedWhole(t, st)
			})
		})
	}
}
