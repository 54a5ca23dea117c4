// Package repotest has what tests of those need who write into a repository or remove from
// it: the first promise as a check, and a way to fail at each operation of the store.
package repotest

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/zeebo/blake3"

	"mbk/internal/repo"
	"mbk/internal/repo/store"
	"mbk/internal/repo/store/storetest"
)

// WantListedWhole checks that every backup that is listed can be read, has each object that
// its label names as it was stored, and all backups that it needs. Of an encrypted one the
// manifest is not read. It returns the ids, oldest first.
func WantListedWhole(t testing.TB, st store.Store) (ids []string) {
	t.Helper()
	r, err := repo.Open(t.Context(), st)
	if errors.Is(err, repo.ErrNotRepository) {
		return nil // not written yet
	}
	if err != nil {
		t.Fatalf("open the repository: %v", err)
	}
	list, err := r.List(t.Context())
	if err != nil {
		t.Fatalf("list the backups: %v", err)
	}
	for i := range list {
		ids = append(ids, list[i].ID)
		if err := wholeness(t.Context(), r, st, &list[i]); err != nil {
			t.Errorf("listed backup %s: %v", list[i].ID, err)
		}
	}
	return ids
}

// wholeness returns what a listed backup lacks.
func wholeness(ctx context.Context, r *repo.Repository, st store.Store, s *repo.Summary) error {
	if s.Problem != "" || s.Broken != "" {
		return errors.New(s.Problem + s.Broken)
	}
	m, err := r.Manifest(ctx, s.ID)
	if repo.Concealed(err) {
		m, err = &repo.Manifest{}, nil
	}
	if err != nil {
		return err
	}
	if _, err := r.Lineage(ctx, s.ID); err != nil {
		return err
	}
	label, err := r.Label(ctx, s.ID)
	if err != nil {
		return err
	}
	for _, o := range label.Objects {
		if err := asStored(ctx, st, s.ID, o); err != nil {
			return err
		}
	}
	for _, p := range m.Packs {
		if !slices.ContainsFunc(label.Objects, func(o repo.Object) bool { return o.Name == p.Name && o.Size == p.Size }) {
			return fmt.Errorf("the label does not name pack %s", p.Name)
		}
	}
	return nil
}

// asStored compares an object of a backup with what its label says of it.
func asStored(ctx context.Context, st store.Store, id string, o repo.Object) error {
	name := repo.Folder(id) + "/" + o.Name
	if strings.Contains(o.Name, "/") { // of an interrupted attempt
		name = repo.Folder(o.Name)
	}
	r, err := st.Open(ctx, name, 0, -1)
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // only read
	hash := blake3.New()
	n, err := io.Copy(hash, r)
	if err != nil {
		return err
	}
	if sum := hex.EncodeToString(hash.Sum(nil)); n != o.Size || sum != o.BLAKE3 {
		return fmt.Errorf("%s has %d bytes with BLAKE3 %s, the label says %d and %s", name, n, sum, o.Size, o.BLAKE3)
	}
	return nil
}

// maxPoints ends FailAtEvery where a scenario never ends.
const maxPoints = 5000

// FailAtEvery runs a scenario on stores that prepare makes anew, each of which fails at one
// point: 0, 1, 2 ..., until a run does not get as far. At each point it fails once, and in
// a further run from there on for good. A run that was hit may only return no error if the
// scenario can do without that operation. After each one the listed backups must be whole;
// check looks at what else is left, through a store that works again.
func FailAtEvery(t *testing.T, prepare func(t *testing.T) store.Store,
	run func(ctx context.Context, st store.Store) error, check func(t *testing.T, st store.Store)) {
	t.Helper()
	for name, wrap := range map[string]func(store.Store, int) *storetest.Failing{
		"one failure": storetest.FailAt, "store gone": storetest.FailFrom,
	} {
		t.Run(name, func(t *testing.T) {
			n := 0
			for ; failsAt(t, n, wrap, prepare, run, check); n++ {
				if n > maxPoints {
					t.Fatalf("the scenario does not end within %d points", maxPoints)
				}
			}
			if n == 0 {
				t.Error("the scenario has no point that can fail")
			}
		})
	}
}

// failsAt runs a scenario that fails at point n, and reports whether it got as far.
func failsAt(t *testing.T, n int, wrap func(store.Store, int) *storetest.Failing,
	prepare func(t *testing.T) store.Store, run func(ctx context.Context, st store.Store) error,
	check func(t *testing.T, st store.Store)) bool {
	t.Helper()
	st := prepare(t)
	failing := wrap(st, n)
	err := run(t.Context(), failing)
	if !failing.Fired() {
		if err != nil {
			t.Fatalf("without a failure: %v", err)
		}
		return false
	}
	t.Run(fmt.Sprintf("point %d", n), func(t *testing.T) {
		if err != nil && !errors.Is(err, storetest.ErrInjected) {
			t.Errorf("error %v, want the injected one", err)
		}
		WantListedWhole(t, st)
		check(t, st)
	})
	return true
}
