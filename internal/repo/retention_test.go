package repo_test

import (
	"errors"
	"testing"
	"time"

	"mbk/internal/repo"
	"mbk/internal/repo/repotest"
	"mbk/internal/repo/store/storetest"
)

// A chain is retained as long as its newest member. What is retained is not removed, and what
// an expiry may remove it does.
func TestRetention(t *testing.T) {
	const old, full, incr = "20261101T000000Z-full", "20261102T000000Z-full", "20261103T000000Z-incr"
	mem := storetest.NewMem()
	repotest.Chains(t, mem, [2]string{old}, [2]string{full})
	st := storetest.NewRetaining(mem, 48*time.Hour, repo.Retainable)
	r, err := repo.Open(t.Context(), st)
	if err != nil {
		t.Fatal(err)
	}
	release, err := r.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer release() //nolint:errcheck // the test is over
	if err := repotest.BackUp(t.Context(), r, incr, full); err != nil {
		t.Fatal(err)
	}
	list, err := st.List(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range list {
		until, err := st.RetainedUntil(t.Context(), o.Name)
		chain := repo.Retainable(o.Name) && o.Name[:len("backups/")+len(old)] != "backups/"+old
		if err != nil || chain != (time.Until(until) > 47*time.Hour) {
			t.Errorf("%s is retained until %s, %v", o.Name, until, err)
		}
	}
	for _, id := range []string{full, incr} {
		for _, dry := range []bool{true, false} {
			var retained *repo.RetainedError
			_, err := r.Remove(t.Context(), id, repo.RemoveOptions{Dependents: true, DryRun: dry})
			if !errors.As(err, &retained) || retained.ID != incr {
				t.Errorf("removing %s: %v", id, err)
			}
		}
	}
	if err := repotest.BackUp(t.Context(), r, "20261104T000000Z-full", ""); err != nil {
		t.Fatal(err)
	}
	plan, err := r.Expire(t.Context(), repo.Policy{Last: 1}, repo.ExpireOptions{Force: true})
	if err != nil || len(plan.Removed) != 1 || plan.Removed[0] != old ||
		len(plan.NotRemoved) > 0 || len(plan.Remove) != 3 {
		t.Errorf("expire: %+v, %v", plan, err)
	}
	for _, s := range plan.Remove {
		if (s.RetainedUntil != nil) != (s.ID != old) {
			t.Errorf("%s is planned to be retained until %v", s.ID, s.RetainedUntil)
		}
	}
}

// With each operation failing in turn, what is listed is whole and retained.
func TestRetentionFailsAtEveryPoint(t *testing.T) {
	const full, incr = "20261101T000000Z-full", "20261102T000000Z-incr"
	for n := 0; ; n++ {
		mem := storetest.NewMem()
		repotest.Chains(t, mem, [2]string{full})
		retaining := storetest.NewRetaining(mem, time.Hour, repo.Retainable)
		failing := storetest.FailAt(retaining, n)
		r, err := repo.Open(t.Context(), failing)
		if err == nil {
			var release func() error
			if release, err = r.Lock(t.Context()); err == nil {
				err = errors.Join(repotest.BackUp(t.Context(), r, incr, full), release())
			}
		}
		if !failing.Fired() {
			if err != nil {
				t.Fatal(err)
			}
			return
		}
		for _, id := range repotest.WantListedWhole(t, mem) {
			list, err := mem.List(t.Context(), "backups/"+full)
			if err != nil || id == full {
				continue
			}
			for _, o := range list {
				if until, _ := retaining.RetainedUntil(t.Context(), o.Name); until.IsZero() {
					t.Errorf("point %d: %s is listed, and %s is not retained", n, id, o.Name)
				}
			}
		}
	}
}
