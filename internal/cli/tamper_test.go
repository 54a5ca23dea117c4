package cli_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mbk/internal/test/mariadbtest"
)

// tamperings are what can be done to an object: b are its bytes, older those of the same object in
// the backup, or the segment, before, and other those of another object of the backup.
var tamperings = []struct {
	what   string
	change func(b, older, other []byte) []byte
}{
	{"a byte flipped", func(b, _, _ []byte) []byte { b[len(b)/2] ^= 1; return b }},
	{"a byte cut off", func(b, _, _ []byte) []byte { return b[:len(b)-1] }},
	{"another object in its place", func(_, _, other []byte) []byte { return other }},
	{"an older one in its place", func(_, older, _ []byte) []byte { return older }},
}

// tampered changes an object in each way, and puts it back. check is called each time.
func tampered(t *testing.T, path, older, other string, check func(what string)) {
	t.Helper()
	read := func(path string) []byte {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	whole := read(path)
	for _, tt := range tamperings {
		b := tt.change(bytes.Clone(whole), read(older), read(other))
		if bytes.Equal(b, whole) {
			t.Fatalf("%s, %s: it is the same", path, tt.what)
		}
		rewrite(t, path, b)
		check(filepath.Base(path) + ", " + tt.what)
	}
	rewrite(t, path, whole)
}

// Whatever is done to one object of a backup or of the archive of binary logs, in any store, it is
// found and named, and exit code 3.
func TestTamperedObjects(t *testing.T) {
	t.Parallel()
	srv := mariadbtest.New(t, newest())
	srv.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.t (a INT AUTO_INCREMENT PRIMARY KEY, b TEXT)")
	plain, before, branch := t.TempDir(), t.TempDir(), t.TempDir()
	useKind(t, inFolder)
	add := func(t *testing.T, repository string, rows int) {
		t.Helper()
		for range rows {
			srv.MustExec(t, "INSERT INTO d.t (b) VALUES ('quagga')")
		}
		archiving(t, srv, repository)
	}
	var ids []string
	for range 2 {
		ids = append(ids, document[taken](t, backupArgs(srv, plain)...).ID)
		add(t, plain, 1) // so that the redo logs differ, too
	}
	clone(t, plain, branch)
	clone(t, plain, before)
	add(t, branch, 1)
	add(t, plain, 1)
	add(t, plain, 1)
	for _, kind := range mariadbtest.Some(t, inSFTP, inS3Encrypted) {
		t.Run(kind, func(t *testing.T) {
			repository, forked := filepath.Join(t.TempDir(), "r"), filepath.Join(t.TempDir(), "f")
			if err := errors.Join(os.Mkdir(repository, 0o700), os.Mkdir(forked, 0o700)); err != nil {
				t.Fatal(err)
			}
			useKind(t, kind)
			if x := theShared(t); isEncrypted(kind) {
				x.encryptFirst(t, repository, x.url(t, kind, repository), x.variables(kind))
			}
			copying := func(from, to string) { must(t, "copy", "--all", "--repo", from, "--to", to, "--quiet") }
			copying(before, repository)
			clone(t, repository, forked)
			copying(plain, repository)
			copying(branch, forked)
			testTamperedBackup(t, repository, ids)
			testTamperedArchive(t, repository, forked)
		})
	}
}

// clone copies a folder into an empty one.
func clone(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// testTamperedBackup changes each object of the newer one of two backups.
func testTamperedBackup(t *testing.T, repository string, ids []string) {
	older, folder := filepath.Join(repository, "backups", ids[0]), filepath.Join(repository, "backups", ids[1])
	list, err := os.ReadDir(folder)
	if err != nil || len(list) < 5 {
		t.Fatal(list, err)
	}
	verify := []string{"verify", ids[1], "--repo", repository, "--depth", "stored", "--quiet"}
	for i, o := range list {
		other := list[(i+1)%len(list)].Name()
		tampered(t, filepath.Join(folder, o.Name()), filepath.Join(older, o.Name()), filepath.Join(folder, other),
			func(what string) {
				v := mbk(t, verify...)
				if name := ids[1] + "/" + o.Name(); v.code != 3 || !strings.Contains(v.stdout+v.stderr, name) {
					t.Errorf("%s: verify exits %d and does not name it: %s%s", what, v.code, v.stdout, v.stderr)
				}
			})
	}
	must(t, verify...)
}

// testTamperedArchive changes a segment between two others. forked has another one of its number.
func testTamperedArchive(t *testing.T, repository, forked string) {
	segments := segmentsOf(t, repository)
	segments = slices.DeleteFunc(segments, func(name string) bool { return !strings.HasSuffix(name, ".seg") })
	if segments = segments[max(len(segments)-3, 0):]; len(segments) != 3 {
		t.Fatalf("the archive has %q", segments)
	}
	path := func(repository string, i int) string { return filepath.Join(repository, "binlog", segments[i]) }
	search := []string{"events", "--repo", repository, "--quiet"}
	restore := append(restoreArgs("latest", repository, filepath.Join(t.TempDir(), "data")), "--until", "end", "--dry-run")
	must(t, search...)
	must(t, restore...)
	wantFound := func(what string, args []string) {
		o := mbk(t, args...)
		if o.code != 3 || !strings.Contains(o.stderr, segments[1]) {
			t.Errorf("%s: %s exits %d and does not name it: %s%s", what, args[0], o.code, o.stdout, o.stderr)
		}
	}
	tampered(t, path(repository, 1), path(forked, 1), path(repository, 2), func(what string) { wantFound(what, search) })
	whole, err1 := os.ReadFile(path(repository, 1))
	other, err2 := os.ReadFile(path(forked, 1))
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	rewrite(t, path(repository, 1), other)
	wantFound("an older one in its place", restore) // before anything is made
	rewrite(t, path(repository, 1), whole)
}
