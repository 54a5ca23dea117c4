package cli_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbk/internal/test/mariadbtest"
)

// A look at the result before it is placed: the answer, or a signal, places it or does not, and who looks changes
// nothing.
func TestKeepRunning(t *testing.T) {
	t.Parallel()
	version := mariadbtest.Some(t, "10.5", "10.11", "11.8")[0]
	source := mariadbtest.New(t, version)
	source.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY)", "INSERT INTO d.t VALUES (1)")
	repository := t.TempDir()
	must(t, backupArgs(source, repository)...)
	source.MustExec(t, "INSERT INTO d.t VALUES (2)")
	end := source.MustValue(t, "SELECT @@gtid_binlog_pos")
	client := source.Dist.Program("mariadb")
	for _, c := range []struct {
		name   string
		answer string // "": none, but a signal
		signal syscall.Signal
		code   int
	}{
		{"Enter", "what?\n\n", 0, 0}, {"a signal places it", "", syscall.SIGUSR1, 0}, {"no", "discard\n", 0, 1},
		{"a signal ends it", "", syscall.SIGTERM, 130},
	} {
		t.Run(c.name, func(t *testing.T) {
			target, login := filepath.Join(t.TempDir(), "restored"), filepath.Join(t.TempDir(), "login.cnf")
			cmd := command(t, append(restoreArgs("latest", repository, target), "--until", "end", "--binlog-dir",
				source.Datadir, "--keep-running-on", fmt.Sprint(freePort(t)), "--login-file", login)...)
			in, out, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			cmd.Stdin = in
			run := launch(t, cmd)
			_ = in.Close()
			if c.answer == "" {
				_ = out.Close() // nobody types
			}
			looked := lookAt(t, client, login)
			if !strings.Contains(looked, "2 "+end) {
				t.Errorf("who looked saw %q", looked)
			}
			if c.signal != 0 {
				err = cmd.Process.Signal(c.signal)
			} else {
				_, err = out.WriteString(c.answer)
			}
			if err != nil {
				t.Fatal(err)
			}
			o := run.wait(t, time.Minute)
			_, missing := os.Stat(target)
			if o.code != c.code || (missing == nil) != (c.code == 0) {
				t.Fatalf("exit code %d, want %d; target: %v: %s", o.code, c.code, missing, o.stderr)
			}
			if _, err := os.Stat(login); err == nil {
				t.Error("the login is left behind")
			}
			if c.answer == "what?\n\n" && !strings.Contains(o.stderr, `"what?" is no answer`) {
				t.Errorf("stderr: %s", o.stderr)
			}
			if c.code == 0 {
				restored := mariadbtest.Open(t, version, target)
				wantValue(t, restored, "SELECT COUNT(*) FROM mysql.global_priv WHERE User LIKE 'mbk%'", "0")
				wantSame(t, source, restored)
			}
		})
	}
	wantNoLook(t, source, repository)
}

// freePort returns a port of 127.0.0.1 that nobody has.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // of a test
	return l.Addr().(*net.TCPAddr).Port
}

// lookAt waits for a login, and returns what a client of the machine sees with it, and that it can change nothing.
func lookAt(t *testing.T, client, login string) string {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if info, err := os.Stat(login); err == nil && info.Size() > 0 {
			if info.Mode() != 0o600 {
				t.Errorf("the login has the mode %v", info.Mode())
			}
			break
		}
		if time.Now().After(end) {
			t.Fatal("there is no login")
		}
	}
	for _, text := range []string{"INSERT INTO d.t VALUES (3)", "CREATE TABLE d.x (a INT)", "DROP TABLE d.t",
		"SET GLOBAL read_only=0", "CREATE USER x", "SELECT 1 INTO OUTFILE '/tmp/mbk-look'"} {
		if b, err := exec.Command(client, "--defaults-file="+login, "-e", text).CombinedOutput(); err == nil ||
			!strings.Contains(string(b), "ERROR 1") {
			t.Errorf("%s: %v: %s", text, err, b)
		}
	}
	b, err := exec.Command(client, "--defaults-file="+login, "-N", "-e",
		"SELECT CONCAT(COUNT(*), ' ', @@gtid_slave_pos) FROM d.t").CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, b)
	}
	return string(b)
}

// wantNoLook asks for looks that are not possible.
func wantNoLook(t *testing.T, source *mariadbtest.Server, repository string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // of a test
	taken := fmt.Sprint(l.Addr().(*net.TCPAddr).Port)
	for want, more := range map[string][]string{
		"name a free port":                   {"--keep-running-on", taken},
		"1 to 65535":                         {"--keep-running-on", "70000"},
		"is for --keep-running-on":           {"--login-file", "/tmp/x"},
		"exists already":                     {"--keep-running-on", "3999", "--login-file", source.Socket},
		"takes the recovery":                 {"--keep-running-on", "3999", "--no-recover"},
		"only a part of the tables is":       {"--keep-running-on", "3999", "--table", "d.t"},
		"--keep-running-on is for a restore": {"--keep-running-on", "3999", "--into-server"},
	} {
		args := restoreArgs("latest", repository, filepath.Join(t.TempDir(), "none"))
		if strings.Contains(want, "is for a restore") {
			args = []string{"restore", "latest", "--repo", repository, "--table", "d.t", "--socket", source.Socket}
		}
		if o := mbk(t, append(args, more...)...); o.code != 2 || !strings.Contains(o.stderr, want) {
			t.Errorf("%v: exit code %d, want 2 and %q: %s", more, o.code, want, o.stderr)
		}
	}
}
