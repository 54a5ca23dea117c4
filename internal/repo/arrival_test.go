package repo

import (
	"bytes"
	"context"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	"mbk/internal/repo/store"
	"mbk/internal/repo/store/memory"
	"mbk/internal/repo/store/storetest"
)

// arriving passes all objects of a repository to an Arrival, the labels last and the newest of
// them first.
func arriving(t *testing.T, from *storetest.Mem, to *Repository) ([]Imported, error) {
	t.Helper()
	open := func(context.Context, *Repository) (*Repository, error) { return to, nil }
	a := NewArrival(memory.Named("a pipe"), open, nil)
	list, err := from.List(t.Context(), "")
	must(t, err)
	slices.SortStableFunc(list, func(a, b store.Object) int {
		rank := func(o store.Object) int {
			switch {
			case o.Name == configName:
				return 0
			case strings.HasSuffix(o.Name, labelBase):
				return 2
			}
			return 1
		}
		if rank(a) == 2 && rank(b) == 2 {
			return strings.Compare(b.Name, a.Name)
		}
		return rank(a) - rank(b)
	})
	for _, o := range list {
		b, err := store.ReadAll(t.Context(), from, o.Name, 1<<20)
		if err == nil {
			err = a.Object(t.Context(), o.Name, bytes.NewReader(b))
		}
		must(t, err)
	}
	done, err := a.Commit(t.Context())
	return done, errors.Join(err, a.Discard(t.Context()))
}

// A backup that has continued on interrupted attempts has objects in several folders, which are
// encrypted as they come before anybody knows that they belong together.
func TestArrivalOfAdopted(t *testing.T) {
	from, st := newRepository(t)
	c := attemptAt(t, from, try3, died(t, from)...)
	must(t, c.store(t.Context(), 4), c.commit(t.Context()))
	want, err := from.Manifest(t.Context(), try3)
	must(t, err)
	to, sealed, with := newEncrypted(t)
	for i, present := range []bool{false, true} {
		done, err := arriving(t, st, to)
		if err != nil || len(done) != 1 || done[0].Present != present || (done[0].Written == 0) != present {
			t.Fatalf("arrival %d: %+v, %v", i, done, err)
		}
	}
	if got := objects(t, sealed, backupsPrefix); strings.Count(got, keyBase) != 3 || strings.Contains(got, "data-0009") {
		t.Errorf("in the repository are %s", got)
	}
	if swept, err := to.Sweep(t.Context(), SweepOptions{}); err != nil || len(swept) > 0 {
		t.Errorf("Sweep = %q, %v", swept, err)
	}
	opened := reopened(t, sealed, with)
	wantIDs(t, opened, try3)
	got, err := opened.Manifest(t.Context(), try3)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("the manifest is %+v, %v, want\n%+v", got, err, want)
	}
	original, err := from.Backup(t.Context(), try3)
	must(t, err)
	b, err := opened.Backup(t.Context(), try3)
	must(t, err)
	for _, o := range labelOf(t, from, try3).Objects {
		if o.Name == lineageBase || o.Name == manifestBase {
			continue
		}
		was, err1 := original.Open(t.Context(), o.Name, 0, -1)
		is, err2 := b.Open(t.Context(), o.Name, 0, -1)
		must(t, err1, err2)
		wantBytes, err1 := io.ReadAll(was)
		gotBytes, err2 := io.ReadAll(is)
		if err := errors.Join(err1, err2); err != nil || !bytes.Equal(gotBytes, wantBytes) {
			t.Errorf("%s differs (%v)", o.Name, err)
		}
	}
}

// What is in a folder of a backup that comes is left as it is: without its key nothing can be
// added to it.
func TestArrivalFindsSomethingElse(t *testing.T) {
	from, st := newRepository(t)
	id := mustBackUp(t, from, "2026-11-20 01:00:00")
	to, sealed, _ := newEncrypted(t)
	inTheWay := Folder(id) + "/data-0001.pack"
	must(t, store.PutBytes(t.Context(), sealed, inTheWay, []byte("something else")))
	_, err := arriving(t, st, to)
	if other, ok := errors.AsType[*OtherBackupError](err); !ok || !strings.HasPrefix(other.Object, Folder(id)) {
		t.Errorf("error %v", err)
	}
	if got := objects(t, sealed, backupsPrefix); got != inTheWay {
		t.Errorf("in the repository are %s", got)
	}
}

// In a stream the labels may come in any order, since each object has a goroutine of its own.
// The last of the result is the backup that the others are needed for.
func TestArrivalInAnyOrder(t *testing.T) {
	from, st := newRepository(t)
	first := mustBackUp(t, from, "2026-11-20 01:00:00")
	second := mustBackUpOn(t, from, "2026-11-20 02:00:00", first)
	last := mustBackUpOn(t, from, "2026-11-20 00:00:00", second) // its clock was wrong
	to, _ := newRepository(t)
	done, err := arriving(t, st, to)
	must(t, err)
	var ids []string
	for _, one := range done {
		ids = append(ids, one.ID)
	}
	if want := []string{first, second, last}; !slices.Equal(ids, want) {
		t.Errorf("stored %q, want %q", ids, want)
	}
}
