package repo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"mbk/copier/pack"
	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/innodb"
	"mbk/internal/repo/store"
)

const (
	chainFull   = "20261121T201806Z-full"
	chainMiddle = "20261122T201806Z-incr"
	chainNewest = "20261123T201806Z-incr"
)

// mustCommit stores a backup of a manifest, with packs of any content.
func mustCommit(t testing.TB, r *Repository, m *Manifest) {
	t.Helper()
	if err := commit(t, r, m); err != nil {
		t.Fatalf("backup %s: %v", m.ID, err)
	}
}

func commit(t testing.TB, r *Repository, m *Manifest) error {
	d := r.Draft(m.ID)
	for _, p := range m.Packs {
		err := d.Put(t.Context(), p.Name, func(w io.Writer) error {
			_, err := io.WriteString(w, strings.Repeat("x", packSize))
			return err
		})
		if err != nil {
			return err
		}
	}
	return d.Commit(t.Context(), m, newLineage(m))
}

// incrementOf returns the manifest of an increment over that of newManifest: of the
// definition nothing changed, of the tablespace the first half.
func incrementOf(id, parent string, lsn innodb.LSN) *Manifest {
	m := newManifest(id)
	m.Parent, m.Chain = parent, 1
	m.LSN = LSNs{Checkpoint: lsn, End: lsn + 1000, MaxPage: lsn + 999}
	m.Redo.Checkpoint, m.Redo.End = innodb.Checkpoint{LSN: lsn, End: lsn + 100}, lsn+1000
	base := func(n uint32) *uint32 { return &n }
	m.Files[0].Extents, m.Files[0].Base = nil, base(1)
	m.Files[1].Base = base(2)
	m.Files[1].Extents = []pack.Extent{
		{Pack: "data-0001.pack", Offset: 0, Length: 700, Start: 0, Size: 32768, Partial: true}}
	for i := range m.Files {
		m.Files[i].Number += 10 * uint32(lsn/1000) // each pass counts by itself
	}
	return m
}

// threeMembers makes a chain of three; change may change the manifests first.
func threeMembers(t testing.TB, change func(full, middle, newest *Manifest)) *Repository {
	t.Helper()
	r, _ := newRepository(t)
	full := newManifest(chainFull)
	middle, newest := incrementOf(chainMiddle, chainFull, 6000), incrementOf(chainNewest, chainMiddle, 8000)
	newest.Chain = 2
	*newest.Files[0].Base, *newest.Files[1].Base = middle.Files[0].Number, middle.Files[1].Number
	change(full, middle, newest)
	var missing []string
	for _, m := range []*Manifest{full, middle, newest} {
		if strings.HasPrefix(m.Tool, "missing") {
			missing = append(missing, m.ID)
		}
		mustCommit(t, r, m)
	}
	for _, id := range missing {
		if err := r.Discard(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// describe writes the layers of a chain in a line for each.
func describe(c *Chain) string {
	var b strings.Builder
	for i, f := range c.Manifest().Files {
		fmt.Fprintf(&b, "%s\n", f.Path)
		for _, l := range c.Layers(i) {
			fmt.Fprintf(&b, "  %s %s file %d:", strings.TrimPrefix(l.From.String(), backupsPrefix), l.Member, l.Number)
			for _, e := range l.Extents {
				fmt.Fprintf(&b, " %s@%d[%d,%d)", e.Pack, e.Offset, e.Start, e.Start+e.Size)
				if e.Partial {
					b.WriteString("p")
				}
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}

func TestChainOfAFullBackup(t *testing.T) {
	r, _ := newRepository(t)
	mustCommit(t, r, newManifest(chainFull))
	c, err := r.Chain(t.Context(), chainFull)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(c.IDs(), " "); got != chainFull {
		t.Errorf("members: %s", got)
	}
	for i := range c.Manifest().Files {
		if n := len(c.Layers(i)); n != 1 {
			t.Errorf("file %d has %d layers", i, n)
		}
	}
}

func TestChainLayers(t *testing.T) {
	for name, c := range map[string]struct {
		change func(full, middle, newest *Manifest)
		want   string
	}{
		"pages of each member": {func(_, _, _ *Manifest) {}, `d/t.frm
  20261121T201806Z-full 20261121T201806Z-full file 1: data-0001.pack@0[0,10)
d/t.ibd
  20261123T201806Z-incr 20261123T201806Z-incr file 82: data-0001.pack@0[0,32768)p
  20261122T201806Z-incr 20261122T201806Z-incr file 62: data-0001.pack@0[0,32768)p
  20261121T201806Z-full 20261121T201806Z-full file 2: data-0001.pack@60[0,32768) data-0001.pack@560[32768,65536)
ib_logfile0
  20261123T201806Z-incr 20261123T201806Z-incr file 83: redo.pack@0[0,1000)
`},
		"the middle one holds all of a file": {func(_, middle, _ *Manifest) {
			middle.Files[1].Extents = []pack.Extent{{Pack: "data-0001.pack", Length: 900, Size: 65536}}
		}, `d/t.frm
  20261121T201806Z-full 20261121T201806Z-full file 1: data-0001.pack@0[0,10)
d/t.ibd
  20261123T201806Z-incr 20261123T201806Z-incr file 82: data-0001.pack@0[0,32768)p
  20261122T201806Z-incr 20261122T201806Z-incr file 62: data-0001.pack@0[0,65536)
ib_logfile0
  20261123T201806Z-incr 20261123T201806Z-incr file 83: redo.pack@0[0,1000)
`},
		"the file is shorter than it was": {func(_, _, newest *Manifest) {
			newest.Files[1].Size, newest.Files[1].Extents = 16384, nil
		}, `d/t.frm
  20261121T201806Z-full 20261121T201806Z-full file 1: data-0001.pack@0[0,10)
d/t.ibd
  20261122T201806Z-incr 20261122T201806Z-incr file 62: data-0001.pack@0[0,32768)p
  20261121T201806Z-full 20261121T201806Z-full file 2: data-0001.pack@60[0,32768)
ib_logfile0
  20261123T201806Z-incr 20261123T201806Z-incr file 83: redo.pack@0[0,1000)
`},
		"the newest one continued on an attempt": {func(_, _, newest *Manifest) {
			newest.Files[1].Earlier = []Pass{{Number: 99, Extents: []pack.Extent{
				{Pack: "data-0001.pack", Offset: 700, Length: 300, Start: 32768, Size: 32768}}}}
		}, `d/t.frm
  20261121T201806Z-full 20261121T201806Z-full file 1: data-0001.pack@0[0,10)
d/t.ibd
  20261123T201806Z-incr 20261123T201806Z-incr file 82: data-0001.pack@0[0,32768)p
  20261123T201806Z-incr 20261123T201806Z-incr file 99: data-0001.pack@700[32768,65536)
  20261122T201806Z-incr 20261122T201806Z-incr file 62: data-0001.pack@0[0,32768)p
  20261121T201806Z-full 20261121T201806Z-full file 2: data-0001.pack@60[0,32768) data-0001.pack@560[32768,65536)
ib_logfile0
  20261123T201806Z-incr 20261123T201806Z-incr file 83: redo.pack@0[0,1000)
`},
	} {
		t.Run(name, func(t *testing.T) {
			r := threeMembers(t, c.change)
			chain, err := r.Chain(t.Context(), Latest)
			if err != nil {
				t.Fatal(err)
			}
			if got := describe(chain); got != c.want {
				t.Errorf("got\n%swant\n%s", got, c.want)
			}
			if got := strings.Join(chain.IDs(), " "); got != chainNewest+" "+chainMiddle+" "+chainFull {
				t.Errorf("members: %s", got)
			}

		})
	}
}

// Each of these chains is broken: the error names the backup, the one that it needs and
// why, and Latest is the newest backup that is whole.
func TestBrokenChains(t *testing.T) {
	other := innodb.SpaceID(8)
	for name, c := range map[string]struct {
		change func(full, middle, newest *Manifest)
		parent string // that the error names
		reason string
		latest string
	}{
		"the full backup is missing": {func(full, _, _ *Manifest) { full.Tool = "missing" }, chainFull,
			"it is not in the repository", ""},
		"the middle one is missing": {func(_, middle, _ *Manifest) { middle.Tool = "missing" }, chainMiddle,
			"it is not in the repository", chainFull},
		"a file that the parent does not have": {func(_, _, newest *Manifest) { *newest.Files[1].Base = 4711 }, chainMiddle,
			"d/t.ibd is file 4711 of it, which it does not have", chainMiddle},
		"a file that the full backup does not have": {func(_, middle, _ *Manifest) { *middle.Files[1].Base = 4711 },
			chainFull, "d/t.ibd is file 4711 of it", chainFull},
		"another class": {func(_, _, newest *Manifest) { newest.Files[0].Class = ClassAria }, chainMiddle,
			`is of class "plain" there, not "aria"`, chainMiddle},
		"another page size": {func(full, _, _ *Manifest) { full.Files[1].PageSize = 8192 }, chainFull,
			"has pages of 8192 bytes there, not 16384", chainFull},
		"another tablespace": {func(full, _, _ *Manifest) { full.Files[1].Space = &other }, chainFull,
			"is of tablespace 8 there, not 7", chainFull},
		"no tablespace": {func(_, middle, _ *Manifest) { middle.Files[1].Space = nil }, chainMiddle,
			"is of a tablespace in one of them only", chainFull},
		"another first page": {func(full, _, _ *Manifest) { full.Files[1].First = 5 }, chainFull,
			"begins with page 5 there, not 0", chainFull},
		"a newer parent": {func(_, middle, _ *Manifest) {
			*middle = *incrementOf(middle.ID, middle.Parent, 9000)
		}, chainMiddle, "it is not the parent that " + chainNewest + " was made of", chainMiddle},
		"a member is left out": {func(full, _, newest *Manifest) {
			newest.Parent = chainFull
			*newest.Files[0].Base, *newest.Files[1].Base = full.Files[0].Number, full.Files[1].Number
		}, chainFull, "it is not the parent that " + chainNewest + " was made of: its chain has 0 increments, not 1",
			chainMiddle},
	} {
		t.Run(name, func(t *testing.T) {
			r := threeMembers(t, c.change)
			var warned []string
			r.OnWarning(func(text string) { warned = append(warned, text) })
			_, err := r.Chain(t.Context(), chainNewest)
			broken, ok := errors.AsType[*ChainError](err)
			if !ok {
				t.Fatalf("error %v", err)
			}
			if broken.ID != chainNewest || broken.Parent != c.parent || !strings.Contains(err.Error(), c.reason) ||
				!strings.Contains(err.Error(), chainNewest) || !strings.Contains(err.Error(), c.parent) {
				t.Errorf("error %q", err)
			}
			if !errors.Is(err, ErrDamaged) || fault.Of(err) != fault.Damage {
				t.Errorf("%v is no damage", err)
			}
			if steps := hint.Strings(hint.Attached(err)); !strings.Contains(strings.Join(steps, " "), c.parent) {
				t.Errorf("hints %q", steps)
			}
			latest, err := r.Chain(t.Context(), Latest)
			switch {
			case c.latest == "" && err == nil:
				t.Errorf("latest is %s", latest.Manifest().ID)
			case c.latest != "" && err != nil:
				t.Errorf("latest: %v", err)
			case c.latest != "" && latest.Manifest().ID != c.latest:
				t.Errorf("latest is %s, want %s", latest.Manifest().ID, c.latest)
			}
			list, err := r.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			known := list[len(list)-1].Broken != "" // then it comes last without a word
			if !known && !strings.Contains(strings.Join(warned, "\n"), "backup "+chainNewest+" is passed over") {
				t.Errorf("warnings %q", warned)
			}
		})
	}
}

// A parent whose manifest cannot be read for want of rights, or because of the disk, is
// no damage.
func TestChainOfAnUnreadableParent(t *testing.T) {
	failAtEvery(t, func(t *testing.T, r *Repository) {
		full, middle := newManifest(chainFull), incrementOf(chainMiddle, chainFull, 6000)
		mustCommit(t, r, full)
		mustCommit(t, r, middle)
	}, func(ctx context.Context, r *Repository) error {
		_, err := r.Chain(ctx, chainMiddle)
		if err != nil && (errors.Is(err, ErrDamaged) || fault.Of(err) == fault.Damage) {
			return fmt.Errorf("it is said to be damaged: %s", err)
		}
		return err
	}, func(*testing.T, *Repository) {})
}

// The chain of a backup costs no more than a few bytes for each file and member.
func TestChainMemory(t *testing.T) {
	const files, members = 20_000, 6
	r, _ := newRepository(t)
	parent := ""
	for n := range members {
		started := at(t, "2026-11-21 20:18:06").Add(time.Duration(n) * 24 * time.Hour)
		m := newManifest(NewID(started, KindFull))
		if n > 0 {
			m = incrementOf(NewID(started, KindIncremental), parent, innodb.LSN(5000+1000*n))
			m.Chain = n
		}
		file, redo := m.Files[1], m.Files[2]
		m.Files, m.Tables, m.Redo.File = m.Files[:0:0], nil, files
		for i := range files {
			f := file
			number := uint32(i + 1)
			f.Number, f.Path = number, fmt.Sprintf("d/table%06d.ibd", i)
			if n > 0 {
				f.Base = &number
				if i%members != n { // unchanged
					f.Extents = nil
				}
			}
			m.Files = append(m.Files, f)
		}
		redo.Number = files + 1
		m.Files = append(m.Files, redo)
		mustCommit(t, r, m)
		parent = m.ID
	}
	kept := func(read func() (any, error)) int64 {
		used := func() int64 {
			runtime.GC()
			runtime.GC() // what a pool had is gone after the second
			var s runtime.MemStats
			runtime.ReadMemStats(&s)
			return int64(s.HeapAlloc)
		}
		before := used()
		v, err := read()
		if err != nil {
			t.Fatal(err)
		}
		after := used()
		runtime.KeepAlive(v)
		return after - before
	}
	alone := kept(func() (any, error) { return r.Manifest(t.Context(), parent) })
	chain := kept(func() (any, error) { return r.Chain(t.Context(), parent) })
	per := float64(chain-alone) / files
	t.Logf("the newest manifest takes %d bytes for each file, the rest of the chain of %d members %.0f",
		alone/files, members, per)
	if per > 350 {
		t.Errorf("the chain takes %.0f bytes for each file besides the manifest", per)
	}
}

// putBare stores a manifest that need not fit to any other, with a label that nobody can
// read: it has nothing to compare the manifest with.
func putBare(t testing.TB, r *Repository, m *Manifest) {
	t.Helper()
	raw, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	b, err := pack.EncodeDocument(raw)
	if err == nil {
		err = errors.Join(store.PutBytes(t.Context(), r.st, manifestName(m.ID), b),
			store.PutBytes(t.Context(), r.st, labelName(m.ID), []byte("?")))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Backups that need each other end in an error.
func TestChainInACircle(t *testing.T) {
	r, _ := newRepository(t)
	middle, newest := incrementOf(chainMiddle, chainNewest, 6000), incrementOf(chainNewest, chainMiddle, 6000)
	*newest.Files[0].Base, *newest.Files[1].Base = middle.Files[0].Number, middle.Files[1].Number
	newest.Chain = 2
	putBare(t, r, middle)
	putBare(t, r, newest)
	_, err := r.Chain(t.Context(), chainNewest)
	want := "needs " + chainNewest + ", the parent of " + chainMiddle + ": and it needs itself"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v", err)
	}
}

// Whatever manifests say of their parents, a chain is opened or the error says why not,
// and no layer says more than its member.
func FuzzChain(f *testing.F) {
	f.Add(uint8(0), uint8(0), uint32(1), uint32(2), int64(0), int64(32768), int64(65536), true)
	f.Add(uint8(1), uint8(2), uint32(61), uint32(62), int64(32768), int64(32768), int64(16384), false)
	f.Add(uint8(2), uint8(1), uint32(62), uint32(62), int64(0), int64(65536), int64(0), true)
	f.Fuzz(func(t *testing.T, parentOfMiddle, parentOfNewest uint8, base, number uint32, start, size, length int64,
		partial bool) {
		ids := []string{chainFull, chainMiddle, chainNewest, "20200101T000000Z-full"}
		r, _ := newRepository(t)
		full := newManifest(chainFull)
		middle := incrementOf(chainMiddle, ids[int(parentOfMiddle)%len(ids)], 6000)
		newest := incrementOf(chainNewest, ids[int(parentOfNewest)%len(ids)], 8000)
		newest.Chain = 1 + int(parentOfNewest/4)
		*newest.Files[1].Base, middle.Files[1].Number = base, number
		newest.Files[1].Size = length
		middle.Files[1].Extents = []pack.Extent{
			{Pack: "data-0001.pack", Length: 700, Start: start, Size: size, Partial: partial}}
		for _, m := range []*Manifest{full, middle, newest} {
			if m.Validate() != nil {
				return
			}
			putBare(t, r, m)
		}
		c, err := r.Chain(t.Context(), chainNewest)
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatalf("error %v", err)
			}
			return
		}
		for i := range c.Manifest().Files {
			file := &c.Manifest().Files[i]
			for _, l := range c.Layers(i) {
				if len(l.Extents) == 0 {
					t.Errorf("%s: an empty layer", file.Path)
				}
				for _, e := range l.Extents {
					if file.Class != ClassRedo && e.Start >= file.Size {
						t.Errorf("%s of %d bytes: extent %+v", file.Path, file.Size, e)
					}
				}
			}
		}
	})
}
