package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbk/internal/cli"
	"mbk/internal/repo"
	"mbk/internal/repo/store/folder"
	"mbk/internal/sys/signals"
	"mbk/internal/test/sshtest"
)

// asMbk makes the test binary run as mbk.
const asMbk = "MBK_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == bridge {
		if err := sshtest.Bridge(os.Args[2]); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	if os.Getenv(asMbk) != "" {
		os.Exit(cli.Run(signals.Notify(context.Background()), cli.Process())) // as in main.go
	}
	// Under nohup the tests would hand an ignored SIGHUP down to mbk, which heeds that.
	if signal.Ignored(syscall.SIGHUP) {
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	// Servers look there for what brings the state to a node of a cluster.
	folder, err := filepath.Abs("testdata/galera")
	if err == nil {
		err = os.Setenv("PATH", folder+":"+os.Getenv("PATH"))
	}
	if self, failed := os.Executable(); failed == nil {
		err = errors.Join(err, os.Setenv("MBK_TEST_PROGRAM", self))
	}
	if err != nil {
		panic(err)
	}
	code := m.Run()
	endShared()
	os.Exit(code)
}

// outcome is a finished run of mbk.
type outcome struct {
	code           int
	stdout, stderr string
}

// command prepares a run of mbk. It reads no option file of this machine.
func command(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args, variables := inKind(t, args)
	cmd := exec.Command(self, args...)
	cmd.Env = append(append(os.Environ(), asMbk+"=1", "MBK_REPO=", "HOME="+t.TempDir()), variables...)
	// As cron and systemd start it. A backup also lowers its session's priority.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

// mbk runs mbk to its end.
func mbk(t testing.TB, args ...string) outcome {
	t.Helper()
	cmd := command(t, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer endIfStuck(t, cmd.Process)()
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return outcome{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// must is mbk that has to succeed.
func must(t testing.TB, args ...string) outcome {
	t.Helper()
	o := mbk(t, args...)
	if o.code != 0 {
		t.Fatalf("mbk %q exits %d\nstdout:\n%s\nstderr:\n%s", args, o.code, o.stdout, o.stderr)
	}
	return o
}

// loud returns a call without --quiet.
func loud(args []string) []string {
	return slices.DeleteFunc(slices.Clone(args), func(arg string) bool { return arg == "--quiet" })
}

// document is must with --json, decoded. It must be as its schema says.
func document[T any](t testing.TB, args ...string) T {
	t.Helper()
	o := must(t, append(args, "--json")...)
	wantValid(t, schemaOf(args), o.stdout)
	var v T
	if err := json.Unmarshal([]byte(o.stdout), &v); err != nil {
		t.Fatalf("mbk %q --json prints %q: %v", args, o.stdout, err)
	}
	return v
}

// restoreArgs restores into a folder that only this user can reach.
func restoreArgs(id, repository, target string) []string {
	return []string{"restore", id, "--repo", repository, "--target", target, "--quiet", "--owner",
		strconv.Itoa(os.Getuid())}
}

// in runs mbk in an environment of its own.
func in(t *testing.T, variables []string, args ...string) outcome {
	t.Helper()
	cmd := command(t, args...)
	cmd.Env = append(cmd.Env, variables...)
	return launch(t, cmd).wait(t, time.Minute)
}

// optionFile writes an option file that only this user may read.
func optionFile(t *testing.T, lines ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "my.cnf")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// historyOf is the history of a repository.
func historyOf(t *testing.T, repository string) []repo.Attempt {
	t.Helper()
	st, err := folder.Open(repository)
	if err != nil {
		t.Fatal(err)
	}
	r, err := repo.Open(t.Context(), st)
	if errors.Is(err, repo.ErrNotRepository) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	all, err := withIdentity(t, r).Attempts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}
