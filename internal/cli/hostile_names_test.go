package cli_test

import (
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"mbk/internal/test/mariadbtest"
)

// Every user of a database names tables. The names get into what all commands print,
// and commanded the terminal there.
func hostileNames(t *testing.T, srv *mariadbtest.Server) {
	const (
		name = "e\x1b]0;PWNED\x07\x1b[31m`\n\t\u202e\u009b31mx"
		want = "`e" + `\x1b]0;PWNED\x07\x1b[31m` + "``" + `\n\t\u202e\u009b31mx` + "`"
	)
	quoted := "`" + strings.ReplaceAll(name, "`", "``") + "`"
	srv.MustExec(t, "CREATE DATABASE "+quoted, "CREATE TABLE "+quoted+"."+quoted+" (a INT PRIMARY KEY) ENGINE=InnoDB",
		"CREATE TABLE "+quoted+".r"+" (a INT PRIMARY KEY) ENGINE=ROCKSDB",
		"CREATE TABLE "+quoted+".gone (a INT) ENGINE=InnoDB", "ALTER TABLE "+quoted+".gone DISCARD TABLESPACE")
	repository, empty := t.TempDir(), t.TempDir()
	server := []string{"--socket", srv.Socket, "--user", "root", "--no-defaults"}
	at := []string{"--repo", repository}
	for _, c := range []struct {
		args []string
		code int
		says bool // the name of the database
	}{
		{append([]string{"check"}, append(server, at...)...), 2, true},
		{append([]string{"backup", "--progress", "plain"}, append(server, at...)...), 2, true},
		{append([]string{"backup", "--skip-unsupported", "--verbose"}, append(server, at...)...), 0, true},
		{append([]string{"show", "latest", "--tables"}, at...), 0, true},
		{append([]string{"show", "latest", "--tables", "--json"}, at...), 0, false},
		{append([]string{"list"}, at...), 0, false},
		{append([]string{"history"}, at...), 0, false},
		{append([]string{"history", "latest"}, at...), 0, true},
		{append([]string{"history", "latest", "--json"}, at...), 0, false},
		{append([]string{"report", "latest"}, at...), 0, false}, // broken into lines
		{append([]string{"verify", "latest", "--depth", "pages", "-v"}, at...), 0, false},
		{append([]string{"restore", "latest", "--dry-run", "--owner", self(), "--target", filepath.Join(empty, "r")}, at...),
			0, true},
		{append([]string{"restore", "latest", "--dry-run", "--owner", self(), "--table", name + ".r", "--target",
			filepath.Join(empty, "r")}, at...), 2, false},
		{append([]string{"extract", "latest", name + "." + name, "--to", filepath.Join(empty, "x")}, at...), 0, false},
		{append([]string{"expire", "--keep-last", "1", "--dry-run"}, at...), 0, false},
		{append([]string{"show", name}, at...), 2, false},
		{[]string{"show", "latest", "--repo", filepath.Join(empty, name)}, 2, false},
		{[]string{"config", "--no-defaults", "--repo", name}, 0, false},
		{[]string{name}, 2, false},
	} {
		o := mbk(t, c.args...)
		if o.code != c.code {
			t.Errorf("mbk %q: exit code %d, want %d: %s%s", c.args, o.code, c.code, o.stdout, o.stderr)
		}
		for _, r := range o.stdout + o.stderr {
			if r != '\n' && !unicode.IsPrint(r) {
				t.Errorf("mbk %q prints %q in %q", c.args, r, o.stdout+o.stderr)
				break
			}
		}
		if c.says && !strings.Contains(o.stdout+o.stderr, want) {
			t.Errorf("mbk %q does not print %s:\n%s%s", c.args, want, o.stdout, o.stderr)
		}
	}
}
