package cli_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbk/internal/test/mariadbtest"
)

// The archive, the server and the store are ended at random moments: no transaction is missing in
// the archive, and none is there twice, in every kind of repository.
func TestArchiveUnderFire(t *testing.T) {
	t.Parallel()
	anyKind(t)
	t.Log(archiveUnderFire(t, mariadbtest.Some(t, "10.5", "10.11", "11.8")[0], 4))
}

// archiveUnderFire lets the archive follow a server that writes, and ends it, the server or the
// store, each in its turn.
func archiveUnderFire(t *testing.T, version string, rounds int) string {
	source, repository := mariadbtest.New(t, version), t.TempDir()
	source.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.t (a INT AUTO_INCREMENT PRIMARY KEY, b TEXT)")
	connection := []string{"--repo", repository, "--socket", source.Socket, "--user", "root", "--quiet"}
	must(t, append([]string{"archive", "--once"}, connection...)...)
	write := func(least, most time.Duration) {
		end := time.Now().Add(least + rand.N(most-least))
		for i := 0; time.Now().Before(end); i++ {
			source.MustExec(t, fmt.Sprintf("SET gtid_domain_id=%d", i%3), "INSERT INTO d.t (b) VALUES (REPEAT('x', 2000))")
			if i%50 == 0 {
				source.MustExec(t, "FLUSH BINARY LOGS")
			}
		}
	}
	service := func() *exec.Cmd {
		cmd := command(t, append([]string{"archive", "--every", "1s"}, connection...)...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	follows := service()
	for i := range rounds {
		write(100*time.Millisecond, 1500*time.Millisecond)
		switch i % 4 {
		case 0: // the server
			if err := errors.Join(source.Kill(), source.Restart(t.Context())); err != nil {
				t.Fatal(err)
			}
		case 1: // the store, unless its lock is in it
			if strings.HasPrefix(kindFor(t), inSFTP) {
				continue
			}
			away := repository + ".away"
			if err := os.Rename(repository, away); err != nil {
				t.Fatal(err)
			}
			write(time.Second, 1500*time.Millisecond)
			if err := os.Rename(away, repository); err != nil {
				t.Fatal(err)
			}
		case 2, 3: // the archive; after a kill the lease of a store has to run out
			signal := syscall.SIGTERM
			if i%4 == 2 && !isRemote(kindFor(t)) {
				signal = syscall.SIGKILL
			}
			if err := follows.Process.Signal(signal); err != nil {
				t.Fatalf("the archive has ended by itself: %v", err)
			}
			_ = follows.Wait() // it was killed
			follows = service()
		}
	}
	write(100*time.Millisecond, time.Second)
	if err := follows.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatalf("the archive has ended by itself: %v", err)
	}
	if err := follows.Wait(); follows.ProcessState.ExitCode() != 130 {
		t.Errorf("the archive has ended with %v", err)
	}
	must(t, append([]string{"archive", "--once"}, connection...)...)
	var got []string
	found := document[eventsDocument](t, "events", "--repo", repository, "--limit", "1000000")
	for _, x := range found.Transactions {
		got = append(got, x.GTID)
	}
	want := loggedSince(t, source, "")
	if !slices.Equal(got, want) || len(found.Warnings) > 0 {
		i := 0
		for i < min(len(got), len(want)) && got[i] == want[i] {
			i++
		}
		t.Errorf("%d transactions are archived, the server has %d; they differ from number %d on: %v", len(got), len(want), i,
			found.Warnings)
	}
	return fmt.Sprintf("%d transactions", len(got))
}
