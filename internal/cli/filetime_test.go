package cli_test

import (
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mbk/internal/datadir"
	"mbk/internal/test/mariadbtest"
)

// An increment does not read a file whose identity, size and times are those of its
// parent's copy. That is only right if every write of a server moves one of them. These
// tests let servers write in every way they can, on every file system for which the
// rule is used, and compare all bytes of all files with what their times tell.

// fileSystem is one on a loop device.
type fileSystem struct{ name, make, options string }

// fileSystems are those with birth times, each also with options that change when times,
// or bytes, are written.
func fileSystems() []fileSystem {
	return []fileSystem{
		{"ext4", "mkfs.ext4 -q -F", "relatime"},
		{"XFS", "mkfs.xfs -q -f", "noatime"},
		{"Btrfs", "mkfs.btrfs -q -f", "relatime"},
		{"ext4 lazytime", "mkfs.ext4 -q -F", "lazytime,noatime,nobarrier"},
		{"XFS lazytime", "mkfs.xfs -q -f -m reflink=1", "lazytime,relatime"},
		{"Btrfs without copy-on-write", "mkfs.btrfs -q -f", "nodatacow,nobarrier,noatime"},
		{"ext4 data=journal", "mkfs.ext4 -q -F", "data=journal,relatime"},
		{"Btrfs compressed", "mkfs.btrfs -q -f", "compress-force=zstd:1,noatime"},
	}
}

// mount makes the file system and returns its folder. The device is in memory, where
// there is some, so that servers that call fsync do not wait for a disk.
func (f fileSystem) mount(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	device := filepath.Join(otherFileSystem(t), "device")
	if err := errors.Join(os.WriteFile(device, nil, 0o600), os.Truncate(device, 1<<30)); err != nil {
		t.Fatal(err)
	}
	makes := append(strings.Fields(f.make), device)
	for _, args := range [][]string{makes, {"mount", "-o", "loop," + f.options, device, folder}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Skipf("no %s to be had here, which takes root, loop devices, e2fsprogs, xfsprogs and btrfs-progs: %s: %v: %s",
				f.name, args[0], err, out)
		}
	}
	t.Cleanup(func() {
		if err := unix.Unmount(folder, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return folder
}

// seenFile is a file as it was read between two looks at its times.
type seenFile struct {
	path          string // below the data directory
	before, after datadir.FileStat
	pages         []uint64 // hashes
}

// fileSnapshot holds the files of a data directory by their identity.
type fileSnapshot map[datadir.Identity]seenFile

// filetimes is one server whose files are watched.
type filetimes struct {
	*mariadbtest.Server
	rest time.Duration // how long files are left alone before they are read
	seed maphash.Seed
	now  fileSnapshot

	proven map[string]int // how often a change of a file at rest showed, by kind of file
}

const filetimePage = 4096

// look reads all files.
func (f *filetimes) look(t *testing.T) fileSnapshot {
	t.Helper()
	found := fileSnapshot{}
	buffer := make([]byte, filetimePage)
	err := filepath.WalkDir(f.Datadir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || neverBackedUp(e.Name()) {
			return err
		}
		s, err := f.read(path, buffer)
		if err == nil {
			found[s.before.ID] = s
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return found
}

// neverBackedUp reports files that no backup copies as files.
func neverBackedUp(name string) bool {
	return strings.HasPrefix(name, "ib_logfile") || strings.HasPrefix(name, "ibtmp")
}

func (f *filetimes) read(path string, buffer []byte) (s seenFile, err error) {
	file, err := os.Open(path)
	if err != nil {
		return s, err
	}
	defer file.Close() //nolint:errcheck // only read
	if s.before, err = datadir.StatFile(file); err != nil {
		return s, err
	}
	for {
		n, err := io.ReadFull(file, buffer)
		if n > 0 {
			s.pages = append(s.pages, maphash.Bytes(f.seed, buffer[:n]))
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return s, err
		}
	}
	s.path, err = filepath.Rel(f.Datadir, path)
	if err != nil {
		return s, err
	}
	s.after, err = datadir.StatFile(file)
	return s, err
}

// await waits until no file of the data directory was changed for a while, or until the
// server seems to go on for ever.
func (f *filetimes) await(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(f.rest + 5*time.Second); time.Now().Before(deadline); {
		var newest datadir.Timestamp
		err := filepath.WalkDir(f.Datadir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || !e.Type().IsRegular() || neverBackedUp(e.Name()) {
				return err
			}
			s, err := datadir.Layout{}.Stat(path)
			newest = max(newest, s.Changed)
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		left := f.rest - time.Since(newest.Time())
		if err == nil && left < 0 {
			return
		}
		time.Sleep(max(left, 0) + 5*time.Millisecond)
	}
}

// flush lets the server write all that it has changed.
func (f *filetimes) flush(t *testing.T) {
	t.Helper()
	if f.Pid() == 0 {
		return
	}
	f.MustExec(t, "FLUSH TABLES")
	if forcesCheckpoint(f.Dist.Series) {
		f.MustExec(t, "SET GLOBAL innodb_log_checkpoint_now=ON")
		return
	}
	f.MustExec(t, "SET GLOBAL innodb_max_dirty_pages_pct=0")
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if f.MustValue(t, "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = "+
			"'INNODB_BUFFER_POOL_PAGES_DIRTY'") == "0" {
			break
		}
	}
	f.MustExec(t, "SET GLOBAL innodb_max_dirty_pages_pct=90")
}

// step does something and then holds the times of all files against their bytes. A file whose
// path matches must have been changed in place, for each of the patterns.
func (f *filetimes) step(t *testing.T, name string, do func(), patterns ...string) {
	t.Helper()
	do()
	f.flush(t)
	f.await(t)
	was := f.now
	f.now = f.look(t)
	changed := []string{}
	for id, now := range f.now {
		before, known := was[id]
		if !known || slices.Equal(before.pages, now.pages) {
			continue
		}
		changed = append(changed, now.path)
		// The rule trusts files that were left alone for a second. A shorter rest
		// is a harder test of it.
		before.before.Taken = before.before.Taken.Add(time.Second - min(f.rest, time.Second))
		if before.before.UnchangedBy(now.after) {
			t.Errorf("%s: %s has other bytes (%s) and the same times: %+v", name, now.path, differing(before, now), now.after)
			continue
		}
		if before.before.Quiescent() {
			f.proven[kindOf(now.path)]++
		}
	}
	for _, pattern := range patterns {
		if !slices.ContainsFunc(changed, func(path string) bool { ok, _ := filepath.Match(pattern, path); return ok }) {
			t.Errorf("%s: no %s was changed in place", name, pattern)
		}
	}
}

// sql is step with statements.
func (f *filetimes) sql(t *testing.T, name string, statements []string, patterns ...string) {
	t.Helper()
	f.step(t, name, func() { f.MustExec(t, append([]string{"USE d"}, statements...)...) }, patterns...)
}

// differing says in which pages two states of a file differ.
func differing(a, b seenFile) string {
	if len(a.pages) != len(b.pages) {
		return "its length"
	}
	for i := range a.pages {
		if a.pages[i] != b.pages[i] {
			return fmt.Sprintf("its bytes from %d on", i*filetimePage)
		}
	}
	return "nothing"
}

// kindOf is the kind of a file for the report.
func kindOf(path string) string {
	if ext := filepath.Ext(path); ext != "" && strings.Contains(path, "/") {
		return ext
	}
	return strings.TrimRight(filepath.Base(path), "0123456789.")
}

// writing is a way in which servers write.
type writing struct {
	name string
	args []string
}

// writings are the ways that servers of that series have. The options which a release
// lacks are ignored by it: then the way is the one before it.
func writings(version string) []writing {
	old := []writing{
		{"O_DIRECT", []string{"--innodb-flush-method=O_DIRECT"}},
		{"fsync", []string{"--innodb-flush-method=fsync"}},
		{"O_DSYNC", []string{"--innodb-flush-method=O_DSYNC"}},
		{"O_DIRECT_NO_FSYNC, no doublewrite", []string{"--innodb-flush-method=O_DIRECT_NO_FSYNC",
			"--skip-innodb-doublewrite"}},
		{"O_DIRECT, no native AIO", []string{"--innodb-flush-method=O_DIRECT", "--innodb-use-native-aio=OFF"}},
		{"fsync, no native AIO, no atomic writes", []string{"--innodb-flush-method=fsync", "--innodb-use-native-aio=OFF",
			"--innodb-use-atomic-writes=OFF"}},
		{"littlesync", []string{"--innodb-flush-method=littlesync"}},
		{"nosync, no doublewrite", []string{"--innodb-flush-method=nosync", "--skip-innodb-doublewrite"}},
		{"O_DIRECT, libaio, pages of 4k", []string{"--innodb-flush-method=O_DIRECT", "--loose-innodb-linux-aio=aio",
			"--innodb-page-size=4k"}},
		{"O_DIRECT, io_uring, no atomic writes", []string{"--innodb-flush-method=O_DIRECT",
			"--loose-innodb-linux-aio=io_uring", "--innodb-use-atomic-writes=OFF"}},
	}
	if older(version, "11.0") {
		return old
	}
	return append(old,
		writing{"data file buffering", []string{"--innodb-data-file-buffering=ON"}},
		writing{"data file write through", []string{"--innodb-data-file-write-through=ON", "--innodb-linux-aio=io_uring"}},
		writing{"buffering and write through, libaio", []string{"--innodb-data-file-buffering=ON",
			"--innodb-data-file-write-through=ON", "--innodb-linux-aio=aio"}},
		writing{"fast doublewrite", []string{"--innodb-doublewrite=fast", "--innodb-linux-aio=aio"}})
}

// TestFileTimes takes each file system and each of some ways of writing once.
// TestSoak takes them all, and longer rests.
func TestFileTimes(t *testing.T) {
	type writer struct{ version, system, how string }
	for _, c := range mariadbtest.Some(t,
		writer{"11.8", "ext4", "O_DIRECT, io_uring, no atomic writes"},
		writer{"11.8", "XFS", "O_DIRECT, io_uring, no atomic writes"},
		writer{"11.8", "Btrfs", "data file buffering"},
	) {
		t.Run(c.version+", "+c.system+", "+c.how, func(t *testing.T) {
			t.Parallel()
			system := fileSystems()[slices.IndexFunc(fileSystems(), func(s fileSystem) bool { return s.name == c.system })]
			all := writings(c.version)
			how := all[slices.IndexFunc(all, func(w writing) bool { return w.name == c.how })]
			t.Log(fileTimes(t, c.version, system, how, 50*time.Millisecond))
		})
	}
}

// fileTimes lets one server write and tells how often its files showed it.
func fileTimes(t *testing.T, version string, system fileSystem, how writing, rest time.Duration) string {
	t.Helper()
	args, err := mariadbtest.EncryptionArgs(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	args = append(args, "--innodb-encrypt-tables=OFF", "--innodb-encrypt-log=OFF", "--aria-encrypt-tables=OFF",
		"--skip-log-bin",
		"--innodb-encryption-threads=0", "--innodb-log-file-size=24M", "--innodb-buffer-pool-size=16M",
		"--key-buffer-size=64K",
		"--plugin-load-add=ha_archive", "--innodb-undo-tablespaces=3", "--innodb-max-undo-log-size=10M",
		"--innodb-undo-log-truncate=ON", "--innodb-purge-rseg-truncate-frequency=1", "--innodb-flush-log-at-trx-commit=2")
	shrinks := !older(version, "11.2")
	if shrinks {
		args = append(args, "--innodb-data-file-path=ibdata1:12M:autoextend:autoshrink")
	} else {
		args = append(args, "--innodb-change-buffering=all")
	}
	f := &filetimes{
		Server: mariadbtest.NewIn(t, system.mount(t), version, append(args, how.args...)...),
		rest:   rest, seed: maphash.MakeSeed(), proven: map[string]int{},
	}
	f.MustExec(t, filetimeTables()...)
	f.flush(t)
	f.await(t)
	f.now = f.look(t)
	for id, s := range f.now {
		if id.Born == 0 {
			t.Fatalf("%s keeps no birth time of %s", system.name, s.path)
		}
	}
	f.rows(t)
	f.definitions(t)
	f.encryption(t)
	f.otherEngines(t)
	f.offline(t)
	f.system(t, shrinks)
	for kind, least := range map[string]int{".ibd": 40, "ibdata": 10, "undo": 20, ".MAD": 5, ".MAI": 5, ".MYD": 5,
		".MYI": 5} {
		if f.proven[kind] < least {
			t.Errorf("only %d changes of %s were made after a rest, want %d", f.proven[kind], kind, least)
		}
	}
	var kinds []string
	total := 0
	for kind, n := range f.proven {
		kinds = append(kinds, fmt.Sprintf("%s %d", kind, n))
		total += n
	}
	slices.Sort(kinds)
	return fmt.Sprintf("%s, %s: %d changes of files at rest, all seen: %s", system.name, how.name, total,
		strings.Join(kinds, ", "))
}

// older compares two series. Every series is newer than "", and a name is newer
// than every number.
func older(a, b string) bool {
	number := func(series string) int {
		major, minor, _ := strings.Cut(series, ".")
		minor, _, _ = strings.Cut(minor, ".") // 10.11.7 is one release of 10.11
		x, err1 := strconv.Atoi(major)
		y, err2 := strconv.Atoi(minor)
		if errors.Join(err1, err2) != nil {
			return 1_000_000
		}
		return 1000*x + y
	}
	return b != "" && number(a) < number(b)
}
