package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mbk/internal/mariadbtest"
)

// What a check before the backup would have refused, and is there at the end.
func TestTableMadeMeanwhileThatCannotBeBackedUp(t *testing.T) {
	srv := newBusyServer(t, mariadbtest.Versions()[0], "--plugin-load-add=ha_rocksdb")
	for _, c := range []struct{ name, make, advice, text string }{
		{"engine", "CREATE TABLE d.r (a INT PRIMARY KEY) ENGINE=ROCKSDB", "--leave-out-unsupported", "`d`.`r` has engine ROCKSDB"},
		{"data directory", "CREATE TABLE d.r (a INT PRIMARY KEY) DATA DIRECTORY='" + t.TempDir() + "'", "move the table into the data directory", "DATA DIRECTORY during the backup"},
	} {
		t.Run(c.name, func(t *testing.T) {
			repository := t.TempDir()
			r := copying(t, srv, repository, "--rate-limit", "15MB")
			srv.MustExec(t, c.make)
			r.wait(t, time.Minute).wantRefusal(t, 2, c.advice, "tables: ", c.text)
			wantNoBackup(t, repository, 1)
			srv.MustExec(t, "DROP TABLE d.r")
			wantFree(t, srv)
		})
	}
}

// A plan that has objections to the target says how much room there is all the same.
func TestDryRunWithObjections(t *testing.T) {
	srv := mariadbtest.New(t, mariadbtest.Versions()[0])
	repository, target := t.TempDir(), t.TempDir()
	must(t, backupArgs(srv, repository)...)
	if err := os.WriteFile(filepath.Join(target, "photo.jpeg"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	o := mbk(t, append(restoreArgs("latest", repository, target), "--dry-run")...)
	if o.code != 2 || !strings.Contains(o.stdout, " needed, ") || strings.Contains(o.stdout, ", 0 B free") || !strings.Contains(o.stderr, "photo.jpeg") {
		t.Errorf("exit code %d, stdout:\n%s\nstderr:\n%s", o.code, o.stdout, o.stderr)
	}
	o = mbk(t, append(restoreArgs("latest", repository, filepath.Join(target, "no", "parent")), "--dry-run")...)
	if o.code != 2 || !strings.Contains(o.stdout, " needed\n") || strings.Contains(o.stdout, "free") {
		t.Errorf("without a parent: exit code %d, stdout:\n%s\nstderr:\n%s", o.code, o.stdout, o.stderr)
	}
}
