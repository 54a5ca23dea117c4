package cli_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mbk/internal/test/mariadbtest"
)

// shopTwice makes a full backup of a small shop and an increment in a repository of which
// with adds the options, and then lists, verifies and restores them. It returns the ids of
// both.
func shopTwice(t *testing.T, version string, with func(args ...string) []string) (full, second string) {
	t.Helper()
	srv := mariadbtest.New(t, version)
	srv.MustExec(t, "CREATE DATABASE shop", "CREATE TABLE shop.orders (id INT PRIMARY KEY AUTO_INCREMENT, b LONGTEXT)",
		"INSERT INTO shop.orders (b) SELECT REPEAT(UUID(), 500) FROM shop.seq_1_to_2000",
		"CREATE TABLE shop.notes (a INT) ENGINE=MyISAM", "INSERT INTO shop.notes VALUES (1),(2)")
	must(t, with("check", "--socket", srv.Socket, "--user", "root")...)
	backup := with("backup", "--socket", srv.Socket, "--user", "root", "--quiet", "--compress", "none")
	first := document[increments](t, backup...)
	srv.MustExec(t, "INSERT INTO shop.notes VALUES (3)", "UPDATE shop.orders SET b='changed' WHERE id=7")
	next := document[increments](t, append(slices.Clone(backup), "--incremental")...)
	if next.Parent != first.ID {
		t.Errorf("the second backup has the parent %q, want %s: %s", next.Parent, first.ID, next.FullReason)
	}
	list := must(t, with("list")...).stdout
	if !strings.Contains(list, first.ID) || !strings.Contains(list, next.ID) {
		t.Errorf("list:\n%s", list)
	}
	must(t, with("verify", "latest", "--depth", "pages", "--quiet")...)
	target := filepath.Join(t.TempDir(), "data")
	must(t, with("restore", "latest", "--target", target, "--quiet", "--owner", self())...)
	mariadbtest.MustEqual(t, mariadbtest.Open(t, version, target), srv)
	return first.ID, next.ID
}
