package cli_test

import (
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mbk/internal/repo"
	"mbk/internal/test/mariadbtest"
)

// Whatever asks mbk to end, and whenever: it ends in good order, its history knows of
// it, and the program for a failure runs. SIGHUP and SIGQUIT used to kill it.
func testSignals(t *testing.T, program string, srv *mariadbtest.Server) {
	w := workshop{t.TempDir()}
	undo := w.program(t, "undo", "sleep 0.3; echo > done")
	sleeping := w.program(t, "sleeping", "exec sleep 60")
	phases := map[string]func(t *testing.T, repository string) *run{
		"copying": func(t *testing.T, repository string) *run {
			r := launch(t, plain(program, slowArgs(srv, repository, "--hook-failure", undo)...))
			untilCopying(t, repository)
			return r
		},
		"a stage is pending": func(t *testing.T, repository string) *run {
			writer, err := srv.DB().Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var id string
			if err := writer.QueryRowContext(t.Context(), "SELECT CONNECTION_ID()").Scan(&id); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_, _ = srv.DB().Exec("KILL " + id) // a statement that runs on would keep the server from stopping
				_ = writer.Close()
			})
			go func() { _, _ = writer.ExecContext(t.Context(), "INSERT INTO d.m SELECT 5000, SLEEP(60)") }()
			r := launch(t, plain(program, backupArgs(srv, repository, "--exclude-table", "d.i", "--hook-failure", undo)...))
			until(t, "wait", func() bool {
				return srv.MustValue(t,
					"SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'BACKUP STAGE%' AND STATE = 'Waiting for "+
						"backup lock'") != "0"
			})
			return r
		},
		"a program runs before it": func(t *testing.T, repository string) *run {
			r := launch(t, plain(program, backupArgs(srv, repository, "--hook-before", sleeping, "--hook-failure", undo)...))
			w.started(t, "sleeping")
			return r
		},
	}
	for _, c := range []struct {
		phase   string
		signals []syscall.Signal
	}{
		{"copying", []syscall.Signal{syscall.SIGHUP, syscall.SIGCONT, syscall.SIGHUP}}, // a shell and the kernel both send it
		{"copying", []syscall.Signal{syscall.SIGTERM}},
		{"copying", []syscall.Signal{syscall.SIGINT}},
		{"copying", []syscall.Signal{syscall.SIGQUIT}},
		{"a stage is pending", []syscall.Signal{syscall.SIGHUP}},
		{"a program runs before it", []syscall.Signal{syscall.SIGHUP}},
	} {
		t.Run(c.signals[0].String()+" while "+c.phase, func(t *testing.T) {
			repository := t.TempDir()
			r := phases[c.phase](t, repository)
			w.ran("undo")
			_ = os.Remove(filepath.Join(w.dir, "done"))
			for _, s := range c.signals {
				signalTo(t, r, s)
				time.Sleep(20 * time.Millisecond)
			}
			o := r.wait(t, 30*time.Second)
			if o.code != 130 || !strings.HasSuffix(o.stderr, "mbk: error: interrupted\n") {
				t.Errorf("exit code %d, stderr:\n%s", o.code, o.stderr)
			}
			if _, err := os.Stat(filepath.Join(w.dir, "done")); err != nil ||
				w.environment(t, "undo")["MBK_EXIT_CODE"] != "130" {
				t.Errorf("the program for a failure: %v", err)
			}
			if all := historyOf(t, repository); c.phase == "copying" && (len(all) != 1 || all[0].Outcome != repo.OutcomeFailed) {
				t.Errorf("the history has %+v", all)
			}
		})
	}
	wantFree(t, srv)
}

// plain is the built program without the options of this machine.
func plain(program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "MBK_REPO=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	// A signal that is ignored here, as with nohup, would be ignored by mbk too; one that
	// is caught here is not.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	return cmd
}

// What mbk writes to goes away, or takes no more. It used to be killed by SIGPIPE in the
// middle of a backup.
func testLostOutput(t *testing.T, program string, srv *mariadbtest.Server) {
	for _, c := range []struct {
		name, script string
		code         int
		says         string // "": cannot
	}{
		{"nobody reads stdout and stderr", `"$@" --progress plain 2>&1 | true; exit ${PIPESTATUS[0]}`, 1, ""},
		{"nobody reads stdout", `"$@" | true; exit ${PIPESTATUS[0]}`, 1,
			"is whole and in the repository, but the result could not be printed"},
		{"nobody reads stderr", `"$@" --progress plain 2>&1 >/dev/null | true; exit ${PIPESTATUS[0]}`, 0, ""},
		{"stdout is full", `"$@" >/dev/full`, 1, "is whole and in the repository, but the result could not be printed"},
		{"both are full", `"$@" >/dev/full 2>&1`, 1, ""},
		{"stdin, stdout and stderr are closed", `"$@" <&- >&- 2>&-`, 0, ""},
		{"hangup is ignored", `trap "" HUP; "$@" & sleep 0.2; kill -HUP $!; wait $!`, 0, "locked"},
	} {
		t.Run(c.name, func(t *testing.T) {
			repository := t.TempDir()
			args := append([]string{"-c", c.script, "bash", program, "backup", "--repo", repository, "--socket", srv.Socket,
				"--user", "root", "--no-defaults"}, "--exclude-table", "d.i")
			cmd := exec.Command("bash", args...)
			cmd.Env = append(os.Environ(), "MBK_REPO=")
			out, _ := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code != c.code || !strings.Contains(string(out), c.says) {
				t.Errorf("exit code %d, want %d; %q in %q", code, c.code, c.says, out)
			}
			if have := ids(t, repository); len(have) != 1 {
				t.Errorf("backups: %v", have)
			}
		})
	}
	t.Run("a list is piped into head", func(t *testing.T) {
		out, err := exec.Command("bash", "-c", `"$0" list --no-defaults --repo "$1" | true`, program,
			t.TempDir()).CombinedOutput()
		if err != nil || strings.Contains(string(out), "printed") {
			t.Errorf("%v, %q", err, out)
		}
	})
}

// Go's runtime ends with 2 when it crashes, which mbk says of a call that must be
// changed.
func testCrash(t *testing.T, program string, srv *mariadbtest.Server) {
	repository := t.TempDir()
	r := launch(t, plain(program, slowArgs(srv, repository)...))
	untilCopying(t, repository)
	// No memory any more, and no new thread.
	if err := unix.Prlimit(r.cmd.Process.Pid, unix.RLIMIT_AS, &unix.Rlimit{Cur: 1 << 20, Max: 1 << 20}, nil); err != nil {
		t.Fatal(err)
	}
	o := r.wait(t, 60*time.Second)
	status := r.cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !status.Signaled() || status.Signal() != syscall.SIGABRT || status.CoreDump() {
		t.Errorf("%s; stderr ends %q", r.cmd.ProcessState, o.stderr[max(0, len(o.stderr)-300):])
	}
	wantFree(t, srv)
}
