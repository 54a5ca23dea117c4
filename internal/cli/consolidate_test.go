package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mbk/internal/consolidate"
	"mbk/internal/test/mariadbtest"
)

// consolidates consolidates the newest backup of a repository.
func consolidates(t *testing.T, repository string) consolidate.Result {
	t.Helper()
	r := document[consolidate.Result](t, "consolidate", "latest", "--repo", repository, "--quiet")
	if !r.Done() || !strings.HasSuffix(r.ID, "-full") || r.BytesStored > r.BytesNeeded {
		t.Fatalf("consolidate prints %+v", r)
	}
	return r
}

// While writers and DDL go on, a chain is taken, consolidated, continued and consolidated
// again. What has become of it, alone in the repository, is restored, the rest of the
// source's binary log replayed, and everything must be as on the source.
func TestOracleOfConsolidatedChain(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	source := mariadbtest.New(t, newest(), "--innodb-flush-log-at-trx-commit=2")
	if err := mariadbtest.Populate(ctx, source, mariadbtest.Fill{InnoDBMiB: 8, MyISAMMiB: 1, AriaMiB: 1}); err != nil {
		t.Fatal(err)
	}
	writers, err := mariadbtest.Write(ctx, source, mariadbtest.WriteOptions{Pause: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	storm, err := mariadbtest.Storm(ctx, source, mariadbtest.StormOptions{Sessions: 1, Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	repository := t.TempDir()
	p := profile{backup: []string{"--incremental", "--nice", "0"}}
	var b taken
	for round := range 2 {
		for range 3 {
			time.Sleep(time.Second)
			b = taking(t, source, repository, p)
		}
		if !strings.HasSuffix(b.ID, "-incr") {
			t.Fatalf("%s is no increment", b.ID)
		}
		r := consolidates(t, repository)
		// A full backup and two increments; then the consolidated one and three.
		if want := 3 + round; len(r.From) != want || r.From[0] != b.ID {
			t.Errorf("made of %v, want %d backups, the newest %s", r.From, want, b.ID)
		}
		b.ID = r.ID
	}
	for _, l := range []*mariadbtest.Load{writers, storm} {
		if _, err := l.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	must(t, "verify", "latest", "--repo", repository, "--depth", "pages", "--quiet")
	must(t, "expire", "--repo", repository, "--keep-last", "1", "--quiet")
	if folders, err := filepath.Glob(filepath.Join(repository, "backups", "*")); err != nil || len(folders) != 1 ||
		filepath.Base(folders[0]) != b.ID {
		t.Fatalf("the repository holds %v, %v; want only %s", folders, err, b.ID)
	}
	restored := caughtUp(t, source, repository, b, p)
	wantSame(t, source, restored)
	wantInvariants(t, restored)
}

// mbk is killed while it consolidates. Nothing half may be listed, the increment restores as
// before, and the next consolidation removes what was left and works.
func TestKilledConsolidation(t *testing.T) {
	t.Parallel()
	srv := mariadbtest.New(t, newest())
	srv.MustExec(t, statements(filled("big", 8, ""))...)
	repository := t.TempDir()
	backup := []string{
		"backup", "--repo", repository, "--socket", srv.Socket, "--user", "root", "--quiet", "--incremental",
	}
	must(t, backup...)
	srv.MustExec(t, "UPDATE d.big SET n = 1 WHERE id % 100 = 0")
	b := document[taken](t, backup...)

	killed := 0
	for wait := 5 * time.Millisecond; ; wait += wait / 3 {
		cmd := command(t, "consolidate", "latest", "--repo", repository, "--quiet")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(wait, func() { _ = cmd.Process.Kill() })
		err := cmd.Wait()
		timer.Stop()
		if err == nil {
			break
		}
		killed++
		if latest := document[taken](t, "show", "latest", "--repo", repository); latest.ID != b.ID {
			if strings.HasSuffix(latest.ID, "-full") {
				break // killed after its label was written
			}
			t.Fatalf("killed after %v: the newest backup is %s", wait, latest.ID)
		}
	}
	if killed == 0 {
		t.Error("no consolidation was killed")
	}
	t.Logf("%d consolidations were killed", killed)
	folders, err := os.ReadDir(filepath.Join(repository, "backups"))
	if err != nil || len(folders) != 3 {
		t.Errorf("the repository holds %v, %v; want two backups and the consolidated one", folders, err)
	}
	must(t, "verify", "latest", "--repo", repository, "--depth", "pages", "--quiet")
	target := filepath.Join(t.TempDir(), "restored")
	must(t, restoreArgs("latest", repository, target)...)
	wantSame(t, srv, mariadbtest.Open(t, srv.Dist.Series, target))

	// It is a full backup now, and there is nothing to do.
	if o := must(t, "consolidate", "latest", "--repo", repository); !strings.Contains(o.stdout, "nothing to do") {
		t.Errorf("consolidate of a full backup prints %q", o.stdout)
	}
	if o := must(t, "consolidate", b.ID, "--repo", repository, "--dry-run"); !strings.Contains(o.stdout, "would become") {
		t.Errorf("consolidate --dry-run prints %q", o.stdout)
	}
	const unknown = "20200101T000000Z-full"
	mbk(t, "consolidate", unknown, "--repo", repository).wantRefusal(t, 2, "mbk list", `no backup "`+unknown+`"`)
}
