package cli_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbk/internal/cli"
	"mbk/internal/repo"
	"mbk/internal/test/executable"
)

// workshop is a folder of programs for hooks, and of what they note.
type workshop struct{ dir string }

// program makes one. It notes its environment and its standard input, then that it
// runs, and does what body says.
func (w workshop) program(t *testing.T, name, body string) string {
	t.Helper()
	path := filepath.Join(w.dir, name)
	script := "#!/bin/sh\ncd '" + w.dir + "'\nenv > " + name + ".env\ncat > " + name + ".json\necho $$ > " + name +
		".pid\n" + body + "\n"
	if err := executable.Write(path, []byte(script)); err != nil {
		t.Fatal(err)
	}
	return path
}

// ran reports whether a program has run, and forgets it.
func (w workshop) ran(name string) bool {
	return os.Remove(filepath.Join(w.dir, name+".pid")) == nil
}

// started waits until a program runs, and returns its process.
func (w workshop) started(t *testing.T, name string) int {
	t.Helper()
	var pid int
	until(t, "program "+name, func() bool {
		b, err := os.ReadFile(filepath.Join(w.dir, name+".pid"))
		if err != nil || !strings.HasSuffix(string(b), "\n") {
			return false
		}
		pid, err = strconv.Atoi(strings.TrimSpace(string(b)))
		return err == nil
	})
	return pid
}

// environment is what a program saw of the variables that begin with MBK_, all of
// them if it is asked for everything.
func (w workshop) environment(t *testing.T, name string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(w.dir, name+".env"))
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for line := range strings.Lines(string(b)) {
		key, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		all[key] = value
	}
	return all
}

// A program can run mbk, because no fact is taken for an option.
func TestFactsAreNoOptions(t *testing.T) {
	t.Parallel()
	w := workshop{t.TempDir()}
	failing := w.program(t, "failing", "exit 1")
	cmd := command(t, "backup", "--repo", "r", "--quiet", "--no-defaults", "--hook-before", failing)
	cmd.Dir = t.TempDir()
	launch(t, cmd).wait(t, time.Minute)
	facts := w.environment(t, "failing")
	if facts["MBK_HOOK"] != "before" || facts["MBK_REPO"] != filepath.Join(cmd.Dir, "r") {
		t.Fatalf("environment %q", facts)
	}
	for _, f := range cli.Flags() {
		variable := "MBK_" + strings.ToUpper(strings.ReplaceAll(strings.TrimLeft(f.Names[0], "-"), "-", "_"))
		if _, taken := facts[variable]; taken && variable != "MBK_REPO" {
			t.Errorf("%s is a fact, and an option of mbk %s", variable, f.Command)
		}
	}
}

// A failed attempt leaves nothing but its history, or if so asked what it had
// stored, until the next backup.
func TestRollBack(t *testing.T) {
	t.Parallel()
	srv := newBusyServer(t, newest(), "--plugin-load-add=ha_rocksdb")
	repository := t.TempDir()
	must(t, backupArgs(srv, repository)...)
	first := ids(t, repository)[0]
	folder := filepath.Join(repository, "backups", first)
	kept := tree(t, folder)
	// A table is made that cannot be copied, which shows when all packs are stored.
	fail := func(more ...string) (left []string) {
		t.Helper()
		was := files(t, repository)
		r := launch(t, command(t, append(backupArgs(srv, repository, "--rate-limit", "24MB"), more...)...))
		untilCopying(t, repository)
		srv.MustExec(t, "CREATE TABLE d.r (a INT PRIMARY KEY) ENGINE=ROCKSDB")
		o := r.wait(t, 30*time.Second)
		if o.code == 0 || !strings.Contains(o.stderr, "ROCKSDB, which cannot be backed up") {
			t.Fatalf("exit code %d: %s", o.code, o.stderr)
		}
		srv.MustExec(t, "DROP TABLE d.r")
		return slices.DeleteFunc(files(t, repository), func(name string) bool {
			return slices.Contains(was, name) || strings.HasPrefix(name, ".locks/")
		})
	}
	left := fail("--resume-within", "0")
	history := historyOf(t, repository)
	if len(history) != 2 || history[1].Outcome != repo.OutcomeFailed || history[1].Resumable != nil ||
		!slices.Equal(left, []string{"history/" + history[1].ID + ".json"}) {
		t.Errorf("the failed attempt has left %q, the history has %+v", left, history)
	}
	left = fail()
	if packs := slices.DeleteFunc(left,
		func(name string) bool { return !strings.Contains(name, "/data-") }); len(packs) < 2 {
		t.Errorf("what can be continued on is %q", left)
	}
	if history = historyOf(t, repository); len(history) != 3 || history[2].Resumable == nil ||
		history[2].Resumable.Bytes < 16<<20 {
		t.Errorf("the history has %+v", history)
	}
	if have := ids(t, repository); !slices.Equal(have, []string{first}) {
		t.Errorf("listed: %v", have)
	}
	next := document[measured](t, backupArgs(srv, repository)...)
	if next.Resumed == nil || next.BytesStored > next.Resumed.Bytes/2 {
		t.Errorf("the next backup has stored %d bytes, and has of the failed one %+v", next.BytesStored, next.Resumed)
	}
	if folders, err := os.ReadDir(filepath.Join(repository, "backups")); err != nil || len(folders) != 3 {
		t.Errorf("after the next backup there are %v, %v", folders, err)
	}
	wantUnchanged(t, kept, folder)
	wantFree(t, srv)
}

// files lists what is in a folder.
func files(t *testing.T, folder string) (all []string) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(folder), ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all = append(all, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// A token in an address and the arguments of programs used to stand where every user of
// the machine can read them, for as long as the backup ran.
func TestSecretArguments(t *testing.T) {
	w := workshop{t.TempDir()}
	sleeping := w.program(t, "sleeping", "exec sleep 60")
	t.Setenv("MBK_WEBHOOK", "https://127.0.0.1:1/of-the-environment")
	cmd := command(t, "backup", "--no-defaults", "--repo", t.TempDir(), "--socket", "/nowhere/sock", "--webhook",
		"https://127.0.0.1:1/token-71",
		"--hook-before", sleeping+" token-72", "--hook-failure=true token-73", "--notify", "never")
	r := launch(t, cmd)
	w.started(t, "sleeping")
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(line), "token") || !strings.Contains(string(line), "--repo") {
		t.Errorf("the arguments are %q", strings.ReplaceAll(string(line), "\x00", " "))
	}
	for name, value := range w.environment(t, "sleeping") {
		if strings.Contains(value, "token") {
			t.Errorf("the program's environment has %s=%s", name, value)
		}
	}
	signalTo(t, r, syscall.SIGTERM)
	r.wait(t, 20*time.Second)
	// With a password it used to take the backup that it was to explain.
	repository := t.TempDir()
	o := must(t, "config", "backup", "--no-defaults", "--repo", repository, "--webhook", "https://127.0.0.1:1/token-71",
		"--password=token-75")
	wantEmptyFolder(t, repository)
	if !strings.Contains(o.stdout, "command line") || strings.Contains(o.stdout, "token") ||
		strings.Contains(o.stdout, "MBK_WEBHOOK") {
		t.Errorf("config prints:\n%s", o.stdout)
	}
}
