//go:build soak

package cli_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbk/internal/test/mariadbtest"
)

// killedOften kills mbk at fifty random moments of a backup, while the server is
// busy. Each time the server must be free, and nothing listed that is not whole.
// Then the next backup succeeds, and nothing is left of any that it has no use for.
func killedOften(t *testing.T, version string, round int) string {
	srv := newBusyServer(t, version)
	srv.MustExec(t, "INSTALL SONAME 'ha_archive'")
	load, err := mariadbtest.Storm(t.Context(), srv, mariadbtest.StormOptions{Sessions: 1, Seed: uint64(round)})
	if err != nil {
		t.Fatal(err)
	}
	repository := t.TempDir()
	args := backupArgs(srv, repository, "--user", "mbk", "--rate-limit", "40MB")
	begun := time.Now()
	must(t, args...)
	whole := time.Since(begun)
	random := rand.New(rand.NewPCG(uint64(round), 1))
	killed, listed := 0, 1
	for range 50 {
		cmd := command(t, args...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(random.Int64N(int64(whole))))
		_ = cmd.Process.Kill() // it may have ended by itself
		var exit *exec.ExitError
		if err := cmd.Wait(); err == nil {
			listed++
		} else if errors.As(err, &exit) && !exit.Exited() {
			killed++
		} else {
			t.Fatalf("backup: %v", err)
		}
		wantFree(t, srv)
		// A kill between the commit and the exit leaves a whole backup.
		all := document[struct {
			Backups []struct {
				ID string `json:"id"`
			} `json:"backups"`
		}](t, "list", "--repo", repository).Backups
		if len(all) < listed || len(all) > listed+1 {
			t.Fatalf("%d backups are listed, want %d", len(all), listed)
		}
		if len(all) > listed {
			listed = len(all)
			must(t, "verify", "latest", "--repo", repository, "--quiet")
		}
	}
	if _, err := load.Stop(); err != nil {
		t.Fatal(err)
	}
	must(t, args...)
	must(t, "verify", "latest", "--repo", repository, "--quiet")
	wantNothingLeft(t, repository, listed+1)
	return fmt.Sprintf("killed %d times within %.1f s each; %d backups of %d were whole", killed, whole.Seconds(),
		listed+1, 52)
}

// serverKilledOften kills the server at random moments of a backup.
func serverKilledOften(t *testing.T, version string, round int) string {
	srv := newBusyServer(t, version)
	repository := t.TempDir()
	random := rand.New(rand.NewPCG(uint64(round), 2))
	var longest time.Duration
	const times = 10
	for n := range times {
		var stderr bytes.Buffer
		cmd := command(t, backupArgs(srv, repository, "--user", "mbk", "--rate-limit", "10MB")...)
		cmd.Stderr = &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100*time.Millisecond + time.Duration(random.Int64N(int64(1300*time.Millisecond))))
		killed := time.Now()
		if err := srv.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // its exit code is looked at
		longest = max(longest, time.Since(killed))
		if code := cmd.ProcessState.ExitCode(); code == 0 || code == 3 || stderr.Len() == 0 {
			t.Errorf("kill %d: exit code %d: %s", n, code, stderr.String())
		}
		if err := srv.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantFree(t, srv)
	}
	if listed := must(t, "list", "--repo", repository).stdout; !strings.Contains(listed, "no backups") {
		t.Errorf("listed: %s", listed)
	}
	if longest > 30*time.Second {
		t.Errorf("mbk ended %s after its server", longest)
	}
	must(t, backupArgs(srv, repository)...)
	return fmt.Sprintf("killed %d times; mbk ended within %.1f s", times, longest.Seconds())
}

// crowd is how many programs share a processor, 1 or more.
func crowd(t *testing.T) float64 {
	t.Helper()
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		t.Fatal(err)
	}
	var load float64
	if _, err := fmt.Sscan(string(text), &load); err != nil {
		t.Fatal(err)
	}
	return max(1, load/float64(runtime.NumCPU()))
}

// Bounds of a backup of many tables, on a machine with nothing else to do.
const (
	manyTables       = 20_000
	windowManyTables = time.Second
	memoryManyTables = 500 << 20 // bytes resident
)

// thousands backs a server up with very many tables, and half as many changes
// of definitions as it can do meanwhile.
func thousands(t *testing.T, version string) string {
	srv := mariadbtest.New(t, version, "--table-open-cache=2000", "--skip-log-bin", "--innodb-flush-log-at-trx-commit=2")
	srv.MustExec(t, "CREATE DATABASE d")
	done := make(chan error)
	const sessions = 2
	for s := range sessions {
		go func() {
			var q []string
			for i := s; i < manyTables; i += sessions {
				engine := []string{"InnoDB", "InnoDB", "InnoDB", "Aria", "MyISAM"}[i/sessions%5]
				q = append(q, fmt.Sprintf("CREATE TABLE d.t%d (a INT PRIMARY KEY, b VARCHAR(100)) ENGINE=%s", i, engine),
					fmt.Sprintf("INSERT INTO d.t%d VALUES (1, 'x')", i))
			}
			done <- srv.Exec(t.Context(), q...)
		}()
	}
	for range sessions {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(1100 * time.Millisecond) // until the tables count as idle
	repository := t.TempDir()
	cmd := command(t, backupArgs(srv, repository, "--json")...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	begun := time.Now()
	if err := cmd.Run(); err != nil {
		t.Fatalf("backup: %v: %s", err, stderr.String())
	}
	took := time.Since(begun)
	var b taken
	if err := json.Unmarshal(stdout.Bytes(), &b); err != nil {
		t.Fatal(err)
	}
	memory := cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
	window := time.Duration(b.LockWindowMS) * time.Millisecond
	if b.Tables < manyTables || window > time.Duration(float64(windowManyTables)*crowd(t)) || memory > memoryManyTables {
		t.Errorf("%d tables, lock window %s, want at most %s; %d MiB resident, want at most %d", b.Tables, window,
			windowManyTables, memory>>20, memoryManyTables>>20)
	}
	return fmt.Sprintf("%s, %d MiB resident, in %.1f s", b, memory>>20, took.Seconds())
}
