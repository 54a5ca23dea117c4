package repo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"mbk/copier/pack"
	"mbk/internal/repo/store"
	"mbk/internal/repo/store/storetest"
)

// An attempt at a backup, whose pack n holds the n-th quarter of the tablespace.
type trial struct {
	draft *Draft
	m     *Manifest
}

// attemptAt begins an attempt that continues on others.
func attemptAt(t testing.TB, r *Repository, id string, adopt ...Interrupted) *trial {
	t.Helper()
	a := &trial{draft: r.Draft(id), m: newManifest(id)}
	a.m.Packs = nil
	a.m.Files[0].Size, a.m.Files[0].Extents = 0, nil
	a.m.Files[1].Extents = nil
	a.draft.Adopt(adopt)
	for i := range adopt {
		of := &adopt[i]
		pass := Pass{Number: 2}
		for _, p := range of.Progress {
			p.Pack.Name = of.ID + "/" + p.Pack.Name
			a.m.Packs = append(a.m.Packs, p.Pack)
			for _, part := range p.Parts {
				part.Extent.Pack = p.Pack.Name
				pass.Extents = append(pass.Extents, part.Extent)
			}
		}
		slices.SortFunc(pass.Extents, func(a, b pack.Extent) int { return int(a.Start - b.Start) })
		a.m.Files[1].Earlier = append(a.m.Files[1].Earlier, pass)
	}
	return a
}

// store stores one quarter, and what is known of it.
func (a *trial) store(ctx context.Context, quarter int) error {
	const size = 16384
	p := pack.Pack{Name: fmt.Sprintf("data-%04d.pack", quarter), Size: packSize, Raw: size}
	e := pack.Extent{Pack: p.Name, Length: packSize, Start: int64(quarter-1) * size, Size: size}
	if err := a.draft.put(ctx, p.Name, bytes.Repeat([]byte{byte(quarter)}, packSize)); err != nil {
		return err
	}
	lineage := newLineage(a.m)
	lineage.Files = lineage.Files[1:2]
	a.m.Packs = append(a.m.Packs, p)
	a.m.Files[1].Extents = append(a.m.Files[1].Extents, e)
	return a.draft.PutProgress(ctx, &Progress{Lineage: *lineage, Pack: p, Parts: []Part{{Number: 2, Extent: e}}})
}

// commit stores the redo, and makes the backup exist.
func (a *trial) commit(ctx context.Context) error {
	redo := pack.Pack{Name: "redo.pack", Size: packSize, Raw: 1000}
	if err := a.draft.put(ctx, redo.Name, make([]byte, packSize)); err != nil {
		return err
	}
	a.m.Packs = append(a.m.Packs, redo)
	if err := a.draft.Commit(ctx, a.m, newLineage(a.m)); err != nil {
		return err
	}
	return a.draft.repository.PutAttempt(ctx, attemptOf(a.m, a.draft.Label()))
}

// must fails the test on an error.
func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// interruptedOf returns what can be continued on, whose ids must be these, newest first.
func interruptedOf(t testing.TB, r *Repository, ids ...string) []Interrupted {
	t.Helper()
	all, err := r.Interrupted(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i := range all {
		got = append(got, all[i].ID)
	}
	if !slices.Equal(got, ids) {
		t.Fatalf("interrupted attempts %q, want %q", got, ids)
	}
	return all
}

const (
	try1 = "20261120T010000Z-full"
	try2 = "20261120T020000Z-full"
	try3 = "20261120T030000Z-full"
)

// died leaves two attempts that were interrupted, of which the second continued on the
// first. A quarter is not stored yet.
func died(t testing.TB, r *Repository) []Interrupted {
	t.Helper()
	ctx := t.Context()
	a := attemptAt(t, r, try1)
	must(t, a.store(ctx, 1), a.store(ctx, 2), a.draft.put(ctx, "data-0009.pack", []byte("not recorded")))
	b := attemptAt(t, r, try2, interruptedOf(t, r, try1)...)
	must(t, b.store(ctx, 3))
	return interruptedOf(t, r, try2, try1)
}

// An attempt continues on two interrupted ones, and the backup is complete.
func TestContinue(t *testing.T) {
	r, st := newRepository(t)
	all := died(t, r)
	if got := all[0].Adopted(); !slices.Equal(got, []string{try1}) || len(all[1].Adopted()) > 0 {
		t.Errorf("the second attempt has adopted %q", got)
	}
	if l := all[1].Lineage(); len(all[1].Progress) != 2 || len(l.Files) != 1 || l.Validate() != nil {
		t.Errorf("the first attempt: %d packs, lineage %+v", len(all[1].Progress), l)
	}
	c := attemptAt(t, r, try3, all...)
	must(t, c.store(t.Context(), 4), c.commit(t.Context()))
	wantIDs(t, r, try3)
	l := labelOf(t, r, try3)
	if got := l.Adopted(); !slices.Equal(got, []string{try1, try2}) {
		t.Errorf("the label names objects of %q", got)
	}
	interruptedOf(t, r)
	want := Folder(try1) + "/data-0001.pack " + Folder(try1) + "/data-0002.pack " + Folder(try2) + "/data-0003.pack " +
		strings.Replace(objectsOfBackup(try3), "data-0001", "data-0004", 1)
	if got := objects(t, st, backupsPrefix); got != want {
		t.Errorf("after Commit there are %s, want %s", got, want)
	}
	if swept, err := r.Sweep(t.Context(), SweepOptions{}); err != nil || len(swept) > 0 {
		t.Errorf("Sweep = %q, %v", swept, err)
	}
	if got := objects(t, st, backupsPrefix); got != want {
		t.Errorf("after Sweep there are %s, want %s", got, want)
	}
	b, err := r.Backup(t.Context(), try3)
	must(t, err)
	object, err := b.Open(t.Context(), try2+"/data-0003.pack", 0, -1)
	must(t, err)
	if got, err := io.ReadAll(object); err != nil || !bytes.Equal(got, bytes.Repeat([]byte{3}, packSize)) {
		t.Errorf("an adopted pack reads as %d bytes, %v", len(got), err)
	}
	must(t, r.Discard(t.Context(), try3))
	if got := objects(t, st, backupsPrefix); got != "" {
		t.Errorf("after Discard there are %s", got)
	}
}

// What Sweep keeps for resuming, by how long ago the last object was made.
func TestSweepKeepsWhatCanBeResumed(t *testing.T) {
	for _, c := range []struct {
		name   string
		within time.Duration
		now    time.Duration // after the last object
		kept   bool
	}{
		{"nothing is to be kept", 0, 0, false},
		{"just now", time.Hour, time.Minute, true},
		{"too long ago", time.Hour, 2 * time.Hour, false},
		{"a clock that was ahead for a moment", time.Hour, -time.Minute, true},
		{"a clock that was wrong", time.Hour, -48 * time.Hour, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, st := newRepository(t)
			all := died(t, r)
			before := objects(t, st, backupsPrefix)
			options := SweepOptions{Resumable: c.within, Now: all[0].Last.Add(c.now)}
			swept, err := r.Sweep(t.Context(), options)
			if err != nil || len(swept) != map[bool]int{true: 0, false: 2}[c.kept] {
				t.Errorf("Sweep = %q, %v", swept, err)
			}
			if got := objects(t, st, backupsPrefix); c.kept && got != before || !c.kept && got != "" {
				t.Errorf("there are %q, before there were %q", got, before)
			}
			for _, id := range []string{try1, try2} {
				if a, err := r.Attempt(t.Context(), id); err != nil || a.Outcome != OutcomeFailed {
					t.Errorf("the history has %+v, %v", a, err)
				}
			}
		})
	}
}

// A draft that failed leaves what it has recorded, and nothing else.
func TestSuspend(t *testing.T) {
	r, st := newRepository(t)
	a := attemptAt(t, r, try1)
	must(t, a.store(t.Context(), 1), a.draft.put(t.Context(), "data-0007.pack", []byte("not recorded")))
	a.m.Files[1].Size = 16384 // else it is not complete
	must(t, a.commit(t.Context()))
	if got := objects(t, st, Folder(try1)); strings.Contains(got, "progress") {
		t.Errorf("after Commit there are %s", got)
	}
	b := attemptAt(t, r, try2)
	must(t, b.store(t.Context(), 1), b.draft.put(t.Context(), "data-0007.pack", []byte("not recorded")),
		store.PutBytes(t.Context(), st, labelName(try2), []byte("confirmed too late")))
	must(t, b.draft.Suspend(t.Context()))
	want := strings.ReplaceAll("ID/data-0001.pack ID/progress-0001.bin.zst", "ID", Folder(try2))
	if got := objects(t, st, Folder(try2)); got != want {
		t.Errorf("after Suspend there are %s, want %s", got, want)
	}
	interruptedOf(t, r, try2)
	c := attemptAt(t, r, try3)
	must(t, c.draft.put(t.Context(), "data-0007.pack", []byte("not recorded")), c.draft.Suspend(t.Context()))
	if got := objects(t, st, Folder(try3)); got != "" {
		t.Errorf("after Suspend without progress there are %s", got)
	}
}

// What has become of an interrupted attempt since, and what can be continued on then.
func TestInterruptedLeavesOut(t *testing.T) {
	progress := func(id string, n int) string { return Folder(id) + "/" + progressName(n) }
	for _, c := range []struct {
		name   string
		change func(ctx context.Context, st *storetest.Mem) error
		want   []string
		packs  int // of the oldest that is left
	}{
		{"nothing", func(ctx context.Context, st *storetest.Mem) error { return nil }, []string{try2, try1}, 2},
		{"a pack of the newer one is gone", func(ctx context.Context, st *storetest.Mem) error {
			return st.Delete(ctx, Folder(try2)+"/data-0003.pack")
		}, []string{try1}, 2},
		{"a pack of the older one is gone", func(ctx context.Context, st *storetest.Mem) error {
			return st.Delete(ctx, Folder(try1)+"/data-0002.pack")
		}, []string{try1}, 1},
		{"a pack of the older one is shorter", func(ctx context.Context, st *storetest.Mem) error {
			return store.PutBytes(ctx, st, Folder(try1)+"/data-0002.pack", []byte("x"))
		}, []string{try1}, 1},
		{"a progress object of the older one is damaged", func(ctx context.Context, st *storetest.Mem) error {
			return storetest.Flip(ctx, st, progress(try1, 1), 40, 1)
		}, []string{try1}, 1},
		{"the first progress object of the older one is gone", func(ctx context.Context, st *storetest.Mem) error {
			return st.Delete(ctx, progress(try1, 1))
		}, []string{try1}, 1},
		{"a progress object is that of another attempt", func(ctx context.Context, st *storetest.Mem) error {
			b, err := store.ReadAll(ctx, st, progress(try2, 1), maxStored)
			return errors.Join(err, store.PutBytes(ctx, st, progress(try1, 1), b))
		}, []string{try1}, 1},
		{"a progress object of an unknown name", func(ctx context.Context, st *storetest.Mem) error {
			return store.PutBytes(ctx, st, Folder(try2)+"/progress-x", nil)
		}, []string{try2, try1}, 2},
		{"the older one is gone", func(ctx context.Context, st *storetest.Mem) error {
			var errs []error
			for _, base := range []string{"progress-0001.bin.zst", "progress-0002.bin.zst"} {
				errs = append(errs, st.Delete(ctx, Folder(try1)+"/"+base))
			}
			return errors.Join(errs...)
		}, nil, 0},
		{"a label appeared", func(ctx context.Context, st *storetest.Mem) error {
			return store.PutBytes(ctx, st, labelName(try2), []byte("x"))
		}, nil, 0}, // it may name the other one: nothing of it can be read
	} {
		t.Run(c.name, func(t *testing.T) {
			r, st := newRepository(t)
			died(t, r)
			must(t, c.change(t.Context(), st))
			all := interruptedOf(t, r, c.want...)
			if n := len(all); n > 0 && len(all[n-1].Progress) != c.packs {
				t.Errorf("%d packs of %s, want %d", len(all[n-1].Progress), all[n-1].ID, c.packs)
			}
			if _, err := r.Sweep(t.Context(), SweepOptions{}); err != nil {
				t.Errorf("Sweep: %v", err)
			}
		})
	}
}
