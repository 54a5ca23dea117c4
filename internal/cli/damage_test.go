package cli_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbk/internal/test/mariadbtest"
)

// One flipped byte in any object of a backup: verify finds it and names the
// object, and a restore fails before it has placed anything.
func TestFlippedByteInEveryObject(t *testing.T) {
	t.Parallel()
	srv := mariadbtest.New(t, mariadbtest.Versions()[0])
	srv.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.t (a INT) ENGINE=InnoDB",
		"INSERT INTO d.t SELECT seq FROM d.seq_1_to_1000")
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
			if v.code != 3 || !strings.Contains(v.stdout+v.stderr, o.Name()) &&
				!strings.Contains(v.stdout+v.stderr, "manifest") {
				t.Errorf("%s, byte %d flipped: verify exits %d: %s%s", o.Name(), at, v.code, v.stdout, v.stderr)
			}
			if at != len(whole)/2 {
				continue // a restore reads it in the same way
			}
			target := filepath.Join(t.TempDir(), "restored")
			if !slices.Contains([]string{"manifest.json.zst", "key.age"}, o.Name()) { // without which nobody can read it
				r := mbk(t, restoreArgs(b.ID, repository, target)...)
				if o.Name() == "label.json" {
					r.stderr = withoutWarning(t, r.stderr, "no label that can be read")
				}
				r.wantRefusal(t, 2, "--allow-damaged", "found backup "+b.ID+" damaged on ", o.Name())
			}
			r := mbk(t, append(restoreArgs(b.ID, repository, target), "--allow-damaged", "--no-recover")...)
			if notRestored(o.Name()) {
				// Nothing of it is needed, and the rest is whole.
				if r.code != 0 {
					t.Errorf("%s, byte %d flipped: restore exits %d: %s", o.Name(), at, r.code, r.stderr)
				}
				continue
			}
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

	// What looks like an interrupted backup and is a link to somebody's files is named
	// by the next backup, which removes none of them and does not fail.
	precious := filepath.Join(t.TempDir(), "precious")
	link := filepath.Join(repository, "backups", "20200101T000000Z-full")
	if err := errors.Join(os.WriteFile(precious, nil, 0o600), os.Symlink(filepath.Dir(precious), link)); err != nil {
		t.Fatal(err)
	}
	newest := document[taken](t, "backup", "--repo", repository, "--socket", srv.Socket, "--user", "root", "--quiet")
	if got := strings.Join(newest.Warnings, "\n"); !isRemote(kindFor(t)) && !strings.Contains(got,
		link+": is a symbolic link, and nothing is removed through one") {
		t.Errorf("warnings %q", got)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}

	// The newest backup is damaged: "latest" is the one before, and says so.
	pack := filepath.Join(repository, "backups", newest.ID, "redo.pack")
	whole, err := os.ReadFile(pack)
	if err != nil {
		t.Fatal(err)
	}
	whole[len(whole)/2] ^= 0x10
	rewrite(t, pack, whole)
	if v := mbk(t, "verify", "latest", "--repo", repository, "--quiet"); v.code != 3 ||
		!strings.Contains(v.stdout, newest.ID) {
		t.Errorf("verify latest exits %d: %s%s", v.code, v.stdout, v.stderr)
	}
	target := filepath.Join(t.TempDir(), "restored")
	if d := must(t, append(restoreArgs("latest", repository, target), "--dry-run")...); !strings.Contains(d.stdout,
		b.ID) || !strings.Contains(d.stdout, newest.ID+" is newer, but damaged") {
		t.Errorf("restore latest: %s", d.stdout)
	}
	if v := must(t, "verify", "latest", "--repo", repository); !strings.Contains(v.stdout, b.ID) {
		t.Errorf("verify latest once more: %s", v.stdout)
	}
	mbk(t, restoreArgs(newest.ID, repository, target)...).wantRefusal(t, 2,
		"restore "+b.ID+", the newest that is not known to be damaged", "redo.pack")
	must(t, append(restoreArgs("latest", repository, target), "--no-recover")...)
}

// withoutWarning takes the one warning off that says something.
func withoutWarning(t *testing.T, stderr, says string) string {
	t.Helper()
	line, rest, _ := strings.Cut(stderr, "\n")
	if !strings.HasPrefix(line, "mbk: warning: ") || !strings.Contains(line, says) {
		t.Errorf("no warning of %q: %s", says, stderr)
	}
	return rest
}

// notRestored reports whether an object of a backup is none that a restore needs.
func notRestored(name string) bool {
	return name == "label.json" || name == "lineage.bin.zst" || name == "RESTORE.txt"
}

// An object of a backup is gone or has been cut off.
func TestObjectMissingOrCut(t *testing.T) {
	t.Parallel()
	anyKind(t)
	srv := mariadbtest.New(t, mariadbtest.Versions()[0])
	repository := t.TempDir()
	b := document[taken](t, backupArgs(srv, repository)...)
	for _, name := range []string{"data-0001.pack", "redo.pack", "manifest.json.zst", "lineage.bin.zst", "label.json"} {
		path := filepath.Join(repository, "backups", b.ID, name)
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for what, damage := range map[string]func(){
			"cut off": func() { rewrite(t, path, whole[:len(whole)/2]) },
			"empty":   func() { rewrite(t, path, nil) },
			"missing": func() {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			},
		} {
			t.Run(name+" "+what, func(t *testing.T) {
				code, advice := 3, `"mbk verify"`
				if name == "label.json" && what == "missing" {
					code, advice = 2, `"mbk backup" makes the first backup` // there is no such backup
				}
				damage()
				v := mbk(t, "verify", b.ID, "--repo", repository, "--depth", "stored", "--quiet")
				if v.code != code || code == 3 && !strings.Contains(v.stdout, name) {
					t.Errorf("verify exits %d: %s%s", v.code, v.stdout, v.stderr)
				}
				place := t.TempDir()
				if notRestored(name) && code == 3 {
					must(t, append(restoreArgs(b.ID, repository, filepath.Join(place, "restored")), "--allow-damaged",
						"--no-recover")...)
					rewrite(t, path, whole)
					return
				}
				mbk(t, append(restoreArgs(b.ID, repository, filepath.Join(place, "restored")), "--allow-damaged")...).wantRefusal(t,
					code, advice, map[int]string{2: nameOf(t, repository), 3: b.ID}[code])
				wantEmptyFolder(t, place)
				rewrite(t, path, whole)
			})
		}
	}
	must(t, "verify", b.ID, "--repo", repository, "--quiet")
}

// A restore is interrupted or killed: the target stays as it was, and the next
// restore works and removes what was left.
func TestInterruptedRestore(t *testing.T) {
	t.Parallel()
	srv := newBusyServer(t, mariadbtest.Versions()[0])
	repository := t.TempDir()
	must(t, backupArgs(srv, repository)...)
	place := t.TempDir()
	target := filepath.Join(place, "restored")
	if err := os.Mkdir(target, 0o750); err != nil {
		t.Fatal(err)
	}
	args := restoreArgs("latest", repository, target)
	begin := func(phase string) *run {
		t.Helper()
		const coarse = 20 * time.Millisecond // is the clock of a file system at most
		time.Sleep(2 * coarse)
		launched := time.Now().Add(-coarse)
		r := launch(t, command(t, args...))
		until(t, phase, func() bool {
			found, err := filepath.Glob(filepath.Join(place, ".restored.mbk-restore-*", phase))
			return err == nil && slices.ContainsFunc(found, func(path string) bool {
				var s syscall.Stat_t // not what a restore has left that was killed
				return syscall.Stat(path, &s) == nil && time.Unix(s.Ctim.Unix()).After(launched)
			})
		})
		return r
	}
	for _, phase := range []string{"*", "*/ibdata1", "mariadbd.log"} {
		r := begin(phase)
		if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		o := r.wait(t, 20*time.Second)
		if o.code != 130 || o.stdout != "" || o.stderr != "mbk: error: interrupted\n" {
			t.Errorf("interrupted at %s: exit code %d, stdout %q, stderr %q", phase, o.code, o.stdout, o.stderr)
		}
		wantEmptyFolder(t, target)
		if left, err := os.ReadDir(place); err != nil || len(left) != 1 {
			t.Errorf("interrupted at %s: beside the target there are %v, %v", phase, left, err)
		}

		r = begin(phase)
		if err := r.cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		if o := r.wait(t, 20*time.Second); o.code != -1 {
			t.Errorf("killed at %s: exit code %d", phase, o.code)
		}
		wantEmptyFolder(t, target)
	}
	must(t, args...)
	if left, err := os.ReadDir(place); err != nil || len(left) != 1 {
		t.Errorf("beside the target there are %v, %v", left, err)
	}
	if info, err := os.Stat(target); err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("the target has mode %v, %v; want that of the folder which was there", info.Mode(), err)
	}
	mariadbtest.MustEqual(t, mariadbtest.Open(t, mariadbtest.Versions()[0], target), srv)
}

// wantEmptyFolder makes sure that a folder holds nothing.
func wantEmptyFolder(t *testing.T, folder string) {
	t.Helper()
	if left, err := os.ReadDir(folder); err != nil || len(left) != 0 {
		t.Errorf("%s holds %v, %v", folder, left, err)
	}
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
