package cli_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbk/backup"
	"mbk/backup/preflight"
	"mbk/internal/hint"
	"mbk/internal/repo"
	"mbk/internal/repo/store"
	"mbk/internal/repo/store/folder"
	"mbk/internal/test/mariadbtest"
	"mbk/stage"
)

// newBusyServer starts a server with enough data that a backup of it takes its
// time with a rate limit, and with an account "mbk" that nothing else uses.
func newBusyServer(t *testing.T, version string, args ...string) *mariadbtest.Server {
	t.Helper()
	srv := mariadbtest.New(t, version, args...)
	srv.MustExec(t, "CREATE USER mbk@localhost",
		"GRANT RELOAD, PROCESS, BINLOG MONITOR, SLAVE MONITOR, SHOW VIEW ON *.* TO mbk@localhost",
		"CREATE DATABASE d", "CREATE TABLE d.i (a INT PRIMARY KEY, b BLOB) ENGINE=InnoDB",
		"CREATE TABLE d.m (a INT PRIMARY KEY, b BLOB) ENGINE=MyISAM", "INSERT INTO d.i SELECT seq, "+noise(16)+
			" FROM mysql.seq_1_to_16000", "INSERT INTO d.m SELECT a, b FROM d.i WHERE a <= 1000")
	return srv
}

// noise is an expression for so many times 64 bytes that do not compress, made of
// the column seq.
func noise(times int) string {
	var parts []string
	for i := range times {
		parts = append(parts, fmt.Sprintf("SHA2(CONCAT(seq, '-', %d), 512)", i))
	}
	return "UNHEX(CONCAT(" + strings.Join(parts, ", ") + "))"
}

// slowArgs is a backup of a busy server that takes half a minute.
func slowArgs(srv *mariadbtest.Server, repository string, more ...string) []string {
	return append(backupArgs(srv, repository, "--user", "mbk", "--rate-limit", "1MB"), more...)
}

// copying starts a slow backup and waits until it copies.
func copying(t *testing.T, srv *mariadbtest.Server, repository string, more ...string) *run {
	t.Helper()
	r := launch(t, command(t, slowArgs(srv, repository, more...)...))
	untilCopying(t, repository)
	return r
}

// connections are those of the account "mbk", the oldest first: control, watch,
// table locks, helper, stages.
func connections(t *testing.T, srv *mariadbtest.Server) []string {
	t.Helper()
	var all []string
	until(t, "five connections", func() bool {
		list := srv.MustValue(t, "SELECT GROUP_CONCAT(ID ORDER BY ID) FROM information_schema.PROCESSLIST WHERE USER = 'mbk'")
		all = strings.Split(list, ",")
		return len(all) == 5
	})
	return all
}

// Something happens to the server, to a connection or to mbk while it copies.
func TestFaultsInMidBackup(t *testing.T) {
	t.Parallel()
	const soon = 15 * time.Second
	for _, version := range mariadbtest.Some(t, mariadbtest.Versions()...) {
		srv := newBusyServer(t, version)
		attempt := func(t *testing.T, repository string, parts ...string) {
			t.Helper()
			for _, part := range parts {
				if a := wantNoBackup(t, repository, 1)[0]; !strings.Contains(a.Error, part) {
					t.Errorf("the history says %q, want %q", a.Error, part)
				}
			}
		}
		for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
			t.Run(version+" mbk gets "+signal.String(), func(t *testing.T) {
				onlyIn(t, "who holds a lease is said in other words", inFolder, inEncrypted)
				repository := t.TempDir()
				r := copying(t, srv, repository)
				pid := strconv.Itoa(r.cmd.Process.Pid)
				for _, second := range [][]string{slowArgs(srv, repository),
					{"expire", "--keep-last", "1", "--repo", repository, "--quiet"}} {
					mbk(t, second...).wantRefusal(t, 4, "wait until that mbk has ended", "lock repository "+repository, "held by",
						"pid "+pid+" since 20")
				}
				if err := r.cmd.Process.Signal(signal); err != nil {
					t.Fatal(err)
				}
				o := r.wait(t, soon)
				if o.code != 130 || o.stdout != "" || o.stderr != "mbk: error: interrupted\n" {
					t.Errorf("exit code %d, stdout %q, stderr %q", o.code, o.stdout, o.stderr)
				}
				var errs []string
				for _, a := range wantNoBackup(t, repository, 2) { // the one that was refused is on record too
					errs = append(errs, a.Error)
				}
				if all := strings.Join(errs, "\n"); !strings.Contains(all, "signal received") || !strings.Contains(all, "held by") {
					t.Errorf("the history says %q", errs)
				}
				wantFree(t, srv)
			})
		}
		t.Run(version+" stage connection killed", func(t *testing.T) {
			repository := t.TempDir()
			r := copying(t, srv, repository)
			id := connections(t, srv)[4]
			srv.MustExec(t, "KILL "+id)
			r.wait(t, soon).wantRefusal(t, 1, "start the backup again",
				"connection that holds the backup stages lost: connection "+id+", stage START")
			attempt(t, repository, "connection "+id)
			wantFree(t, srv)
		})
		t.Run(version+" connection for table locks killed", func(t *testing.T) {
			repository := t.TempDir()
			conn, err := srv.DB().Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close() //nolint:errcheck // ends with the server
			exec := func(query string) {
				t.Helper()
				if _, err := conn.ExecContext(t.Context(), query); err != nil {
					t.Fatal(err)
				}
			}
			exec("BACKUP STAGE START") // until it ends, ours waits with all its connections open
			r := launch(t, command(t, slowArgs(srv, repository)...))
			until(t, "wait for START", func() bool {
				const waits = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'mbk' AND INFO = 'BACKUP " +
					"STAGE START'"
				return srv.MustValue(t, waits) == "1"
			})
			exec("KILL " + connections(t, srv)[2])
			exec("BACKUP STAGE END")
			r.wait(t, soon).wantRefusal(t, 1, "start the backup again", "BACKUP LOCK",
				"connection that holds the table lock lost")
			attempt(t, repository, "BACKUP LOCK")
			wantFree(t, srv)
		})
		for how, end := range map[string]func() error{"stopped": func() error { return srv.Stop(t.Context()) },
			"killed": srv.Kill} {
			t.Run(version+" server "+how, func(t *testing.T) {
				repository := t.TempDir()
				r := copying(t, srv, repository)
				if err := end(); err != nil {
					t.Fatal(err)
				}
				// The end of the stages and the silence of the server are noticed in
				// either order.
				r.wait(t, soon).wantRefusal(t, 1, "")
				if err := srv.Restart(t.Context()); err != nil {
					t.Fatal(err)
				}
				attempt(t, repository, "")
				wantFree(t, srv)
			})
		}
		t.Run(version+" connections killed that hold nothing", func(t *testing.T) {
			repository := t.TempDir()
			r := copying(t, srv, repository, "--rate-limit", "30MB")
			all := connections(t, srv)
			for _, i := range []int{0, 1, 2, 3} {
				srv.MustExec(t, "KILL "+all[i])
			}
			if o := r.wait(t, time.Minute); o.code != 0 {
				t.Errorf("exit code %d: %s", o.code, o.stderr)
			}
			must(t, "verify", "latest", "--repo", repository, "--quiet")
			wantFree(t, srv)
		})
	}
}

// lockTables does LOCK TABLES and returns what undoes it.
func lockTables(t *testing.T, srv *mariadbtest.Server, tables string) (unlock func()) {
	t.Helper()
	conn, err := srv.DB().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	do := func(statement string) {
		t.Helper()
		if _, err := conn.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	do("LOCK TABLES " + tables)
	return func() {
		t.Helper()
		do("UNLOCK TABLES")
		_ = conn.Close() // the pool keeps it
	}
}

// Somebody holds what a backup has to wait for, or the backup would stop others
// for too long.
func TestBusyServer(t *testing.T) {
	for _, version := range mariadbtest.Some(t, mariadbtest.Versions()...) {
		t.Run(version, func(t *testing.T) {
			srv := newBusyServer(t, version)
			repository := t.TempDir()
			unlock := lockTables(t, srv, "d.m WRITE")
			srv.MustExec(t, "INSTALL SONAME 'metadata_lock_info'")
			begun := time.Now()
			o := mbk(t, backupArgs(srv, repository, "--user", "mbk", "--lock-wait", "2s")...)
			if d := time.Since(begun); d > 20*time.Second {
				t.Errorf("gave up after %s, want about 2 s", d)
			}
			o.wantRefusal(t, 4, "wait longer: --lock-wait", "BACKUP STAGE", "not granted within", "held up by connection ",
				"root@localhost")
			unlock()
			mbk(t, backupArgs(srv, repository, "--lock-budget", "1ms")...).wantRefusal(t, 4, "--lock-budget",
				"lock budget exceeded: 1ms")
			wantNoBackup(t, repository, 2)
			wantFree(t, srv)

			// Nobody else gets in.
			srv.MustExec(t, "SET GLOBAL max_connections=10")
			for range 9 {
				guest, err := srv.DB().Conn(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				defer guest.Close() //nolint:errcheck // ends with the server
			}
			mbk(t, backupArgs(srv, repository, "--user", "mbk")...).wantRefusal(t, 4, "raise max_connections",
				"connect as user mbk", "too many connections")
		})
	}
}

// A server that runs in a way that makes no good backup.
func TestCrippledServer(t *testing.T) {
	srv := mariadbtest.New(t, mariadbtest.Versions()[0])
	repository := t.TempDir()
	for _, c := range []struct{ options, says, hint string }{
		{"--innodb-force-recovery=1", "server: innodb_force_recovery is 1", "start it without innodb_force_recovery"},
		{"--innodb-read-only", "server: innodb_read_only is ON", "start it without innodb_read_only"},
		{"--skip-innodb --default-storage-engine=MyISAM", "the server runs without InnoDB",
			"start it with InnoDB, without skip-innodb"},
	} {
		if err := srv.Restart(t.Context(), strings.Fields(c.options)...); err != nil {
			t.Fatal(err)
		}
		before := tree(t, repository)
		mbk(t, backupArgs(srv, repository)...).wantRefusal(t, 2, c.hint, c.says)
		if !isEncrypted(kindFor(t)) { // one that is a repository already notes the attempt
			wantUnchanged(t, before, repository)
		}
	}
	// Who has lost the password of root wants a backup before anything is changed.
	if err := srv.Restart(t.Context(), "--skip-grant-tables"); err != nil {
		t.Fatal(err)
	}
	must(t, "check", "--repo", repository, "--socket", srv.Socket, "--no-defaults")
	must(t, backupArgs(srv, repository)...)
}

// mount makes a file system of a few bytes.
func mount(t *testing.T, size string) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("cannot mount a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// The repository's disk fills up.
func TestFullDisk(t *testing.T) {
	onlyIn(t, "of an object store, the disk is none of mbk's", inFolder, inEncrypted, inSFTP, inSFTPEncrypted)
	srv := newBusyServer(t, mariadbtest.Versions()[0])
	// The first guess is that data shrink to a quarter; these do not.
	repository := mount(t, "12m")
	// It is the data that fill the disk, some packs of which are on record by then: with a
	// restart the redo log is short.
	if err := srv.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	o := mbk(t, backupArgs(srv, repository, "--pack-size", "1MiB", "--threads", "1")...)
	o.wantRefusal(t, 1, `with "mbk expire"`, nameOf(t, repository)+" is full: no space left on device")
	// What is stored is kept, and the error says how to get its room back.
	left := interrupted(t, repository)
	if len(left) != 1 || !strings.Contains(o.stderr, `"mbk remove `+left[0].ID+`"`) {
		t.Fatalf("of interrupted attempts there are %d, stderr:\n%s", len(left), o.stderr)
	}
	must(t, "remove", left[0].ID, "--repo", repository)
	if a := wantNoBackup(t, repository, 1); !strings.Contains(a[0].Error, "is full") {
		t.Errorf("the history says %q", a[0].Error)
	}
	wantFree(t, srv)
	// A backup of little fits. The next one knows how much data shrink, and that
	// there is no room.
	srv.MustExec(t, "DROP TABLE d.i, d.m")
	if err := srv.Restart(t.Context()); err != nil { // with it the redo log is short
		t.Fatal(err)
	}
	must(t, backupArgs(srv, repository)...)
	// A restore has to fit as well.
	small := mount(t, "16m")
	mbk(t, restoreArgs("latest", repository, filepath.Join(small, "target"))...).wantRefusal(t, 2, "make room",
		small+" has ", "the restore needs about")
	wantEmptyFolder(t, small)
	var disk syscall.Statfs_t
	if err := syscall.Statfs(repository, &disk); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(repository, ".filler"), make([]byte, int64(disk.Bavail)*disk.Bsize-64<<10),
		0o600); err != nil {
		t.Fatal(err)
	}
	backups := filepath.Join(repository, "backups")
	before := tree(t, backups)
	mbk(t, backupArgs(srv, repository)...).wantRefusal(t, 2, "make room (mbk expire)",
		"space: ", "free in "+nameOf(t, repository))
	wantUnchanged(t, before, backups)
	if last := oneLine(must(t, "history", "latest", "--repo", repository).stdout); !strings.Contains(last,
		"make room (mbk expire)") {
		t.Errorf("the history says:\n%s", last)
	}
	must(t, "verify", "latest", "--repo", repository, "--quiet")
}

// Tables of engines whose rows are not in files of the data directory.
func TestUnsupportedEngine(t *testing.T) {
	t.Parallel()
	for _, version := range mariadbtest.Some(t, mariadbtest.Versions()...) {
		t.Run(version, func(t *testing.T) {
			srv := mariadbtest.New(t, version, "--plugin-load-add=ha_rocksdb")
			srv.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.i (a INT)", "INSERT INTO d.i VALUES (7)",
				"CREATE TABLE d.r (a INT PRIMARY KEY) ENGINE=ROCKSDB", "INSERT INTO d.r VALUES (1)",
				"CREATE VIEW d.v AS SELECT * FROM d.r")
			repository := t.TempDir()
			before := tree(t, repository)
			mbk(t, backupArgs(srv, repository)...).wantRefusal(t, 2, "--skip-unsupported",
				"`d`.`r` has engine ROCKSDB, which cannot be backed up")
			wantUnchanged(t, before, repository)
			type leftOut struct {
				LeftOut []struct {
					Database string `json:"database"`
					Name     string `json:"name"`
					Engine   string `json:"engine"`
				} `json:"left_out"`
				Warnings []string `json:"warnings"`
			}
			b := document[leftOut](t, backupArgs(srv, repository, "--skip-unsupported")...)
			if len(b.LeftOut) != 1 || b.LeftOut[0].Name != "r" || b.LeftOut[0].Engine != "ROCKSDB" || len(b.Warnings) != 1 {
				t.Errorf("the backup left out %+v and warns %q", b.LeftOut, b.Warnings)
			}
			if text := must(t, "show", "latest", "--repo", repository).stdout; !strings.Contains(text, "left out") ||
				!strings.Contains(text, "`d`.`r` (ROCKSDB)") {
				t.Errorf("show prints %s", text)
			}
			v := must(t, "verify", "latest", "--depth", "boot", "--owner", self(), "--repo", repository, "--quiet")
			target := filepath.Join(t.TempDir(), "restored")
			o := must(t, restoreArgs("latest", repository, target)...)
			if !strings.Contains(o.stdout, "does not hold `d`.`r` (ROCKSDB)") {
				t.Errorf("restore prints %s", o.stdout)
			}
			restored := mariadbtest.Open(t, version, target)
			if got := restored.MustValue(t,
				"SELECT GROUP_CONCAT(TABLE_NAME ORDER BY TABLE_NAME) FROM information_schema.TABLES WHERE "+
					"TABLE_SCHEMA = 'd'"); got != "i,v" {
				t.Errorf("the restored server has tables %s (verify said %s)", got, v.stdout)
			}
			if version == newest() {
				t.Run("hostile names", func(t *testing.T) { hostileNames(t, srv) })
			}
			wantFree(t, srv)
		})
	}
}

// A page of an idle table is damaged in the source.
func TestDamagedSource(t *testing.T) {
	t.Parallel()
	for _, version := range mariadbtest.Some(t, mariadbtest.Versions()...) {
		for engine, file := range map[string]string{"InnoDB": "d/damaged.ibd", "Aria": "d/damaged.MAD"} {
			t.Run(version+" "+engine, func(t *testing.T) {
				srv := mariadbtest.New(t, version)
				srv.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.damaged (a INT PRIMARY KEY, b VARCHAR(1000)) ENGINE="+engine,
					"INSERT INTO d.damaged SELECT seq, REPEAT('x', 900) FROM mysql.seq_1_to_500",
					"CREATE TABLE d.whole ENGINE="+engine+" SELECT * FROM d.damaged")
				if err := srv.Stop(t.Context()); err != nil {
					t.Fatal(err)
				}
				const page = 9
				flip(t, filepath.Join(srv.Datadir, file), page, map[string]int64{"InnoDB": 16384, "Aria": 8192}[engine])
				if err := srv.Restart(t.Context()); err != nil {
					t.Fatal(err)
				}
				repository := t.TempDir()
				says := "page " + strconv.Itoa(page)
				mbk(t, backupArgs(srv, repository)...).wantRefusal(t, 3, "--allow-damaged-pages", "table `d`.`damaged`", file,
					says, "checksum")
				wantNoBackup(t, repository, 1)

				o := must(t, backupArgs(srv, repository, "--allow-damaged-pages")...) // --quiet prints warnings
				for _, text := range []string{o.stdout, must(t, "show", "latest", "--repo", repository).stdout} {
					if !strings.Contains(text, "warning") || !strings.Contains(text, file+": "+says+" is damaged in the source") {
						t.Errorf("backup and show print\n%s", text)
					}
				}
				for _, depth := range []string{"stored", "pages"} {
					v := mbk(t, "verify", "latest", "--repo", repository, "--depth", depth, "--quiet")
					if v.code != 3 || !strings.Contains(v.stdout, file+": "+says+" was damaged on the source") ||
						strings.Count(v.stdout, "damage ") != 1 {
						t.Errorf("verify --depth %s exits %d and prints\n%s%s", depth, v.code, v.stdout, v.stderr)
					}
				}
				target := filepath.Join(t.TempDir(), "restored")
				if r := must(t, append(restoreArgs("latest", repository, target),
					"--allow-damaged")...); !strings.Contains(r.stdout, "1 page damaged on the source, the first in "+file) {
					t.Errorf("restore prints\n%s", r.stdout)
				}
				restored := mariadbtest.Open(t, version, target)
				if got := restored.MustValue(t, "SELECT COUNT(*) FROM d.whole"); got != "500" {
					t.Errorf("the whole table has %s rows, want 500", got)
				}
				wantFree(t, srv)
			})
		}
	}
}

// flip changes some bytes in the middle of a page.
func flip(t *testing.T, path string, page, size int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 8)
	_, err = f.ReadAt(b, page*size+size/2)
	for i := range b {
		b[i] ^= 0xff
	}
	if err == nil {
		_, err = f.WriteAt(b, page*size+size/2)
	}
	if err := errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

// The keys of an encrypted server are not where the source has them, or its key
// plugin is not installed.
func TestRestoreWithoutKeys(t *testing.T) {
	t.Parallel()
	for _, version := range mariadbtest.Some(t, mariadbtest.Versions()...) {
		t.Run(version, func(t *testing.T) {
			secrets, moved, place := t.TempDir(), t.TempDir(), t.TempDir()
			args, err := mariadbtest.EncryptionArgs(secrets)
			if err != nil {
				t.Fatal(err)
			}
			srv := mariadbtest.New(t, version, args...)
			srv.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.i (a INT)",
				"INSERT INTO d.i SELECT seq FROM mysql.seq_1_to_1000", "CREATE TABLE d.a (a INT) ENGINE=Aria SELECT * FROM d.i",
				"CREATE TABLE d.k (a INT PRIMARY KEY) ENCRYPTED=YES ENCRYPTION_KEY_ID=2 SELECT * FROM d.i")
			if forcesCheckpoint(version) { // else the redo may have all of d.k, and its key is not needed
				srv.MustExec(t, "SET GLOBAL innodb_log_checkpoint_now=ON")
			}
			repository := t.TempDir()
			must(t, backupArgs(srv, repository)...)
			wantNoDamageOfOtherKeys(t, repository, secrets)
			must(t, "verify", "latest", "--repo", repository, "--quiet")
			must(t, restoreArgs("latest", repository, filepath.Join(place, "first"))...)

			// The keys are gone from where they were.
			keys := filepath.Join(moved, "keys")
			if err := os.Rename(filepath.Join(secrets, "keys"), keys); err != nil {
				t.Fatal(err)
			}
			before := tree(t, place)
			target := filepath.Join(place, "second")
			mbk(t, restoreArgs("latest", repository, target)...).wantRefusal(t, 2, "bring the key file there",
				filepath.Join(secrets, "keys"), "no such file")
			// The plugin is not where the server looks for it.
			o := mbk(t, append(restoreArgs("latest", repository, target), "--mariadbd-option",
				"--file-key-management-filename="+keys, "--mariadbd-option", "--plugin-dir="+moved)...)
			o.wantRefusal(t, 2, "install the package of that plugin", "plugin file_key_management is missing", moved)
			wantUnchanged(t, before, place)

			must(t, append(restoreArgs("latest", repository, target), "--mariadbd-option",
				"--file-key-management-filename="+keys)...)
			for i, arg := range args {
				args[i] = strings.Replace(arg, secrets, moved, 1)
			}
			mariadbtest.MustEqual(t, mariadbtest.Open(t, version, target, args...), srv)
		})
	}
}

// A key that one table needs is missing, or is another: the server calls its pages
// corrupted. The backup was called damaged, which no verification took back.
func wantNoDamageOfOtherKeys(t *testing.T, repository, secrets string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(secrets, "keys"))
	if err != nil {
		t.Fatal(err)
	}
	first, second, _ := strings.Cut(string(b), "\n")
	for name, keys := range map[string]string{"missing": first + "\n",
		"another": first + "\n" + strings.ReplaceAll(second, "B", "C")} {
		file := filepath.Join(secrets, name)
		if err := os.WriteFile(file, []byte(keys), 0o600); err != nil {
			t.Fatal(err)
		}
		o := mbk(t, "verify", "latest", "--no-defaults", "--repo", repository, "--quiet", "--depth", "boot", "--owner",
			strconv.Itoa(os.Getuid()), "--mariadbd-option", "--file-key-management-filename="+file)
		if o.code != 1 || strings.Contains(o.stdout, "DAMAGED") ||
			!strings.Contains(o.stderr, "encryption keys were in "+filepath.Join(secrets, "keys")) {
			t.Errorf("with a key that is %s: code %d\n%s%s", name, o.code, o.stdout, o.stderr)
		}
	}
}

// heldStore is a store that takes no redo.
type heldStore struct{ store.Store }

func (s heldStore) Put(ctx context.Context, name string, write func(io.Writer) error) error {
	if strings.HasSuffix(name, "redo.pack") {
		<-ctx.Done()
		return ctx.Err()
	}
	return s.Store.Put(ctx, name, write)
}

// The repository takes no redo, and the disk for the redo that waits fills up.
func TestFullSpool(t *testing.T) {
	srv := newBusyServer(t, mariadbtest.Versions()[0])
	folder, err := folder.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	r, err := repo.OpenOrNew(t.Context(), heldStore{folder}, "mbk")
	if err != nil {
		t.Fatal(err)
	}
	server, err := stage.Connect(t.Context(), stage.Config{Socket: srv.Socket, User: "mbk"})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	spool := mount(t, "2m")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	written := make(chan struct{})
	go func() {
		defer close(written)
		// More than fits into memory, while the data are copied slowly.
		for ctx.Err() == nil {
			if err := srv.Exec(ctx,
				"CREATE OR REPLACE TABLE d.redo SELECT REPEAT('redo', 250) a FROM mysql.seq_1_to_8000"); err != nil &&
				ctx.Err() == nil {
				t.Error(err)
				return
			}
		}
	}()
	_, err = backup.Run(t.Context(), backup.Options{
		Options: preflight.Options{Server: server, Repository: r, SpoolDir: spool}, Tool: "mbk", BytesPerSecond: 100 << 10,
	})
	cancel()
	<-written
	if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "spool the redo into "+spool) ||
		!strings.Contains(fmt.Sprint(hint.Attached(err)), "--spool-dir") {
		t.Errorf("backup.Run = %v with the advice %q, want a full %s", err, hint.Attached(err), spool)
	}
	wantNoBackup(t, folder.String(), 1)
	wantFree(t, srv)
}
