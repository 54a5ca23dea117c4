package restore

import (
	"bytes"
	"errors"
	"fmt"
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
	"mbk/internal/repo"
)

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
