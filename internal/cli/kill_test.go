package cli_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"mbk/internal/test/mariadbtest"
)

// mbk is killed while it holds each stage. The server must be free within five
// seconds, nothing half may be listed, and the next backup must succeed and
// use or remove what was left.
func TestKilledAtEveryStage(t *testing.T) {
	onlyIn(t, leaseOfTheDead, inFolder, inEncrypted)
	for _, version := range mariadbtest.Some(t, mariadbtest.Versions()...) {
		t.Run(version, func(t *testing.T) {
			srv := mariadbtest.New(t, version)
			srv.MustExec(t, "INSTALL SONAME 'metadata_lock_info'", "CREATE DATABASE d",
				"CREATE TABLE d.i (a INT) ENGINE=InnoDB", "CREATE TABLE d.m (a INT) ENGINE=MyISAM",
				// Written until the last moment, these are copied under BLOCK_DDL and
				// BLOCK_COMMIT, which gives time to strike.
				"CREATE TABLE d.hot (a INT AUTO_INCREMENT PRIMARY KEY, b CHAR(255)) ENGINE=MyISAM",
				"INSERT INTO d.hot (b) SELECT REPEAT('x', 255) FROM d.seq_1_to_30000",
				"CREATE TABLE mysql.hot (a INT AUTO_INCREMENT PRIMARY KEY, b CHAR(255)) ENGINE=MyISAM",
				"INSERT INTO mysql.hot (b) SELECT REPEAT('x', 255) FROM d.seq_1_to_30000",
			)
			repository := t.TempDir()
			for stage, mode := range map[string]string{
				"START": "MDL_BACKUP_START", "FLUSH": "MDL_BACKUP_FLUSH",
				"BLOCK_DDL": "MDL_BACKUP_WAIT_DDL", "BLOCK_COMMIT": "MDL_BACKUP_WAIT_COMMIT",
			} {
				killAt(t, srv, repository, stage, mode)
				begun := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				err := srv.Exec(ctx, "CREATE TABLE d.t (a INT)", "INSERT INTO d.t VALUES (1)", "INSERT INTO d.i VALUES (1)",
					"INSERT INTO d.m VALUES (1)", "DROP TABLE d.t")
				cancel()
				if err != nil {
					t.Fatalf("killed at %s, %s later: %v", stage, time.Since(begun), err)
				}
				if listed := must(t, "list", "--repo", repository).stdout; !strings.HasPrefix(listed, "no backups") {
					t.Fatalf("killed at %s: list prints %q", stage, listed)
				}
			}
			must(t, "backup", "--repo", repository, "--socket", srv.Socket, "--user", "root", "--quiet")
			wantNothingLeft(t, repository, 1)
			if failed := must(t, "history", "--failed", "--repo", repository).stdout; !strings.Contains(failed,
				"it was killed") {
				t.Errorf("history --failed prints %q, want the attempts that were killed", failed)
			}
			must(t, "verify", "latest", "--repo", repository, "--quiet")
		})
	}
}

// killAt starts a backup and kills it as soon as it holds a stage.
func killAt(t *testing.T, srv *mariadbtest.Server, repository, stage, mode string) {
	t.Helper()
	for try := 0; ; try++ {
		if try == 20 {
			t.Fatalf("stage %s was never seen", stage)
		}
		srv.MustExec(t, "UPDATE d.hot SET b = UUID() LIMIT 1", "UPDATE mysql.hot SET b = UUID() LIMIT 1")
		cmd := command(t, "backup", "--repo", repository, "--socket", srv.Socket, "--user", "root", "--quiet",
			"--no-defaults", "--compress", "zstd:9")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() { _ = cmd.Wait(); close(done) }()
		caught := false
		for alive := true; alive && !caught; {
			n := srv.MustValue(t, "SELECT COUNT(*) FROM information_schema.METADATA_LOCK_INFO WHERE LOCK_MODE = ?", mode)
			caught = n != "0"
			select {
			case <-done:
				alive = false
			case <-time.After(time.Millisecond): // asking all the time takes the processor from those who are watched
			}
		}
		if caught {
			_ = cmd.Process.Kill() // it may have ended in this very moment
			<-done
			if !cmd.ProcessState.Exited() {
				return // it was killed
			}
		}
		<-done
		if err := os.RemoveAll(repository); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(repository, 0o700); err != nil {
			t.Fatal(err)
		}
	}
}
