package cli_test

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"mbk/internal/test/mariadbtest"
)

// device is a file system on a file of its own, so that it can lose its end.
type device struct{ file, folder string }

// newDevice mounts a new file system over a folder.
func newDevice(t *testing.T, folder string, size int64) device {
	t.Helper()
	d := device{filepath.Join(t.TempDir(), "device"), folder}
	if err := os.WriteFile(d.file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.file, size); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-b", "4096", d.file},
		{"mount", "-o", "loop", d.file, folder}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Skipf("%s: %v: %s", args[0], err, out)
		}
	}
	t.Cleanup(func() {
		if err := unix.Unmount(folder, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err := os.Remove(filepath.Join(folder, "lost+found")); err != nil {
		t.Fatal(err)
	}
	return d
}

// end is the byte of the device behind the last one of a file that was written.
func (d device) end(t *testing.T, name string) int64 {
	t.Helper()
	d.sync(t)
	out, err := exec.Command("filefrag", "-v", "-b4096", filepath.Join(d.folder, name)).CombinedOutput()
	if err != nil {
		t.Skipf("filefrag: %v: %s", err, out)
	}
	extent := regexp.MustCompile(`^ *\d+: +\d+\.\. +\d+: +\d+\.\. +(\d+):`)
	var last int64
	for line := range strings.Lines(string(out)) {
		found := extent.FindStringSubmatch(line)
		if found == nil || strings.Contains(line, "unwritten") {
			continue
		}
		n, err := strconv.ParseInt(found[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		last = max(last, n)
	}
	return (last + 1) * 4096
}

// sync gives all files their places on the device.
func (d device) sync(t *testing.T) {
	t.Helper()
	f, err := os.Open(d.folder)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // only read
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		t.Fatal(err)
	}
}

// lose makes the bytes of the device from one on unreadable, and those of a file
// leave the memory of the kernel. The other files stay in it.
func (d device) lose(t *testing.T, from int64, name string) {
	t.Helper()
	d.sync(t)
	d.hold(t, name)
	f, err := os.Open(filepath.Join(d.folder, name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // only read
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.file, from); err != nil {
		t.Fatal(err)
	}
}

// hold keeps all files but one in the memory of the kernel.
func (d device) hold(t *testing.T, except string) {
	t.Helper()
	all, err := os.ReadDir(d.folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range all {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if e.Name() == except || !info.Mode().IsRegular() || info.Size() == 0 {
			continue
		}
		f, err := os.Open(filepath.Join(d.folder, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		b, err := unix.Mmap(int(f.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := errors.Join(unix.Munmap(b), f.Close()); err != nil {
				t.Error(err)
			}
		})
		if err := unix.Mlock(b); err != nil {
			t.Fatal(err)
		}
	}
}

// A disk cannot read the end of a table any more.
func TestUnreadableSource(t *testing.T) {
	t.Parallel()
	files := map[string]string{"InnoDB": "broken.ibd", "Aria": "broken.MAD", "MyISAM": "broken.MYD"}
	for _, engine := range mariadbtest.Some(t, slices.Sorted(maps.Keys(files))...) {
		file := files[engine]
		t.Run(engine, func(t *testing.T) {
			srv := mariadbtest.New(t, oldest())
			srv.MustExec(t, "CREATE DATABASE d", "CREATE DATABASE e",
				"CREATE TABLE e.whole (a INT PRIMARY KEY, b VARCHAR(1000)) ENGINE=InnoDB")
			if err := srv.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			folder := filepath.Join(srv.Datadir, "d")
			full := folder + ".full"
			if err := os.Rename(folder, full); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(folder, 0o700); err != nil {
				t.Fatal(err)
			}
			d := newDevice(t, folder, 48<<20)
			if out, err := exec.Command("cp", "-a", full+"/.", folder).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if err := os.RemoveAll(full); err != nil {
				t.Fatal(err)
			}
			if err := srv.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			srv.MustExec(t, "INSERT INTO e.whole SELECT seq, REPEAT('x', 900) FROM mysql.seq_1_to_500",
				"CREATE TABLE d.broken (a INT PRIMARY KEY, b VARCHAR(1000)) ENGINE="+engine,
				"INSERT INTO d.broken SELECT seq, REPEAT('x', 900) FROM mysql.seq_1_to_6000")
			if err := srv.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			end := d.end(t, file)
			if err := srv.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			d.lose(t, end-64<<10, file)

			repository := t.TempDir()
			o := mbk(t, backupArgs(srv, repository)...)
			o.wantRefusal(t, 3, "the kernel's log names it", "d/"+file, "input/output error")
			wantNoBackup(t, repository, 1)
			wantFree(t, srv)
			if engine == "MyISAM" {
				return // its files have no pages that could be left out
			}
			if !strings.Contains(o.stderr, "table `d`.`broken`: page ") {
				t.Errorf("the table and its page are not named: %s", o.stderr)
			}
			must(t, backupArgs(srv, repository, "--allow-damaged-pages")...)
			if v := mbk(t, "verify", "latest", "--repo", repository, "--depth", "pages", "--quiet"); v.code != 3 ||
				!strings.Contains(v.stdout, file) {
				t.Errorf("verify exits %d: %s", v.code, v.stdout)
			}
			target := filepath.Join(t.TempDir(), "restored")
			must(t, restoreArgs("latest", repository, target)...)
			restored := mariadbtest.Open(t, oldest(), target)
			if got := restored.MustValue(t, "SELECT COUNT(*) FROM e.whole"); got != "500" {
				t.Errorf("the whole table has %s rows, want 500", got)
			}
		})
	}
}
