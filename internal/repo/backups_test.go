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

	"github.com/google/go-cmp/cmp"

	"mbk/copier/pack"
	"mbk/internal/repo/store"
	"mbk/internal/repo/store/folder"
	"mbk/internal/repo/store/storetest"
)

func noWrite(io.Writer) error { return nil }

func TestCommitAndRead(t *testing.T) {
	r, st := newRepository(t)
	id := mustBackUp(t, r, "2026-11-21 20:18:06")
	for _, ask := range []string{id, Latest} {
		got, err := r.Manifest(t.Context(), ask)
		if err != nil {
			t.Fatalf("Manifest(%s): %v", ask, err)
		}
		if diff := cmp.Diff(newManifest(id), got); diff != "" {
			t.Errorf("Manifest(%s) differs (-want +got):\n%s", ask, diff)
		}
	}
	want := objectsOfBackup(id) + " history/" + id + ".json mbk-repository.json"
	if got := objects(t, st, ""); got != want {
		t.Errorf("objects %s, want %s", got, want)
	}
}

func TestCommitRefuses(t *testing.T) {
	const id = "20261121T201806Z-full"
	for _, c := range []struct {
		name   string
		change func(ctx context.Context, m *Manifest, st store.Store) error
		says   string
	}{
		{"a pack that is not there", func(ctx context.Context, m *Manifest, st store.Store) error {
			return st.Delete(ctx, Folder(id)+"/redo.pack")
		}, "/redo.pack is not in the repository"},
		{"a pack of another size", func(ctx context.Context, m *Manifest, st store.Store) error {
			return store.PutBytes(ctx, st, Folder(id)+"/redo.pack", []byte("short"))
		}, "/redo.pack has 5 bytes in the repository, want 1000"},
		{"a manifest that does not hang together", func(ctx context.Context, m *Manifest, st store.Store) error {
			m.Files[0].Path = "../t.frm"
			return nil
		}, "../t.frm"},
		{"a pack that this attempt has not stored", func(ctx context.Context, m *Manifest, st store.Store) error {
			m.Packs = append(m.Packs, pack.Pack{Name: "data-0002.pack", Size: 1})
			return nil
		}, "pack data-0002.pack was not stored by this attempt"},
		{"a pack that was stored with another size", func(ctx context.Context, m *Manifest, st store.Store) error {
			m.Packs[0].Size++
			return nil
		}, "pack data-0001.pack of 1001 bytes was stored with 1000"},
		{"a lineage of another time", func(ctx context.Context, m *Manifest, st store.Store) error {
			m.Redo.End--
			m.LSN.End--
			m.LSN.MaxPage--
			m.Files[2].Extents[0].Size--
			return nil
		}, "the lineage goes from lsn 5000 to 6000, the manifest from 5000 to 5999"},
		{"no format version", func(ctx context.Context, m *Manifest, st store.Store) error {
			m.FormatVersion = 0
			return nil
		}, "format version 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, st := newRepository(t)
			m, d := newManifest(id), r.Draft(id)
			for _, p := range m.Packs {
				if err := d.put(t.Context(), p.Name, make([]byte, packSize)); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.change(t.Context(), m, st); err != nil {
				t.Fatal(err)
			}
			err := d.Commit(t.Context(), m, newLineage(newManifest(id)))
			if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "commit "+id) {
				t.Errorf("Commit = %v, want it to say %q", err, c.says)
			}
			wantIDs(t, r)
		})
	}
}

// Every flipped byte of a manifest is found.
func TestManifestFlipped(t *testing.T) {
	r, st := newRepository(t)
	id := mustBackUp(t, r, "2026-11-21 20:18:06")
	name := manifestName(id)
	b, err := store.ReadAll(t.Context(), st, name, maxManifestStored)
	if err != nil {
		t.Fatal(err)
	}
	for i := range b {
		for _, mask := range []byte{0x01, 0x80} {
			damaged := bytes.Clone(b)
			damaged[i] ^= mask
			if _, err := decodeManifest(damaged); !errors.Is(err, ErrDamaged) {
				t.Fatalf("byte %d ^ %#x: %v, want ErrDamaged", i, mask, err)
			}
		}
	}
	for _, length := range []int{0, 1, len(b) / 2, len(b) - 1} {
		if _, err := decodeManifest(b[:length]); !errors.Is(err, ErrDamaged) {
			t.Errorf("cut to %d bytes: %v, want ErrDamaged", length, err)
		}
	}
	if err := storetest.Flip(t.Context(), st, name, -1, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Manifest(t.Context(), id); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), name) {
		t.Errorf("Manifest = %v, want ErrDamaged and the object's name", err)
	}
}

func TestManifestRefuses(t *testing.T) {
	r, st := newRepository(t)
	const id = "20261121T201806Z-full"
	for _, c := range []struct {
		name, document string
		want           error
	}{
		{"a newer format", `{"format_version": 3, "files": "in another shape"}`, ErrNewerFormat},
		{"no JSON", `no`, ErrDamaged},
		{"of a wrong shape", `{"format_version": 2, "files": 5}`, ErrDamaged},
		{"invalid", `{"format_version": 2}`, ErrDamaged},
	} {
		t.Run(c.name, func(t *testing.T) {
			putManifest(t, st, id, c.document)
			if _, err := r.Manifest(t.Context(), id); !errors.Is(err, c.want) {
				t.Errorf("Manifest = %v, want %v", err, c.want)
			}
			list, err := r.List(t.Context())
			if err != nil || len(list) != 1 || list[0].ID != id || list[0].Problem != "" || list[0].Started.IsZero() {
				t.Errorf("List = %+v, %v; want the backup: its label is good", list, err)
			}
		})
	}
	t.Run("that of another backup", func(t *testing.T) {
		other := mustBackUp(t, r, "2026-11-22 20:18:06")
		b, err := store.ReadAll(t.Context(), st, manifestName(other), maxManifestStored)
		if err != nil {
			t.Fatal(err)
		}
		putManifestObject(t, st, id, b)
		if _, err := r.Manifest(t.Context(), id); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), other) {
			t.Errorf("Manifest = %v, want ErrDamaged", err)
		}
	})
}

// The list must be right whatever has become of the history.
func TestListWithoutGoodHistory(t *testing.T) {
	for _, c := range []struct {
		name      string
		labelOnly bool // only the label tells of the first backup
		change    func(ctx context.Context, r *Repository, id string) error
	}{
		{"history is there", false, func(context.Context, *Repository, string) error { return nil }},
		{"no history", true, func(ctx context.Context, r *Repository, id string) error {
			return r.st.Delete(ctx, attemptName(id))
		}},
		{"damaged history", true, func(ctx context.Context, r *Repository, id string) error {
			return store.PutBytes(ctx, r.st, attemptName(id), []byte(`{"format_version": 2, "id"`))
		}},
		{"history of a newer format", true, func(ctx context.Context, r *Repository, id string) error {
			return store.PutBytes(ctx, r.st, attemptName(id), []byte(`{"format_version": 9}`))
		}},
		{"history of another backup", true, func(ctx context.Context, r *Repository, id string) error {
			return putJSON(ctx, r.st, attemptName(id),
				Attempt{FormatVersion: 2, ID: "20200101T000000Z-full", Outcome: OutcomeOK})
		}},
		// The store confirmed the manifest too late, and nobody could roll back.
		{"history says failed", true, func(ctx context.Context, r *Repository, id string) error {
			return r.PutAttempt(ctx, Attempt{ID: id, Outcome: OutcomeFailed})
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, st := newRepository(t)
			first := mustBackUp(t, r, "2026-11-20 20:18:06")
			second := mustBackUp(t, r, "2026-11-21 20:18:06")
			if err := c.change(t.Context(), r, first); err != nil {
				t.Fatal(err)
			}
			// An attempt of the history that has no manifest is no backup.
			if err := r.PutAttempt(t.Context(), Attempt{ID: "20261122T000000Z-full", Outcome: OutcomeOK}); err != nil {
				t.Fatal(err)
			}
			// What is not ours is not listed and not touched.
			if err := st.Put(t.Context(), "backups/old/manifest.json.zst", noWrite); err != nil {
				t.Fatal(err)
			}
			got, err := r.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			want := []Summary{{Attempt: attemptOf(newManifest(first), labelOf(t, r, first))},
				{Attempt: attemptOf(newManifest(second), labelOf(t, r, second))}}
			if c.labelOnly {
				want[0].Attempt = Attempt{}
				labelOf(t, r, first).describe(&want[0].Attempt)
			}
			Connect(want)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("List differs (-want +got):\n%s", diff)
			}
		})
	}
}

// Labels tell all that a list shows as text.
func TestListLabels(t *testing.T) {
	r, _ := newRepository(t)
	mustBackUp(t, r, "2026-11-20 20:18:06")
	m := newManifest("20261121T201806Z-full")
	m.LockMS, m.ConsolidatedFrom, m.Filter = 77, []string{"20261101T201806Z-incr", "20261031T201806Z-full"}, &Filter{}
	m.LeftOut = []LeftOut{{Database: "d", Name: "t", Engine: "InnoDB", Reason: LeftByFilter}}
	must(t, commit(t, r, m))
	full, err := r.List(t.Context())
	must(t, err)
	list, err := r.ListLabels(t.Context())
	must(t, err)
	if len(list) != 2 || len(full) != 2 {
		t.Fatalf("%d and %d backups, want 2", len(list), len(full))
	}
	for i := range list {
		l, f := &list[i], &full[i]
		if l.LockMS != f.LockMS || l.LeftOut != f.LeftOut || !slices.Equal(l.ConsolidatedFrom, f.ConsolidatedFrom) ||
			!l.Started.Equal(f.Started) || !l.Finished.Equal(f.Finished) || l.Volume != f.Volume || l.Tables != f.Tables {
			t.Errorf("the label tells %+v, the record %+v", l.Attempt, f.Attempt)
		}
	}
	if list[1].LockMS != 77 || list[1].LeftOut != 1 || len(list[1].ConsolidatedFrom) != 2 {
		t.Errorf("the label tells %+v", list[1].Attempt)
	}
}

func TestListFailsAtEveryPoint(t *testing.T) {
	r, mem := newRepository(t)
	first := mustBackUp(t, r, "2026-11-20 20:18:06")
	mustBackUp(t, r, "2026-11-21 20:18:06")
	if err := mem.Delete(t.Context(), attemptName(first)); err != nil {
		t.Fatal(err)
	}
	for n := 0; ; n++ {
		st := storetest.FailFrom(mem, n)
		list, err := (&Repository{st: st}).List(t.Context())
		if !st.Fired() {
			break
		}
		if err == nil || list != nil {
			t.Errorf("point %d: List = %v, %v, want an error and no list: it would be short", n, list, err)
		}
	}
}

func TestBackUpFailsAtEveryPoint(t *testing.T) {
	const id = "20261121T201806Z-full"
	var before string
	failAtEvery(t,
		func(t *testing.T, r *Repository) { before = mustBackUp(t, r, "2026-11-20 00:00:00") },
		func(ctx context.Context, r *Repository) error { return backUp(ctx, r, id) },
		func(t *testing.T, r *Repository) {
			ids := wantListedWhole(t, r)
			if len(ids) == 0 || ids[0] != before {
				t.Errorf("listed: %q, want the backup from before", ids)
			}
			if _, err := r.Sweep(t.Context(), SweepOptions{}); err != nil {
				t.Fatalf("Sweep: %v", err)
			}
			if got := wantListedWhole(t, r); len(got) != len(ids) {
				t.Errorf("listed after Sweep: %q, want %q", got, ids)
			}
			if len(ids) == 1 && objects(t, r.st, Folder(id)) != "" {
				t.Errorf("left after Sweep: %s", objects(t, r.st, Folder(id)))
			}
			if err := backUp(t.Context(), r, id); err != nil {
				t.Errorf("the next backup: %v", err)
			}
			wantIDs(t, r, before, id)
		})
}

func TestDiscardFailsAtEveryPoint(t *testing.T) {
	var doomed, kept string
	failAtEvery(t,
		func(t *testing.T, r *Repository) {
			doomed, kept = mustBackUp(t, r, "2026-11-20 00:00:00"), mustBackUp(t, r, "2026-11-21 00:00:00")
		},
		func(ctx context.Context, r *Repository) error { return r.Discard(ctx, doomed) },
		func(t *testing.T, r *Repository) {
			wantListedWhole(t, r)
			if err := r.Discard(t.Context(), doomed); err != nil {
				t.Fatalf("next Discard: %v", err)
			}
			wantIDs(t, r, kept)
			if left := objects(t, r.st, Folder(doomed)); left != "" {
				t.Errorf("left: %s", left)
			}
		})
}

func TestDiscardRefusesWhatIsNoID(t *testing.T) {
	r, _ := newRepository(t)
	mustBackUp(t, r, "2026-11-20 00:00:00")
	for _, id := range []string{"", ".", "..", "latest", "2026", "20261120T000000Z-full/"} {
		if err := r.Discard(t.Context(), id); err == nil {
			t.Errorf("Discard(%q) succeeded", id)
		}
	}
	wantIDs(t, r, "20261120T000000Z-full")
}

func TestSweep(t *testing.T) {
	r, st := newRepository(t)
	kept := mustBackUp(t, r, "2026-11-20 00:00:00")
	const dead, halfExpired = "20261121T000000Z-full", "20261119T000000Z-full"
	mustBackUp(t, r, "2026-11-19 00:00:00")
	if err := st.Delete(t.Context(), labelName(halfExpired)); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{Folder(dead) + "/data-0001.pack", Folder(dead) + "/data-0002.pack", "backups/note.txt",
		"backups/mine/x"} {
		if err := st.Put(t.Context(), name, noWrite); err != nil {
			t.Fatal(err)
		}
	}
	swept, err := r.Sweep(t.Context(), SweepOptions{})
	if err != nil || strings.Join(swept, " ") != halfExpired+" "+dead {
		t.Fatalf("Sweep = %q, %v; want %s and %s", swept, err, halfExpired, dead)
	}
	wantIDs(t, r, kept)
	if got, want := objects(t, st, backupsPrefix),
		objectsOfBackup(kept)+" backups/mine/x backups/note.txt"; got != want {
		t.Errorf("objects %s, want %s", got, want)
	}
	attempts, err := r.Attempts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range attempts {
		got = append(got, a.ID+" "+a.Outcome)
	}
	want := []string{halfExpired + " ok", kept + " ok", dead + " failed"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("history differs (-want +got):\n%s", diff)
	}
	if swept, err := r.Sweep(t.Context(), SweepOptions{}); err != nil || len(swept) > 0 {
		t.Errorf("second Sweep = %q, %v; want nothing", swept, err)
	}
}

func TestSweepFailsAtEveryPoint(t *testing.T) {
	const dead = "20261121T000000Z-full"
	var kept string
	failAtEvery(t,
		func(t *testing.T, r *Repository) {
			kept = mustBackUp(t, r, "2026-11-20 00:00:00")
			for _, base := range []string{"data-0001.pack", "data-0002.pack"} {
				if err := r.st.Put(t.Context(), Folder(dead)+"/"+base, noWrite); err != nil {
					t.Fatal(err)
				}
			}
		},
		func(ctx context.Context, r *Repository) error { _, err := r.Sweep(ctx, SweepOptions{}); return err },
		func(t *testing.T, r *Repository) {
			wantIDs(t, r, kept)
			if _, err := r.Sweep(t.Context(), SweepOptions{}); err != nil {
				t.Fatalf("next Sweep: %v", err)
			}
			wantIDs(t, r, kept)
			if left := objects(t, r.st, Folder(dead)); left != "" {
				t.Errorf("left: %s", left)
			}
			if a, err := r.attempt(t.Context(), dead); err != nil || a.Outcome != OutcomeFailed {
				t.Errorf("history of the dead attempt: %+v, %v", a, err)
			}
		})
}

// A Put that is killed leaves its temporary file; the sweep finds it in a folder.
func TestSweepTemporaryFiles(t *testing.T) {
	st := folderStore(t)
	r, err := Init(t.Context(), st, "mbk")
	if err != nil {
		t.Fatal(err)
	}
	release, err := r.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	id := mustBackUp(t, r, "2026-11-20 00:00:00")
	plantTemp(t, st, "backups/20261121T000000Z-full", "data-0001.pack")
	plantTemp(t, st, "history", id+".json")
	plantTemp(t, st, ".", configName)
	plantTemp(t, st, "backups/"+id, "data-0002.pack")
	if err := st.Delete(t.Context(), attemptName(id)); err != nil {
		t.Fatal(err)
	}
	swept, err := r.Sweep(t.Context(), SweepOptions{})
	if err != nil || len(swept) != 4 {
		t.Errorf("Sweep = %q, %v; want four files", swept, err)
	}
	wantIDs(t, r, id)
	if a, err := r.attempt(t.Context(), id); err == nil {
		t.Errorf("the whole backup became the attempt %+v", a)
	}
	if a, err := r.attempt(t.Context(), "20261121T000000Z-full"); err != nil || a.Outcome != OutcomeFailed {
		t.Errorf("history of the attempt that finished no object: %+v, %v", a, err)
	}
}

func TestFindings(t *testing.T) {
	r, _ := newRepository(t)
	id := mustBackUp(t, r, "2026-11-20 00:00:00")
	v := Verification{ID: id, Depth: DepthStored, Time: at(t, "2026-11-21 00:00:00")}
	for i := range 150 {
		v.Findings = append(v.Findings, Finding{Object: fmt.Sprint(i), Problem: "damaged"})
	}
	if err := r.PutVerification(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	list, err := r.List(t.Context())
	if err != nil || len(list) != 1 || list[0].Verified == nil {
		t.Fatalf("List = %+v, %v; want a verification", list, err)
	}
	if got := list[0].Verified; got.OK || got.FindingCount != 150 || len(got.Findings) != maxFindings {
		t.Errorf("verification: OK %v, %d findings of %d; want 100 of 150", got.OK, len(got.Findings), got.FindingCount)
	}
}

// A repository of years must list at once.
func BenchmarkList(b *testing.B) {
	st, err := folder.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	r, err := Init(b.Context(), st, "mbk")
	if err != nil {
		b.Fatal(err)
	}
	release, err := r.Lock(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer release()
	start := at(b, "2026-01-01 00:00:00")
	for i := range 1000 {
		id := NewID(start.Add(time.Duration(i)*time.Hour), KindFull)
		if err := backUp(b.Context(), r, id); err != nil {
			b.Fatal(err)
		}
		if err := r.PutVerification(b.Context(), Verification{ID: id, Depth: DepthBoot, Time: start, OK: true}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if list, err := r.List(b.Context()); err != nil || len(list) != 1000 {
			b.Fatalf("%d backups, %v", len(list), err)
		}
	}
}
