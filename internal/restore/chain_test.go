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
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mbk/copier/pack"
	"mbk/internal/fault"
	"mbk/internal/hint"
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

// Every member of a chain is restored as it was: pages of each layer, files that grew,
// shrank, were dropped, created again, and that never changed.
func TestRestoreOfEveryMember(t *testing.T) {
	for seed := range uint64(3) {
		c := newChainMaker(t, seed)
		c.grow(7)
		for i, id := range c.ids {
			t.Run(fmt.Sprintf("seed %d, %s", seed, id), func(t *testing.T) {
				c.t = t
				dir, err := c.restore(id)
				if err != nil {
					t.Fatal(err)
				}
				c.wantState(dir, c.states[i])
			})
		}
	}
}

// What a plan says of the members of a chain.
func TestPlanOfAChain(t *testing.T) {
	c := newChainMaker(t, 1)
	c.grow(3)
	p, err := NewPlan(t.Context(), c.options(repo.Latest, filepath.Join(t.TempDir(), "data")))
	if err != nil || p.Err() != nil {
		t.Fatal(err, p.Err())
	}
	var ids []string
	for _, m := range p.Members {
		ids = append(ids, m.ID)
		if m.Bytes <= 0 {
			t.Errorf("%s: %d bytes", m.ID, m.Bytes)
		}
	}
	slices.Reverse(ids)
	if !slices.Equal(ids, c.ids) {
		t.Errorf("members %q, want %q", ids, c.ids)
	}
	if !slices.ContainsFunc(p.Notes, func(n hint.Text) bool {
		return strings.Contains(string(n), "3 backups are read") && strings.Contains(string(n), c.ids[0])
	}) {
		t.Errorf("notes %q", p.Notes)
	}
}

// What newer layers cover is not read from the older ones, where whole chunks are: damage
// there is no hindrance.
func TestRestoreReadsNothingOverlaid(t *testing.T) {
	c := newChainMaker(t, 1)
	c.create("a.ibd", 60)
	full := c.backUp(true, nil)
	for n := range 60 {
		c.change("a.ibd", n)
	}
	c.backUp(false, nil)
	e := fileOf(full, "a.ibd").Extents
	last := e[len(e)-1]
	c.overwrite(full.ID, "data-0001.pack", e[0].Offset, last.Offset+last.Length-e[0].Offset)
	dir, err := c.restore(c.ids[1])
	if err != nil {
		t.Fatal(err)
	}
	c.wantState(dir, c.states[1])
	if _, err := c.restore(c.ids[0]); fault.Of(err) != fault.Damage {
		t.Errorf("the full backup restores with %v", err)
	}
}

// overwrite destroys a part of an object.
func (c *chainMaker) overwrite(id, name string, offset, n int64) {
	c.t.Helper()
	path := filepath.Join(c.dir, repo.Folder(id), name)
	if err := os.Chmod(path, 0o600); err != nil {
		c.t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		c.t.Fatal(err)
	}
	_, err = f.WriteAt(bytes.Repeat([]byte{0xee}, int(n)), offset)
	if err = errors.Join(err, f.Close()); err != nil {
		c.t.Fatal(err)
	}
}

// A page that no member holds is damage that names the file and the members, and nothing
// is placed.
func TestRestoreWithMissingPages(t *testing.T) {
	for name, alter := range map[string]func(f *repo.File){
		"an extent of the full backup is gone": nil,
		"the file is longer than all layers":   func(f *repo.File) { f.Size += 5 * chainPage },
	} {
		t.Run(name, func(t *testing.T) {
			c := newChainMaker(t, 1)
			c.create("a.ibd", 60)
			c.backUp(true, nil)
			c.change("a.ibd", 3)
			if alter != nil {
				c.backUp(false, func(m *repo.Manifest) { alter(fileOf(m, "a.ibd")) })
			} else {
				c.resize("a.ibd", 80)
				c.backUp(false, func(m *repo.Manifest) {
					f := fileOf(m, "a.ibd")
					f.Extents = slices.DeleteFunc(f.Extents, func(e pack.Extent) bool { return e.Start == 3*chainSegment })
				})
			}
			dir, err := c.restore(repo.Latest)
			gap, ok := errors.AsType[*repo.GapError](err)
			if !ok || fault.Of(err) != fault.Damage {
				t.Fatalf("error %v", err)
			}
			for _, part := range []string{"a.ibd", c.ids[0], c.ids[1], fmt.Sprint(gap.Start)} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not name %s", err, part)
				}
			}
			if gap.Start != 60*chainPage {
				t.Errorf("the gap begins at page %d", gap.Start/chainPage)
			}
			if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("something was placed: %v", err)
			}
		})
	}
}

// A flipped byte anywhere in a member of a chain: the restore finds it, or what it
// restores is right all the same, because nothing needs that byte. A wrong page is never
// restored.
func TestRestoreOfDamagedMembers(t *testing.T) {
	c := newChainMaker(t, 5)
	c.create("a.ibd", 40)
	c.backUp(true, nil)
	c.change("a.ibd", 1, 2, 7, 20, 39)
	c.backUp(false, nil)
	c.change("a.ibd", 2, 8, 20)
	c.backUp(false, nil)
	found, harmless := 0, 0
	for _, id := range c.ids {
		path := filepath.Join(c.dir, repo.Folder(id), "data-0001.pack")
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < len(whole); at += max(len(whole)/40, 1) {
			b := slices.Clone(whole)
			b[at] ^= 0x10
			c.replace(path, b)
			dir, err := c.restore(c.ids[2])
			switch {
			case err == nil:
				harmless++
				c.wantState(dir, c.states[2])
			case fault.Of(err) != fault.Damage || !strings.Contains(err.Error(), id):
				t.Errorf("byte %d of %s: %v", at, id, err)
			default:
				found++
			}
		}
		c.replace(path, whole)
	}
	t.Logf("%d flipped bytes were found, %d are not needed", found, harmless)
	if found < 40 {
		t.Errorf("%d flipped bytes were found", found)
	}
}

func (c *chainMaker) replace(path string, b []byte) {
	c.t.Helper()
	if err := errors.Join(os.Remove(path), os.WriteFile(path, b, 0o600)); err != nil {
		c.t.Fatal(err)
	}
}

// Members that are swapped, or one of another repository under the same name: the restore
// fails, or the data are right.
func TestRestoreOfSwappedMembers(t *testing.T) {
	c := newChainMaker(t, 1)
	c.grow(4)
	other := newChainMaker(t, 2)
	other.grow(4)
	folderOf := func(c *chainMaker, i int) string { return filepath.Join(c.dir, repo.Folder(c.ids[i])) }
	swap := func(a, b string) {
		t.Helper()
		tmp := filepath.Join(c.dir, "tmp")
		if err := errors.Join(os.Rename(a, tmp), os.Rename(b, a), os.Rename(tmp, b)); err != nil {
			t.Fatal(err)
		}
	}
	for name, pair := range map[string][2]string{
		"increments": {folderOf(c, 1), folderOf(c, 2)},
		"packs of increments": {filepath.Join(folderOf(c, 1), "data-0001.pack"),
			filepath.Join(folderOf(c, 2), "data-0001.pack")},
		"packs of the full backup and an increment": {filepath.Join(folderOf(c, 0), "data-0001.pack"),
			filepath.Join(folderOf(c, 2), "data-0001.pack")},
		"the full backup of another repository": {folderOf(c, 0), folderOf(other, 0)},
		"an increment of another repository":    {folderOf(c, 1), folderOf(other, 1)},
	} {
		t.Run(name, func(t *testing.T) {
			c.t = t
			swap(pair[0], pair[1])
			defer swap(pair[0], pair[1])
			if _, err := c.restore(c.ids[3]); fault.Of(err) != fault.Damage {
				t.Errorf("error %v", err)
			}
		})
	}
}

// Extents of a layer that lie over each other, and chunks that are not of whole pages, are
// damage, or do no harm.
func TestRestoreOfHostileOverlaps(t *testing.T) {
	for name, alter := range map[string]func(f *repo.File){
		"the same extent twice": func(f *repo.File) {
			f.Earlier = []repo.Pass{{Number: f.Number, Extents: f.Extents}}
		},
		"a partial extent said to hold all": func(f *repo.File) { f.Extents[0].Partial = false },
		"pages of half the size":            func(f *repo.File) { f.PageSize /= 2 },
		"pages of twice the size":           func(f *repo.File) { f.PageSize *= 2 },
		"a number that is another file's": func(f *repo.File) {
			f.Earlier = []repo.Pass{{Number: 4711, Extents: f.Extents}}
			f.Extents = nil
		},
		"an extent beyond the end": func(f *repo.File) { f.Size = chainPage },
	} {
		t.Run(name, func(t *testing.T) {
			c := newChainMaker(t, 9)
			c.create("a.ibd", 40)
			c.backUp(true, nil)
			c.change("a.ibd", 1, 3, 5, 21)
			valid := true
			func() {
				defer func() { _ = recover() }()
				c.backUp(false, func(m *repo.Manifest) {
					alter(fileOf(m, "a.ibd"))
					valid = m.Validate() == nil
					if !valid {
						panic("refused by Validate")
					}
				})
			}()
			if !valid {
				return
			}
			dir, err := c.restore(c.ids[1])
			if err != nil {
				if fault.Of(err) != fault.Damage {
					t.Errorf("error %v", err)
				}
				return
			}
			want := c.states[1]["a.ibd"]
			if name == "an extent beyond the end" {
				want = want[:chainPage]
			}
			c.wantState(dir, map[string][]byte{"a.ibd": want})
		})
	}
}

// mbk extract writes single files of a chain.
func TestExtractOfAChain(t *testing.T) {
	c := newChainMaker(t, 3)
	c.grow(5)
	for i, id := range c.ids {
		dir := filepath.Join(t.TempDir(), "out")
		r, err := Extract(t.Context(), c.options(id, dir).Preparation, []string{"a.ibd", "still.ibd"}, dir)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(r.Files, []string{"a.ibd", "still.ibd"}) {
			t.Errorf("files %q", r.Files)
		}
		c.wantState(dir, map[string][]byte{"a.ibd": c.states[i]["a.ibd"], "still.ibd": c.states[i]["still.ibd"]})
	}
}

// BenchmarkRestoreChain compares restoring a full backup and five increments, in each of
// which one page in a hundred changed, evenly, with restoring a full backup of the same
// files. It prints what of the time the processors worked, too.
func BenchmarkRestoreChain(b *testing.B) {
	const pages = 1 << 30 / chainPage
	c := newChainMaker(b, 1)
	c.segment, c.chunk, c.forget = 32<<20, pack.MaxChunk, true
	c.create("a.ibd", pages)
	c.backUp(true, nil)
	for n := range 5 {
		for i := n * 17; i < pages; i += 100 {
			c.change("a.ibd", i)
		}
		c.backUp(false, nil)
	}
	c.backUp(true, nil)
	for _, v := range []struct{ name, id string }{{"chain", c.ids[5]}, {"full", c.ids[6]}} {
		b.Run(v.name, func(b *testing.B) {
			c.t = b
			b.SetBytes(pages * chainPage)
			before := processorTime(b)
			for b.Loop() {
				dir, err := c.restore(v.id)
				if err != nil {
					b.Fatal(err)
				}
				if err := os.RemoveAll(dir); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric((processorTime(b)-before).Seconds()/float64(b.N), "cpu-s/op")
		})
	}
}

// processorTime is what this process has had of the processors.
func processorTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Damage that a verification found in one member speaks against all that need it.
func TestPlanOfAChainWithADamagedMember(t *testing.T) {
	c := newChainMaker(t, 1)
	c.grow(3)
	err := c.r.PutVerification(t.Context(), repo.Verification{
		ID: c.ids[1], Depth: repo.DepthStored, Started: time.Now().UTC(), Time: time.Now().UTC(), Tool: "mbk test",
		Verdict: repo.Verdict{Outcome: repo.VerdictDamaged, Reason: "bytes"}, FindingCount: 1,
		Findings: []repo.Finding{{Object: repo.Folder(c.ids[1]) + "/data-0001.pack", Problem: "other bytes"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	o := c.options(c.ids[2], filepath.Join(t.TempDir(), "data"))
	p, err := NewPlan(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("backup %s needs %s, and a verification at depth stored found backup %s damaged",
		c.ids[2], c.ids[1], c.ids[1])
	if err := p.Err(); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("objections: %v", err)
	}
	if len(p.Objections) != 1 || !strings.Contains(string(p.Objections[0].Hint), "restore "+c.ids[0]) {
		t.Errorf("objections %+v", p.Objections)
	}
	o.AllowDamaged = true
	if p, err = NewPlan(t.Context(), o); err != nil || p.Err() != nil {
		t.Errorf("%v, %v", p.Err(), err)
	}
	o.ID, o.AllowDamaged = repo.Latest, false
	if p, err = NewPlan(t.Context(), o); err != nil || p.Err() != nil || p.ID != c.ids[0] {
		t.Errorf("latest is %s: %v, %v", p.ID, p.Err(), err)
	}
}

// An object of an interrupted attempt belongs to the backup that continued on it: damage in
// it speaks against that one.
func TestOwnerOfAdoptedObjects(t *testing.T) {
	c := newChainMaker(t, 1)
	c.grow(5)
	chain, err := c.r.Chain(t.Context(), repo.Latest)
	if err != nil {
		t.Fatal(err)
	}
	adopted := 0
	for _, m := range chain.Members() {
		l, err := m.Label()
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range l.Objects {
			object := m.From.String() + "/" + o.Name
			if id, base, ok := strings.Cut(o.Name, "/"); ok {
				object = repo.Folder(id) + "/" + base
				adopted++
			}
			if got := chain.Owner(object); got != m.ID {
				t.Errorf("%s belongs to %q, want %s", object, got, m.ID)
			}
		}
	}
	if adopted != 2 {
		t.Errorf("%d adopted objects", adopted)
	}
	if got := chain.Owner("backups/20200101T000000Z-full/data-0001.pack"); got != "" {
		t.Errorf("a stranger belongs to %s", got)
	}
}
