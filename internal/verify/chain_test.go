package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"mbk/internal/fault"
	"mbk/internal/repo"
	"mbk/internal/repo/store"
	"mbk/internal/repo/store/folder"
	"mbk/internal/repo/store/storetest"
	"mbk/internal/test/coldbackup"
	"mbk/internal/test/mariadbtest"
	"mbk/internal/ui/meter"
)

// smallChain is a chain of three backups of a small server.
func smallChain(t *testing.T) []*coldbackup.Fixture {
	t.Helper()
	s := mariadbtest.New(t, mariadbtest.Versions()[0], "--innodb-log-file-size=16M")
	s.MustExec(t,
		"CREATE DATABASE shop",
		"CREATE TABLE shop.orders (id INT PRIMARY KEY, v VARCHAR(100), KEY (v)) ENGINE=InnoDB",
		"CREATE TABLE shop.still (id INT PRIMARY KEY) ENGINE=InnoDB",
		"CREATE TABLE shop.notes (id INT PRIMARY KEY, v VARCHAR(100)) ENGINE=Aria TRANSACTIONAL=1",
		"CREATE TABLE shop.old (id INT PRIMARY KEY, v VARCHAR(100)) ENGINE=MyISAM",
		"INSERT INTO shop.orders SELECT seq, MD5(seq) FROM mysql.seq_1_to_30000",
		"INSERT INTO shop.still SELECT seq FROM mysql.seq_1_to_3000",
		"INSERT INTO shop.old SELECT seq, MD5(seq) FROM mysql.seq_1_to_1000",
		"FLUSH TABLES", coldbackup.FlushLogs)
	chain := []*coldbackup.Fixture{coldbackup.Of(t, s)}
	for n := range 2 {
		if err := s.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.MustExec(t, fmt.Sprintf("UPDATE shop.orders SET v = 'changed %d' WHERE id %% 5000 = 0", n),
			"INSERT INTO shop.notes SELECT seq + (SELECT COUNT(*) FROM shop.notes), MD5(seq) FROM mysql.seq_1_to_100",
			"FLUSH TABLES shop.orders FOR EXPORT", "UNLOCK TABLES", // its pages are on the disk
			"FLUSH TABLES", coldbackup.FlushLogs)
		chain = append(chain, chain[n].Next(t, s))
	}
	return chain
}

// TestChain verifies a chain of backups of a real server.
func TestChain(t *testing.T) {
	chain := smallChain(t)
	for name, run := range map[string]func(*testing.T, []*coldbackup.Fixture){
		"every member at every depth":         testEveryMember,
		"a flipped byte in each member":       testFlippedMembers,
		"a member is missing":                 testMissingMember,
		"an object of a member is missing":    testMissingMemberObject,
		"a member whose manifest is damaged":  testDamagedMemberManifest,
		"a member that cannot be read":        testUnreadableMember,
		"pages that no member holds":          testMissingPages,
		"a page newer than the newest redo":   testNewPageOfAChain,
		"a label of a member that is damaged": testDamagedMemberLabel,
	} {
		t.Run(name, func(t *testing.T) { run(t, chain) })
	}
}

func testEveryMember(t *testing.T, chain []*coldbackup.Fixture) {
	for _, depth := range []string{repo.DepthStored, repo.DepthPages, repo.DepthBoot} {
		objects := int64(0)
		for i, f := range chain {
			o := options(f, depth)
			o.ID, o.Scratch = f.Manifest.ID, t.TempDir()
			r, err := Verify(t.Context(), o)
			if err != nil || !r.OK || len(r.Findings) > 0 {
				t.Fatalf("%s, member %d: %+v, %v", depth, i, r, err)
			}
			l, err := f.Repository.Label(t.Context(), f.Manifest.ID)
			if err != nil {
				t.Fatal(err)
			}
			objects += int64(len(l.Objects)) + 1
			if r.Objects != objects {
				t.Errorf("%s, member %d: %d objects were read, want %d", depth, i, r.Objects, objects)
			}
			t.Logf("%s, member %d: %q", depth, i, r.Proved)
		}
	}
}

// standing says whether a backup stands as whole, and "-" if nothing is known.
func standing(t *testing.T, f *coldbackup.Fixture, id string) string {
	t.Helper()
	v, err := f.Repository.Standing(t.Context(), id)
	switch {
	case err != nil:
		t.Fatal(err)
	case v == nil:
		return "-"
	case v.OK:
		return "whole"
	}
	return "damaged"
}

// verifyNewest verifies the newest member of a copy of a chain.
func verifyNewest(t *testing.T, f *coldbackup.Fixture, depth string) (*Report, error) {
	t.Helper()
	o := options(f, depth)
	o.ID = f.Manifest.ID
	return Verify(t.Context(), o)
}

// Damage in any object of any member is found by a verification of the newest, and speaks
// against that member too, until all objects were found whole again.
func testFlippedMembers(t *testing.T, chain []*coldbackup.Fixture) {
	for i, member := range chain {
		l, err := member.Repository.Label(t.Context(), member.Manifest.ID)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range l.Objects {
			if !strings.HasSuffix(o.Name, ".pack") && !strings.HasPrefix(o.Name, "lineage") {
				continue // see testDamagedMemberManifest
			}
			for _, depth := range []string{repo.DepthStored, repo.DepthPages} {
				g := copyChain(t, chain)
				object := repo.Folder(member.Manifest.ID) + "/" + o.Name
				whole, err := os.ReadFile(filepath.Join(g.Folder, object))
				if err != nil {
					t.Fatal(err)
				}
				replaceObject(t, g, object, flipped(whole, len(whole)/2))
				r, err := verifyNewest(t, g, depth)
				if err != nil || r.Outcome != repo.VerdictDamaged || len(r.Findings) != 1 || r.Findings[0].Object != object {
					t.Errorf("%s at depth %s: %+v, %v", object, depth, r, err)
				}
				wantStanding(t, g, chain, i, "damaged")
				replaceObject(t, g, object, whole)
				if r, err := verifyNewest(t, g, depth); err != nil || !r.OK {
					t.Errorf("%s is whole again, depth %s: %+v, %v", object, depth, r, err)
				}
				wantStanding(t, g, chain, i, "whole")
			}
		}
	}
}

// wantStanding checks what is known of one member and of the newest; of the others nothing
// is.
func wantStanding(t *testing.T, g *coldbackup.Fixture, chain []*coldbackup.Fixture, one int, want string) {
	t.Helper()
	for i, f := range chain {
		expected := "-"
		if i == one || i == len(chain)-1 {
			expected = want
		}
		if got := standing(t, g, f.Manifest.ID); got != expected {
			t.Errorf("member %d stands as %s, want %s", i, got, expected)
		}
	}
}

// copyChain copies the repository without its history.
func copyChain(t *testing.T, chain []*coldbackup.Fixture) *coldbackup.Fixture {
	t.Helper()
	g := chain[len(chain)-1].CopyManifest(t)
	if err := os.RemoveAll(filepath.Join(g.Folder, "history")); err != nil {
		t.Fatal(err)
	}
	g.Manifest = chain[len(chain)-1].Manifest
	return g
}

// flipped is b with one byte changed.
func flipped(b []byte, at int) []byte {
	b = slices.Clone(b)
	b[at] ^= 0x10
	return b
}

// replaceObject replaces an object of a copy of a repository, whose objects are links.
func replaceObject(t *testing.T, g *coldbackup.Fixture, object string, b []byte) {
	t.Helper()
	path := filepath.Join(g.Folder, object)
	if err := errors.Join(os.Remove(path), os.WriteFile(path, b, 0o400)); err != nil {
		t.Fatal(err)
	}
}

func testMissingMember(t *testing.T, chain []*coldbackup.Fixture) {
	for i := range chain[:2] {
		g := copyChain(t, chain)
		id := chain[i].Manifest.ID
		if err := os.RemoveAll(filepath.Join(g.Folder, repo.Folder(id))); err != nil {
			t.Fatal(err)
		}
		r, err := verifyNewest(t, g, repo.DepthStored)
		if err != nil || r.Outcome != repo.VerdictDamaged || len(r.Findings) != 1 ||
			r.Findings[0].Object != repo.Folder(id) || !strings.Contains(r.Findings[0].Problem, g.Manifest.ID+" needs "+id) {
			t.Errorf("member %d: %+v, %v", i, r, err)
		}
		if got := standing(t, g, id); got != "-" { // it does not exist
			t.Errorf("member %d stands as %s", i, got)
		}
	}
}

func testMissingMemberObject(t *testing.T, chain []*coldbackup.Fixture) {
	g := copyChain(t, chain)
	object := repo.Folder(chain[0].Manifest.ID) + "/data-0001.pack"
	if err := os.Remove(filepath.Join(g.Folder, object)); err != nil {
		t.Fatal(err)
	}
	for _, depth := range []string{repo.DepthStored, repo.DepthBoot} {
		r, err := verifyNewest(t, g, depth)
		if err != nil || r.Outcome != repo.VerdictDamaged || len(r.Findings) != 1 || r.Findings[0].Object != object {
			t.Errorf("%s: %+v, %v", depth, r, err)
		}
	}
	wantStanding(t, g, chain, 0, "damaged")
}

func testDamagedMemberManifest(t *testing.T, chain []*coldbackup.Fixture) {
	for i := range chain {
		g := copyChain(t, chain)
		id := chain[i].Manifest.ID
		object := repo.Folder(id) + "/manifest.json.zst"
		b, err := os.ReadFile(filepath.Join(g.Folder, object))
		if err != nil {
			t.Fatal(err)
		}
		replaceObject(t, g, object, flipped(b, len(b)/2))
		r, err := verifyNewest(t, g, repo.DepthPages)
		if err != nil || r.Outcome != repo.VerdictDamaged || len(r.Findings) != 1 ||
			r.Findings[0].Object != repo.Folder(id) {
			t.Errorf("member %d: %+v, %v", i, r, err)
		}
		wantStanding(t, g, chain, i, "damaged")
	}
}

// A label that is damaged is damage of that member, though its manifest is whole.
func testDamagedMemberLabel(t *testing.T, chain []*coldbackup.Fixture) {
	g := copyChain(t, chain)
	object := repo.Folder(chain[1].Manifest.ID) + "/label.json"
	b, err := os.ReadFile(filepath.Join(g.Folder, object))
	if err != nil {
		t.Fatal(err)
	}
	replaceObject(t, g, object, flipped(b, len(b)/2))
	r, err := verifyNewest(t, g, repo.DepthStored)
	if err != nil || r.Outcome != repo.VerdictDamaged || len(r.Findings) != 1 ||
		r.Findings[0].Object != repo.Folder(chain[1].Manifest.ID) {
		t.Errorf("%+v, %v", r, err)
	}
	wantStanding(t, g, chain, 1, "damaged")
}

// memberStore gives an error for the objects of one backup whose names end in one way.
type memberStore struct {
	store.Store
	id, end string
	err     error
}

// Open implements store.Store.
func (s memberStore) Open(ctx context.Context, name string, offset, n int64) (io.ReadCloser, error) {
	if strings.HasPrefix(name, repo.Folder(s.id)+"/") && strings.HasSuffix(name, s.end) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: s.err}
	}
	return s.Store.Open(ctx, name, offset, n)
}

// A member that cannot be read because of rights or of the disk is no damage: nothing is
// known of it, and of nobody anything is recorded.
func testUnreadableMember(t *testing.T, chain []*coldbackup.Fixture) {
	g := copyChain(t, chain)
	whole, err := folder.Open(g.Folder)
	if err != nil {
		t.Fatal(err)
	}
	verify := func(st store.Store) (*Report, error) {
		o := options(g, repo.DepthPages)
		o.ID = g.Manifest.ID
		var err error
		if o.Repository, err = repo.Open(t.Context(), st); err != nil {
			return nil, err
		}
		return Verify(t.Context(), o)
	}
	wantNothing := func(what string, r *Report, err error) {
		t.Helper()
		if err == nil || fault.Of(err) == fault.Damage || r != nil && (r.CarriedOut() || len(r.Findings) > 0) {
			t.Errorf("%s: %+v, %v", what, r, err)
		}
		for i, f := range chain {
			if got := standing(t, g, f.Manifest.ID); got != "-" {
				t.Errorf("%s: member %d stands as %s", what, i, got)
			}
		}
	}
	for _, end := range []string{"label.json", "manifest.json.zst", "lineage.bin.zst", ".pack"} {
		for i, f := range chain {
			for _, cause := range []error{syscall.EIO, syscall.EACCES, syscall.ESTALE} {
				what := fmt.Sprintf("%v in %s of member %d", cause, end, i)
				r, err := verify(memberStore{whole, f.Manifest.ID, end, cause})
				wantNothing(what, r, err)
			}
		}
	}
	for n := 0; ; n += 1 + n/8 {
		st := storetest.FailAt(whole, n)
		r, err := verify(st)
		if !st.Fired() {
			break
		}
		if r != nil && r.OK { // all was verified, and only the record failed
			return
		}
		wantNothing(fmt.Sprintf("point %d", n), r, err)
	}
}

// A manifest that lost an extent: the pages depth names the file and the range.
func testMissingPages(t *testing.T, chain []*coldbackup.Fixture) {
	for name, alter := range map[string]func(f *repo.File){
		"the file is longer than all layers": func(f *repo.File) { f.Size += 5 * int64(f.PageSize) },
		"an extent has another place": func(f *repo.File) {
			e := &f.Extents[len(f.Extents)-1]
			e.Start += e.Size / 2
			e.Size /= 2
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := copyChain(t, chain)
			m, err := g.Repository.Manifest(t.Context(), g.Manifest.ID)
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(m.Files, func(f repo.File) bool { return f.Path == "shop/orders.ibd" })
			f := &m.Files[i]
			if f.Base == nil || len(f.Extents) == 0 {
				t.Fatalf("%s has no layer in each member: %+v", f.Path, f)
			}
			alter(f)
			g.Manifest = m
			g.Commit(t)
			r, err := verifyNewest(t, g, repo.DepthPages)
			if err != nil || r.Outcome != repo.VerdictDamaged || r.Findings[0].File != f.Path {
				t.Errorf("%+v, %v", r, err)
			}
			t.Logf("%+v", r.Findings)
		})
	}
}

// The end of the newest redo bounds the pages of all layers.
func testNewPageOfAChain(t *testing.T, chain []*coldbackup.Fixture) {
	newest := chain[len(chain)-1]
	c, err := newest.Repository.Chain(t.Context(), newest.Manifest.ID)
	if err != nil {
		t.Fatal(err)
	}
	v := &verification{o: options(newest, repo.DepthPages).withDefaults(), chain: c, files: c}
	m := *c.Manifest()
	m.LSN.End = 20000
	v.m, v.meter, v.findings = &m, meter.New(nil), newFindings(m.ID, repo.DepthPages, v.o.Now())
	if err := (&pagesDepth{v}).run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(v.report.Findings) == 0 ||
		!strings.Contains(v.report.Findings[0].Problem, "lies after the end of the redo log, 20000") {
		t.Errorf("found %+v", v.report.Findings)
	}
}
