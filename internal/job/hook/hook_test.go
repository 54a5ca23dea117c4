package hook

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbk/internal/hint"
	"mbk/internal/test/executable"
)

func TestParse(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "a program")
	if err := executable.Write(program, []byte("#!/bin/sh\n")); err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte("text"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, line string
		want       string // words, separated by |
		bad        string // part of the error
	}{
		{name: "only a program", line: "/bin/sh", want: "/bin/sh"},
		{name: "found on the path", line: "sh -x", want: "sh|-x"},
		{name: "blanks around", line: "  /bin/sh \t -c  ", want: "/bin/sh|-c"},
		{name: "single quotes keep all", line: `/bin/sh -c 'a "b" $C | d > e; f'`, want: `/bin/sh|-c|a "b" $C | d > e; f`},
		{name: "double quotes and backslash", line: `/bin/sh "a b" c\ d "e\"f"`, want: `/bin/sh|a b|c d|e"f`},
		{name: "an empty word", line: `/bin/sh '' x`, want: `/bin/sh||x`},
		{name: "variables stay", line: `/bin/sh $HOME ${X}`, want: `/bin/sh|$HOME|${X}`},
		{name: "a path with a blank", line: `"` + program + `"`, want: program},
		{name: "nothing", line: "  ", bad: "no program"},
		{name: "an open quote", line: "/bin/sh 'x", bad: "no end"},
		{name: "a pipe", line: "/bin/sh x | cat", bad: "no shell to make something of '|'"},
		{name: "a redirection", line: "/bin/sh x > /tmp/log", bad: "no shell to make something of '>'"},
		{name: "two commands", line: "/bin/sh x; /bin/sh y", bad: "';'"},
		{name: "a pipe behind letters of two bytes", line: "/bin/sh ää | cat", bad: "'|'"},
		{name: "no such program", line: "/nowhere/x y", bad: "program /nowhere/x: no such file"},
		{name: "not on the path", line: "mbk-nothing-of-that-name", bad: "executable file not found"},
		{name: "not a program", line: plain, bad: "permission denied"},
		{name: "a folder", line: dir, bad: "program " + dir},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse(c.line)
			if c.bad != "" {
				if err == nil || !strings.Contains(err.Error(), c.bad) || len(hint.Attached(err)) == 0 {
					t.Errorf("Parse(%q) = %v, hints %q, want %q", c.line, err, hint.Attached(err), c.bad)
				}
				return
			}
			if err != nil {
				t.Fatalf("Parse(%q): %v", c.line, err)
			}
			if words := strings.Join(got.args, "|"); words != c.want || !filepath.IsAbs(got.Program()) {
				t.Errorf("Parse(%q) = %q of %s, want %q", c.line, words, got.Program(), c.want)
			}
		})
	}
}

// shell is a call of a script.
func shell(t *testing.T, script string) *Command {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hook.sh")
	if err := executable.Write(path, []byte("#!/bin/sh\n"+script+"\n")); err != nil {
		t.Fatal(err)
	}
	c, err := Parse(path)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestRun(t *testing.T) {
	large := []byte(strings.Repeat("0123456789abcdef", 64<<10)) // more than a pipe holds
	for _, c := range []struct {
		name, script string
		call         Call
		code         int
		output, bad  string
	}{
		{name: "environment is what is given and no more", script: `env | sort | grep -v -e ^PWD -e ^SHLVL -e ^_ -e ^OLDPWD`,
			call: Call{Env: []string{"A=1 2", "B="}}, output: "A=1 2\nB="},
		{name: "standard input to its end", script: "wc -c", call: Call{Stdin: large}, output: "1048576"},
		{name: "standard input not read", script: "echo no", call: Call{Stdin: large}, output: "no"},
		{name: "both outputs in their order", script: "echo a; echo b >&2; echo c", output: "a\nb\nc"},
		{name: "an exit code", script: "echo why >&2; exit 7", code: 7, output: "why", bad: "hook.sh: exit status 7: why"},
		{name: "a silent failure", script: "exit 1", code: 1, bad: "hook.sh: exit status 1"},
		{name: "ends itself by a signal", script: "kill -9 $$", code: -1, bad: "signal: killed"},
		{name: "nothing for a terminal", script: `printf 'a\033[31mb\r\n\t\377'`, output: "a[31mb\n \uFFFD"},
		{name: "the end of a long output", script: "yes 1234567 | head -n 4000; echo end",
			output: strings.Repeat("1234567\n", 511) + "end"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := shell(t, c.script).Run(t.Context(), c.call)
			if c.bad == "" && err != nil || c.bad != "" && (err == nil || !strings.HasSuffix(err.Error(), c.bad)) {
				t.Errorf("Run = %v, want %q", err, c.bad)
			}
			if got.ExitCode != c.code || got.Output != strings.TrimSpace(c.output) {
				t.Errorf("exit code %d, output %q, want %d, %q", got.ExitCode, got.Output, c.code, c.output)
			}
			if got.Took <= 0 || time.Since(got.Started) > time.Minute {
				t.Errorf("started %s, took %s", got.Started, got.Took)
			}
		})
	}
}

func TestLinesAsTheyCome(t *testing.T) {
	var lines []string
	print := func(line string) { lines = append(lines, line) }
	if _, err := shell(t, `printf 'a\nb'; printf 'c\n\n'; head -c 3000 /dev/zero | tr '\0' x`).Run(t.Context(),
		Call{Print: print}); err != nil {
		t.Fatal(err)
	}
	want := []string{"a", "bc", "", strings.Repeat("x", maxLine), strings.Repeat("x", 3000-maxLine)}
	if strings.Join(lines, "|") != strings.Join(want, "|") {
		t.Errorf("lines %q, want %q", lines, want)
	}
}

// wantGone waits until a process is no more. Its number stands in a file.
func wantGone(t *testing.T, file string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	for begun := time.Now(); time.Since(begun) < 5*time.Second; time.Sleep(10 * time.Millisecond) {
		if !running(pid) {
			return
		}
	}
	_ = syscall.Kill(pid, syscall.SIGKILL) // so that it does not stay after the test
	t.Errorf("process %d is still there", pid)
}

// running reports whether a process runs. One that has ended and that nobody has
// waited for does not.
func running(pid int) bool {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(b), ") ")
	return !strings.HasPrefix(state, "Z")
}

func TestTimeLimit(t *testing.T) {
	for _, c := range []struct{ name, script string }{
		{"sleeps", "echo $$ > pid; echo $$ > child; echo here; exec sleep 100"},
		{"waits for a child", "sleep 100 & echo $! > child; echo $$ > pid; echo here; wait"},
		{"ignores SIGTERM, as its child does",
			"trap '' TERM; sleep 100 & echo $! > child; echo $$ > pid; echo here; sleep 100"},
		{"ends at SIGTERM, its child does not",
			"(trap '' TERM; exec sleep 100) & echo $! > child; echo $$ > pid; echo here; wait"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			begun := time.Now()
			got, err := shell(t, "cd "+dir+"\n"+c.script).Run(t.Context(),
				Call{Timeout: 500 * time.Millisecond, Grace: 200 * time.Millisecond})
			if !errors.Is(err, ErrTimeout) || !strings.HasSuffix(err.Error(), "did not end in time: 500ms: here") {
				t.Errorf("Run = %v, want %v and its last line", err, ErrTimeout)
			}
			if took := time.Since(begun); took > 5*time.Second {
				t.Errorf("took %s", took)
			}
			if got.ExitCode == 0 {
				t.Errorf("exit code %d", got.ExitCode)
			}
			wantGone(t, filepath.Join(dir, "pid"))
			wantGone(t, filepath.Join(dir, "child"))
		})
	}
}

func TestCancelled(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("told so")
	time.AfterFunc(300*time.Millisecond, func() { cancel(why) })
	if _, err := shell(t, "echo $$ > "+dir+"/pid; exec sleep 100").Run(ctx, Call{}); !errors.Is(err, why) {
		t.Errorf("Run = %v, want %v", err, why)
	}
	wantGone(t, filepath.Join(dir, "pid"))
	// And with a context that has ended nothing is started.
	if got, err := shell(t, "touch "+dir+"/ran").Run(ctx, Call{}); !errors.Is(err, why) || got.ExitCode != -1 {
		t.Errorf("Run = %+v, %v, want %v", got, err, why)
	}
	if _, err := os.Stat(filepath.Join(dir, "ran")); err == nil {
		t.Error("it ran")
	}
}

// A program that ends well may leave others running. They are not waited for and
// not killed.
func TestLeavesAProgramRunning(t *testing.T) {
	dir := t.TempDir()
	begun := time.Now()
	got, err := shell(t, "sleep 100 & echo $! > "+dir+"/child; echo done").Run(t.Context(), Call{Timeout: time.Minute})
	if err != nil || got.ExitCode != 0 || got.Output != "done" {
		t.Errorf("Run = %+v, %v", got, err)
	}
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
	b, err := os.ReadFile(filepath.Join(dir, "child"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	if !running(pid) {
		t.Error("the child was killed")
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
}

// Whatever stands in an option, a hook is a program with its arguments, or refused.
func FuzzParse(f *testing.F) {
	for _, line := range []string{"true", "sh -c 'echo \"$1\"' - x", `/bin/echo a\ b`, "echo | cat", "echo $(id)", "'",
		"echo `id`", "echo;"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		c, err := Parse(line)
		if err == nil && (!filepath.IsAbs(c.Program()) || len(c.args) == 0) {
			t.Errorf("%q is %q with %q", line, c.Program(), c.args)
		}
	})
}
