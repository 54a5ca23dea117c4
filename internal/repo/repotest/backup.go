package repotest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"mbk/copier/pack"
	"mbk/internal/innodb"
	"mbk/internal/repo"
	"mbk/internal/repo/store"
)

// packSize is the size of the two packs of each backup.
const packSize = 1000

// BackUp stores a small backup that no server could recover: a table, and a redo log. The
// kind is that in the id; the parent is "" for a full one. The lock must be held. What it
// stored is discarded if it fails.
func BackUp(ctx context.Context, r *repo.Repository, id, parent string) error {
	m, err := newManifest(id, parent)
	if err != nil {
		return err
	}
	if parent != "" {
		below, err := r.Manifest(ctx, parent)
		if err != nil {
			return err
		}
		m.Chain = below.Chain + 1
	}
	d := r.Draft(id)
	store := func(name string) error {
		return d.Put(ctx, name, func(w io.Writer) error {
			_, err := w.Write(bytes.Repeat([]byte{'x'}, packSize))
			return err
		})
	}
	for _, p := range m.Packs {
		if err := store(p.Name); err != nil {
			return errors.Join(err, d.Discard(ctx))
		}
	}
	if err := d.Commit(ctx, m, newLineage(m)); err != nil {
		return errors.Join(err, d.Discard(ctx))
	}
	a := repo.AttemptOf(m)
	a.Label = d.Label().Hash
	return r.PutAttempt(ctx, a)
}

// newManifest returns the manifest of a backup of one table.
func newManifest(id, parent string) (*repo.Manifest, error) {
	started, kind, err := repo.ParseID(id)
	space := innodb.SpaceID(7)
	m := &repo.Manifest{
		FormatVersion: repo.FormatVersion, ID: id, Kind: kind, Parent: parent, Tool: "mbk test", Started: started,
		Finished: started.Add(time.Minute),
		Server: repo.Server{Version: "10.11.19-MariaDB", Hostname: "db1", Datadir: "/var/lib/mysql/",
			Variables: map[string]string{"innodb_page_size": "16384"}},
		LockMS: 12, Codec: "zstd", Volume: repo.Volume{BytesRead: 66_560, BytesStored: 2 * packSize},
		LSN: repo.LSNs{Checkpoint: 5000, End: 6000, MaxPage: 5999},
		Redo: repo.Redo{Format: innodb.Format108, Checkpoint: innodb.Checkpoint{LSN: 5000, End: 5100}, End: 6000, File: 1,
			Capacity: 1 << 20},
		Directories: []repo.Directory{{Path: "d", Name: "d", Mode: 0o700}},
		Tables:      []repo.Table{{Database: "d", Name: "t", Engine: "InnoDB", Type: "BASE TABLE", Files: []int{0}}},
		Files: []repo.File{
			{Number: 1, Path: "d/t.ibd", Class: repo.ClassInnoDB, Space: &space, PageSize: 16384, Size: 65536, Mode: 0o660,
				Extents: []pack.Extent{{Pack: "data-0001.pack", Offset: 0, Length: packSize, Start: 0, Size: 65536}}},
			{Number: 2, Path: "ib_logfile0", Class: repo.ClassRedo, Size: 1000, Mode: 0o660,
				Extents: []pack.Extent{{Pack: "redo.pack", Offset: 0, Length: packSize, Start: 0, Size: 1000}}},
		},
		Packs: []pack.Pack{
			{Name: "data-0001.pack", Size: packSize, Raw: 65536}, {Name: "redo.pack", Size: packSize, Raw: 1000},
		},
		Warnings: []string{},
	}
	return m, err
}

// newLineage returns the lineage of such a manifest.
func newLineage(m *repo.Manifest) *repo.Lineage {
	l := &repo.Lineage{ID: m.ID, Checkpoint: m.LSN.Checkpoint, End: m.LSN.End, BootID: [16]byte{1}, AriaUUID: [16]byte{2},
		Series: [2]uint16{10, 11}, PageSize: 16384, Redo: repo.RedoFile{Dev: 1, Inode: 2, Born: 3, First: 4}}
	for _, f := range m.Files {
		x := repo.LineageFile{Number: f.Number, Class: f.Class, PageSize: uint32(f.PageSize), Dev: 1,
			Inode: 100 + uint64(f.Number), Born: 1 << 60, Size: f.Size, Modified: 1<<60 + 1, Changed: 1<<60 + 2, Quiescent: true,
			Copied: f.Size}
		if f.Space != nil {
			x.HasSpace, x.Space = true, *f.Space
		}
		l.Files = append(l.Files, x)
	}
	return l
}

// Chains makes a repository with backups: each is its id and that of its parent, "" for a
// full one.
func Chains(t testing.TB, st store.Store, backups ...[2]string) *repo.Repository {
	t.Helper()
	r, err := repo.Init(t.Context(), st, "mbk test")
	if err != nil {
		t.Fatal(err)
	}
	release, err := r.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range backups {
		if err := BackUp(t.Context(), r, b[0], b[1]); err != nil {
			t.Fatalf("backup %s: %v", b[0], err)
		}
	}
	if err := release(); err != nil {
		t.Fatal(err)
	}
	return r
}
