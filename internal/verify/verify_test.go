package verify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mbk/internal/hint"
	"mbk/internal/repo"
	"mbk/internal/restore"
	"mbk/internal/sys/fsuser"
	"mbk/internal/test/coldbackup"
	"mbk/internal/test/mariadbtest"
	"mbk/internal/test/rights"
	"mbk/internal/ui/meter"
)

// options are those of a verification of a backup.
func options(f *coldbackup.Fixture, depth string) Options {
	owner := restore.Owner(fsuser.Current()) // not the user mysql, whom a test's folders keep out
	return Options{Depth: depth, Preparation: restore.Preparation{
		Repository: f.Repository, ID: repo.Latest, Owner: &owner, Mariadbd: f.Dist.Program("mariadbd"), Tool: "mbk test",
	}}
}

func TestSmallBackup(t *testing.T) {
	series := mariadbtest.Versions()[0]
	f := coldbackup.Small(t, series)
	for _, c := range []struct {
		name string
		run  func(t *testing.T, f *coldbackup.Fixture, series string)
	}{
		{"every depth", testVerify},
		{"attacked", testVerifyAttacked},
		{"odd paths", testOddPaths},
		{"root unasked", testUnaskedRoot},
		{"an older maintenance release", testOlderRelease},
		{"finds what is wrong", testVerifyFindings},
		{"finds pages newer than the redo", testNewPages},
		{"finds damaged objects", testDamage},
		{"a repository that cannot be read", testUnreadableRepository},
		{"removed meanwhile", testRemovedMeanwhile},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, f, series) })
	}
}

// A scratch folder with a colon in its path: a server took the path for a list.
func testOddPaths(t *testing.T, f *coldbackup.Fixture, _ string) {
	o := options(f, repo.DepthBoot)
	o.Scratch = filepath.Join(t.TempDir(), coldbackup.OddName)
	if err := os.Mkdir(o.Scratch, 0o755); err != nil {
		t.Fatal(err)
	}
	if r, err := Verify(t.Context(), o); err != nil || !r.OK {
		t.Errorf("Verify = %+v, %v", r, err)
	}
}

func testDamage(t *testing.T, f *coldbackup.Fixture, _ string) {
	for _, p := range f.Manifest.Packs {
		for _, offset := range []int64{0, 20, p.Size / 2, p.Size - 1} {
			t.Run(fmt.Sprintf("byte %d of %s", offset, p.Name), func(t *testing.T) {
				object := repo.Folder(f.Manifest.ID) + "/" + p.Name
				defer f.Flip(t, object, offset)()
				r, err := Verify(t.Context(), options(f, repo.DepthStored))
				if err != nil {
					t.Fatal(err)
				}
				if r.OK || len(r.Findings) != 1 || r.Findings[0].Object != object {
					t.Errorf("Verify = %+v, want one finding in %s", r, object)
				}
			})
		}
	}
	if r, err := Verify(t.Context(), options(f, repo.DepthStored)); err != nil || !r.OK {
		t.Errorf("Verify of what is whole again = %+v, %v", r, err)
	}
}

// An expiry removes the backup while somebody verifies it. That is no damage, and leaves
// no record of any.
func testRemovedMeanwhile(t *testing.T, f *coldbackup.Fixture, _ string) {
	for _, depth := range []string{repo.DepthStored, repo.DepthPages} {
		g := f.CopyManifest(t)
		release, err := g.Repository.Lock(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		o := options(g, depth)
		o.OnProgress = func(restore.Progress) {
			if err := g.Repository.Discard(t.Context(), g.Manifest.ID); err != nil {
				t.Error(err)
			}
		}
		if _, err := Verify(t.Context(), o); !errors.Is(err, repo.ErrRemoved) {
			t.Errorf("%s: %v, want %v", depth, err, repo.ErrRemoved)
		}
		if v, err := g.Repository.Standing(t.Context(), g.Manifest.ID); err != nil || v != nil && !v.OK {
			t.Errorf("%s: it stands as %+v, %v", depth, v, err)
		}
		if err := release(); err != nil {
			t.Error(err)
		}
	}
}

func testVerify(t *testing.T, f *coldbackup.Fixture, _ string) {
	scratch := t.TempDir()
	for _, depth := range []string{repo.DepthStored, repo.DepthPages, repo.DepthBoot} {
		o := options(f, depth)
		o.Scratch, o.Extended = scratch, true
		r, err := Verify(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if !r.OK || len(r.Findings) > 0 || len(r.Proved) == 0 {
			t.Errorf("%s: %+v", depth, r)
		}
		if depth != repo.DepthStored && (r.Pages == 0 || r.MTRs == 0) {
			t.Errorf("%s: %d pages, %d mini-transactions", depth, r.Pages, r.MTRs)
		}
		if depth == repo.DepthBoot && (r.Tables < 30 || r.LSN < f.Manifest.LSN.End) {
			t.Errorf("%s: %d tables, LSN %d", depth, r.Tables, r.LSN)
		}
		t.Logf("%s: %q %q", depth, r.Proved, r.Notes)
	}
	coldbackup.WantNothingBut(t, scratch)
	past, err := f.Repository.Verifications(t.Context(), f.Manifest.ID)
	if err != nil {
		t.Fatal(err)
	}
	if s := repo.Standing(past); s == nil || !s.OK || s.Depth != repo.DepthBoot {
		t.Errorf("history: %+v", s)
	}
}

func testVerifyFindings(t *testing.T, f *coldbackup.Fixture, _ string) {
	for _, c := range []struct {
		name   string
		depth  string
		change func(t *testing.T, g *coldbackup.Fixture)
		want   repo.Finding
	}{
		{"missing pack", repo.DepthStored, func(t *testing.T, g *coldbackup.Fixture) {
			if err := os.Remove(filepath.Join(g.Folder, repo.Folder(g.Manifest.ID), "redo.pack")); err != nil {
				t.Fatal(err)
			}
		}, repo.Finding{Object: repo.Folder(f.Manifest.ID) + "/redo.pack", Problem: "it is missing"}},
		{"damaged manifest", repo.DepthStored, func(t *testing.T, g *coldbackup.Fixture) {
			object := repo.Folder(g.Manifest.ID) + "/manifest.json.zst"
			g.Commit(t) // no hard link any more
			g.Flip(t, object, 100)
		}, repo.Finding{Object: repo.Folder(f.Manifest.ID), Problem: "damaged"}},
		{"checkpoint without its records", repo.DepthPages, func(t *testing.T, g *coldbackup.Fixture) {
			g.Manifest.Redo.Checkpoint.End++
			g.Commit(t)
		}, repo.Finding{File: "ib_logfile0", Problem: "FILE_CHECKPOINT"}},
		{"page of another tablespace", repo.DepthPages, func(t *testing.T, g *coldbackup.Fixture) {
			for i := range g.Manifest.Files {
				if f := &g.Manifest.Files[i]; f.Path == "mysql/innodb_table_stats.ibd" {
					*f.Space += 1000
				}
			}
			g.Commit(t)
		}, repo.Finding{File: "mysql/innodb_table_stats.ibd", Problem: "tablespace"}},
		{"table that is not there", repo.DepthBoot, func(t *testing.T, g *coldbackup.Fixture) {
			g.Manifest.Tables = append(g.Manifest.Tables,
				repo.Table{Database: "shop", Name: "ghost", Engine: "InnoDB", Type: "BASE TABLE"})
			g.Commit(t)
		}, repo.Finding{Table: "shop.ghost", Problem: "does not know it"}},
		{"missing file of a table", repo.DepthBoot, func(t *testing.T, g *coldbackup.Fixture) {
			g.DropFile(t, "shop/old.MYD")
		}, repo.Finding{Table: "shop.old", Problem: ""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := f.CopyManifest(t)
			c.change(t, g)
			o := options(g, c.depth)
			o.Scratch = t.TempDir()
			r, err := Verify(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%+v", r.Findings)
			if r.OK || len(r.Findings) == 0 {
				t.Fatalf("nothing was found")
			}
			got := r.Findings[0]
			if got.Object != c.want.Object || got.File != c.want.File || got.Table != c.want.Table ||
				!strings.Contains(got.Problem, c.want.Problem) {
				t.Errorf("found %+v, want %+v", got, c.want)
			}
			coldbackup.WantNothingBut(t, o.Scratch)
		})
	}
}

func testNewPages(t *testing.T, f *coldbackup.Fixture, _ string) {
	m := *f.Manifest
	m.LSN.End = 20000
	chain, err := f.Repository.Chain(t.Context(), m.ID)
	if err != nil {
		t.Fatal(err)
	}
	v := &verification{
		o: options(f, repo.DepthPages).withDefaults(), m: &m, chain: chain, files: chain,
		meter: meter.New(nil), findings: newFindings(m.ID, repo.DepthPages, time.Now()),
	}
	if err := (&pagesDepth{v}).run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(v.report.Findings) == 0 ||
		!strings.Contains(v.report.Findings[0].Problem, "lies after the end of the redo log, 20000") {
		t.Errorf("found %+v", v.report.Findings)
	}
}

// A verification makes the same folders below --scratch.
func testVerifyAttacked(t *testing.T, f *coldbackup.Fixture, _ string) {
	if os.Geteuid() != 0 {
		t.Skip("playing another user takes root")
	}
	for _, s := range rights.Tricks() {
		t.Run(s.Name, func(t *testing.T) {
			top := rights.Public(t)
			v, his := rights.Victim(t, top), rights.Give(t, filepath.Join(top, "his"), rights.Attacker, 0o755)
			rights.Give(t, filepath.Join(his, ".snapshot"), fsuser.User{}, 0o755)
			o := options(f, repo.DepthBoot)
			o.Owner, o.Scratch = &restore.Owner{UID: rights.Attacker.UID, GID: rights.Attacker.GID}, his
			o.Mariadbd, o.MariadbdArgs = f.PublicServer(t)
			before := rights.Look(t, v)
			stop := rights.Attack(rights.Attacker, s, v, his)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			r, err := Verify(ctx, o)
			n := stop()
			t.Logf("%d times; Verify: %+v, %v", n, r, err)
			if after := rights.Look(t, v); after != before || ctx.Err() != nil {
				t.Errorf("was\n%sis\n%s", before, after)
			}
		})
	}
}

// Without a user mysql, or where he could not get at the files, verify ran mariadbd as
// root without a word.
func testUnaskedRoot(t *testing.T, f *coldbackup.Fixture, _ string) {
	if os.Geteuid() != 0 {
		t.Skip("only root can run a server as root")
	}
	o := options(f, repo.DepthBoot)
	o.Owner, o.Scratch = nil, t.TempDir() // nobody else gets there
	begun := time.Now()
	_, err := Verify(t.Context(), o)
	refused, ok := errors.AsType[*restore.ObjectionsError](err)
	if !ok || !strings.Contains(hint.Join(refused.Hints(), "\n").String(), "--owner") {
		t.Errorf("Verify = %v, want an objection", err)
	}
	last, err := f.Repository.LastVerification(t.Context(), time.Now())
	if err != nil || last != nil && last.Time.After(begun) {
		t.Errorf("a record was left: %+v, %v", last, err)
	}
}

// An older maintenance release does it, and says so.
func testOlderRelease(t *testing.T, f *coldbackup.Fixture, series string) {
	g := f.CopyManifest(t)
	g.Manifest.Server.Version = series + ".99-MariaDB"
	g.Commit(t)
	o := options(g, repo.DepthBoot)
	o.Scratch = t.TempDir()
	report, err := Verify(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	said := strings.Join(append(report.Proved, report.Notes...), "\n")
	for _, want := range []string{"mariadbd " + report.Server + " recovered the files",
		"older maintenance release than the source's " + series + ".99"} {
		if !strings.Contains(said, want) {
			t.Errorf("the report does not say %q:\n%s", want, said)
		}
	}
	if !report.OK || !strings.HasPrefix(report.Server, series) {
		t.Errorf("%+v", report)
	}
}

// Encryption of tables and logs, compressed tables with a provider that is a
// plugin, small pages, several files of the system tablespace.
func TestSpecialServers(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(keys, []byte("1;"+strings.Repeat("a7", 16)+"\n2;"+strings.Repeat("5c", 32)+"\n"),
		0o600); err != nil {
		t.Fatal(err)
	}
	for _, series := range mariadbtest.Some(t, mariadbtest.Versions()...) {
		for _, c := range []struct {
			name string
			args []string
		}{
			{"encrypted", []string{
				"--plugin-load-add=file_key_management", "--file-key-management-filename=" + keys,
				"--innodb-encrypt-tables=ON", "--innodb-encrypt-log=ON", "--aria-encrypt-tables=ON",
				"--innodb-encryption-threads=2"}},
			{"4k pages, two files, three undo tablespaces", []string{
				"--innodb-page-size=4k", "--innodb-data-file-path=ibdata1:12M;ibdata2:12M:autoextend",
				"--innodb-undo-tablespaces=3"}},
			{"64k pages, compressed by a plugin", []string{
				"--innodb-page-size=64k", "--plugin-load-add=provider_lz4", "--innodb-compression-algorithm=lz4",
				"--innodb-compression-default=ON"}},
		} {
			t.Run(series+", "+c.name, func(t *testing.T) {
				f := coldbackup.Small(t, series, c.args...)
				target := filepath.Join(t.TempDir(), "data")
				o := options(f, repo.DepthBoot)
				if _, err := restore.Restore(t.Context(), restore.Options{Preparation: o.Preparation, Target: target}); err != nil {
					t.Fatal(err)
				}
				coldbackup.WantSmall(t, series, target, c.args...)
				o.Scratch = t.TempDir()
				r, err := Verify(t.Context(), o)
				if err != nil {
					t.Fatal(err)
				}
				if !r.OK {
					t.Errorf("Verify = %+v", r.Findings)
				}
			})
		}
	}
}
