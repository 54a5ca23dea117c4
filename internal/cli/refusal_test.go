package cli_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"mbk/internal/test/executable"
	"mbk/internal/test/mariadbtest"
)

// wantRefusal checks what a run with --quiet says that had to fail: its exit
// code, nothing on stdout, and on stderr an error with all of the parts and a
// hint with the advice, both in the house's style.
func (o outcome) wantRefusal(t *testing.T, code int, advice string, parts ...string) {
	t.Helper()
	if o.code != code {
		t.Errorf("exit code %d, want %d", o.code, code)
	}
	if o.stdout != "" {
		t.Errorf("stdout: %q", o.stdout)
	}
	errorText, hints, wrong := o.refusal()
	for _, line := range wrong {
		t.Errorf("stderr has the line %q", line)
	}
	for _, part := range parts {
		if !strings.Contains(errorText, part) {
			t.Errorf("the error is\n%swant a part %q", errorText, part)
		}
	}
	if hints == "" || !strings.Contains(hints, advice) {
		t.Errorf("the hints are\n%swant %q", hints, advice)
	}
	if t.Failed() {
		t.Logf("exit code %d, stderr:\n%s", o.code, o.stderr)
	}
}

// refusal takes stderr apart: errors, hints, and the lines that are neither or are not in
// the house's style.
func (o outcome) refusal() (errorText, hints string, wrong []string) {
	for line := range strings.Lines(o.stderr) {
		line = strings.TrimSuffix(line, "\n")
		kind, text, _ := strings.Cut(strings.TrimPrefix(line, "mbk: "), ": ")
		switch kind {
		case "error":
			errorText += text + "\n"
		case "hint":
			hints += text + "\n"
		case "warning":
			if !strings.Contains(text, "permission denied") { // objects of a repository, each of them
				wrong = append(wrong, line)
			}
		default:
			wrong = append(wrong, line)
		}
		first, size := utf8.DecodeRuneInString(text)
		second, _ := utf8.DecodeRuneInString(text[size:])
		sentence := unicode.IsUpper(first) && unicode.IsLower(second) && !strings.HasPrefix(text, "MariaDB")
		if strings.HasSuffix(text, ".") || sentence {
			wrong = append(wrong, line)
		}
	}
	return errorText, hints, wrong
}

// tree describes everything below folders, so that a change shows.
func tree(t *testing.T, folders ...string) string {
	t.Helper()
	var b strings.Builder
	for _, folder := range folders {
		err := filepath.WalkDir(folder, func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := e.Info()
			if err != nil {
				return err
			}
			st := info.Sys().(*syscall.Stat_t)
			fmt.Fprintf(&b, "%s %s %d:%d %d", path, info.Mode(), st.Uid, st.Gid, st.Ino)
			if !e.IsDir() {
				fmt.Fprintf(&b, " %d %s", info.Size(), info.ModTime())
			}
			b.WriteByte('\n')
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return b.String()
}

// wantUnchanged compares folders with what tree said of them before.
func wantUnchanged(t *testing.T, before string, folders ...string) {
	t.Helper()
	was, is := lines(before), lines(tree(t, folders...))
	for line := range was {
		if !is[line] {
			t.Errorf("gone or changed: %s", line)
		}
	}
	for line := range is {
		if !was[line] {
			t.Errorf("new or changed: %s", line)
		}
	}
}

// lines is the set of a text's lines.
func lines(text string) map[string]bool {
	set := map[string]bool{}
	for line := range strings.Lines(text) {
		set[strings.TrimSpace(line)] = true
	}
	return set
}

// wantFree makes sure that DDL, commits and writes of all kinds go on within five
// seconds.
func wantFree(t *testing.T, srv *mariadbtest.Server) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	err := srv.Exec(ctx, "CREATE OR REPLACE DATABASE free", "CREATE TABLE free.i (a INT) ENGINE=InnoDB",
		"INSERT INTO free.i VALUES (1)",
		"CREATE TABLE free.m (a INT) ENGINE=MyISAM", "INSERT INTO free.m VALUES (1)", "BACKUP STAGE START",
		"BACKUP STAGE END", "DROP DATABASE free")
	if err != nil {
		t.Errorf("the server is not free: %v", err)
	}
}

// publicFolder is a temporary folder that every user of the machine can reach.
func publicFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mbk-public-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// nobody is the user without rights.
const nobody = 65534

// asNobody makes a command run as the user nobody if we are root; else it runs
// as the same user as everything here, who is not root.
func asNobody(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	dir := publicFolder(t)
	program := filepath.Join(dir, "mbk") // the test binary lies where only root gets
	b, err := os.ReadFile(cmd.Path)
	if err == nil {
		err = executable.Write(program, b)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd.Path, cmd.Dir = program, "/"
	cmd.Env = append(cmd.Env, "HOME="+dir)
	cmd.SysProcAttr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody}
}

// run is a started mbk.
type run struct {
	cmd            *exec.Cmd
	stdout, stderr bytes.Buffer
	done           chan struct{} // closed when it has ended
}

// launch starts a prepared command.
func launch(t *testing.T, cmd *exec.Cmd) *run {
	t.Helper()
	return launchInto(t, cmd, nil)
}

// launchInto is launch with a file into which the program writes, nil for run.stdout.
func launchInto(t *testing.T, cmd *exec.Cmd, out *os.File) *run {
	t.Helper()
	r := &run{cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &r.stdout, &r.stderr
	if out != nil {
		cmd.Stdout = out
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = cmd.Wait() // the exit code tells
		close(r.done)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it has ended, as a rule
		<-r.done
	})
	return r
}

// whileStopped does something while the program is stopped.
func (r *run) whileStopped(t *testing.T, do func()) {
	t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	do()
	if err := r.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
}

// wait waits for the end.
func (r *run) wait(t *testing.T, within time.Duration) outcome {
	t.Helper()
	select {
	case <-r.done:
	case <-time.After(within):
		_ = r.cmd.Process.Kill() // it may have ended in this moment
		<-r.done
		t.Fatalf("mbk was still running after %s, stderr:\n%s", within, r.stderr.String())
	}
	return outcome{r.cmd.ProcessState.ExitCode(), r.stdout.String(), r.stderr.String()}
}

// until waits for something to happen.
func until(t *testing.T, what string, happened func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !happened() {
		if time.Now().After(deadline) {
			t.Fatalf("in 30 s: no %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// untilCopying waits until a backup into a repository copies. Of an object store, parts show that.
func untilCopying(t *testing.T, repository string) {
	t.Helper()
	until(t, "copying", func() bool {
		packs, err1 := filepath.Glob(filepath.Join(repository, "backups", "*", ".put-*"))
		parts, err2 := filepath.Glob(filepath.Join(repository, ".sgwtmp", "multipart", "*", "*", "*"))
		return err1 == nil && err2 == nil && len(packs)+2*len(parts) > 1
	})
}

// self is the user that owns what the tests make.
func self() string { return strconv.Itoa(os.Getuid()) }
