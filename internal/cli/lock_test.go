package cli_test

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"strings"
	"testing"
	"time"

	"mbk/internal/test/mariadbtest"
)

// longestStall is for how long others may have to wait for a backup that waits
// itself: its requests stand for a second at a time.
const longestStall = 2500 * time.Millisecond

// Behind a long statement a backup neither waits forever nor makes others wait:
// it gives the queue free between its tries.
func TestBehindALongUpdate(t *testing.T) {
	for _, version := range mariadbtest.Some(t, mariadbtest.Versions()...) {
		t.Run(version, func(t *testing.T) {
			t.Parallel() // most of it is waiting
			srv := mariadbtest.New(t, version, "--aria-log-file-size=8M")
			srv.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.m (a INT) ENGINE=MyISAM", "INSERT INTO d.m VALUES (1)",
				"CREATE TABLE d.a (a INT, b CHAR(200)) ENGINE=Aria")
			repository := t.TempDir()
			args := []string{"backup", "--repo", repository, "--socket", srv.Socket, "--user", "root", "--quiet",
				"--no-defaults"}

			update := func(seconds string) <-chan error {
				done := make(chan error, 1)
				go func() { done <- srv.Exec(t.Context(), "UPDATE d.m SET a = a + SLEEP("+seconds+")") }()
				time.Sleep(300 * time.Millisecond)
				return done
			}
			done := update("6")
			impatient := mbk(t, append(args, "--lock-wait", "2s")...)
			if impatient.code != 4 || !strings.Contains(impatient.stderr, "UPDATE d.m") || impatient.stdout != "" {
				t.Errorf("with --lock-wait 2s mbk exits %d, stderr %q, stdout %q", impatient.code, impatient.stderr,
					impatient.stdout)
			}
			if listed := must(t, "list", "--repo", repository).stdout; !strings.HasPrefix(listed, "no backups") {
				t.Errorf("a failed backup is listed: %s", listed)
			}
			srv.MustExec(t, "INSERT INTO d.a VALUES (1, 'x')", "CREATE TABLE d.t (a INT)", "DROP TABLE d.t")
			if err := <-done; err != nil {
				t.Fatal(err)
			}

			probe, err := mariadbtest.StartProbe(t.Context(), srv, 0)
			if err != nil {
				t.Fatal(err)
			}
			done = update("7")
			must(t, args...)
			stalls, err := probe.Stop()
			if err != nil {
				t.Fatal(err)
			}
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			t.Logf("longest stalls: commit %s, DDL %s, MyISAM insert %s", stalls.Commit.Longest, stalls.DDL.Longest,
				stalls.MyISAM.Longest)
			if stalls.Commit.Longest > longestStall || stalls.DDL.Longest > longestStall ||
				stalls.MyISAM.Longest > longestStall {
				t.Errorf("longest stalls: commit %s, DDL %s, MyISAM insert %s; want less than %s", stalls.Commit.Longest,
					stalls.DDL.Longest, stalls.MyISAM.Longest, longestStall)
			}
			must(t, "verify", "latest", "--repo", repository, "--quiet")
		})
	}
}

// Whoever holds what a backup needs is named, and after --lock-wait the backup
// ends with exit code 4. Meanwhile it does not keep others waiting for long.
func TestWhoeverHoldsALockIsNamed(t *testing.T) {
	t.Parallel() // most of it is waiting
	t.Log(lockHolders(t, oldest()))
}

func lockHolders(t *testing.T, version string) string {
	srv := mariadbtest.New(t, version)
	srv.MustExec(t, "INSTALL SONAME 'metadata_lock_info'", "CREATE DATABASE d", "CREATE TABLE d.i (a INT)",
		"INSERT INTO d.i VALUES (1)", "CREATE TABLE d.m (a INT) ENGINE=MyISAM")
	var told []string
	for _, c := range []struct {
		name, holds, gives string
		waits              string // on another connection, behind the first
	}{
		{name: "another backup", holds: "BACKUP STAGE START", gives: "BACKUP STAGE END"},
		{name: "LOCK TABLES", holds: "LOCK TABLES d.m WRITE", gives: "UNLOCK TABLES"},
		{name: "a rename behind a transaction", holds: "UPDATE d.i SET a = 2", gives: "ROLLBACK",
			waits: "ALTER TABLE d.i RENAME TO d.j"},
	} {
		t.Run(c.name, func(t *testing.T) {
			holder := holding(t, srv, "SET autocommit=0", c.holds)
			waited := make(chan error, 1)
			if c.waits == "" {
				waited <- nil
			} else {
				go func() { waited <- srv.Exec(t.Context(), c.waits) }()
				time.Sleep(300 * time.Millisecond)
			}
			probe, err := mariadbtest.StartProbe(t.Context(), srv, 0)
			if err != nil {
				t.Fatal(err)
			}
			repository := t.TempDir()
			begun := time.Now()
			o := mbk(t, backupArgs(srv, repository, "--lock-wait", "2s")...)
			took := time.Since(begun)
			s, err := probe.Stop()
			if err != nil {
				t.Fatal(err)
			}
			o.wantRefusal(t, 4, "", "not granted within ", "connection ", "root@localhost")
			wantNoBackup(t, repository, 1)
			if _, err := holder.ExecContext(t.Context(), c.gives); err != nil {
				t.Fatal(err)
			}
			if err := <-waited; err != nil {
				t.Fatal(err)
			}
			longest := max(s.Commit.Longest, s.DDL.Longest, s.MyISAM.Longest)
			if took > 15*time.Second || longest > longestStall {
				t.Errorf("gave up after %s; the longest stall of others was %s, want at most %s", took, longest, longestStall)
			}
			told = append(told, fmt.Sprintf("%s: longest stall %d ms", c.name, longest.Milliseconds()))
		})
	}
	// Who only keeps others from writing is in nobody's way, and a table whose lock
	// for backups is held elsewhere is copied later.
	for holds, gives := range map[string]string{"FLUSH TABLES WITH READ LOCK": "UNLOCK TABLES",
		"BACKUP LOCK d.m": "BACKUP UNLOCK"} {
		t.Run(holds, func(t *testing.T) {
			holder := holding(t, srv, holds)
			repository := t.TempDir()
			must(t, backupArgs(srv, repository, "--lock-wait", "2s")...)
			if _, err := holder.ExecContext(t.Context(), gives); err != nil {
				t.Fatal(err)
			}
			must(t, "verify", "latest", "--repo", repository, "--quiet")
		})
	}
	wantFree(t, srv)
	return strings.Join(told, "; ")
}

// holding runs statements on a connection that stays for the test, and no longer.
func holding(t *testing.T, srv *mariadbtest.Server, statements ...string) *sql.Conn {
	t.Helper()
	conn, err := srv.DB().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Raw(func(any) error { return driver.ErrBadConn }) })
	for _, query := range statements {
		if _, err := conn.ExecContext(t.Context(), query); err != nil {
			t.Fatal(err)
		}
	}
	return conn
}
