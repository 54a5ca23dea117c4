package cli_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbk/internal/aria"
	"mbk/internal/test/mariadbtest"
)

// What was done to Aria tables after they were copied, and is not in Aria's log:
// a TRUNCATE once came back as a corrupt table with its old rows, because it
// keeps both inodes.
func TestAriaTablesChangedBehindTheLog(t *testing.T) {
	t.Parallel()
	for _, version := range mariadbtest.Some(t, mariadbtest.Versions()...) {
		t.Run(version, func(t *testing.T) {
			srv := mariadbtest.New(t, version)
			srv.MustExec(t, "CREATE DATABASE a", "CREATE DATABASE z",
				"CREATE TABLE z.idle (a INT PRIMARY KEY, b VARCHAR(1000)) ENGINE=InnoDB",
				"INSERT INTO z.idle SELECT seq, REPEAT(MD5(seq), 30) FROM z.seq_1_to_40000")
			kinds := map[string]string{"plain": "", "nosum": " PAGE_CHECKSUM=0", "dynamic": " ROW_FORMAT=DYNAMIC",
				"loose": " TRANSACTIONAL=0"}
			for kind, options := range kinds {
				for _, deed := range []string{"truncated", "renamed", "repaired", "optimized", "altered", "emptied", "bulk", "keys",
					"disabled", "enabled", "numbered", "looked", "dropped", "rows"} {
					name := "a." + kind + "_" + deed
					srv.MustExec(t, "CREATE TABLE "+name+" (a INT, b VARCHAR(100), KEY (a)) ENGINE=Aria"+options)
					if deed != "bulk" {
						srv.MustExec(t, "INSERT INTO "+name+" SELECT seq, MD5(seq) FROM a.seq_1_to_3000")
					}
					switch deed {
					case "enabled":
						srv.MustExec(t, "ALTER TABLE "+name+" DISABLE KEYS", "UPDATE "+name+" SET a = a + 7")
					case "numbered":
						srv.MustExec(t, "ALTER TABLE "+name+" MODIFY a INT AUTO_INCREMENT")
					}
				}
			}
			time.Sleep(1100 * time.Millisecond)

			repository := t.TempDir()
			cmd := command(t, "backup", "--repo", repository, "--socket", srv.Socket, "--user", "root", "--quiet",
				"--no-defaults", "--rate-limit", "25MB")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			stopWhenCopied(t, cmd.Process, srv.Datadir+"/a/", srv.Datadir+"/z/")
			for kind := range kinds {
				of := func(deed string) string { return "a." + kind + "_" + deed }
				srv.MustExec(t,
					"TRUNCATE "+of("truncated"), "INSERT INTO "+of("truncated")+" VALUES (1, 'x'), (2, 'y')",
					"RENAME TABLE "+of("renamed")+" TO "+of("renamed_twice"), "INSERT INTO "+of("renamed_twice")+" VALUES (1, 'x')",
					"REPAIR TABLE "+of("repaired"), "UPDATE "+of("repaired")+" SET b = 'r' WHERE a < 100",
					"DELETE FROM "+of("optimized")+" WHERE a % 2", "OPTIMIZE TABLE "+of("optimized"),
					"ALTER TABLE "+of("altered")+" ADD c INT DEFAULT 7, FORCE", "INSERT INTO "+of("altered")+" VALUES (1, 'x', 8)",
					"DELETE FROM "+of("emptied"), "INSERT INTO "+of("emptied")+" VALUES (1, 'x')",
					"INSERT INTO "+of("bulk")+" SELECT seq, MD5(seq) FROM a.seq_1_to_5000",
					"ALTER TABLE "+of("keys")+" DISABLE KEYS", "UPDATE "+of("keys")+" SET a = a + 1",
					"ALTER TABLE "+of("keys")+" ENABLE KEYS", "ALTER TABLE "+of("disabled")+" DISABLE KEYS",
					"INSERT INTO "+of("disabled")+" SELECT seq, 'w' FROM a.seq_1_to_2000",
					"INSERT INTO "+of("enabled")+" VALUES (1, 'e')", "ALTER TABLE "+of("enabled")+" ENABLE KEYS",
					"INSERT INTO "+of("numbered")+" VALUES (90000, 'x')", "DELETE FROM "+of("numbered")+" WHERE a = 90000",
					"ANALYZE TABLE "+of("looked"), "CHECK TABLE "+of("looked")+" EXTENDED",
					"INSERT INTO "+of("looked")+" VALUES (1, 'l')", "DROP TABLE "+of("dropped"),
					"CREATE TABLE "+of("dropped")+" (z INT) ENGINE=Aria", "INSERT INTO "+of("dropped")+" VALUES (26)",
					"UPDATE "+of("rows")+" SET b = 'new' WHERE a % 3 = 0",
				)
			}
			if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Fatalf("backup: %v", err)
			}
			b := document[taken](t, "show", "latest", "--repo", repository)
			target := filepath.Join(t.TempDir(), "restored")
			must(t, restoreArgs("latest", repository, target)...)
			restored := mariadbtest.Open(t, version, target)
			if err := mariadbtest.ReplayBinlog(t.Context(), srv, restored, b.Binlog.File, b.Binlog.Position); err != nil {
				t.Fatal(err)
			}
			wantSame(t, srv, restored)
		})
	}
}

// stopWhenCopied stops a backup when it has copied all files of one database, and not
// those of another yet. It keeps the files open until then.
func stopWhenCopied(t *testing.T, backup *os.Process, copied, not string) {
	t.Helper()
	open := func() (first, second bool) {
		dir := fmt.Sprintf("/proc/%d/fd/", backup.Pid)
		list, err := os.ReadDir(dir)
		if err != nil {
			t.Fatalf("the backup has ended: %v", err)
		}
		for _, e := range list {
			name, _ := os.Readlink(dir + e.Name()) // it may be closed by now
			first = first || strings.HasPrefix(name, copied)
			second = second || strings.HasPrefix(name, not)
		}
		return first, second
	}
	for {
		if first, second := open(); !first && second {
			break
		}
		time.Sleep(2 * time.Millisecond)
	}
	if err := backup.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if _, second := open(); !second {
		t.Fatal("the backup was not stopped in time")
	}
}

// A table was made by a transaction whose number is in no file yet, because the
// ones before it only read. 10.5 takes it for one of another system if the
// restored server counts from less.
func TestAriaTableOfALaterTransaction(t *testing.T) {
	mariadbtest.Rare(t)
	t.Parallel()
	srv := mariadbtest.New(t, "10.5")
	srv.MustExec(t, "CREATE DATABASE a", "CREATE TABLE a.t (a INT PRIMARY KEY) ENGINE=Aria", "INSERT INTO a.t VALUES (1)")
	for range 1000 {
		srv.MustValue(t, "SELECT a FROM a.t")
	}
	srv.MustExec(t, "CREATE TABLE a.later (a INT) ENGINE=Aria")
	repository := t.TempDir()
	must(t, backupArgs(srv, repository)...)
	must(t, "verify", "latest", "--repo", repository, "--depth", "boot", "--owner", self(), "--quiet")
}

// A table that was filled in bulk before the last checkpoint of Aria's log, and is idle since, is
// open in its header and not in the log that is recovered. The restored server reported it as
// crashed.
func TestIdleAriaTable(t *testing.T) {
	mariadbtest.Rare(t)
	t.Parallel()
	for _, version := range mariadbtest.Some(t, mariadbtest.Versions()...) {
		t.Run(version, func(t *testing.T) {
			srv := mariadbtest.New(t, version, "--aria-checkpoint-interval=1", "--aria-checkpoint-log-activity=65536")
			srv.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.idle (a INT PRIMARY KEY, b INT) ENGINE=Aria",
				"CREATE TABLE d.busy (a INT, s TEXT) ENGINE=Aria", "INSERT INTO d.idle SELECT seq, seq FROM mysql.seq_1_to_5000")
			for range 4 { // checkpoints
				srv.MustExec(t, "INSERT INTO d.busy SELECT seq, REPEAT('x', 1000) FROM mysql.seq_1_to_500")
				time.Sleep(1100 * time.Millisecond)
			}
			if openCount(t, filepath.Join(srv.Datadir, "d", "idle.MAI")) == 0 {
				t.Error("the table is not open in its header: nothing is shown")
			}
			repository, target := t.TempDir(), filepath.Join(t.TempDir(), "restored")
			must(t, backupArgs(srv, repository)...)
			must(t, restoreArgs("latest", repository, target)...)
			if n := openCount(t, filepath.Join(target, "d", "idle.MAI")); n != 0 {
				t.Errorf("the restored table is open %d times in its header", n)
			}
			restored := mariadbtest.Open(t, version, target, "--aria-recover-options=OFF")
			mariadbtest.MustEqual(t, restored, srv)
		})
	}
}

// openCount reads from the header of an index file how often its table is open and changed.
func openCount(t *testing.T, name string) uint16 {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	index, err := aria.ParseIndex(b)
	if err != nil {
		t.Fatal(err)
	}
	return index.OpenCount
}
