package cli_test

import (
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbk/internal/mariadbtest"
)

// newBusyServer starts a server with enough data that a backup of it takes its
// time with a rate limit, and with an account "mbk" that nothing else uses.
func newBusyServer(t *testing.T, version string) *mariadbtest.Server {
	t.Helper()
	srv := mariadbtest.New(t, version)
	srv.MustExec(t, "CREATE USER mbk@localhost", "GRANT RELOAD, PROCESS, BINLOG MONITOR, SLAVE MONITOR, SHOW VIEW ON *.* TO mbk@localhost",
		"CREATE DATABASE d", "CREATE TABLE d.i (a INT PRIMARY KEY, b BLOB) ENGINE=InnoDB", "CREATE TABLE d.m (a INT PRIMARY KEY, b BLOB) ENGINE=MyISAM",
		"INSERT INTO d.i SELECT seq, RANDOM_BYTES(8000) FROM mysql.seq_1_to_2000", "INSERT INTO d.m SELECT seq, b FROM mysql.seq_1_to_100 JOIN d.i ON seq = a")
	return srv
}

// slowArgs is a backup of a busy server that takes half a minute.
func slowArgs(srv *mariadbtest.Server, repository string, more ...string) []string {
	return append(backupArgs(srv, repository, "--user", "mbk", "--rate-limit", "1MB"), more...)
}

// copying starts a slow backup and waits until it copies.
func copying(t *testing.T, srv *mariadbtest.Server, repository string, more ...string) *run {
	t.Helper()
	r := launch(t, command(t, slowArgs(srv, repository, more...)...))
	until(t, "copying", func() bool {
		packs, err := filepath.Glob(filepath.Join(repository, "backups", "*", ".put-*"))
		return err == nil && len(packs) > 1
	})
	return r
}

// connections are those of the account "mbk", the oldest first: control, watch,
// table locks, helper, stages.
func connections(t *testing.T, srv *mariadbtest.Server) []string {
	t.Helper()
	list := srv.MustValue(t, "SELECT GROUP_CONCAT(ID ORDER BY ID) FROM information_schema.PROCESSLIST WHERE USER = 'mbk'")
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' })
}

// Something happens to the server, to a connection or to mbk while it copies.
func TestFaultsInMidBackup(t *testing.T) {
	const soon = 15 * time.Second
	for _, version := range mariadbtest.Versions() {
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
				repository := t.TempDir()
				r := copying(t, srv, repository)
				pid := strconv.Itoa(r.cmd.Process.Pid)
				for _, second := range [][]string{slowArgs(srv, repository), {"expire", "--keep-last", "1", "--repo", repository, "--quiet"}} {
					mbk(t, second...).wantRefusal(t, 4, "wait until that mbk has ended", "lock repository "+repository, "held by", "pid "+pid+" since 20")
				}
				if err := r.cmd.Process.Signal(signal); err != nil {
					t.Fatal(err)
				}
				o := r.wait(t, soon)
				if o.code != 130 || o.stdout != "" || o.stderr != "mbk: error: interrupted\n" {
					t.Errorf("exit code %d, stdout %q, stderr %q", o.code, o.stdout, o.stderr)
				}
				attempt(t, repository, "signal received")
				wantFree(t, srv)
			})
		}
		t.Run(version+" stage connection killed", func(t *testing.T) {
			repository := t.TempDir()
			r := copying(t, srv, repository)
			id := connections(t, srv)[4]
			srv.MustExec(t, "KILL "+id)
			r.wait(t, soon).wantRefusal(t, 1, "start the backup again", "connection that holds the backup stages lost: connection "+id+", stage START")
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
				const waits = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = 'mbk' AND INFO = 'BACKUP STAGE START'"
				return srv.MustValue(t, waits) == "1" && len(connections(t, srv)) == 5
			})
			exec("KILL " + connections(t, srv)[2])
			exec("BACKUP STAGE END")
			r.wait(t, soon).wantRefusal(t, 1, "start the backup again", "BACKUP LOCK", "connection that holds the table lock lost")
			attempt(t, repository, "BACKUP LOCK")
			wantFree(t, srv)
		})
		t.Run(version+" server stopped", func(t *testing.T) {
			repository := t.TempDir()
			r := copying(t, srv, repository)
			if err := srv.Stop(t.Context()); err != nil {
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
		t.Run(version+" server killed", func(t *testing.T) {
			repository := t.TempDir()
			r := copying(t, srv, repository)
			if err := srv.Kill(); err != nil {
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
