//go:build soak

package cli_test

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// frozenServer: a server that is stopped like a process, not like a server: it answers
// nothing, and its connections stay. The backup must end by itself and clean up,
// although it cannot give anything back. After a signal it does not wait that long, and the
// next one cleans up.
func frozenServer(t *testing.T, version string) string {
	begun := time.Now()
	srv := newBusyServer(t, version)
	signal := func(s syscall.Signal) {
		t.Helper()
		if err := syscall.Kill(srv.Pid(), s); err != nil {
			t.Fatal(err)
		}
	}
	for _, interrupt := range []bool{false, true} {
		repository := t.TempDir()
		r := copying(t, srv, repository)
		signal(syscall.SIGSTOP)
		if interrupt {
			if err := r.cmd.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
		}
		o := r.wait(t, 3*time.Minute)
		signal(syscall.SIGCONT)
		wantFree(t, srv)
		if !interrupt {
			wantNoBackup(t, repository, 1)
			if o.code != 1 || !strings.Contains(o.stderr, "no answer from the server") {
				t.Errorf("exit code %d, stderr:\n%s", o.code, o.stderr)
			}
			continue
		}
		const abandoned = "did not end within 12s after a signal"
		if told := strings.Join(attempts(t, repository), "\n"); o.code != 130 || !strings.Contains(told, abandoned) {
			t.Errorf("interrupted: exit code %d, stderr:\n%s\nhistory: %s", o.code, o.stderr, told)
		}
		must(t, backupArgs(srv, repository, "--wait-lock", "5m")...)
		wantNothingLeft(t, repository, 1)
	}
	return fmt.Sprintf("gave up twice, in %s", time.Since(begun).Round(time.Second))
}
