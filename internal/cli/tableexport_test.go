package cli_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"mbk/internal/tablerestore"
	"mbk/internal/test/mariadbtest"
)

// Tables that were exported are imported by hand into another server, as the folder says, with nothing
// but the client program and cp.
func TestTablesExported(t *testing.T) {
	t.Parallel()
	for _, version := range mariadbtest.Some(t, newest()) {
		srv := mariadbtest.New(t, version)
		srv.MustExec(t, shop(version)...)
		srv.MustExec(t, "CREATE PROCEDURE shop.several() BEGIN SELECT ';$$'; SELECT 2; END")
		repository := t.TempDir()
		document[taken](t, backupArgs(srv, repository)...)
		want := tablesOf(t, srv)

		dir := filepath.Join(t.TempDir(), "out")
		r := document[tablerestore.Report](t, exporting(repository, dir, "--database", "shop")...)
		if r.Export != dir || len(r.Tables) < 20 {
			t.Errorf("%s: %+v", version, r)
		}
		other := mariadbtest.New(t, version)
		importByHand(t, other, dir)
		wantShop(t, version+", imported by hand", other, want)
		if err := other.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := other.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantShop(t, version+", imported by hand, after kill -9", other, want)
		if err := handRun(t, other, dir, "1-create.sql"); err == nil || !strings.Contains(err.Error(), "already exists") {
			t.Errorf("%s: over tables that are there: %v", version, err)
		}
		o := mbk(t, exporting(repository, dir, "--database", "shop")...)
		o.wantRefusal(t, 2, "does not exist", dir+" exists")

		// One table, and a database, under another name, beside those that are there.
		for i, as := range [][]string{
			{"--table", "shop.parts", "--as", "shop.parts_2"}, {"--database", "shop", "--as", "shop 2"},
		} {
			dir := filepath.Join(t.TempDir(), fmt.Sprint("as", i))
			must(t, exporting(repository, dir, as...)...)
			importByHand(t, other, dir)
		}
		got := other.MustValue(t, "SELECT CONCAT((SELECT COUNT(*) FROM shop.parts_2), ' ', "+
			"(SELECT COUNT(*) FROM `shop 2`.parts), ' ', (SELECT COUNT(*) FROM `shop 2`.a_view))")
		if got != "300 300 1000" {
			t.Errorf("%s: rows under other names: %s", version, got)
		}
	}
}

// exporting exports tables of the newest backup.
func exporting(repository, dir string, more ...string) []string {
	return append([]string{"restore", "latest", "--repo", repository, "--export", dir, "--no-defaults", "--quiet",
		"--owner", self()}, more...)
}

// importByHand does what the README of an exported folder says.
func importByHand(t *testing.T, srv *mariadbtest.Server, dir string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "README.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"mariadb --binary-mode --comments < 1-create.sql", "cp -r files/. /var/lib/mysql/",
		"--comments"} {
		if !strings.Contains(string(text), part) {
			t.Errorf("the README has not %q:\n%s", part, text)
		}
	}
	if err := handRun(t, srv, dir, "1-create.sql"); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-r", filepath.Join(dir, "files")+"/.", srv.Datadir).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
	if err := handRun(t, srv, dir, "2-import.sql"); err != nil {
		t.Fatal(err)
	}
}

// handRun gives a script to the client program.
func handRun(t *testing.T, srv *mariadbtest.Server, dir, script string) error {
	t.Helper()
	in, err := os.Open(filepath.Join(dir, script))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close() //nolint:errcheck // it was only read
	c := exec.Command(srv.Dist.Program("mariadb"), "--no-defaults", "--socket", srv.Socket, "--user", "root",
		"--binary-mode", "--comments", "--skip-ssl")
	if script == "2-import.sql" {
		c.Args = append(c.Args, "--local-infile=1")
	}
	c.Dir, c.Stdin = dir, in
	out, err := c.CombinedOutput()
	for line := range strings.Lines(string(out)) {
		if fields := strings.Split(strings.TrimSpace(line), "\t"); len(fields) == 4 && fields[1] == "check" &&
			fields[3] != "OK" && !strings.Contains(fields[3], "auto_increment column has the value 0") {
			t.Errorf("CHECK TABLE: %s", line)
		}
	}
	if err != nil {
		return fmt.Errorf("%s: %w: %s", script, err, out)
	}
	return nil
}
