package cli_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mbk/internal/mariadbtest"
)

// One flipped byte in any object of a backup: verify finds it and names the
// object, and a restore fails before it has placed anything.
func TestFlippedByteInEveryObject(t *testing.T) {
	srv := mariadbtest.New(t, mariadbtest.Versions()[0])
	srv.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.t (a INT) ENGINE=InnoDB", "INSERT INTO d.t SELECT seq FROM d.seq_1_to_1000")
	repository := t.TempDir()
	b := document[taken](t, "backup", "--repo", repository, "--socket", srv.Socket, "--user", "root", "--quiet")
	folder := filepath.Join(repository, "backups", b.ID)
	objects, err := os.ReadDir(folder)
	if err != nil || len(objects) < 3 {
		t.Fatalf("the backup has objects %v, %v", objects, err)
	}
	for _, o := range objects {
		path := filepath.Join(folder, o.Name())
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []int{0, 9, len(whole) / 2, len(whole) - 1} {
			damaged := append([]byte(nil), whole...)
			damaged[at] ^= 0x10
			rewrite(t, path, damaged)
			v := mbk(t, "verify", b.ID, "--repo", repository, "--depth", "stored", "--quiet")
			if v.code != 3 || !strings.Contains(v.stdout+v.stderr, o.Name()) && !strings.Contains(v.stdout+v.stderr, "manifest") {
				t.Errorf("%s, byte %d flipped: verify exits %d: %s%s", o.Name(), at, v.code, v.stdout, v.stderr)
			}
			target := filepath.Join(t.TempDir(), "restored")
			r := mbk(t, restoreArgs(b.ID, repository, target)...)
			if r.code != 3 {
				t.Errorf("%s, byte %d flipped: restore exits %d: %s", o.Name(), at, r.code, r.stderr)
			}
			if left, err := os.ReadDir(filepath.Dir(target)); err != nil || len(left) != 0 {
				t.Errorf("%s, byte %d flipped: restore left %v, %v", o.Name(), at, left, err)
			}
		}
		rewrite(t, path, whole)
	}
	must(t, "verify", b.ID, "--repo", repository, "--quiet")
}

// rewrite replaces an object, which is read-only.
func rewrite(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}
