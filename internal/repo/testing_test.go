package repo

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mbk/copier/pack"
	"mbk/internal/innodb"
	"mbk/internal/repo/store"
	"mbk/internal/repo/store/folder"
	"mbk/internal/repo/store/storetest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden compares got with a file of testdata, or rewrites that.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("differs from %s (-update rewrites it); got:\n%s", path, got)
	}
}

// at parses a time of a test: "2026-11-21 20:18:06".
func at(t testing.TB, s string) time.Time {
	t.Helper()
	parsed, err := time.Parse(time.DateTime, s)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// newRepository makes a repository in a store in memory and locks it.
func newRepository(t testing.TB) (*Repository, *storetest.Mem) {
	t.Helper()
	st := storetest.NewMem()
	r, err := Init(t.Context(), st, "mbk test")
	if err != nil {
		t.Fatal(err)
	}
	release, err := r.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := release(); err != nil {
			t.Error(err)
		}
	})
	return r, st
}

// lockedIn returns a repository in a store that wraps the one of r, which is locked.
func lockedIn(st store.Store, r *Repository) *Repository {
	return &Repository{st: st, config: r.config, lock: askingLock{store.UntilReleased(nil), st}}
}

// askingLock is a lock whose Confirm fails if the store does.
type askingLock struct {
	store.Lock
	st store.Store
}

func (l askingLock) Confirm(ctx context.Context) error {
	_, err := l.st.Holder(ctx, lockName)
	return err
}

// put makes an object of b.
func (d *Draft) put(ctx context.Context, name string, b []byte) error {
	return d.Put(ctx, name, writing(b))
}

// packSize is the size of every pack of a test.
const packSize = 1000

// newManifest returns the manifest of a small backup: a table, a tablespace of
// two segments, the redo.
func newManifest(id string) *Manifest {
	started, kind, err := ParseID(id)
	if err != nil {
		panic(err) // a mistake in the test
	}
	space := innodb.SpaceID(7)
	return &Manifest{
		FormatVersion: FormatVersion, ID: id, Kind: kind, Tool: "mbk test", Started: started,
		Finished: started.Add(time.Minute),
		Server: Server{Version: "10.11.19-MariaDB", Hostname: "db1",
			Variables: map[string]string{"innodb_page_size": "16384"}},
		Stages: []Stage{{Name: "START", Granted: started, HeldMS: 5, Tries: 1}},
		LockMS: 12, Codec: "zstd", Volume: Volume{BytesRead: 100_000, BytesStored: 2 * packSize},
		LSN: LSNs{Checkpoint: 5000, End: 6000, MaxPage: 5999},
		Redo: Redo{Format: innodb.Format108, Checkpoint: innodb.Checkpoint{LSN: 5000, End: 5100}, End: 6000, File: 2,
			Capacity: 1 << 20},
		Directories: []Directory{{Path: "d", Name: "d", Mode: 0o700}},
		Tables:      []Table{{Database: "d", Name: "t", Engine: "InnoDB", Type: "BASE TABLE", Files: []int{0, 1}}},
		Files: []File{
			{Number: 1, Path: "d/t.frm", Class: ClassPlain, Size: 10, Mode: 0o660,
				Extents: []pack.Extent{{Pack: "data-0001.pack", Offset: 0, Length: 60, Start: 0, Size: 10}}},
			{Number: 2, Path: "d/t.ibd", Class: ClassInnoDB, Space: &space, PageSize: 16384, Size: 65536, Mode: 0o660,
				Extents: []pack.Extent{
					{Pack: "data-0001.pack", Offset: 60, Length: 500, Start: 0, Size: 32768},
					{Pack: "data-0001.pack", Offset: 560, Length: 440, Start: 32768, Size: 32768},
				}},
			{Number: 3, Path: "ib_logfile0", Class: ClassRedo, Size: 1000, Mode: 0o660,
				Extents: []pack.Extent{{Pack: "redo.pack", Offset: 0, Length: packSize, Start: 0, Size: 1000}}},
		},
		Packs: []pack.Pack{
			{Name: "data-0001.pack", Size: packSize, Raw: 65546},
			{Name: "redo.pack", Size: packSize, Raw: 1000},
		},
		Warnings: []string{"a", "b"},
	}
}

// newLineage returns the lineage of a manifest, whose files were all left alone for long.
func newLineage(m *Manifest) *Lineage {
	l := &Lineage{ID: m.ID, Checkpoint: m.LSN.Checkpoint, End: m.LSN.End, BootID: [16]byte{1, 2}, AriaUUID: [16]byte{3},
		Series: [2]uint16{10, 11}, PageSize: 16384, Redo: RedoFile{Dev: 1, Inode: 2, Born: 3, First: 4}}
	for _, f := range m.Files {
		x := LineageFile{Number: f.Number, Class: f.Class, PageSize: uint32(f.PageSize), Dev: 1,
			Inode: 100 + uint64(f.Number),
			Born:  1 << 60, Size: f.Size, Modified: 1<<60 + 1, Changed: 1<<60 + 2, Quiescent: true, Copied: f.Size}
		if f.Space != nil {
			x.HasSpace, x.Space = true, *f.Space
			x.LSNs = []uint32{7, 0, 9}[:min(3, x.groups())]
		}
		l.Files = append(l.Files, x)
	}
	return l
}

// labelOf reads the label of a backup that is whole.
func labelOf(t testing.TB, r *Repository, id string) *Label {
	t.Helper()
	l, err := r.Label(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// putManifest stores a document as a manifest, past all checks, and a label that names it.
func putManifest(t testing.TB, st store.Store, id, document string) {
	t.Helper()
	b, err := pack.EncodeDocument([]byte(document))
	if err != nil {
		t.Fatal(err)
	}
	putManifestObject(t, st, id, b)
}

// putManifestObject stores bytes as a manifest, and a label that names them.
func putManifestObject(t testing.TB, st store.Store, id string, b []byte) {
	t.Helper()
	started, kind, err := ParseID(id)
	if err != nil {
		t.Fatal(err)
	}
	lineage := []byte("none")
	putLabel(t, st, &Label{FormatVersion: FormatVersion, ID: id, Kind: kind, Started: started, Finished: started,
		Objects: []Object{
			{Name: lineageBase, Size: int64(len(lineage)), BLAKE3: hashOf(lineage)},
			{Name: manifestBase, Size: int64(len(b)), BLAKE3: hashOf(b)},
		}})
	if err := errors.Join(store.PutBytes(t.Context(), st, manifestName(id), b),
		store.PutBytes(t.Context(), st, Folder(id)+"/"+lineageBase, lineage)); err != nil {
		t.Fatal(err)
	}
}

// putLabel stores a label past all checks.
func putLabel(t testing.TB, st store.Store, l *Label) {
	t.Helper()
	b, err := seal(l)
	if err == nil {
		err = store.PutBytes(t.Context(), st, labelName(l.ID), b)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// attemptOf returns what is on record of a backup that backUp has made.
func attemptOf(m *Manifest, l *Label) Attempt {
	a := AttemptOf(m)
	a.Label = l.Hash
	return a
}

// backUp does what a backup does to a repository, roll-back included.
func backUp(ctx context.Context, r *Repository, id string) error { return backUpOn(ctx, r, id, "") }

// backUpOn is backUp with a parent, "" for none.
func backUpOn(ctx context.Context, r *Repository, id, parent string) error {
	m, d := newManifest(id), r.Draft(id)
	if m.Parent = parent; parent != "" {
		below, err := r.Manifest(ctx, parent)
		if err != nil {
			return err
		}
		m.Chain = below.Chain + 1
	}
	err := func() error {
		for _, p := range m.Packs {
			err := d.Put(ctx, p.Name, func(w io.Writer) error {
				_, err := w.Write(bytes.Repeat([]byte{'x'}, packSize))
				return err
			})
			if err != nil {
				return err
			}
		}
		return d.Commit(ctx, m, newLineage(m))
	}()
	if err != nil {
		return errors.Join(err, d.Discard(ctx))
	}
	return r.PutAttempt(ctx, attemptOf(m, d.Label()))
}

// mustBackUp adds a backup started at a time and returns its id.
func mustBackUp(t testing.TB, r *Repository, started string) string {
	t.Helper()
	id := NewID(at(t, started), KindFull)
	if err := backUp(t.Context(), r, id); err != nil {
		t.Fatalf("backup %s: %v", id, err)
	}
	return id
}

// mustBackUpOn adds an increment on a backup and returns its id.
func mustBackUpOn(t testing.TB, r *Repository, started, parent string) string {
	t.Helper()
	id := NewID(at(t, started), KindIncremental)
	if err := backUpOn(t.Context(), r, id, parent); err != nil {
		t.Fatalf("backup %s: %v", id, err)
	}
	return id
}

// wantListedWhole checks the first promise: what is listed has a good label and a good
// manifest, and every object that the label names is there as it was stored.
func wantListedWhole(t *testing.T, r *Repository) (ids []string) {
	t.Helper()
	list, err := r.List(t.Context())
	if err != nil {
		t.Fatalf("List: %v", err)
	}
	for _, s := range list {
		ids = append(ids, s.ID)
		if s.Problem != "" || s.Broken != "" {
			t.Errorf("listed backup %s: %s%s", s.ID, s.Problem, s.Broken)
			continue
		}
		if _, err := r.Manifest(t.Context(), s.ID); err != nil {
			t.Errorf("listed backup %s: %v", s.ID, err)
		}
		if _, err := r.Lineage(t.Context(), s.ID); err != nil {
			t.Errorf("listed backup %s: %v", s.ID, err)
		}
		l, err := r.Label(t.Context(), s.ID)
		if err != nil {
			t.Errorf("listed backup %s: %v", s.ID, err)
			continue
		}
		for _, o := range l.Objects {
			b, err := store.ReadAll(t.Context(), r.st, objectName(l.ID, o.Name), 1<<20)
			if err != nil || int64(len(b)) != o.Size || hashOf(b) != o.BLAKE3 {
				t.Errorf("listed backup %s: %s is not as it was stored: %v", s.ID, o.Name, err)
			}
		}
	}
	return ids
}

// wantIDs checks which backups are listed.
func wantIDs(t *testing.T, r *Repository, want ...string) {
	t.Helper()
	if got := wantListedWhole(t, r); strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("listed: %q, want %q", got, want)
	}
}

// objectsOfBackup are the names of the objects of a backup that backUp has made.
func objectsOfBackup(id string) string {
	return strings.ReplaceAll("ID/data-0001.pack ID/label.json ID/lineage.bin.zst ID/manifest.json.zst ID/redo.pack", "ID",
		Folder(id))
}

// objects lists the objects below a prefix.
func objects(t *testing.T, st store.Store, prefix string) string {
	t.Helper()
	list, err := st.List(t.Context(), prefix)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, o := range list {
		names = append(names, o.Name)
	}
	return strings.Join(names, " ")
}

// failAtEvery runs a scenario on fresh repositories, made by prepare, whose store
// fails at point 0, 1, 2 ..., once or for good, until a run does not get as far.
// Every run that was hit must return the injected error; check looks at what it
// left, through a repository whose store works again.
func failAtEvery(t *testing.T, prepare func(t *testing.T, r *Repository),
	run func(ctx context.Context, r *Repository) error,
	check func(t *testing.T, r *Repository)) {
	t.Helper()
	for name, wrap := range map[string]func(store.Store, int) *storetest.Failing{
		"one failure": storetest.FailAt, "store gone": storetest.FailFrom,
	} {
		t.Run(name, func(t *testing.T) {
			points := 0
			for n := 0; ; n++ {
				if n > 1000 {
					t.Fatal("the scenario does not end")
				}
				r, mem := newRepository(t)
				prepare(t, r)
				failing := wrap(mem, n)
				err := run(t.Context(), lockedIn(failing, r))
				if !failing.Fired() {
					if err != nil {
						t.Fatalf("without a failure: %v", err)
					}
					break
				}
				points++
				t.Run(fmt.Sprintf("point %d", n), func(t *testing.T) {
					if !errors.Is(err, storetest.ErrInjected) {
						t.Errorf("error %v, want the injected one", err)
					}
					check(t, r)
				})
			}
			if points == 0 {
				t.Error("the scenario has no point that can fail")
			}
		})
	}
}

// plantTemp makes the file that a killed Put of an object leaves in a folder.
func plantTemp(t *testing.T, st *folder.Store, folder, base string) {
	t.Helper()
	dir := filepath.Join(st.String(), folder)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, ".put-0123456789abcdef."+base), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// late is after all that tests make.
var late = time.Date(2040, 1, 1, 0, 0, 0, 0, time.UTC)
