package cli_test

import (
	"encoding/json"
	"errors"
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
	"mbk/internal/repo/store/folder"
	"mbk/internal/test/executable"
)

// workshop is a folder of programs for hooks, and of what they note.
type workshop struct{ dir string }

// program makes one. It notes its environment and its standard input, and then
// does what body says.
func (w workshop) program(t *testing.T, name, body string) string {
	t.Helper()
	path := filepath.Join(w.dir, name)
	script := "#!/bin/sh\ncd '" + w.dir + "'\necho $$ > " + name + ".pid\nenv > " + name + ".env\ncat > " + name + ".json\n" + body + "\n"
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

// stdin is the document that a program was given.
func stdin[T any](t *testing.T, w workshop, name string) T {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(w.dir, name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var v T
	if err := json.Unmarshal(b, &v); err != nil {
		t.Fatalf("program %s read %q: %v", name, b, err)
	}
	if _, ok := any(v).(noticed); ok {
		wantValid(t, "notice", string(b))
	}
	return v
}

// gone waits for the end of a process.
func gone(t *testing.T, pid int) {
	t.Helper()
	until(t, "end of process "+strconv.Itoa(pid), func() bool {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		return err != nil || strings.Contains(string(b), ") Z ")
	})
}

// noticed is what programs and webhooks are told.
type noticed struct {
	Event    string      `json:"event"`
	Outcome  string      `json:"outcome"`
	Text     string      `json:"text"`
	Repo     string      `json:"repository"`
	ID       string      `json:"id"`
	ExitCode int         `json:"exit_code"`
	Error    string      `json:"error"`
	Hints    []string    `json:"hints"`
	Hooks    []repo.Hook `json:"hooks"`
	Result   *surrounded `json:"result"`
}

// surrounded is a backup with what ran around it.
type surrounded struct {
	ID            string              `json:"id"`
	BytesRead     int64               `json:"bytes_read"`
	Hooks         []repo.Hook         `json:"hooks"`
	Notifications []repo.Notification `json:"notifications"`
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
	all, err := r.Attempts(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Programs run around a backup of a server, and know what it is about.
func TestHooks(t *testing.T) {
	t.Parallel()
	const secret = "geheim-42"
	srv := newBusyServer(t, newest())
	srv.MustExec(t, "ALTER USER mbk@localhost IDENTIFIED BY '"+secret+"'")
	w := workshop{t.TempDir()}
	before, undo := w.program(t, "before", "echo getting ready"), w.program(t, "undo", "echo cleaning up >&2")
	after := w.program(t, "after", `echo "got $# arguments: $1"`)
	broken := w.program(t, "broken", "echo no room over there >&2; exit 7")
	hanging := w.program(t, "hanging", "trap '' TERM; sleep 100 & echo $! > child; echo waiting; wait; sleep 100")
	sleeping := w.program(t, "sleeping", "exec sleep 100")
	run := func(t *testing.T, repository string, more ...string) *run {
		t.Helper()
		cmd := command(t, backupArgs(srv, repository, more...)...)
		cmd.Args = slices.DeleteFunc(cmd.Args, func(arg string) bool { return arg == "--quiet" })
		cmd.Env = append(cmd.Env, "MBK_USER=mbk", "MBK_PASSWORD="+secret, "MBK_MAIL_PASSWORD="+secret, "MBK_WEBHOOK=", "OTHER_PASSWORD=kept", "MBK_PROGRESS=none")
		cmd.Args = slices.DeleteFunc(cmd.Args, func(arg string) bool { return arg == "--user" || arg == "root" })
		return launch(t, cmd)
	}
	done := func(t *testing.T, repository string, more ...string) outcome {
		t.Helper()
		return run(t, repository, more...).wait(t, time.Minute)
	}
	hooksOf := func(t *testing.T, repository string) []repo.Hook {
		t.Helper()
		all := historyOf(t, repository)
		if len(all) == 0 {
			t.Fatal("no attempt is in the history")
		}
		return all[len(all)-1].Hooks
	}

	t.Run("around a backup that succeeds", func(t *testing.T) {
		repository := t.TempDir()
		// The last one runs mbk itself, which finds the repository.
		self := w.program(t, "self", command(t, "show").Path+` show "$MBK_ID" --no-defaults --json > shown.json`)
		o := done(t, repository, "--json", "--hook-before", before, "--hook-success", after+` 'a b' "c"`, "--hook-success", self, "--hook-failure", undo)
		if o.code != 0 {
			t.Fatalf("exit code %d: %s", o.code, o.stderr)
		}
		var b surrounded
		if err := json.Unmarshal([]byte(o.stdout), &b); err != nil {
			t.Fatal(err)
		}
		wantValid(t, "backup", o.stdout)
		var got []string
		for _, h := range b.Hooks {
			got = append(got, h.When+" "+h.Program+" "+h.Output+h.Error)
			if h.ExitCode != 0 || h.Started.IsZero() {
				t.Errorf("hook %+v", h)
			}
		}
		want := []string{"before " + before + " getting ready", "success " + after + " got 2 arguments: a b", "success " + self + " "}
		if !slices.Equal(got, want) {
			t.Errorf("hooks %q, want %q", got, want)
		}
		for _, line := range []string{"mbk: hook-before before: getting ready\n", "mbk: hook-success after: got 2 arguments: a b\n"} {
			if !strings.Contains(o.stderr, line) {
				t.Errorf("stderr has no %q: %s", line, o.stderr)
			}
		}
		if w.ran("undo") {
			t.Error("the program for a failure ran")
		}
		if n := stdin[noticed](t, w, "before"); n.Event != "backup" || n.Outcome != "" || n.ID != "" || n.Repo != repository {
			t.Errorf("before the backup it was told %+v", n)
		}
		if d := stdin[surrounded](t, w, "after"); d.ID != b.ID || d.BytesRead != b.BytesRead || len(d.Hooks) != 1 {
			t.Errorf("after the backup it was told %+v", d)
		}
		if d := stdin[surrounded](t, workshop{w.dir}, "shown"); d.ID != b.ID {
			t.Errorf("mbk in a program shows %+v", d)
		}
		e := w.environment(t, "after")
		for name, want := range map[string]string{
			"MBK_HOOK": "success", "MBK_OUTCOME": "ok", "MBK_ID": b.ID, "MBK_REPO": repository, "MBK_EXIT_CODE": "0", "MBK_ERROR": "",
			"MBK_BYTES_READ": strconv.FormatInt(b.BytesRead, 10), "OTHER_PASSWORD": "kept",
		} {
			if e[name] != want {
				t.Errorf("%s=%q, want %q", name, e[name], want)
			}
		}
		for name, value := range e {
			if strings.Contains(value, secret) || name == "MBK_PASSWORD" || name == "MBK_WEBHOOK" {
				t.Errorf("%s=%q", name, value)
			}
		}
		if b := w.environment(t, "before"); b["MBK_HOOK"] != "before" || b["MBK_OUTCOME"] != "" || b["MBK_BYTES_READ"] != "" || len(b) != len(e) {
			t.Errorf("environment before the backup: %q", b)
		}
		if h := hooksOf(t, repository); len(h) != 3 || h[1].Output != "got 2 arguments: a b" {
			t.Errorf("the history has %+v", h)
		}
		if shown := must(t, "show", "latest", "--repo", repository, "--no-defaults").stdout; !strings.Contains(shown, "success  "+after) {
			t.Errorf("show prints %s", shown)
		}
	})
	t.Run("a program makes the repository", func(t *testing.T) {
		repository := filepath.Join(t.TempDir(), "mounted")
		mount := w.program(t, "mount", `mkdir -m 700 "$MBK_REPO"`)
		if o := done(t, repository, "--hook-before", mount); o.code != 0 || len(ids(t, repository)) != 1 {
			t.Errorf("exit code %d: %s", o.code, o.stderr)
		}
	})
	t.Run("a program takes the repository away", func(t *testing.T) {
		place := t.TempDir()
		repository := filepath.Join(place, "r")
		mount := w.program(t, "mount", `mkdir -m 700 -p "$MBK_REPO"`)
		for _, body := range []string{`mv "$MBK_REPO" gone`, `mv "$MBK_REPO" gone2; mkdir -m 700 "$MBK_REPO"`} {
			o := done(t, repository, "--hook-before", mount, "--hook-success", w.program(t, "unmount", body))
			if o.code != 0 || strings.Contains(o.stderr, "warning") || !strings.Contains(o.stderr, "not recorded") {
				t.Errorf("exit code %d: %s", o.code, o.stderr)
			}
		}
		if left, err := os.ReadDir(repository); err != nil || len(left) > 0 {
			t.Errorf("in the empty folder there are %v, %v", left, err)
		}
	})
	t.Run("a program after it fails", func(t *testing.T) {
		repository := t.TempDir()
		w.ran("after")
		o := done(t, repository, "--hook-success", broken, "--hook-success", after, "--hook-failure", undo)
		if o.code != 0 || len(ids(t, repository)) != 1 || !strings.Contains(o.stdout, "locked") {
			t.Errorf("exit code %d, stdout %q", o.code, o.stdout)
		}
		if !strings.Contains(o.stderr, "mbk: warning: hook-success "+broken+": exit status 7: no room over there\n") {
			t.Errorf("stderr %q", o.stderr)
		}
		if !w.ran("after") || w.ran("undo") {
			t.Error("the other program for success must run, the one for a failure must not")
		}
		if h := hooksOf(t, repository); len(h) != 2 || h[0].ExitCode != 7 || !strings.Contains(h[0].Error, "exit status 7") || h[1].Error != "" {
			t.Errorf("the history has %+v", h)
		}
	})
	t.Run("a program before it fails", func(t *testing.T) {
		repository := t.TempDir()
		if o := done(t, repository); o.code != 0 {
			t.Fatal(o.stderr)
		}
		w.ran("before")
		// No server is asked: there is none.
		o := done(t, repository, "--socket", "/nowhere/sock", "--hook-before", broken, "--hook-before", before, "--hook-failure", undo, "-q")
		o.wantRefusal(t, 1, "the backup was not begun", "hook-before "+broken+": exit status 7: no room over there")
		if w.ran("before") || !w.ran("undo") {
			t.Error("the second program before it must not run, the one for a failure must")
		}
		n, e := stdin[noticed](t, w, "undo"), w.environment(t, "undo")
		if n.Outcome != "failed" || n.ExitCode != 1 || !strings.Contains(n.Error, "hook-before") || len(n.Hints) != 1 || len(n.Hooks) != 1 || n.Result != nil {
			t.Errorf("it was told %+v", n)
		}
		if e["MBK_OUTCOME"] != "failed" || e["MBK_EXIT_CODE"] != "1" || e["MBK_ERROR"] != n.Error || e["MBK_HINTS"] != n.Hints[0] || e["MBK_ID"] != n.ID {
			t.Errorf("environment %q", e)
		}
		all := historyOf(t, repository)
		i := slices.IndexFunc(all, func(a repo.Attempt) bool { return a.ID == n.ID })
		if len(all) != 2 || i < 0 || all[i].Outcome != repo.OutcomeFailed || !strings.Contains(all[i].Error, "hook-before") || len(all[i].Hooks) != 2 {
			t.Errorf("the history has %+v", all)
		}
	})
	t.Run("no server, no repository", func(t *testing.T) {
		for _, c := range []struct {
			repository, socket string
			code               int
			part               string
		}{
			{t.TempDir(), "/nowhere/sock", 1, "/nowhere/sock"},
			{"/nowhere/repository", srv.Socket, 2, "/nowhere/repository"},
		} {
			o := done(t, c.repository, "--socket", c.socket, "--hook-failure", undo, "--hook-success", after)
			n := stdin[noticed](t, w, "undo")
			if o.code != c.code || !w.ran("undo") || n.ExitCode != c.code || !strings.Contains(n.Error, c.part) || len(n.Hints) == 0 {
				t.Errorf("exit code %d, told %+v, stderr %s", o.code, n, o.stderr)
			}
			w.ran("before")
		}
	})
	t.Run("it hangs, and its children ignore signals", func(t *testing.T) {
		repository := t.TempDir()
		begun := time.Now()
		o := done(t, repository, "--hook-success", hanging, "--hook-timeout", "500ms")
		if took := time.Since(begun); o.code != 0 || took > 20*time.Second || !strings.Contains(o.stderr, "hanging: did not end in time: 500ms: waiting") {
			t.Errorf("exit code %d in %s: %s", o.code, took, o.stderr)
		}
		gone(t, w.started(t, "hanging"))
		b, err := os.ReadFile(filepath.Join(w.dir, "child"))
		if err != nil {
			t.Fatal(err)
		}
		child, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil {
			t.Fatal(err)
		}
		gone(t, child)
	})
	t.Run("interrupted while it copies", func(t *testing.T) {
		repository := t.TempDir()
		w.ran("undo")
		r := run(t, repository, "--rate-limit", "1MB", "--hook-failure", undo)
		until(t, "copying", func() bool {
			packs, err := filepath.Glob(filepath.Join(repository, "backups", "*", ".put-*"))
			return err == nil && len(packs) > 1
		})
		if err := r.cmd.Process.Signal(syscall.SIGINT); err != nil {
			t.Fatal(err)
		}
		if o := r.wait(t, 15*time.Second); o.code != 130 || !strings.HasSuffix(o.stderr, "mbk: hook-failure undo: cleaning up\nmbk: error: interrupted\n") {
			t.Errorf("exit code %d: %s", o.code, o.stderr)
		}
		if e := w.environment(t, "undo"); e["MBK_EXIT_CODE"] != "130" || e["MBK_OUTCOME"] != "failed" || e["MBK_ID"] == "" {
			t.Errorf("environment %q", e)
		}
		if all := historyOf(t, repository); len(all) != 1 || len(all[0].Hooks) != 1 || all[0].Hooks[0].ExitCode != 0 {
			t.Errorf("the history has %+v", all)
		}
	})
	t.Run("interrupted while a program runs before it", func(t *testing.T) {
		w.ran("sleeping")
		r := run(t, t.TempDir(), "--hook-before", sleeping)
		pid := w.started(t, "sleeping")
		if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if o := r.wait(t, 15*time.Second); o.code != 130 || !strings.HasSuffix(o.stderr, "mbk: error: interrupted\n") {
			t.Errorf("exit code %d: %s", o.code, o.stderr)
		}
		gone(t, pid)
	})
	t.Run("interrupted while a program runs after it", func(t *testing.T) {
		repository := t.TempDir()
		w.ran("sleeping")
		r := run(t, repository, "--hook-success", sleeping)
		pid := w.started(t, "sleeping")
		if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		// The backup is there.
		if o := r.wait(t, 15*time.Second); o.code != 0 || len(ids(t, repository)) != 1 || !strings.Contains(o.stderr, "warning: hook-success "+sleeping) {
			t.Errorf("exit code %d: %s", o.code, o.stderr)
		}
		if h := hooksOf(t, repository); len(h) != 1 || h[0].ExitCode != -1 || h[0].Error == "" {
			t.Errorf("the history has %+v", h)
		}
		gone(t, pid)
	})
	t.Run("a second signal ends all at once", func(t *testing.T) {
		w.ran("sleeping")
		r := run(t, t.TempDir(), "--hook-before", broken, "--hook-failure", sleeping)
		pid := w.started(t, "sleeping")
		for range 2 {
			if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Fatal(err)
			}
			time.Sleep(50 * time.Millisecond)
		}
		r.wait(t, 5*time.Second)
		gone(t, pid)
	})
	wantFree(t, srv)
}

// A program that cannot be run shows before anything is done.
func TestWrongHooks(t *testing.T) {
	t.Parallel()
	repository := t.TempDir()
	w := workshop{t.TempDir()}
	fine := w.program(t, "fine", "")
	plain := filepath.Join(w.dir, "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args         []string
		part, advice string
	}{
		{[]string{"--hook-success", "/nowhere/x 1 2"}, "--hook-success: program /nowhere/x: no such file or directory", "may execute"},
		{[]string{"--hook-failure", plain}, "--hook-failure: program " + plain + ": permission denied", "may execute"},
		{[]string{"--hook-before", "echo 'x"}, "--hook-before: a quote or a bracket has no end", "as in a shell"},
		{[]string{"--hook-success", "echo x > y"}, "--hook-success: there is no shell to make something of '>'", "sh -c"},
		{[]string{"--hook-timeout", "-1s"}, "--hook-timeout is negative", "--help"},
	} {
		args := append([]string{"backup", "--repo", repository, "--quiet", "--no-defaults", "--socket", "/nowhere/sock", "--hook-before", fine}, c.args...)
		mbk(t, args...).wantRefusal(t, 2, c.advice, c.part)
	}
	mbk(t, "backup", "--quiet", "--no-defaults", "--hook-before", fine).wantRefusal(t, 2, "--repo", "no repository is named")
	if w.ran("fine") {
		t.Error("a program ran although another one is wrong")
	}
	if left, err := os.ReadDir(repository); err != nil || len(left) > 0 {
		t.Errorf("the repository holds %v, %v", left, err)
	}
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
		until(t, "copying", func() bool {
			packs, err := filepath.Glob(filepath.Join(repository, "backups", "*", ".put-*"))
			return err == nil && len(packs) > 1
		})
		srv.MustExec(t, "CREATE TABLE d.r (a INT PRIMARY KEY) ENGINE=ROCKSDB")
		o := r.wait(t, 30*time.Second)
		if o.code == 0 || !strings.Contains(o.stderr, "ROCKSDB, which cannot be backed up") {
			t.Fatalf("exit code %d: %s", o.code, o.stderr)
		}
		srv.MustExec(t, "DROP TABLE d.r")
		return slices.DeleteFunc(files(t, repository), func(name string) bool { return slices.Contains(was, name) })
	}
	left := fail()
	history := historyOf(t, repository)
	if len(history) != 2 || history[1].Outcome != repo.OutcomeFailed || !slices.Equal(left, []string{"history/" + history[1].ID + ".json"}) {
		t.Errorf("the failed attempt has left %q, the history has %+v", left, history)
	}
	left = fail("--keep-failed")
	if packs := slices.DeleteFunc(left, func(name string) bool { return !strings.HasSuffix(name, ".pack") }); len(packs) < 2 {
		t.Errorf("with --keep-failed it has left %q", left)
	}
	if have := ids(t, repository); !slices.Equal(have, []string{first}) {
		t.Errorf("listed: %v", have)
	}
	must(t, backupArgs(srv, repository)...)
	if folders, err := os.ReadDir(filepath.Join(repository, "backups")); err != nil || len(folders) != 2 {
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
	cmd := command(t, "backup", "--no-defaults", "--repo", t.TempDir(), "--socket", "/nowhere/sock", "--webhook", "https://127.0.0.1:1/token-71",
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
	o := must(t, "config", "backup", "--no-defaults", "--repo", repository, "--webhook", "https://127.0.0.1:1/token-71", "--password=token-75")
	wantEmptyFolder(t, repository)
	if !strings.Contains(o.stdout, "command line") || strings.Contains(o.stdout, "token") || strings.Contains(o.stdout, "MBK_WEBHOOK") {
		t.Errorf("config prints:\n%s", o.stdout)
	}
}
