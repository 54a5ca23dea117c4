package cli_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mbk/internal/test/mariadbtest"
)

// What a DBA gets wrong about filters is told before anything is locked or written.
func TestFilterMistakes(t *testing.T) {
	t.Parallel()
	source := mariadbtest.New(t, newest())
	source.MustExec(t, "CREATE DATABASE shop", "CREATE DATABASE crm", "CREATE DATABASE `my.db`",
		"CREATE TABLE shop.orders (a INT)", "CREATE TABLE shop.items (a INT)",
		"CREATE TABLE crm.people (a INT)", "CREATE TABLE `my.db`.t (a INT)", "CREATE VIEW crm.v AS SELECT 1")
	repository, folder := t.TempDir(), t.TempDir()
	connection := []string{"--repo", repository, "--socket", source.Socket, "--user", "root", "--quiet"}
	id := document[taken](t, append([]string{"backup", "-X", "crm"}, connection...)...).ID
	before := document[listed](t, "list", "--repo", repository)
	file := func(name, text string) string {
		name = filepath.Join(folder, name)
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	nothing, wrong := file("nothing", "# only a comment\n\n"), file("wrong", "shop.orders\nshop.ordres\n")
	target := filepath.Join(folder, "target")
	for name, c := range map[string]struct {
		args []string
		says []string
	}{
		"an unknown database": {[]string{"backup", "--database", "shpo"},
			[]string{"there is no database shpo", "shop"}},
		"an unknown table": {[]string{"backup", "-t", "shop.ordres"},
			[]string{"there is no table shop.ordres", "shop.orders"}},
		"two mistakes": {[]string{"backup", "-t", "shop.ordres", "-T", "crm.poeple"},
			[]string{"shop.ordres", "crm.poeple", "crm.people"}},
		"a pattern of nothing": {[]string{"backup", "--exclude-table", "shop.x*"},
			[]string{"no table matches shop.x*"}},
		"a table without database": {[]string{"backup", "-t", "orders"},
			[]string{`"orders" is not of the form database.table`}},
		"a dot without backquotes": {[]string{"backup", "-t", "my.db.t"},
			[]string{"there is no table my.db.t", "`my.db`.t"}},
		"all excluded":           {[]string{"backup", "-s", "shop", "-X", "shop"}, []string{"leaves nothing"}},
		"a file without names":   {[]string{"backup", "--table-file", nothing}, []string{"there is no name in it"}},
		"a file that is missing": {[]string{"backup", "--table-file", nothing + "x"}, []string{"no such file"}},
		"a wrong name in a file": {[]string{"backup", "--exclude-table-file", wrong}, []string{"shop.ordres"}},
		"stdin twice": {[]string{"backup", "--table-file", "-", "--database-file", "-"},
			[]string{"cannot both read stdin"}},
		"check": {[]string{"check", "-s", "shpo"}, []string{"there is no database shpo"}},
		"restore, unknown": {[]string{"restore", id, "--target", target, "-t", "shop.ordres"},
			[]string{"there is no table shop.ordres", "shop.orders"}},
		"restore, not in the backup": {[]string{"restore", id, "--target", target, "-t", "crm.people"},
			[]string{"there is no table crm.people in this backup, which was made without it"}},
		"restore, no such database": {[]string{"restore", id, "--target", target, "-s", "crm"},
			[]string{"crm in this backup, which was made without it"}},
		"restore, dry": {[]string{"restore", id, "--target", target, "-s", "shpo", "--dry-run"},
			[]string{"there is no database shpo"}},
		"restore without recovery": {[]string{"restore", id, "--target", target, "--no-recover"},
			[]string{"leaves tables out cannot leave recovery"}},
		"a part without recovery": {[]string{"restore", id, "--target", target, "--no-recover", "-t", "shop.items"},
			[]string{"leaves tables out cannot leave recovery"}},
	} {
		t.Run(name, func(t *testing.T) {
			args := append([]string{}, c.args...)
			if args[0] == "restore" {
				args = append(args, "--repo", repository, "--quiet")
			} else {
				args = append(args, connection...)
			}
			o := mbk(t, args...)
			if o.code != 2 {
				t.Errorf("exit code %d, want 2", o.code)
			}
			for _, text := range append(c.says, "mbk: hint: ") {
				if !strings.Contains(o.stderr, text) {
					t.Errorf("does not say %q but\n%s", text, o.stderr)
				}
			}
		})
	}
	if after := document[listed](t, "list", "--repo", repository); len(after.Backups) != len(before.Backups) {
		t.Errorf("%d backups, want %d", len(after.Backups), len(before.Backups))
	}
	wantAttempts(t, repository, id)
	t.Run("typed", func(t *testing.T) {
		onlyIn(t, "its lock and its history are looked for in a folder", inFolder, inEncrypted)
		testTypedCommands(t, repository, source.Socket, id)
	})
	if _, err := os.Lstat(target); err == nil {
		t.Errorf("%s was made", target)
	}
	filterSaid(t, connection)
}

// listed is what the tests read of "list --json".
type listed struct {
	Backups []struct {
		ID string `json:"id"`
	} `json:"backups"`
}

// filterSaid checks what a check, a backup and "show" tell of a filter, whose names
// come from a file and from stdin.
func filterSaid(t *testing.T, connection []string) {
	t.Helper()
	o := must(t, append([]string{"check", "-t", "shop.*"}, connection...)...)
	if !strings.Contains(o.stdout, "it keeps 2 of") && !strings.Contains(o.stdout, "filter") {
		t.Errorf("check says\n%s", o.stdout)
	}
	cmd := command(t, append([]string{"backup", "--table-file", "-"}, connection...)...)
	cmd.Stdin = strings.NewReader("# the shop\nshop.items\n\n`my.db`.*\n")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	shown := must(t, "show", "latest", "--repo", connection[1], "--tables")
	for _, text := range []string{"--table shop.items, `my.db`.*", "tables are left out", "all of crm", "`shop`.`items`",
		"`my.db`.`t`", "`mysql`.`proc`"} {
		if !strings.Contains(shown.stdout, text) {
			t.Errorf("show does not say %q but\n%s", text, shown.stdout)
		}
	}
	for _, text := range []string{"`shop`.`orders`", "`crm`.`v`"} {
		if strings.Contains(shown.stdout, text) {
			t.Errorf("show lists %s:\n%s", text, shown.stdout)
		}
	}
}

// Nothing of what is left out is read: what would fail a backup does not then.
func TestFilterLeavesTroubleOut(t *testing.T) {
	t.Parallel()
	version := newest()
	source := mariadbtest.New(t, version)
	source.MustExec(t, "USE mysql", "CREATE DATABASE good", "CREATE DATABASE bad",
		"CREATE TABLE good.t (a INT PRIMARY KEY)", "INSERT INTO good.t SELECT seq FROM seq_1_to_100",
		"CREATE TABLE bad.t (a INT PRIMARY KEY, s VARCHAR(500))",
		"INSERT INTO bad.t SELECT seq, REPEAT('x', 500) FROM seq_1_to_1000", "CREATE TABLE good.bad LIKE bad.t",
		"INSERT INTO good.bad SELECT seq, REPEAT('x', 500) FROM seq_1_to_1000",
		"CREATE TABLE good.far (a INT) DATA DIRECTORY='"+t.TempDir()+"'", "SET GLOBAL innodb_fast_shutdown=0")
	if err := source.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"bad/t.ibd", "good/bad.ibd"} {
		flip(t, filepath.Join(source.Datadir, name), 5, 16384)
	}
	if err := source.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	repository := t.TempDir()
	args := []string{"backup", "--repo", repository, "--socket", source.Socket, "--user", "root", "--quiet",
		"-T", "good.far"}
	if o := mbk(t, args...); o.code != 3 {
		t.Errorf("a damaged table makes exit code %d, want 3: %s", o.code, o.stderr)
	}
	id := document[taken](t, append(args, "-X", "bad", "-T", "good.bad")...).ID
	target := filepath.Join(t.TempDir(), "restored")
	must(t, restoreArgs(id, repository, target)...)
	r := mariadbtest.Open(t, version, target)
	if n := r.MustValue(t, "SELECT COUNT(*) FROM good.t"); n != "100" {
		t.Errorf("%s rows, want 100", n)
	}
	r.MustExec(t, "CREATE TABLE good.bad (a INT)", "CREATE TABLE good.far (a INT)", "CREATE DATABASE bad",
		"CREATE TABLE bad.t (a INT)")
	if lines, _ := errorsOf(t, r, 0); len(lines) > 0 {
		t.Errorf("the first start logs %q", lines)
	}
}

// A redo log larger than the server's memory is applied in batches, and the tables
// that are left out are known before the first.
func TestFilterWithLittleMemory(t *testing.T) {
	for _, version := range mariadbtest.Some(t, "10.5", newest()) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			source := mariadbtest.New(t, version, "--innodb-log-file-size=256M", "--innodb-buffer-pool-size=256M")
			source.MustExec(t, statements(filled("kept", 12, ""), filled("gone", 12, ""),
				[]string{"UPDATE kept SET n = 7", "UPDATE gone SET n = 7", "UPDATE kept SET s = REVERSE(s)",
					"DELETE FROM gone WHERE id > 100"})...)
			sum := source.MustValue(t, "SELECT CONCAT(COUNT(*), '/', SUM(CRC32(s))) FROM d.kept")
			repository := t.TempDir()
			b := document[taken](t, "backup", "--repo", repository, "--socket", source.Socket, "--user", "root", "--quiet",
				"-T", "d.gone")
			target := filepath.Join(t.TempDir(), "restored")
			must(t, append(restoreArgs(b.ID, repository, target), "--mariadbd-option", "--innodb-buffer-pool-size=8M")...)
			r := mariadbtest.Open(t, version, target)
			if got := r.MustValue(t, "SELECT CONCAT(COUNT(*), '/', SUM(CRC32(s))) FROM d.kept"); got != sum {
				t.Errorf("the table holds %s, want %s", got, sum)
			}
			r.MustExec(t, "CREATE TABLE d.gone (a INT)")
			t.Logf("%d MiB of redo", b.RedoBytes>>20)
		})
	}
}

// An encrypted log that hides names cannot be told what is left out. There a
// restore reads all InnoDB tables and drops some.
func TestFilterWithEncryptedLog(t *testing.T) {
	for _, version := range mariadbtest.Some(t, "10.5", newest()) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			args, err := mariadbtest.EncryptionArgs(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			source := mariadbtest.New(t, version, args...)
			source.MustExec(t, filterSchema()...)
			if !forcesCheckpoint(version) {
				// It has no command for the checkpoint that such a log needs.
				if err := source.Restart(t.Context()); err != nil {
					t.Fatal(err)
				}
			} else {
				leftOpen(t, source)
			}
			repository := t.TempDir()
			backup := []string{"backup", "--repo", repository, "--socket", source.Socket, "--user", "root", "--quiet"}
			hidden := true
			if o := mbk(t, append(backup, filterArgs()...)...); o.code != 2 ||
				!strings.Contains(o.stderr, "filter at the restore") {
				hidden = false
				if o.code != 0 {
					t.Errorf("exit code %d: %s", o.code, o.stderr)
				}
			}
			id := document[taken](t, backup...).ID
			want := sums(t, source)
			target := filepath.Join(t.TempDir(), "restored")
			must(t, append(restoreArgs(id, repository, target), filterArgs()...)...)
			r := mariadbtest.Open(t, version, target, args...)
			if forcesCheckpoint(version) {
				r.MustExec(t, "XA ROLLBACK 'x'")
			}
			if got := sums(t, r); got != want {
				t.Errorf("the tables hold\n%s, want\n%s", got, want)
			}
			wantFiltered(t, r)
			t.Logf("the log hides names: %t", hidden)
		})
	}
}

// Without the mysql schema a server has no accounts, but a restore can make the rest.
func TestFilterWithoutMysql(t *testing.T) {
	t.Parallel()
	version := newest()
	source := mariadbtest.New(t, version)
	source.MustExec(t, statements(filled("t", 1, ""))...)
	repository := t.TempDir()
	id := document[taken](t, "backup", "--repo", repository, "--socket", source.Socket, "--user", "root", "--quiet", "-X",
		"mysql", "-X", "sys").ID
	target := filepath.Join(t.TempDir(), "restored")
	must(t, restoreArgs(id, repository, target)...)
	for name, want := range map[string]bool{"mysql": false, "sys": false, "d/t.ibd": true} {
		if _, err := os.Lstat(filepath.Join(target, name)); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	r := mariadbtest.Open(t, version, target, "--skip-grant-tables")
	if n := r.MustValue(t, "SELECT COUNT(*) FROM d.t"); n != fmt.Sprint(1800) {
		t.Errorf("%s rows", n)
	}
	if n := r.MustValue(t,
		"SELECT COUNT(*) FROM information_schema.INNODB_SYS_TABLES WHERE NAME LIKE 'mysql/%'"); n != "0" {
		t.Errorf("InnoDB's dictionary has %s tables of mysql", n)
	}
}
