package cli_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbk/internal/test/mariadbtest"
)

// built builds the program that users have, main.go and all.
func built(t *testing.T) (program string) {
	t.Helper()
	program = filepath.Join(t.TempDir(), "mbk")
	cmd := exec.Command("make", "-s", "-C", "../..", "build", "PROGRAM="+program)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return program
}

// terminal is a terminal with a shell in it.
type terminal struct {
	t      *testing.T
	socket string // of tmux
}

// newTerminal starts one. The program's folder is on its PATH.
func newTerminal(t *testing.T, program string) terminal {
	t.Helper()
	term := terminal{t, filepath.Join(t.TempDir(), "tmux")}
	t.Cleanup(func() { term.tmux("kill-server") })
	term.tmux("-f", "/dev/null", "new-session", "-d", "-x", "200", "-y", "40", "env", "PS1=> ",
		"MBK_NO_DEFAULTS=1", "MBK_REPO=",
		"PATH="+filepath.Dir(program)+":"+os.Getenv("PATH"), "HOME="+t.TempDir(), "bash", "--norc", "--noprofile")
	term.want("^>$")
	return term
}

func (term terminal) tmux(args ...string) string {
	term.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-S", term.socket}, args...)...).CombinedOutput()
	if err != nil {
		term.t.Fatalf("tmux %q: %v: %s", args, err, out)
	}
	return string(out)
}

// keys presses keys such as "C-c".
func (term terminal) keys(keys ...string) {
	term.t.Helper()
	term.tmux(append([]string{"send-keys"}, keys...)...)
}

// typed types a text as it is.
func (term terminal) typed(text string) {
	term.t.Helper()
	term.tmux("send-keys", "-l", "--", text)
}

// run types a command on an empty screen.
func (term terminal) run(command string) {
	term.t.Helper()
	term.keys("-R") // the screen of the command before must not answer for this one
	term.typed(command)
	term.keys("Enter")
}

// want waits until the screen shows something, and returns the screen. It has no
// spaces at the ends of lines.
func (term terminal) want(pattern string) (screen string) {
	term.t.Helper()
	re := regexp.MustCompile("(?m)" + pattern)
	for begun := time.Now(); time.Since(begun) < 30*time.Second; time.Sleep(50 * time.Millisecond) {
		if screen = term.tmux("capture-pane", "-p"); re.MatchString(screen) {
			return screen
		}
	}
	term.t.Fatalf("nothing like %q on the screen:\n%s", pattern, screen)
	return ""
}

// What only the program as it is built can show.
func TestBuiltProgram(t *testing.T) {
	onlyIn(t, "the program that is built knows nothing of the kinds of the tests", inFolder)
	t.Parallel()
	program, srv := built(t), newBusyServer(t, oldest())
	t.Run("second signal", func(t *testing.T) { testSecondSignal(t, program, srv) })
	t.Run("signals", func(t *testing.T) { testSignals(t, program, srv) })
	t.Run("lost output", func(t *testing.T) { testLostOutput(t, program, srv) })
	t.Run("crash", func(t *testing.T) { testCrash(t, program, srv) })
	t.Run("terminal", func(t *testing.T) { testTerminal(t, program, srv) })
}

// The program as people use it: at a terminal, with their keys.
func testTerminal(t *testing.T, program string, srv *mariadbtest.Server) {
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip(err)
	}
	repository := filepath.Join(t.TempDir(), "repository")
	if err := os.Mkdir(repository, 0o700); err != nil {
		t.Fatal(err)
	}
	const word = "glass-onion-71"
	srv.MustExec(t, "CREATE USER pat@localhost IDENTIFIED BY '"+word+"'", "GRANT ALL ON *.* TO pat@localhost")
	server := fmt.Sprintf(" --repo %s --socket %s --user ", repository, srv.Socket)
	id := document[taken](t, backupArgs(srv, repository)...).ID
	term := newTerminal(t, program)

	t.Run("bar and Ctrl-C", func(t *testing.T) {
		term := terminal{t, term.socket}
		term.run("mbk backup" + server + `mbk --rate-limit 1MB; echo "code=$?"`)
		term.want(`copying +\d+% \|.*MiB.*/s`)
		term.keys("C-c")
		screen := term.want("^code=130$")
		if !regexp.MustCompile(`(?m)^mbk: error: interrupted$`).MatchString(screen) || strings.Contains(screen, "|█") {
			t.Errorf("after Ctrl-C:\n%s", screen)
		}
		wantFree(t, srv)
	})
	t.Run("any width", func(t *testing.T) {
		term := terminal{t, term.socket}
		server := strings.Replace(server, repository, t.TempDir(), 1)
		for _, width := range []int{40, 80, 120} {
			term.tmux("resize-window", "-x", strconv.Itoa(width), "-y", "40")
			term.run("mbk backup" + server + "mbk --rate-limit 20MB 2>&1 >/dev/null; echo done")
			term.want(`^  copying +\d+%`)
			term.want("^done$")
			for line := range strings.Lines(term.tmux("capture-pane", "-p", "-J")) { // wrapped lines are joined
				line = strings.TrimRight(line, " \n")
				if strings.HasPrefix(line, "  ") &&
					(len([]rune(line)) > width || !regexp.MustCompile(`^  [a-zA-Z_ ]+ +[0-9.]+[mµ]?s$`).MatchString(line)) {
					t.Errorf("at %d columns: %q", width, line)
				}
			}
		}
		term.tmux("resize-window", "-x", "200", "-y", "40")
	})
	t.Run("list at any width", func(t *testing.T) {
		term := terminal{t, term.socket}
		hidden := regexp.MustCompile(`[0-9]+`)
		for width, want := range map[int]string{
			40:  "ID PROVEN",
			80:  "ID STARTED TOOK STORED NEEDS LOCKED PROVEN",
			120: "ID STARTED TOOK STORED NEEDS LOCKED READ TABLES PROVEN",
			200: "ID STARTED TOOK STORED NEEDS LOCKED READ TABLES PROVEN",
		} {
			term.tmux("resize-window", "-x", strconv.Itoa(width), "-y", "40")
			term.run("until [ \"$(stty size)\" = \"40 " + strconv.Itoa(width) + "\" ]; do sleep 0.05; done; echo sized")
			term.want("^sized$") // the shell learns of it a moment later
			term.run("mbk list --repo " + repository)
			term.want(`^\d+ backups?, .* stored, \d proven$`)
			var screen []string
			for line := range strings.Lines(term.tmux("capture-pane", "-p", "-J")) { // wrapped lines are joined
				line = strings.TrimRight(line, " \n")
				if strings.HasPrefix(line, "ID") || strings.HasPrefix(line, id) {
					screen = append(screen, strings.Join(strings.Fields(hidden.ReplaceAllString(line, "0")), " "))
					if len(line) > width {
						t.Errorf("at %d columns: %q", width, line)
					}
				}
			}
			if width == 80 && len(screen) > 0 { // whether there is room for it depends on the figures
				screen[0] = strings.Replace(screen[0], " READ", "", 1)
			}
			if len(screen) != 2 || screen[0] != want || !strings.HasSuffix(screen[1], " never") {
				t.Errorf("at %d columns: %q, want %q", width, screen, want)
			}
		}
		term.tmux("resize-window", "-x", "200", "-y", "40")
		term.run("mbk history --repo " + repository + " --failed | cat -v; mbk show nonsense --repo " + repository)
		if screen := term.want("^mbk: error: no backup"); strings.Contains(screen, "^[[") {
			t.Errorf("colors in a pipe:\n%s", screen)
		}
		if screen := term.tmux("capture-pane", "-p", "-e"); !strings.Contains(screen, "mbk: \x1b[31merror:\x1b[39m") {
			t.Errorf("no color:\n%q", screen)
		}
		term.run("NO_COLOR=1 mbk show nonsense --repo " + repository)
		term.want("^mbk: error: no backup")
		if screen := term.tmux("capture-pane", "-p", "-e"); strings.Contains(screen, "\x1b[31m") {
			t.Errorf("colors with NO_COLOR:\n%q", screen)
		}
		term.run("TERM=dumb mbk verify " + id + " --depth stored --repo " + repository)
		if screen := term.want("^" + id + " +whole"); !strings.Contains(screen, " reading all objects") ||
			!strings.HasPrefix(strings.TrimSpace(strings.SplitN(screen, "\n", 2)[1]), "mbk: ") {
			t.Errorf("on a dumb terminal:\n%s", screen)
		}
	})
	t.Run("password", func(t *testing.T) {
		term := terminal{t, term.socket}
		term.run("mbk check" + server + `pat --password; echo "code=$?"`)
		term.want("^Enter password:")
		term.typed(word)
		term.keys("Enter")
		if screen := term.want("^code=0$"); strings.Contains(screen, word) || !strings.Contains(screen, "privileges") {
			t.Errorf("after the password:\n%s", screen)
		}
	})
	t.Run("Ctrl-C at the password", func(t *testing.T) {
		term := terminal{t, term.socket}
		term.run("mbk check" + server + `pat -p; echo "code=$?"`)
		term.want("^Enter password:")
		term.keys("C-c")
		term.want("^code=130$")
		term.run("echo visible")
		if screen := term.want("^visible$"); strings.Contains(screen, "Enter password") {
			t.Errorf("the terminal after Ctrl-C:\n%s", screen)
		}
		term.typed("echo typed")
		term.want("> echo typed") // the echo is on again
		term.keys("Enter")
	})
	t.Run("completion", func(t *testing.T) {
		term := terminal{t, term.socket}
		term.run("source <(mbk completion bash)")
		term.typed("mbk ver")
		term.keys("Tab")
		term.want("> mbk verify$")
		term.typed("--repo " + strings.TrimSuffix(repository, "sitory"))
		term.keys("Tab")
		term.want("> mbk verify --repo " + regexp.QuoteMeta(repository) + "/?$")
		term.typed(" 2")
		term.keys("Tab")
		term.want(id)
		term.typed("--depth st")
		term.keys("Tab")
		term.keys("Enter")
		term.want("proved .*every object|" + id + " +whole at depth stored")
	})
	t.Run("completion of zsh", func(t *testing.T) {
		if _, err := exec.LookPath("zsh"); err != nil {
			t.Skip(err)
		}
		term := terminal{t, term.socket}
		term.run("PS1='%% ' exec zsh -f")
		term.want("^%$")
		term.run("autoload -U compinit; compinit -D; source <(mbk completion zsh); clear")
		term.want("^%$")
		term.typed("mbk ver")
		term.keys("Tab")
		term.want("^% mbk verify$")
		term.typed("--dep")
		term.keys("Tab")
		term.want("^% mbk verify --depth=$")
		term.typed("st")
		term.keys("Tab")
		term.want("^% mbk verify --depth=stored$")
		term.typed("--repo " + strings.TrimSuffix(repository, "sitory"))
		term.keys("Tab")
		term.want("--repo " + regexp.QuoteMeta(repository) + "/?$")
		term.typed(" 2")
		term.keys("Tab")
		term.want(id)
	})
}

// The first signal ends mbk in good order, for which it needs the server. The
// second one ends it at once.
func testSecondSignal(t *testing.T, program string, srv *mariadbtest.Server) {
	repository := t.TempDir()
	cmd := exec.Command(program, slowArgs(srv, repository)...)
	cmd.Env = append(os.Environ(), "MBK_REPO=")
	r := launch(t, cmd)
	untilCopying(t, repository)
	signal := func(pid int, s syscall.Signal) {
		t.Helper()
		if err := syscall.Kill(pid, s); err != nil {
			t.Fatal(err)
		}
	}
	signal(srv.Pid(), syscall.SIGSTOP)
	t.Cleanup(func() { _ = syscall.Kill(srv.Pid(), syscall.SIGCONT) }) // it runs already, if all went well
	signal(cmd.Process.Pid, syscall.SIGTERM)
	time.Sleep(500 * time.Millisecond)
	select {
	case <-r.done:
		t.Fatal("mbk needs no server to clean up: this test tests nothing")
	default:
	}
	begun := time.Now()
	signal(cmd.Process.Pid, syscall.SIGINT)
	r.wait(t, 10*time.Second)
	status := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !status.Signaled() || status.Signal() != syscall.SIGINT || time.Since(begun) > 2*time.Second {
		t.Errorf("after the second signal: %s, %s later", cmd.ProcessState, time.Since(begun))
	}
	signal(srv.Pid(), syscall.SIGCONT)
	wantFree(t, srv)
	must(t, backupArgs(srv, repository)...)
	if left, err := filepath.Glob(filepath.Join(repository, "backups", "*")); err != nil || len(left) != 1 {
		t.Errorf("the repository holds %q, %v", left, err)
	}
}
