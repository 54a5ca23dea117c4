package cli_test

import (
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"

	"mbk/internal/test/mariadbtest"
)

// The server, its disk and the archive are lost in one moment, also while the store is away: what
// a client was told to be committed is in the archive.
func TestSemiSyncLosesNothing(t *testing.T) {
	t.Parallel()
	t.Log(semiSyncKilled(t, mariadbtest.Some(t, "10.5", "10.11", "11.8")[0], 2))
}

// semiSyncKilled kills a server and its archive so many times, the store being away every other
// time, and looks for every transaction that a client knows to be committed.
func semiSyncKilled(t *testing.T, version string, rounds int) string {
	source := mariadbtest.New(t, version, "--rpl-semi-sync-master-timeout=600000")
	source.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.t (a INT AUTO_INCREMENT PRIMARY KEY, b TEXT)")
	repository := t.TempDir()
	service := func() *exec.Cmd {
		cmd := command(t, "archive", "--semi-sync", "--every", "1h", "--repo", repository, "--socket", source.Socket,
			"--user", "root", "--quiet")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = errors.Join(cmd.Process.Kill(), cmd.Wait()) }) // most have ended
		return cmd
	}
	total := 0
	for i := range rounds {
		follows := service()
		source.MustExec(t, "SET GLOBAL rpl_semi_sync_master_enabled=ON") // not before: it would wait
		waitForSemiSync(t, source)
		clients := acknowledged(t, source, 3)
		time.Sleep(200*time.Millisecond + rand.N(time.Second))
		if i%2 == 1 {
			if err := os.Rename(repository, repository+".away"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(rand.N(time.Second))
		}
		kill := []func() error{follows.Process.Kill, source.Kill}
		rand.Shuffle(len(kill), func(a, b int) { kill[a], kill[b] = kill[b], kill[a] })
		if err := errors.Join(kill[0](), kill[1]()); err != nil {
			t.Fatal(err)
		}
		_ = follows.Wait() // it was killed
		if i%2 == 1 {
			if err := os.Rename(repository+".away", repository); err != nil {
				t.Fatal(err)
			}
		}
		known := clients()
		total += len(known)
		archived := map[string]bool{}
		found := document[eventsDocument](t, "events", "--repo", repository, "--limit", "1000000")
		for _, x := range found.Transactions {
			archived[x.GTID] = true
		}
		lost := slices.DeleteFunc(known, func(gtid string) bool { return archived[gtid] })
		if len(known) == 0 || len(lost) > 0 || len(found.Warnings) > 0 {
			t.Errorf("round %d: of %d transactions that clients know, %d are not archived: %v; %v", i, len(known), len(lost),
				lost, found.Warnings)
		}
		if err := source.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return fmt.Sprintf("%d commits were acknowledged in %d rounds", total, rounds)
}

// waitForSemiSync waits until commits wait for the archive.
func waitForSemiSync(t *testing.T, source *mariadbtest.Server) {
	t.Helper()
	const waiting = "SELECT GROUP_CONCAT(VARIABLE_VALUE ORDER BY VARIABLE_NAME) FROM information_schema.GLOBAL_STATUS " +
		"WHERE VARIABLE_NAME IN ('Rpl_semi_sync_master_clients', 'Rpl_semi_sync_master_status')"
	var is string
	for range 600 {
		if is = source.MustValue(t, waiting); is == "1,ON" {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("semi-sync is %s after 30 s, want a client and ON", is)
}

// acknowledged commits in several sessions until the server is gone. What it returns waits for
// them and gives the transactions whose commit returned.
func acknowledged(t *testing.T, source *mariadbtest.Server, sessions int) func() []string {
	t.Helper()
	var all sync.WaitGroup
	var mu sync.Mutex
	var known []string
	for range sessions {
		conn, err := source.DB().Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all.Go(func() {
			defer conn.Close() //nolint:errcheck // the server is gone
			for {
				if _, err := conn.ExecContext(t.Context(), "INSERT INTO d.t (b) VALUES (REPEAT('x', 500))"); err != nil {
					return
				}
				// Only a commit whose number can be asked for is counted.
				var gtid sql.NullString
				if err := conn.QueryRowContext(t.Context(), "SELECT @@last_gtid").Scan(&gtid); err != nil {
					return
				}
				mu.Lock()
				known = append(known, gtid.String)
				mu.Unlock()
			}
		})
	}
	return func() []string {
		all.Wait()
		return known
	}
}
