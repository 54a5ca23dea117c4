package cli_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"mbk/internal/repo/store/folder"
)

// wantAttempts checks which attempts the history has.
func wantAttempts(t *testing.T, repository string, want ...string) {
	t.Helper()
	var got []string
	for _, a := range document[struct {
		Attempts []struct {
			ID string `json:"id"`
		} `json:"attempts"`
	}](t, "history", "--repo", repository).Attempts {
		got = append(got, a.ID)
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("the history has %q, want %q", got, want)
	}
}

// atTerminal makes a terminal the standard input of a command. What is written to the result
// is typed there.
func atTerminal(t *testing.T, cmd *exec.Cmd) (master *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	cmd.Stdin = slave
	return master
}

// What a person at a terminal has mistyped, and the nightly backup that is under way
// when he tries, are no failed attempts of the service; programs that clean up run all
// the same. Of the service itself the same failures are on record.
func testTypedCommands(t *testing.T, repository, socket, id string) {
	st, err := folder.Open(repository)
	if err != nil {
		t.Fatal(err)
	}
	ran := filepath.Join(t.TempDir(), "ran")
	metrics := filepath.Join(t.TempDir(), "mbk.prom")
	for name, c := range map[string]struct {
		args []string
		busy bool
		code int
	}{
		"the repository is busy": {busy: true, code: 4},
		"a wrong account":        {args: []string{"--user", "nobody-at-all"}, code: 2},
		"a wrong data directory": {args: []string{"--datadir", "/var/empty-at-all"}, code: 2},
		"no room":                {args: []string{"--min-free", "99%"}, code: 2},
		"an unknown table":       {args: []string{"--table", "shop.ordres"}, code: 2},
	} {
		for _, typed := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, at a terminal: %v", name, typed), func(t *testing.T) {
				if c.busy {
					lock, err := st.Lock(t.Context(), "repository", "the nightly backup")
					if err != nil {
						t.Fatal(err)
					}
					defer lock.Release()
				}
				_ = os.Remove(ran)
				cmd := command(t, append([]string{"backup", "--repo", repository, "--socket", socket, "--user", "root", "--quiet",
					"--hook-failure", "/bin/touch " + ran, "--metrics-file", metrics}, c.args...)...)
				if typed {
					atTerminal(t, cmd)
				}
				var stderr bytes.Buffer
				cmd.Stderr = &stderr
				_ = cmd.Run()
				if code := cmd.ProcessState.ExitCode(); code != c.code {
					t.Errorf("exit code %d, want %d: %s", code, c.code, &stderr)
				}
				if _, err := os.Stat(ran); err != nil {
					t.Errorf("the program for a failed backup did not run: %v", err)
				}
				numbers, err := os.ReadFile(metrics)
				if err != nil {
					t.Fatal(err)
				}
				failed := filepath.Join(repository, "history", "*-failed*.json")
				records, err := filepath.Glob(failed)
				if err != nil {
					t.Fatal(err)
				}
				recorded := !typed && !strings.Contains(name, "table")
				if (len(records) > 0) != recorded {
					t.Errorf("records %q, want some: %v", records, recorded)
				}
				if list := must(t, "list", "--repo", repository); strings.Contains(list.stderr, "the newest attempt") != recorded {
					t.Errorf("list says %q", list.stderr)
				}
				if good := regexp.MustCompile(`(?m)^mbk_backup_last_attempt_success\{.*\} 1$`).Match(numbers); good == recorded {
					t.Errorf("metrics: %s", numbers)
				}
				for _, path := range records {
					if err := os.Remove(path); err != nil {
						t.Fatal(err)
					}
				}
				wantAttempts(t, repository, id)
			})
		}
	}
}
