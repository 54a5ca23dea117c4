package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mbk/internal/test/mariadbtest"
)

// mbk is killed while it consolidates. Nothing half may be listed, the increment restores as
// before, and the next consolidation removes what was left and works.
func TestKilledConsolidation(t *testing.T) {
	onlyIn(t, leaseOfTheDead, inFolder, inEncrypted)
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
	// What is restored is a copy of it.
	target, other := filepath.Join(t.TempDir(), "restored"), t.TempDir()
	must(t, "copy", "latest", "--repo", repository, "--to", other, "--quiet")
	must(t, restoreArgs("latest", other, target)...)
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
