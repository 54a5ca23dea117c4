package restore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"mbk/copier/pack"
	"mbk/internal/innodb"
	"mbk/internal/repo"
	"mbk/internal/repo/store/folder"
	"mbk/internal/sys/fsuser"
)

const (
	chainPage    = 16384
	chainSegment = 20 * chainPage // of an extent, unless somebody wants others
)

// chainMaker makes a repository with a chain of backups of files that it knows.
type chainMaker struct {
	t       testing.TB
	r       *repo.Repository
	dir     string // of the repository
	rand    *rand.Rand
	depth   int                     // increments since the full backup
	segment int                     // bytes of an extent
	chunk   int                     // raw bytes of a chunk
	forget  bool                    // no states are kept
	ids     []string                // the newest last
	files   map[string][]byte       // as they are now
	was     map[string]*repo.File   // in the newest backup
	states  []map[string][]byte     // of each backup
	present map[string]map[int]bool // pages that were changed since the newest backup or attempt
	earlier map[string]*repo.File   // in an interrupted attempt on which the next backup continues
}

func newChainMaker(t testing.TB, seed uint64) *chainMaker {
	t.Helper()
	c := &chainMaker{t: t, dir: t.TempDir(), rand: rand.New(rand.NewPCG(seed, 1)), files: map[string][]byte{},
		segment: chainSegment, chunk: 4 * chainPage}
	st, err := folder.Open(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	if c.r, err = repo.Init(t.Context(), st, "mbk test"); err != nil {
		t.Fatal(err)
	}
	c.create("ibdata1", 10)
	return c
}

// page makes a page that is not like another, sometimes zeros.
func (c *chainMaker) page(b []byte) {
	if c.rand.IntN(8) == 0 {
		clear(b)
		return
	}
	for i := 0; i < len(b); i += 64 {
		copy(b[i:], fmt.Sprintf("%016x%08x", c.rand.Uint64(), i))
	}
}

// create makes a file of so many pages, in which the next backup finds nothing of the old.
func (c *chainMaker) create(name string, pages int) {
	b := make([]byte, pages*chainPage)
	for i := range pages {
		c.page(b[i*chainPage:][:chainPage])
	}
	c.files[name] = b
	delete(c.was, name)
	delete(c.earlier, name)
	delete(c.present, name)
}

// change changes some pages of a file.
func (c *chainMaker) change(name string, pages ...int) {
	for _, n := range pages {
		c.page(c.files[name][n*chainPage:][:chainPage])
		c.mark(name, n)
	}
}

func (c *chainMaker) mark(name string, n int) {
	if c.present[name] == nil {
		c.present[name] = map[int]bool{}
	}
	c.present[name][n] = true
}

// resize makes a file longer or shorter.
func (c *chainMaker) resize(name string, pages int) {
	b := c.files[name]
	had := len(b) / chainPage
	if pages < had {
		c.files[name] = slices.Clone(b[:pages*chainPage])
		for n := pages; n < had; n++ {
			delete(c.present[name], n)
		}
		return
	}
	c.files[name] = append(slices.Clone(b), make([]byte, (pages-had)*chainPage)...)
	for n := had; n < pages; n++ {
		c.change(name, n)
	}
}

// backUp adds a backup: a full one, or an increment of the newest. alter may change its
// manifest before it is written.
func (c *chainMaker) backUp(full bool, alter func(m *repo.Manifest)) *repo.Manifest {
	c.t.Helper()
	n := len(c.ids)
	kind := repo.KindIncremental
	if full {
		kind = repo.KindFull
	}
	started := time.Date(2026, 11, 1+n, 0, 0, 0, 0, time.UTC)
	lsn := innodb.LSN(1_000_000 * (n + 1))
	m := &repo.Manifest{
		FormatVersion: repo.FormatVersion, ID: repo.NewID(started, kind), Kind: kind, Tool: "mbk test", Started: started,
		Finished: started.Add(time.Minute), Codec: "zstd", Warnings: []string{},
		Server: repo.Server{Version: "10.11.6-MariaDB", Variables: map[string]string{"innodb_page_size": "16384"}},
		LSN:    repo.LSNs{Checkpoint: lsn, End: lsn + 512},
		Redo: repo.Redo{Format: innodb.Format108, Creator: "MariaDB 10.11.6",
			Checkpoint: innodb.Checkpoint{LSN: lsn, End: lsn + 100}, End: lsn + 512, Capacity: 1 << 20},
	}
	if !full {
		c.depth++
		m.Parent, m.Chain = c.ids[n-1], c.depth
	} else {
		c.depth = 0
	}
	release, err := c.r.Lock(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	d := c.r.Draft(m.ID)
	var made pack.Pack
	was := c.was
	if full {
		was = nil
	}
	if err = c.adopt(d, m); err != nil {
		c.t.Fatal(err)
	}
	err = d.Put(c.t.Context(), "data-0001.pack", func(w io.Writer) (err error) {
		made, err = c.store(w, m, was, 0)
		return err
	})
	c.earlier = nil
	if err == nil {
		m.Packs = append(m.Packs, made)
		err = d.Put(c.t.Context(), "redo.pack", func(w io.Writer) (err error) {
			made, err = c.storeRedo(w, m)
			return err
		})
		m.Packs = append(m.Packs, made)
	}
	if err == nil {
		if alter != nil {
			alter(m)
		}
		err = commitDraft(c.t.Context(), d, m)
	}
	if err = errors.Join(err, release()); err != nil {
		c.t.Fatal(err)
	}
	c.ids = append(c.ids, m.ID)
	c.present, c.was = map[string]map[int]bool{}, map[string]*repo.File{}
	state := map[string][]byte{}
	for i := range m.Files {
		if f := &m.Files[i]; f.Class != repo.ClassRedo {
			c.was[f.Path] = f
			if !c.forget {
				state[f.Path] = slices.Clone(c.files[f.Path])
			}
		}
	}
	c.states = append(c.states, state)
	return m
}

// interrupt stores what an attempt has stored that ended early: all that has changed.
func (c *chainMaker) interrupt(full bool) {
	c.t.Helper()
	kind, parent, was := repo.KindIncremental, "", c.was
	if full {
		kind, was = repo.KindFull, nil
	} else {
		parent = c.ids[len(c.ids)-1]
	}
	release, err := c.r.Lock(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	m := &repo.Manifest{ID: repo.NewID(time.Date(2026, 11, 1+len(c.ids), 0, 0, -60, 0, time.UTC), kind)}
	m.LSN.Checkpoint = innodb.LSN(1_000_000*len(c.ids) + 900_000)
	d := c.r.Draft(m.ID)
	var made pack.Pack
	err = d.Put(c.t.Context(), "data-0001.pack", func(w io.Writer) (err error) {
		made, err = c.store(w, m, was, 50)
		return err
	})
	p := &repo.Progress{Lineage: *lineageOf(m), Parent: parent, Pack: made}
	c.earlier, c.present = map[string]*repo.File{}, map[string]map[int]bool{}
	for i := range m.Files {
		f := &m.Files[i]
		for j := range f.Extents {
			p.Parts = append(p.Parts, repo.Part{Number: f.Number, Extent: f.Extents[j]})
			f.Extents[j].Pack = m.ID + "/" + f.Extents[j].Pack
		}
		c.earlier[f.Path] = f
	}
	if err == nil {
		err = d.PutProgress(c.t.Context(), p)
	}
	if err = errors.Join(err, release()); err != nil {
		c.t.Fatal(err)
	}
}

// adopt makes what an interrupted attempt has stored part of a backup.
func (c *chainMaker) adopt(d *repo.Draft, m *repo.Manifest) error {
	if c.earlier == nil {
		return nil
	}
	attempts, err := c.r.Interrupted(c.t.Context())
	if err != nil || len(attempts) != 1 {
		return fmt.Errorf("%d interrupted attempts, %w", len(attempts), err)
	}
	d.Adopt(attempts)
	p := attempts[0].Progress[0].Pack
	p.Name = attempts[0].ID + "/" + p.Name
	m.Packs = append(m.Packs, p)
	return nil
}

// fileOf finds a file of a manifest.
func fileOf(m *repo.Manifest, path string) *repo.File {
	return &m.Files[slices.IndexFunc(m.Files, func(f repo.File) bool { return f.Path == path })]
}

// commitDraft makes the backup exist.
func commitDraft(ctx context.Context, d *repo.Draft, m *repo.Manifest) error {
	return d.Commit(ctx, m, lineageOf(m))
}

// lineageOf makes the lineage of a manifest.
func lineageOf(m *repo.Manifest) *repo.Lineage {
	l := &repo.Lineage{ID: m.ID, Checkpoint: m.LSN.Checkpoint, End: m.LSN.End, Series: [2]uint16{10, 11},
		PageSize: chainPage}
	for _, f := range m.Files {
		x := repo.LineageFile{Number: f.Number, Class: f.Class, PageSize: uint32(f.PageSize), Inode: uint64(f.Number),
			Size: f.Size, Copied: f.Size}
		if f.Space != nil {
			x.HasSpace, x.Space = true, *f.Space
		}
		l.Files = append(l.Files, x)
	}
	return l
}

// store writes all files into a pack, of those that the parent or an interrupted attempt has
// only what has changed. The numbers of the files begin with first.
func (c *chainMaker) store(out io.Writer, m *repo.Manifest, was map[string]*repo.File, first int) (pack.Pack, error) {
	w, err := pack.NewWriter(pack.Zstd, 1, c.chunk)
	if err != nil {
		return pack.Pack{}, err
	}
	w.Begin("data-0001.pack", out)
	names := make([]string, 0, len(c.files))
	for name := range c.files {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, name := range names {
		space := innodb.SpaceID(0)
		if name != "ibdata1" {
			space = innodb.SpaceID(name[0])
		}
		f := repo.File{Number: uint32(len(c.ids)*100 + first + i), Path: name, Class: repo.ClassInnoDB, Space: &space,
			PageSize: chainPage, Size: int64(len(c.files[name])), Mode: 0o660, Sparse: i%2 == 0, Extents: []pack.Extent{}}
		below := was[name]
		if below != nil {
			f.Base = &below.Number
		}
		if e := c.earlier[name]; e != nil {
			below, f.Base = e, e.Base
			if len(e.Extents) > 0 {
				f.Earlier = []repo.Pass{{Number: e.Number, Extents: e.Extents}}
			}
		}
		if err := c.storeFile(w, &f, below); err != nil {
			return pack.Pack{}, err
		}
		m.Files = append(m.Files, f)
	}
	p, err := w.End()
	return p, errors.Join(err, w.Close())
}

// storeFile writes one file, segment by segment.
func (c *chainMaker) storeFile(w *pack.Writer, f *repo.File, parent *repo.File) error {
	b := c.files[f.Path]
	for start := 0; start < len(b); start += c.segment {
		part := b[start:min(start+c.segment, len(b))]
		w.BeginExtent(f.Number, int64(start), chainPage)
		for at := 0; at < len(part); {
			n := copy(w.Buffer(), part[at:])
			first := (start + at) / chainPage
			var err error
			if parent != nil && int64(start) < parent.Size {
				err = w.AddSome(int64(n), c.changed(f.Path, first, n/chainPage))
			} else {
				err = w.Add(n)
			}
			if err != nil {
				return err
			}
			at += n
		}
		e, err := w.EndExtent()
		if err != nil {
			return err
		}
		if e.Length > 0 {
			f.Extents = append(f.Extents, e)
		}
	}
	return nil
}

// changed returns the pages of a buffer that are to be stored.
func (c *chainMaker) changed(name string, first, pages int) (spans []pack.Span) {
	for i := range pages {
		if c.present[name][first+i] {
			spans = append(spans, pack.Span{From: i * chainPage, To: (i + 1) * chainPage})
		}
	}
	return spans
}

// storeRedo writes a redo log of any bytes.
func (c *chainMaker) storeRedo(out io.Writer, m *repo.Manifest) (pack.Pack, error) {
	w, err := pack.NewWriter(pack.Zstd, 1, chainPage)
	if err != nil {
		return pack.Pack{}, err
	}
	w.Begin("redo.pack", out)
	number := uint32(len(c.ids)*100 + 99)
	w.BeginExtent(number, 0, 0)
	n := copy(w.Buffer(), bytes.Repeat([]byte{byte(len(c.ids) + 1)}, 512))
	err = w.Add(n)
	e, err2 := w.EndExtent()
	p, err3 := w.End()
	m.Redo.File = len(m.Files)
	m.Files = append(m.Files, repo.File{Number: number, Path: "ib_logfile0", Class: repo.ClassRedo, Size: 512, Mode: 0o660,
		Extents: []pack.Extent{e}})
	return p, errors.Join(err, err2, err3, w.Close())
}

// restore lays a backup down without recovery and returns the folder.
func (c *chainMaker) restore(id string) (string, error) {
	target := filepath.Join(c.t.TempDir(), "data")
	_, err := Restore(c.t.Context(), c.options(id, target))
	return target, err
}

// options are those of a restore without recovery.
func (c *chainMaker) options(id, target string) Options {
	owner := Owner(fsuser.Current()) // not the user mysql, whom a test's folders keep out
	p := Preparation{Repository: c.r, ID: id, Owner: &owner, Tool: "mbk test"}
	return Options{Preparation: p, Target: target, Raw: true}
}

// wantState checks the files of a folder.
func (c *chainMaker) wantState(dir string, want map[string][]byte) {
	c.t.Helper()
	for name, content := range want {
		got, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			c.t.Error(err)
			continue
		}
		if len(got) != len(content) {
			c.t.Errorf("%s has %d bytes, want %d", name, len(got), len(content))
			continue
		}
		for n := 0; n < len(got); n += chainPage {
			if end := min(n+chainPage, len(got)); !bytes.Equal(got[n:end], content[n:end]) {
				c.t.Errorf("%s: page %d is another", name, n/chainPage)
				break
			}
		}
	}
}

// grow makes a chain of a full backup and increments in which everything happens.
func (c *chainMaker) grow(members int) {
	c.create("ibdata1", 70)
	c.create("a.ibd", 100)
	c.create("b.ibd", 45)
	c.create("still.ibd", 33)
	c.create("empty.ibd", 0)
	c.interrupt(true)
	c.change("a.ibd", 7, 8, 99)
	c.resize("b.ibd", 44)
	c.backUp(true, nil)
	for n := 1; n < members; n++ {
		for range 12 {
			c.change("ibdata1", c.rand.IntN(70))
			c.change("a.ibd", c.rand.IntN(len(c.files["a.ibd"])/chainPage))
		}
		switch n % 4 {
		case 0:
			c.create("b.ibd", 20) // dropped and created again
		case 1:
			c.resize("a.ibd", 140)
		case 2:
			c.resize("a.ibd", 60)
			c.create(fmt.Sprintf("new%d.ibd", n), 5)
		case 3:
			c.interrupt(false)
			c.change("a.ibd", 1, 2, 59)
			c.resize("a.ibd", 100)
			delete(c.files, fmt.Sprintf("new%d.ibd", n-1))
			delete(c.was, fmt.Sprintf("new%d.ibd", n-1))
		}
		c.backUp(false, nil)
	}
}
