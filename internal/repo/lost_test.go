package repo

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"mbk/internal/repo/store"
	"mbk/internal/repo/store/storetest"
)

// A process loses its lock in any call of the store, and another one takes it over and
// cleans up at once, as after a freeze of the first. The first neither lists a backup after
// that nor removes one.
func TestLockLostAtEveryCall(t *testing.T) {
	const first, second, third = "20261101T010000Z-full", "20261102T010000Z-full", "20261103T010000Z-full"
	for name, c := range map[string]struct {
		run  func(ctx context.Context, r *Repository) error
		mine string // the backup whose label the process may take back
	}{
		"commit": {func(ctx context.Context, r *Repository) error { return backUp(ctx, r, third) }, third},
		"discard": {func(ctx context.Context, r *Repository) error {
			return errors.Join(r.Discard(ctx, first), r.Discard(ctx, second))
		}, ""},
		"expire": {func(ctx context.Context, r *Repository) error {
			_, err := r.Expire(ctx, Policy{Last: 1}, ExpireOptions{Now: late, Force: true})
			return err
		}, ""},
		"sweep": {func(ctx context.Context, r *Repository) error {
			_, err := r.Sweep(ctx, SweepOptions{})
			return err
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			for n := 0; ; n++ {
				if lost := loseAt(t, n, c.run, []string{first, second}, c.mine); !lost {
					if n < 4 {
						t.Errorf("the scenario has only %d calls", n)
					}
					return
				}
			}
		})
	}
}

// slowLock is a store that takes its time for a lock, as one does that watches a holder.
type slowLock struct {
	*storetest.Mem
	takes time.Duration
}

func (s *slowLock) Lock(ctx context.Context, name, owner string) (store.Lock, error) {
	time.Sleep(s.takes)
	return s.Mem.Lock(ctx, name, owner)
}

// Who waits for a lock is told for whom, and only then.
func TestWaitForLock(t *testing.T) {
	for takes, want := range map[time.Duration]string{
		2 * time.Second: "",
		time.Minute:     "the repository is locked by db1 pid 7; waiting for a sign of life, or until it counts as dead",
	} {
		synctest.Test(t, func(t *testing.T) {
			st := &slowLock{storetest.NewMem(), takes}
			r, err := Init(t.Context(), st, "mbk test")
			must(t, err)
			_, err = st.Mem.Lock(t.Context(), lockName, "db1 pid 7")
			must(t, err)
			told := ""
			r.OnWarning(func(text string) { told += text })
			if _, err := r.Lock(t.Context()); err == nil || told != want {
				t.Errorf("a lock that takes %s: %v, and told is %q, want %q", takes, err, told, want)
			}
		})
	}
}

// loseAt runs a scenario in a repository with backups, and an attempt that died, and takes
// the lock away in call n. It reports whether there was one.
func loseAt(t *testing.T, n int, run func(context.Context, *Repository) error, backups []string, mine string) bool {
	mem := storetest.NewMem()
	r, err := Init(t.Context(), mem, "mbk test")
	must(t, err)
	release, err := r.Lock(t.Context())
	must(t, err)
	for _, id := range backups {
		must(t, backUp(t.Context(), r, id))
	}
	const dead = "20261101T120000Z-full"
	must(t, store.PutBytes(t.Context(), mem, Folder(dead)+"/data-0001.pack", []byte("half")), release())
	var before []string
	st := storetest.LoseAt(mem, n, func() {
		other, err := Open(t.Context(), mem)
		must(t, err)
		_, err = other.Lock(t.Context()) // until the end of the test
		must(t, err)
		_, err = other.Sweep(t.Context(), SweepOptions{})
		must(t, err)
		before = wantListedWhole(t, other)
	})
	r.st = st
	release, err = r.Lock(t.Context())
	must(t, err)
	err = errors.Join(run(t.Context(), r), release())
	if !st.Lost() {
		must(t, err)
		return false
	}
	r.st = mem
	after := wantListedWhole(t, r)
	for _, change := range st.Late() {
		if mine == "" || change != "delete "+labelName(mine) {
			t.Errorf("call %d: %s, after the lock was lost", n, change)
		}
	}
	if _, lost := errors.AsType[*store.LostError](err); err != nil && !lost {
		t.Errorf("call %d: error %v, want *store.LostError", n, err)
	}
	if mine != "" && slices.Contains(after, mine) != (err == nil) {
		t.Errorf("call %d: the backups are %q, and the error is %v", n, after, err)
	}
	if len(before)-len(after) > 1 {
		t.Errorf("call %d: of %q only %q are left", n, before, after)
	}
	return true
}
