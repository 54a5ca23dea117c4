//go:build soak

package cli_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"mbk/internal/mariadbtest"
)

// A server that is stopped like a process, not like a server: it answers
// nothing, and its connections stay. The backup must end by itself and clean up,
// although it cannot give anything back.
func TestSoakFrozenServer(t *testing.T) {
	srv := newBusyServer(t, mariadbtest.Versions()[0])
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
		wantNoBackup(t, repository, 1)
		if interrupt && o.code != 130 || !interrupt && (o.code != 1 || !strings.Contains(o.stderr, "no answer from the server")) {
			t.Errorf("interrupted: %t; exit code %d, stderr:\n%s", interrupt, o.code, o.stderr)
		}
	}
}
