package cli_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"mbk/internal/test/mariadbtest"
)

// The lock window and the memory of a backup must not depend on how much idle
// data there is.
func TestLockWindowOfIdleData(t *testing.T) {
	mariadbtest.Rare(t)
	t.Log(idleWindow(t, oldest(), 96, 48))
}

// longestWindow is for two cores.
const longestWindow = 500 * time.Millisecond

// idleWindow measures backups of a server with that much idle data, and with
// four times as much.
func idleWindow(t *testing.T, version string, innodbMiB, myisamMiB int) string {
	srv := mariadbtest.New(t, version, "--innodb-buffer-pool-size=256M", "--innodb-log-file-size=96M")
	srv.MustExec(t, "CREATE DATABASE d", "SET GLOBAL binlog_format=STATEMENT")
	repository := t.TempDir()
	var told []string
	for round := range 4 {
		for engine, mib := range map[string]int{"InnoDB": innodbMiB, "MyISAM": myisamMiB} {
			srv.MustExec(t, fmt.Sprintf("CREATE TABLE d.%s%d (a INT PRIMARY KEY, b VARCHAR(1000)) ENGINE=%s", engine,
				round, engine))
			srv.MustExec(t,
				fmt.Sprintf("INSERT INTO d.%s%d SELECT seq, REPEAT(CONCAT(MD5(seq), MD5(seq + 1)), 15) FROM d.seq_1_to_%d", engine,
					round, mib<<10))
		}
		if round != 0 && round != 3 {
			continue
		}
		time.Sleep(1100 * time.Millisecond) // until the tables count as idle
		var windows []time.Duration
		for range 3 {
			window, memory := measure(t, repository, srv.Socket)
			windows = append(windows, window)
			if memory > mostMemory {
				t.Errorf("%d times the data: mbk had %d MiB resident, want at most %d", round+1, memory>>20, mostMemory>>20)
			}
		}
		slices.Sort(windows)
		told = append(told, fmt.Sprintf("%d MiB InnoDB and %d MiB MyISAM: lock windows %v", (round+1)*innodbMiB,
			(round+1)*myisamMiB, windows))
		if windows[1] > longestWindow {
			t.Errorf("%d times the data: median lock window %s, want below %s", round+1, windows[1], longestWindow)
		}
	}
	return strings.Join(told, "; ")
}

// measure takes a backup and returns its lock window and the most memory in bytes
// that mbk had resident.
func measure(t *testing.T, repository, socket string) (time.Duration, int64) {
	t.Helper()
	cmd := command(t, "backup", "--repo", repository, "--socket", socket, "--user", "root", "--quiet",
		"--no-defaults", "--json")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	memory := watchMemory(cmd.Process.Pid)
	if err := cmd.Wait(); err != nil {
		t.Fatalf("backup: %v: %s", err, stderr.String())
	}
	var b taken
	if err := json.Unmarshal(stdout.Bytes(), &b); err != nil {
		t.Fatal(err)
	}
	return time.Duration(b.LockWindowMS) * time.Millisecond, <-memory
}

// watchMemory tells, when a process has ended, how many bytes it had resident at
// most. (What wait4 says counts the process that it was forked from.)
func watchMemory(pid int) <-chan int64 {
	most := make(chan int64, 1)
	go func() {
		var kib int64
		for {
			status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			_, line, found := strings.Cut(string(status), "VmHWM:")
			if err != nil || !found { // it has ended
				most <- kib << 10
				return
			}
			var now int64
			if _, err := fmt.Sscanf(line, "%d kB", &now); err == nil {
				kib = max(kib, now)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	return most
}
