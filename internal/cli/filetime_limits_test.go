package cli_test

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mbk/internal/datadir"
	"mbk/internal/test/mariadbtest"
)

// A server with myisam_use_mmap changes rows in memory that it shares with the file. Only
// the first change after the kernel has written a page out moves the file's times, and
// so their files are always copied.
func TestFileTimesDoNotTellOfMmap(t *testing.T) {
	for _, system := range fileSystems()[:3] {
		t.Run(system.name, func(t *testing.T) {
			t.Parallel()
			f := &filetimes{
				Server: mariadbtest.NewIn(t, system.mount(t), newest(), "--myisam-use-mmap", "--skip-log-bin"),
				rest:   1100 * time.Millisecond, seed: maphash.MakeSeed(),
			}
			f.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.mapped (id INT NOT NULL, s CHAR(200) NOT NULL) ENGINE=MyISAM",
				"INSERT INTO d.mapped SELECT seq, MD5(seq) FROM mysql.seq_1_to_2000", "FLUSH TABLES")
			path, buffer := filepath.Join(f.Datadir, "d", "mapped.MYD"), make([]byte, filetimePage)
			var seen []seenFile
			for i := range 10 { // the kernel may write the page out at any time
				f.MustExec(t, fmt.Sprintf("UPDATE d.mapped SET s = 'change %d' WHERE id = 7", i))
				time.Sleep(f.rest)
				s, err := f.read(path, buffer)
				if err != nil {
					t.Fatal(err)
				}
				seen = append(seen, s)
				if i > 0 && differing(seen[i-1], s) != "nothing" && seen[i-1].before.UnchangedBy(s.after) {
					return
				}
			}
			t.Errorf("each change of a mapped file moved its times; then mbk need not copy such files always: %+v", seen)
		})
	}
}

// A write with O_DIRECT moves a file's times when it is submitted. Where the disk holds
// it up, as a limit on its bandwidth does, the file is at rest by its times and gets
// other bytes later. So a rest proves nothing about tablespaces; that no write is on its
// way does.
func TestFileTimesDoNotTellOfWritesOnTheirWay(t *testing.T) {
	for _, system := range fileSystems()[:2] { // Btrfs may go through its cache instead
		t.Run(system.name, func(t *testing.T) {
			t.Parallel()
			folder := system.mount(t)
			path := filepath.Join(folder, "f")
			const size = 64 << 10
			if err := os.WriteFile(path, bytes.Repeat([]byte{'a'}, size), 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close() //nolint:errcheck // only read
			if err := f.Sync(); err != nil {
				t.Fatal(err)
			}
			read := func() []byte {
				t.Helper()
				b := make([]byte, size)
				if _, err := f.ReadAt(b, 0); err != nil {
					t.Fatal(err)
				}
				return b
			}
			read()
			first, err := datadir.StatFile(f)
			if err != nil {
				t.Fatal(err)
			}
			writer := throttledWriter(t, folder, size/3)
			begun := time.Now()
			if err := writer.Start(); err != nil {
				t.Fatal(err)
			}
			var before datadir.FileStat
			for !before.Quiescent() || before.Modified == first.Modified {
				if before, err = datadir.StatFile(f); err != nil {
					t.Fatal(err)
				}
				if time.Since(begun) > 30*time.Second {
					t.Fatalf("the writer does not write: %s", writer.Stderr)
				}
				time.Sleep(10 * time.Millisecond)
			}
			copied := read()
			if err := writer.Wait(); err != nil {
				t.Fatalf("%v: %s", err, writer.Stderr)
			}
			after, err := datadir.StatFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if bytes.Equal(copied, read()) {
				t.Skip("the write was not held up here")
			}
			if !before.UnchangedBy(after) {
				t.Errorf("the times moved when the bytes arrived; then a rest is enough: %+v, %+v", before, after)
			}
			if before.WritesArrived(begun) {
				t.Errorf("a write is said to have arrived that was submitted after %s: %+v", begun, before)
			}
		})
	}
}

// throttledWriter prepares a process that overwrites the file f in a folder, to whose device
// it may write that many bytes a second.
func throttledWriter(t *testing.T, folder string, perSecond int) *exec.Cmd {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(folder, &st); err != nil {
		t.Fatal(err)
	}
	device := fmt.Sprintf("%d:%d", unix.Major(st.Dev), unix.Minor(st.Dev))
	name := fmt.Sprintf("mbk-test-%d-%d", os.Getpid(), st.Dev)
	group, limit, value := "/sys/fs/cgroup/"+name, "io.max", fmt.Sprintf("%s wbps=%d", device, perSecond)
	if _, err := os.Stat("/sys/fs/cgroup/blkio"); err == nil {
		group, limit, value = "/sys/fs/cgroup/blkio/"+name, "blkio.throttle.write_bps_device",
			device+" "+strconv.Itoa(perSecond)
	}
	if err := os.Mkdir(group, 0o755); err != nil {
		t.Skipf("no control group to be had: %v", err)
	}
	t.Cleanup(func() {
		if err := os.Remove(group); err != nil {
			t.Error(err)
		}
	})
	if err := os.WriteFile(filepath.Join(group, limit), []byte(value), 0o644); err != nil {
		t.Skipf("writes cannot be throttled here: %v", err)
	}
	// dd writes the first third, and then waits.
	cmd := exec.Command("sh", "-c", `echo $$ > "$1/cgroup.procs" && exec dd if=/dev/zero of="$2" bs=64k count=1 oflag=direct conv=notrunc`,
		"sh", group, filepath.Join(folder, "f"))
	cmd.Stderr = new(strings.Builder)
	return cmd
}
