package cli_test

import (
	"errors"
	"path/filepath"
	"testing"

	"mbk/internal/test/mariadbtest"
)

// A folder whose name no CREATE DATABASE gives was once in the way of every restore
// that left it out.
func TestFilterLeavesOddFoldersOut(t *testing.T) {
	for _, tt := range []struct {
		name, version   string
		backup, restore []string
	}{
		{"a backup with a filter", oldest(), []string{"--table", "shop.t"}, nil},
		{"a restore with a filter", newest(), nil,
			[]string{"--exclude-database", "#mysql50#used.2026", "--exclude-database", "#mysql50#backup-2026",
				"--exclude-database", "#mysql50#shop.old", "--exclude-database", "with-dash"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			srv := mariadbtest.New(t, tt.version)
			srv.MustExec(t, "CREATE DATABASE shop", "CREATE TABLE shop.t (i INT PRIMARY KEY)", "INSERT INTO shop.t VALUES (7)",
				"CREATE DATABASE `with-dash`", "CREATE TABLE `with-dash`.t (i INT PRIMARY KEY)",
				"FLUSH TABLES shop.t FOR EXPORT", "UNLOCK TABLES")
			dir, repository, target := srv.Datadir, t.TempDir(), filepath.Join(t.TempDir(), "restored")
			err := errors.Join(written("backup-2026/notes.txt", "")(dir), written("used.2026/db.opt", "")(dir),
				copied("shop/t.ibd", "shop.old/t.ibd")(dir), copied("shop/t.frm", "shop.old/t.frm")(dir))
			if err != nil {
				t.Fatal(err)
			}
			must(t, backupArgs(srv, repository, tt.backup...)...)
			must(t, append(restoreArgs("latest", repository, target), tt.restore...)...)
			r := mariadbtest.Open(t, tt.version, target)
			if got := r.MustValue(t, "SELECT GROUP_CONCAT(i) FROM shop.t"); got != "7" {
				t.Errorf("the table has %s, want 7", got)
			}
			for _, name := range []string{"used.2026", "backup-2026", "shop.old", "with@002ddash"} {
				if matches, _ := filepath.Glob(filepath.Join(target, name)); len(matches) > 0 {
					t.Errorf("%s was restored", name)
				}
			}
		})
	}
}
