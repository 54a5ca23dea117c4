package cli_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mbk/internal/repo"
	"mbk/internal/test/mariadbtest"
)

// increments is what the tests of increments read of "backup --json".
type increments struct {
	ID         string   `json:"id"`
	Kind       string   `json:"kind"`
	Parent     string   `json:"parent"`
	BytesRead  int64    `json:"bytes_read"`
	Chain      int      `json:"chain"`
	FullReason string   `json:"full_reason"`
	Warnings   []string `json:"warnings"`
	Unchanged  *struct {
		Files int   `json:"files"`
		Bytes int64 `json:"bytes"`
	} `json:"unchanged"`
	Pages *struct {
		Examined int64 `json:"examined"`
		Changed  int64 `json:"changed"`
	} `json:"pages"`
}

// chained is a server with a repository for a chain of its backups.
type chained struct {
	t          *testing.T
	server     *mariadbtest.Server
	repository string
	args       []string // of each backup
}

// backup takes a backup with these arguments.
func (c *chained) backup(args ...string) increments {
	c.t.Helper()
	all := []string{"backup", "--repo", c.repository, "--socket", c.server.Socket, "--user", "root", "--quiet"}
	return document[increments](c.t, slices.Concat(all, c.args, args)...)
}

// rest has the server write all it has, and waits until its files count as left alone:
// until a second and a half after it had no dirty page and a checkpoint behind all. Behind
// that may lie the names of changed files, which mbk can tell from other records since 10.8.
func (c *chained) rest() {
	c.t.Helper()
	c.server.MustExec(c.t, "FLUSH TABLES", "SET GLOBAL innodb_max_dirty_pages_pct=0",
		"SET GLOBAL innodb_stats_auto_recalc=0")
	namesHide := older(c.server.Dist.Series, "10.8")
	begun, quiet, nudged := time.Now(), time.Now(), time.Now()
	last := [2]int64{}
	for ; time.Since(quiet) < 1500*time.Millisecond; time.Sleep(50 * time.Millisecond) {
		var engine, name, status string
		row := c.server.DB().QueryRowContext(c.t.Context(), "SHOW ENGINE INNODB STATUS")
		if err := row.Scan(&engine, &name, &status); err != nil {
			c.t.Fatal(err)
		}
		number := func(label string) (n int64) {
			_, rest, _ := strings.Cut(status, label)
			if _, err := fmt.Sscan(rest, &n); err != nil {
				c.t.Fatalf("%q of the server's status: %v", label, err)
			}
			return n
		}
		lsns := [2]int64{number("Log sequence number"), number("Last checkpoint at")}
		names := namesHide && lsns[0] > lsns[1]+30
		if lsns != last || number("Modified db pages") > 0 || names {
			last, quiet = lsns, time.Now()
		}
		if names && number("Modified db pages") == 0 && time.Since(nudged) > 2*time.Second {
			c.nudge()
			nudged = time.Now()
		}
		if time.Since(begun) > 3*time.Minute {
			c.t.Fatal("the server has not written its dirty pages and made a checkpoint within three minutes")
		}
	}
}

// nudge changes a table in the system tablespace. A server of 10.5 with no dirty pages leaves the
// names of the files that were changed before its last checkpoint behind that checkpoint, until
// there is something to make another one for. The system tablespace is in no such name.
func (c *chained) nudge() {
	c.t.Helper()
	c.server.MustExec(c.t, "SET GLOBAL innodb_file_per_table=OFF",
		"CREATE TABLE IF NOT EXISTS d.nudge (n INT PRIMARY KEY)", "SET GLOBAL innodb_file_per_table=ON",
		"INSERT INTO d.nudge SELECT COUNT(*) FROM d.nudge")
}

// file is a file of a backup, by its path.
func (c *chained) file(id, path string) *repo.File {
	c.t.Helper()
	m := manifestOf(c.t, c.repository, id)
	i := slices.IndexFunc(m.Files, func(f repo.File) bool { return f.Path == path })
	if i < 0 {
		c.t.Fatalf("backup %s has no %s", id, path)
	}
	return &m.Files[i]
}

// how a file is in an increment.
const (
	asWhole     = "whole"
	asPages     = "pages"
	asReference = "reference"
)

// want checks how a file is in an increment.
func (c *chained) want(id, path, want string) {
	c.t.Helper()
	f := c.file(id, path)
	got := asWhole
	switch {
	case f.Base != nil && len(f.Extents) == 0:
		got = asReference
	case f.Base != nil:
		got = asPages
	}
	if got != want {
		c.t.Errorf("%s has %s: %s, want %s (%+v)", id, path, got, want, f.Extents)
	}
}

// restored restores a backup, starts a server on it and compares it with the source, which
// has not been changed since.
func (c *chained) restored(id string, args ...string) {
	c.t.Helper()
	must(c.t, "verify", id, "--repo", c.repository, "--depth", "pages", "--quiet")
	target := filepath.Join(c.t.TempDir(), "restored")
	must(c.t, restoreArgs(id, c.repository, target)...)
	local := func(definition string) string { return directories.ReplaceAllString(definition, "") }
	wantSameBut(c.t, c.server, mariadbtest.Open(c.t, c.server.Dist.Series, target, args...), local)
}

// An increment stores the pages that have changed and the files that have, and refers to
// its parent for all others.
func TestIncrement(t *testing.T) {
	t.Parallel()
	anyKind(t)
	t.Log(increment(t, newest()))
}

func increment(t *testing.T, version string) string {
	c := &chained{t: t, server: mariadbtest.New(t, version), repository: t.TempDir()}
	c.server.MustExec(t, statements(filled("big", 8, ""), filled("idle", 2, ""), []string{
		"CREATE TABLE my (a INT) ENGINE=MyISAM", "INSERT INTO my VALUES (1)",
		"CREATE TABLE mytoo (a INT) ENGINE=MyISAM", "INSERT INTO mytoo VALUES (1)",
		"CREATE TABLE ar (a INT) ENGINE=Aria", "INSERT INTO ar VALUES (1)",
		"CREATE TABLE artoo (a INT) ENGINE=Aria", "INSERT INTO artoo VALUES (1)",
	})...)
	c.rest()
	full := c.backup("--incremental")
	if full.Kind != "full" || !strings.Contains(full.FullReason, "no backup yet") {
		t.Fatalf("the first backup: %+v", full)
	}
	c.server.MustExec(t, "UPDATE d.big SET n = 1 WHERE id BETWEEN 100 AND 110", "INSERT INTO d.my VALUES (2)",
		"INSERT INTO d.ar VALUES (2)")
	c.rest()
	first := c.backup("--incremental")
	if first.Kind != "incr" || first.Parent != full.ID || first.Chain != 1 || first.FullReason != "" {
		t.Fatalf("the second backup: %+v", first)
	}
	for path, want := range map[string]string{
		"d/big.ibd": asPages, "d/idle.ibd": asReference, "d/my.MYD": asWhole, "d/mytoo.MYD": asReference,
		"d/mytoo.MYI": asReference, "d/ar.MAD": asWhole, "d/artoo.MAD": asReference, "d/big.frm": asReference,
		"ibdata1": asPages, "ib_logfile0": asWhole,
	} {
		c.want(first.ID, path, want)
	}
	if first.Pages.Changed == 0 || first.Pages.Changed > first.Pages.Examined/2 {
		t.Errorf("%d of %d pages were stored", first.Pages.Changed, first.Pages.Examined)
	}
	if first.Unchanged.Files < 50 {
		t.Errorf("%d files were unchanged", first.Unchanged.Files)
	}
	c.restored(first.ID)
	c.server.MustExec(t, "DELETE FROM d.big WHERE id > 5000", "UPDATE d.idle SET n = 7", "INSERT INTO d.mytoo VALUES (3)",
		"DROP TABLE d.my", "CREATE TABLE d.my (a INT) ENGINE=InnoDB", "INSERT INTO d.artoo VALUES (3)")
	second := c.backup("--incremental", "--read-all")
	if second.Parent != first.ID || second.Chain != 2 || second.Unchanged.Files != 0 {
		t.Errorf("the third backup, which reads all: %+v", second)
	}
	c.restored(second.ID)
	return fmt.Sprintf("%d files unchanged, %d of %d pages stored", first.Unchanged.Files, first.Pages.Changed,
		first.Pages.Examined)
}

// wantFull takes a backup that was to be an increment, and must be a full one for a reason.
func (c *chained) wantFull(reason string, args ...string) increments {
	c.t.Helper()
	b := c.backup(append([]string{"--incremental"}, args...)...)
	if b.Kind != "full" || b.Parent != "" || !strings.Contains(b.FullReason, reason) {
		c.t.Errorf("%s, because of %q; want a full backup because of %q", b.ID, b.FullReason, reason)
	}
	return b
}

// wantIncrement takes an increment of a backup.
func (c *chained) wantIncrement(parent increments, args ...string) increments {
	c.t.Helper()
	b := c.backup(append([]string{"--incremental"}, args...)...)
	if b.Kind != "incr" || b.Parent != parent.ID {
		c.t.Errorf("%s of %q, a full backup because of %q; want an increment of %s", b.ID, b.Parent, b.FullReason, parent.ID)
	}
	return b
}

// Which backup an increment is made of, and when none can be made.
func TestParentOfIncrement(t *testing.T) {
	t.Parallel()
	onlyIn(t, "the filter of a parent cannot be read without an identity", inFolder, inS3, inSFTP)
	c := &chained{t: t, server: mariadbtest.New(t, newest()), repository: t.TempDir()}
	c.server.MustExec(t, statements([]string{"CREATE TABLE t (a INT)", "CREATE TABLE u (a INT)"})...)
	full := c.wantFull("no backup yet")
	only := c.wantFull("the same databases and tables", "--table", "d.t")
	first := c.wantIncrement(full, "--full-every", "7d", "--max-chain", "1")
	filtered := c.wantIncrement(only, "--table", "d.t")
	if filtered.Chain != 1 {
		t.Errorf("the chain of %s has %d increments", filtered.ID, filtered.Chain)
	}
	check := func(want string, args ...string) {
		t.Helper()
		r := must(t, append([]string{"check", "--repo", c.repository, "--socket", c.server.Socket, "--user", "root"},
			args...)...)
		if !strings.Contains(r.stdout, want) {
			t.Errorf("mbk check does not print %q:\n%s", want, r.stdout)
		}
	}
	check("an increment could be made of " + first.ID)
	check("an increment of "+first.ID, "--incremental")
	check("a full one: there are 1 increments since the full backup "+full.ID, "--incremental", "--max-chain", "1")
	c.wantFull("there are 1 increments", "--max-chain", "1")
	c.wantFull("and one is wanted every 1ms", "--full-every", "1ms")
	sibling := c.backup("--incremental="+first.ID, "--full-every", "1ms")
	if sibling.Parent != first.ID || sibling.Chain != 2 {
		t.Errorf("%s of %s with a chain of %d; want an increment of %s", sibling.ID, sibling.Parent, sibling.Chain, first.ID)
	}
	for id, want := range map[string]string{
		only.ID: "it holds other databases and tables than this filter keeps", "20010101": "no backup",
	} {
		r := mbk(t, "backup", "--repo", c.repository, "--socket", c.server.Socket, "--user", "root", "--quiet",
			"--incremental="+id)
		if r.code != 2 || !strings.Contains(r.stderr, want) {
			t.Errorf("--incremental=%s: exit code %d, want 2 and %q:\n%s", id, r.code, want, r.stderr)
		}
	}
}

// A data directory that is put back to an earlier state, file by file, has the files of the
// parent, and another history.
func TestIncrementOfDatadirThatWasPutBack(t *testing.T) {
	t.Parallel()
	c := &chained{t: t, server: mariadbtest.New(t, newest()), repository: t.TempDir()}
	stop := func() {
		if err := c.server.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	start := func() {
		if err := c.server.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	saved := filepath.Join(t.TempDir(), "saved")
	shell(t, "cp -a "+c.server.Datadir+" "+saved)
	start()
	c.server.MustExec(t, statements([]string{"CREATE TABLE t (a INT)", "INSERT INTO t VALUES (1)"})...)
	full := c.wantFull("no backup yet")
	stop()
	start()
	first := c.wantIncrement(full) // after a start of the server
	stop()
	// With the contents of the files as they were, but the same inodes.
	shell(t, "cd "+saved+" && find . -type f | while read f; do cat \"$f\" > \""+c.server.Datadir+"/$f\"; done; rm -r "+
		c.server.Datadir+"/d")
	start()
	c.wantFull("the server was put back to an earlier state: its log is at LSN")
	r := mbk(t, "backup", "--repo", c.repository, "--socket", c.server.Socket, "--user", "root", "--quiet",
		"--incremental="+first.ID)
	if want := "no increment of " + first.ID + " can be made: the server was put back"; r.code != 2 ||
		!strings.Contains(r.stderr, want) {
		t.Errorf("exit code %d, want 2 and %q:\n%s", r.code, want, r.stderr)
	}
}

// A server that was restored has a history of its own from then on.
func TestIncrementOfRestoredServer(t *testing.T) {
	t.Parallel()
	c := &chained{t: t, server: mariadbtest.New(t, newest()), repository: t.TempDir()}
	c.server.MustExec(t, statements([]string{"CREATE TABLE t (a INT)", "INSERT INTO t VALUES (1)"})...)
	full := c.wantFull("no backup yet")
	if err := c.server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	shell(t, "mv "+c.server.Datadir+" "+c.server.Datadir+".old")
	must(t, restoreArgs(full.ID, c.repository, c.server.Datadir)...)
	if err := c.server.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Its log has got further than the parent's end, as if nothing had happened.
	c.server.MustExec(t, "CREATE TABLE d.u (s TEXT)",
		"INSERT INTO d.u SELECT REPEAT(MD5(seq), 10) FROM mysql.seq_1_to_2000")
	again := c.wantFull("the data directory is another than that of " + full.ID)
	c.wantIncrement(again)
}

// shell runs a script.
func shell(t *testing.T, script string) {
	t.Helper()
	if out, err := exec.Command("sh", "-ec", script).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", script, err, out)
	}
}
