package cli_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mbk/internal/sys/pagecache"
	"mbk/internal/test/mariadbtest"
)

// What a check before the backup would have refused, and is there at the end.
func TestTableMadeMeanwhileThatCannotBeBackedUp(t *testing.T) {
	t.Parallel()
	srv := newBusyServer(t, mariadbtest.Versions()[0], "--plugin-load-add=ha_rocksdb")
	repository := t.TempDir()
	r := copying(t, srv, repository, "--rate-limit", "15MB")
	srv.MustExec(t, "CREATE TABLE d.r (a INT PRIMARY KEY) ENGINE=ROCKSDB")
	r.wait(t, time.Minute).wantRefusal(t, 2, "--skip-unsupported", "tables: ", "`d`.`r` has engine ROCKSDB")
	wantNoBackup(t, repository, 1)
	wantFree(t, srv)
}

// cached sums up what the page cache holds of the files of a folder, in bytes.
func cached(t *testing.T, folder string) int64 {
	t.Helper()
	var sum int64
	err := filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // only read
		info, err := f.Stat()
		if err == nil {
			sum += pagecache.Look(f, 0, info.Size()).Resident()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// uncache drops all files of a folder from the page cache.
func uncache(t *testing.T, folder string) {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range all {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		fd := int(f.Fd())
		if err := errors.Join(unix.Fsync(fd), unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED), f.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// The page cache is the server's: a backup neither leaves files in it that were not
// there nor drops those that were.
func TestPageCacheIsLeftAsItWas(t *testing.T) {
	srv := newBusyServer(t, mariadbtest.Versions()[0], "--innodb-flush-method=O_DIRECT")
	for _, name := range []string{"warm", "cold"} {
		srv.MustExec(t, "CREATE TABLE d."+name+" ENGINE=MyISAM AS SELECT * FROM d.i LIMIT 8000")
	}
	for i := range 40 {
		srv.MustExec(t, fmt.Sprintf("CREATE TABLE d.small%d ENGINE=InnoDB AS SELECT seq FROM d.seq_1_to_100", i))
	}
	srv.MustExec(t, "FLUSH TABLES")
	if err := srv.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	log, err := os.Open(filepath.Join(srv.Datadir, "ib_logfile0"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()       //nolint:errcheck // only read
	for try := 1; ; try++ { // the kernel may take pages at any time
		wrong := cacheChange(t, srv, log)
		if wrong == "" {
			return
		}
		if try == 3 {
			t.Fatal(wrong)
		}
	}
}

// cacheChange says what is wrong with what a backup did to the page cache.
func cacheChange(t *testing.T, srv *mariadbtest.Server, log *os.File) string {
	files := filepath.Join(srv.Datadir, "d")
	uncache(t, files)
	if _, err := os.ReadFile(filepath.Join(files, "warm.MYD")); err != nil {
		t.Fatal(err)
	}
	before := cached(t, files)
	if before < 7<<20 || before > 9<<20 {
		t.Skipf("this file system holds %d bytes in the page cache, want 8 MiB", before)
	}
	repository := t.TempDir()
	srv.MustExec(t, "UPDATE d.i SET b = REVERSE(b) LIMIT 5000")
	const head = 64 << 10
	redoBefore := pagecache.Look(log, head, 96<<20).Resident()
	must(t, backupArgs(srv, repository)...)
	after, packs := cached(t, files), cached(t, filepath.Join(repository, "backups"))
	redo := pagecache.Look(log, head, 96<<20).Resident()
	t.Logf("cached before %d KiB, after %d KiB; of the redo log %d KiB before, %d KiB after; of the packs %d KiB",
		before>>10, after>>10, redoBefore>>10, redo>>10, packs>>10)
	switch {
	case redoBefore == 0 && redo > 0:
		return fmt.Sprintf("%d bytes of the redo log are in the page cache", redo)
	case after < before || after > before+1<<20: // definitions are read whole
		return fmt.Sprintf("%d bytes of the tables were in the page cache before, %d after", before, after)
	case packs > 1<<20 && !isRemote(kindFor(t)): // those of a server are its own matter
		return fmt.Sprintf("%d bytes of the packs stay in the page cache", packs)
	}
	return ""
}

// A plan that has objections to the target says how much room there is all the same.
func TestDryRunWithObjections(t *testing.T) {
	t.Parallel()
	srv := mariadbtest.New(t, mariadbtest.Versions()[0])
	repository, target := t.TempDir(), t.TempDir()
	must(t, backupArgs(srv, repository)...)
	if err := os.WriteFile(filepath.Join(target, "photo.jpeg"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	o := mbk(t, append(restoreArgs("latest", repository, target), "--dry-run")...)
	if o.code != 2 || !strings.Contains(o.stdout, " needed, ") || strings.Contains(o.stdout, ", 0 B free") ||
		!strings.Contains(o.stderr, "photo.jpeg") {
		t.Errorf("exit code %d, stdout:\n%s\nstderr:\n%s", o.code, o.stdout, o.stderr)
	}
	o = mbk(t, append(restoreArgs("latest", repository, filepath.Join(target, "no", "parent")), "--dry-run")...)
	if o.code != 2 || !strings.Contains(o.stdout, " needed\n") || strings.Contains(o.stdout, "free") {
		t.Errorf("without a parent: exit code %d, stdout:\n%s\nstderr:\n%s", o.code, o.stdout, o.stderr)
	}
}

// Somebody else fills the repository's disk while a backup runs.
func TestMinFreeDuringABackup(t *testing.T) {
	onlyIn(t, "an object store does not say what is free", inFolder, inEncrypted, inSFTP, inSFTPEncrypted)
	t.Parallel()
	srv := newBusyServer(t, mariadbtest.Versions()[0])
	disk := mount(t, "80m")
	repository := filepath.Join(disk, "repository")
	if err := os.Mkdir(repository, 0o700); err != nil {
		t.Fatal(err)
	}
	r := copying(t, srv, repository, "--min-free", "20MB")
	if err := os.WriteFile(filepath.Join(disk, "filler"), make([]byte, 62<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	r.wait(t, 15*time.Second).wantRefusal(t, 1, "make room (mbk expire), or allow less with --min-free",
		repository+" has only ", " left, and 19 MiB (20MB) are to be kept free")
	if a := wantNoBackup(t, repository, 1)[0]; !strings.Contains(a.Error, "to be kept free") ||
		!strings.Contains(strings.Join(a.Hints, " "), "--min-free") {
		t.Errorf("the history says %q, with the hints %q", a.Error, a.Hints)
	}
	wantFree(t, srv)
}

// The server gets more to do than it should have beside a backup.
func TestAbortIf(t *testing.T) {
	t.Parallel()
	srv := newBusyServer(t, mariadbtest.Versions()[0])
	repository := t.TempDir()
	mbk(t, backupArgs(srv, repository, "--abort-if", "Threads_connected>500", "--abort-if", "Threads_connected >= 1")...).
		wantRefusal(t, 4, "try again at a quieter time", "given up: status variable threads_connected is ",
			"the bound is Threads_connected >= 1")
	mbk(t, backupArgs(srv, repository, "--abort-if", "Nonsense>1")...).wantRefusal(t, 2, "SHOW GLOBAL STATUS",
		`no status variable "nonsense"`)
	mbk(t, backupArgs(srv, repository, "--abort-if", "Rpl_status=1")...).wantRefusal(t, 2, "SHOW GLOBAL STATUS",
		"which is not a number")
	for _, wrong := range []string{"Threads_running", "Threads_running>many", "Threads running > 1", ">5", "a=>5"} {
		mbk(t, backupArgs(srv, repository, "--abort-if", wrong)...).wantRefusal(t, 2, "lists the options", "--abort-if: ")
	}
	wantNoBackup(t, repository, 3)
	repository = t.TempDir()
	r := copying(t, srv, repository, "--abort-if", "Com_create_db>=3")
	srv.MustExec(t, "CREATE DATABASE one", "CREATE DATABASE two", "CREATE DATABASE three")
	r.wait(t, 15*time.Second).wantRefusal(t, 4, "try again at a quieter time",
		"given up: status variable com_create_db is ", "the bound is Com_create_db >= 3")
	wantNoBackup(t, repository, 1)
	wantFree(t, srv)
	must(t, backupArgs(srv, repository, "--abort-if", "Threads_running>2000", "--max-lag", "1s")...)
}

// A replica falls behind.
func TestMaxLag(t *testing.T) {
	t.Parallel()
	version := mariadbtest.Versions()[0]
	primary := mariadbtest.Listen(t, version, "")
	replica := mariadbtest.Listen(t, version, "", "--server-id=2")
	primary.MustExec(t, "CREATE USER r@'127.0.0.1' IDENTIFIED BY 'secret'",
		"GRANT REPLICATION SLAVE ON *.* TO r@'127.0.0.1'", "CREATE DATABASE d", "CREATE TABLE d.t (a INT)")
	replica.MustExec(t,
		fmt.Sprintf("CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=%d, MASTER_USER='r', MASTER_PASSWORD='secret', "+
			"MASTER_USE_GTID=slave_pos", primary.Port), "START SLAVE")
	until(t, "replication of the table", func() bool {
		return replica.MustValue(t, "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'd'") == "1"
	})
	repository := t.TempDir()
	must(t, backupArgs(replica, repository, "--max-lag", "1m")...)
	unlock := lockTables(t, replica, "d.t READ")
	primary.MustExec(t, "INSERT INTO d.t VALUES (1)")
	time.Sleep(2500 * time.Millisecond)
	mbk(t, backupArgs(replica, repository, "--max-lag", "1s")...).wantRefusal(t, 4, "try again at a quieter time",
		"given up: the lag of replication '' is ", "the bound is 1s")
	unlock()
}

// The reading is bounded, and the threads that copy give way while others do not.
func TestRateLimitAndNiceness(t *testing.T) {
	srv := mariadbtest.New(t, mariadbtest.Versions()[0])
	srv.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY, b VARCHAR(1000)) ENGINE=InnoDB",
		"INSERT INTO d.t SELECT seq, REPEAT(MD5(seq), 30) FROM d.seq_1_to_20000")
	after := filepath.Join(t.TempDir(), "after")
	cmd := command(t, append(backupArgs(srv, t.TempDir()), "--rate-limit", "20MB", "--nice", "7", "--json",
		"--hook-success", "/bin/cp /proc/self/autogroup "+after)...)
	r := launch(t, cmd)
	grouped, err := os.ReadFile("/proc/self/autogroup") // empty, or missing, if sessions are no groups
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	until(t, "thread at niceness 7 beside one at 0, and the session at 7", func() bool {
		found := niceness(t, r.cmd.Process.Pid)
		session, _ := os.ReadFile(fmt.Sprintf("/proc/%d/autogroup", r.cmd.Process.Pid))
		return found[7] && found[0] && (len(grouped) == 0 || strings.HasSuffix(string(session), " nice 7\n"))
	})
	o := r.wait(t, time.Minute)
	if session, err := os.ReadFile(after); len(grouped) > 0 && !strings.HasSuffix(string(session), " nice 0\n") {
		t.Errorf("after the backup the session is %q, %v", session, err)
	}
	var b struct {
		BytesRead int64     `json:"bytes_read"`
		Started   time.Time `json:"started"`
		Finished  time.Time `json:"finished"`
	}
	if err := json.Unmarshal([]byte(o.stdout), &b); err != nil {
		t.Fatalf("%v: %q, %s", err, o.stdout, o.stderr)
	}
	onDisk := spaceBytes(t, srv)
	if perSecond := float64(onDisk) / b.Finished.Sub(b.Started).Seconds(); onDisk < 20e6 || perSecond > 30e6 ||
		b.BytesRead < onDisk {
		t.Errorf("%d bytes of %d were read at %.0f bytes a second, with a limit of 20,000,000", b.BytesRead,
			onDisk, perSecond)
	}
}

// spaceBytes is what InnoDB's tablespaces have on the disk. Their holes are not read.
func spaceBytes(t *testing.T, srv *mariadbtest.Server) (sum int64) {
	t.Helper()
	for _, pattern := range []string{"ibdata*", "undo*", "*/*.ibd"} {
		paths, err := filepath.Glob(filepath.Join(srv.Datadir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			var st syscall.Stat_t
			if err := syscall.Stat(path, &st); err != nil {
				t.Fatal(err)
			}
			sum += st.Blocks * 512
		}
	}
	return sum
}

// A backup that comes to lag behind the server's redo log no longer gives way. It is
// stopped for a while to bring that about.
func TestLaggingBackupComesForward(t *testing.T) {
	if grouped, err := os.ReadFile("/proc/self/autogroup"); err != nil || len(grouped) == 0 {
		t.Skipf("sessions are no groups here: %v", err)
	}
	t.Parallel()
	source, repository := smallLog(t, newest()), t.TempDir()
	r := launch(t, command(t, backupArgs(source, repository, "--rate-limit", "6MB")...))
	nice := func(want string) func() bool {
		return func() bool {
			session, _ := os.ReadFile(fmt.Sprintf("/proc/%d/autogroup", r.cmd.Process.Pid))
			return strings.HasSuffix(string(session), " nice "+want+"\n")
		}
	}
	until(t, "session at niceness 10", nice("10"))
	written := func() int {
		n, err := strconv.Atoi(source.MustValue(t,
			"SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'Innodb_lsn_current'"))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	r.whileStopped(t, func() {
		for from, id := written(), 0; written() < from+5<<20; id += 100 {
			source.MustExec(t, fmt.Sprintf("UPDATE d.t SET n = n + 1, s = REPEAT(MD5(n), 15) WHERE id BETWEEN %d AND %d", id,
				id+100))
		}
	})
	until(t, "session at niceness 0", nice("0"))
	if found := niceness(t, r.cmd.Process.Pid); !found[10] {
		t.Errorf("threads of niceness %v, want one that still copies, at 10", found)
	}
	if o := r.wait(t, time.Minute); o.code != 0 {
		t.Fatalf("exit code %d: %s", o.code, o.stderr)
	}
	b := document[taken](t, "show", "latest", "--repo", repository)
	wantSame(t, source, caughtUp(t, source, repository, b, profile{}))
}

// niceness collects those of the threads of a process.
func niceness(t *testing.T, pid int) map[int]bool {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	found := map[int]bool{}
	for _, path := range tasks {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // the thread has ended
		}
		_, rest, _ := strings.Cut(string(stat), ") ") // behind the name
		if fields := strings.Fields(rest); len(fields) > 16 {
			n, err := strconv.Atoi(fields[16])
			if err != nil {
				t.Fatal(err)
			}
			found[n] = true
		}
	}
	return found
}
