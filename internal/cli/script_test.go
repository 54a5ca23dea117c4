package cli_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"mbk/internal/repo"
	"mbk/internal/test/mariadbtest"
	"mbk/internal/test/smtptest"
)

// TestScripts runs testdata/script, whose README says what a script may do.
func TestScripts(t *testing.T) {
	t.Parallel()
	servers := &scriptServers{t: t, running: map[string]*mariadbtest.Server{}}
	t.Run("script", func(t *testing.T) { testscript.Run(t, scriptParams(servers)) })
	for _, srv := range servers.running {
		wantFree(t, srv)
	}
}

// scriptParams are the commands of scripts.
func scriptParams(servers *scriptServers) testscript.Params {
	return testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Values[scriptKey{}] = &scriptState{t: e.T().(testing.TB), servers: servers}
			return scriptEnvironment(e)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"mbk": func(ts *testscript.TestScript, neg bool, args []string) {
				scriptExits(ts, neg, append([]string{"0", "mbk"}, args...))
			},
			"exits":      scriptExits,
			"refused":    scriptRefused,
			"signal":     scriptSignal,
			"ended":      scriptEnded,
			"server":     scriptServer,
			"sql":        scriptSQL,
			"until":      scriptUntil,
			"gone":       scriptGone,
			"json":       scriptJSON,
			"keep":       scriptKeep,
			"lines":      scriptLines,
			"events":     scriptEvents,
			"attempts":   scriptAttempts,
			"valid":      scriptValid,
			"option":     scriptOption,
			"mailserver": scriptMailServer,
			"mails":      scriptMails,
			"webhook":    scriptWebhook,
			"posted":     scriptPosted,
			"files":      scriptFiles,
			"flip":       scriptFlip,
			"width":      scriptWidth,
		},
	}
}

// scriptKey is that of a script's state.
type scriptKey struct{}

// scriptState is what the commands of a script know of one another.
type scriptState struct {
	t          testing.TB
	servers    *scriptServers
	server     *mariadbtest.Server
	background *exec.Cmd // that was sent a signal
	mails      *smtptest.Server
	taken      int // mails that the script has seen
	web        *desk
}

func stateOf(ts *testscript.TestScript) *scriptState { return ts.Value(scriptKey{}).(*scriptState) }

// scriptEnvironment lets scripts find mbk, which reads no option file of this machine and
// says nothing of its progress.
func scriptEnvironment(e *testscript.Env) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	bin, err := filepath.Abs("testdata/script/bin")
	if err != nil {
		return err
	}
	e.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	e.Setenv("HOME", e.WorkDir)
	e.Setenv(asMbk, "1")
	e.Setenv("MBK_TEST_BINARY", self)
	e.Setenv("MBK_NO_DEFAULTS", "1")
	e.Setenv("MBK_PROGRESS", "none")
	return nil
}

// scriptServers are those that scripts share, by what they asked for.
type scriptServers struct {
	t       *testing.T
	mu      sync.Mutex
	running map[string]*mariadbtest.Server
}

// of returns a server, and starts it for the first script that asks.
func (s *scriptServers) of(wanted, series string,
	prepare func(*testing.T, string, ...string) *mariadbtest.Server) *mariadbtest.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running[wanted] == nil {
		s.running[wanted] = prepare(s.t, series)
	}
	return s.running[wanted]
}

// exits CODE PROGRAM ARGUMENTS... runs a program that must end with that code.
func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARGUMENTS...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := scriptRun(ts, args[1:]...); got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// scriptRun runs a program and returns its exit code.
func scriptRun(ts *testscript.TestScript, args ...string) int {
	err := ts.Exec(args[0], args[1:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	ts.Check(err)
	return 0
}

// refused CODE ARGUMENTS... runs mbk --quiet, which must print nothing but errors and
// hints, in the house's style, and one hint at least.
func scriptRefused(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: refused CODE ARGUMENTS OF MBK...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := scriptRun(ts, append([]string{"mbk"}, append(args[1:], "--quiet")...)...)
	o := outcome{code, ts.ReadFile("stdout"), ts.ReadFile("stderr")}
	_, hints, wrong := o.refusal()
	if code != want || o.stdout != "" || hints == "" || len(wrong) > 0 {
		ts.Fatalf("exit code %d, want %d; not in the house's style: %q", code, want, wrong)
	}
}

// signal NAME sends SIGNAME to the program in the background. "wait" and "ended CODE"
// may follow.
func scriptSignal(ts *testscript.TestScript, neg bool, args []string) {
	signals := map[string]syscall.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP}
	running := ts.BackgroundCmds()
	if neg || len(args) != 1 || signals[args[0]] == 0 || len(running) != 1 {
		ts.Fatalf("usage: signal %s, with one program in the background", "INT, TERM or HUP")
	}
	s := stateOf(ts)
	s.background = running[0]
	if err := s.background.Process.Signal(signals[args[0]]); err != nil && !errors.Is(err, os.ErrProcessDone) {
		ts.Fatalf("%v", err)
	}
}

// ended CODE checks the exit code of the program that was sent a signal.
func scriptEnded(ts *testscript.TestScript, neg bool, args []string) {
	s := stateOf(ts)
	if neg || len(args) != 1 || s.background == nil || len(ts.BackgroundCmds()) > 0 {
		ts.Fatalf("usage: ended CODE, after signal and wait")
	}
	if got := strconv.Itoa(s.background.ProcessState.ExitCode()); got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

// server [oldest] [empty] gives the script a server, the newest one with some data if
// nothing else is asked for, and sets SOCKET. Scripts share it.
func scriptServer(ts *testscript.TestScript, neg bool, args []string) {
	series, prepare := newest(), newBusyServer
	for _, arg := range args {
		switch arg {
		case "oldest":
			series = oldest()
		case "empty":
			prepare = func(t *testing.T, series string, more ...string) *mariadbtest.Server {
				return mariadbtest.New(t, series, more...)
			}
		default:
			ts.Fatalf("usage: server [oldest] [empty]")
		}
	}
	s := stateOf(ts)
	s.server = s.servers.of(strings.Join(args, " "), series, prepare)
	ts.Setenv("SOCKET", s.server.Socket)
	ts.Setenv("MBK_SOCKET", s.server.Socket)
}

// sql STATEMENT... runs statements as root on one connection, with & at the end in the
// background.
func scriptSQL(ts *testscript.TestScript, neg bool, args []string) {
	s := stateOf(ts)
	if neg || len(args) == 0 || s.server == nil {
		ts.Fatalf("usage: sql STATEMENT... [&], after server")
	}
	if last := len(args) - 1; args[last] == "&" {
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = s.server.Exec(s.t.Context(), args[:last]...) // is killed, as a rule
		}()
		ts.Defer(func() { <-done })
		return
	}
	ts.Check(s.server.Exec(s.t.Context(), args...))
}

// until waits for half a minute at most: "until PATTERN" for a file of that name, which
// may have wildcards; "until copying REPO" for a backup to copy; "until sql QUERY WANT"
// for a result.
func scriptUntil(ts *testscript.TestScript, neg bool, args []string) {
	s := stateOf(ts)
	found := func(pattern string) int {
		names, err := filepath.Glob(ts.MkAbs(pattern))
		ts.Check(err)
		return len(names)
	}
	happened := func() bool { return found(args[0]) > 0 }
	switch {
	case !neg && len(args) == 2 && args[0] == "copying":
		happened = func() bool { return found(filepath.Join(args[1], "backups", "*", ".put-*")) > 1 }
	case !neg && len(args) == 3 && args[0] == "sql" && s.server != nil:
		happened = func() bool {
			v, err := s.server.Value(s.t.Context(), args[1])
			ts.Check(err)
			return v == args[2]
		}
	case neg || len(args) != 1:
		ts.Fatalf("usage: until FILE | until copying REPO | until sql QUERY WANT")
	}
	deadline := time.Now().Add(30 * time.Second)
	for !happened() {
		if time.Now().After(deadline) {
			ts.Fatalf("not in 30 s")
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// gone FILE... waits for the end of the processes whose numbers are in files.
func scriptGone(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: gone FILE...")
	}
	for _, name := range args {
		stat := "/proc/" + strings.TrimSpace(ts.ReadFile(name)) + "/stat"
		deadline := time.Now().Add(30 * time.Second)
		for {
			b, err := os.ReadFile(stat)
			if err != nil || strings.Contains(string(b), ") Z ") {
				break
			}
			if time.Now().After(deadline) {
				ts.Fatalf("%s: the process has not ended in 30 s", name)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// json SOURCE PATH PATTERN checks a value in a JSON document: all of it must match. In
// the path, a.1.b is the field b of the second element of a, a.-1 the last one, a.x=y
// the one whose field x is y, and a.len how many there are. What is not there is "".
func scriptJSON(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: [!] json FILE|stdout|stderr PATH PATTERN")
	}
	pattern, err := regexp.Compile("(?s)^(?:" + args[2] + ")$")
	ts.Check(err)
	got := scriptValue(ts, args[0], args[1])
	if pattern.MatchString(got) == neg {
		ts.Fatalf("%s of %s is %q, and is (not) to match %q", args[1], args[0], got, args[2])
	}
}

// keep NAME SOURCE PATH sets a variable to a value in a JSON document.
func scriptKeep(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: keep NAME FILE|stdout PATH")
	}
	value := scriptValue(ts, args[1], args[2])
	if value == "" {
		ts.Fatalf("%s has no %s", args[1], args[2])
	}
	ts.Setenv(args[0], value)
}

// lines NAME LINE... sets a variable to several lines.
func scriptLines(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: lines NAME LINE...")
	}
	ts.Setenv(args[0], strings.Join(args[1:], "\n")+"\n")
}

// scriptValue is the value at a path of a document.
func scriptValue(ts *testscript.TestScript, source, path string) string {
	decoder := json.NewDecoder(strings.NewReader(ts.ReadFile(source)))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		ts.Fatalf("%s is no JSON document: %v", source, err)
	}
	for step := range strings.SplitSeq(path, ".") {
		v = scriptStep(v, step)
	}
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case map[string]any, []any:
		b, err := json.Marshal(v)
		ts.Check(err)
		return string(b)
	default:
		return fmt.Sprint(v)
	}
}

// scriptStep goes one step down a path.
func scriptStep(v any, step string) any {
	switch v := v.(type) {
	case map[string]any:
		return v[step]
	case []any:
		if step == "len" {
			return len(v)
		}
		if name, want, found := strings.Cut(step, "="); found {
			i := slices.IndexFunc(v, func(e any) bool { return fmt.Sprint(scriptStep(e, name)) == want })
			if i < 0 {
				return nil
			}
			return v[i]
		}
		i, err := strconv.Atoi(step)
		if i < 0 {
			i += len(v)
		}
		if err != nil || i < 0 || i >= len(v) {
			return nil
		}
		return v[i]
	}
	if step == "len" {
		return 0
	}
	return nil
}

// events SOURCE prints the DDL that a report names, a line each.
func scriptEvents(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: events FILE")
	}
	var d struct{ DDL repo.DDL }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &d))
	for _, e := range d.DDL.Events {
		fmt.Fprintln(ts.Stdout(), strings.TrimSpace(fmt.Sprintf("%s %s.%s %s", e.Kind, e.Database, e.Name, e.From)))
	}
}

// attempts IDS ARGUMENTS... checks which attempts mbk history names, as JSON and as text.
func scriptAttempts(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: attempts 'ID ID...' ARGUMENTS OF MBK HISTORY...")
	}
	history := append([]string{"0", "mbk", "history"}, args[1:]...)
	scriptExits(ts, false, append(history, "--json"))
	ts.Check(schemaError("history", ts.ReadFile("stdout")))
	var d struct{ Attempts []repo.Attempt }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &d))
	var got []string
	for _, a := range d.Attempts {
		got = append(got, a.ID)
	}
	if strings.Join(got, " ") != args[0] {
		ts.Fatalf("attempts %q, want %q", got, args[0])
	}
	scriptExits(ts, false, history)
	if n := strings.Count(ts.ReadFile("stdout"), "Z-f"); n != len(got) {
		ts.Fatalf("%d attempts printed, want %d", n, len(got))
	}
}

// valid SCHEMA [SOURCE] holds a document against its schema in docs/schema.
func scriptValid(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: valid SCHEMA [FILE]")
	}
	ts.Check(schemaError(args[0], ts.ReadFile(append(args, "stdout")[1])))
}

// option NAME VALUE FROM ARGUMENTS... asks mbk config for an option: its value, several
// with " | " between them, and where that is set, in the words of the command.
func scriptOption(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: option NAME VALUE FROM ARGUMENTS OF MBK CONFIG...")
	}
	scriptExits(ts, false, append([]string{"0", "mbk", "config", "--json"}, args[3:]...))
	var d struct{ Options []option }
	ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &d))
	ts.Check(schemaError("config", ts.ReadFile("stdout")))
	i := slices.IndexFunc(d.Options, func(o option) bool { return o.Name == args[0] })
	if i < 0 {
		ts.Fatalf("no option %s", args[0])
	}
	value, from := d.Options[i].words(ts.MkAbs("."))
	if value != args[1] || from != args[2] {
		ts.Fatalf("%s is %q from %q, want %q from %q", args[0], value, from, args[1], args[2])
	}
}

// option is an entry of "config --json".
type option struct {
	Name, Value, Source, Variable, File, Group string
	Values                                     []string
	Line                                       int
}

// words tells an option's value and source as "config" does without --json.
func (o option) words(dir string) (value, from string) {
	value = o.Value
	if len(o.Values) > 0 {
		if value = strings.Join(o.Values, " | "); strings.Join(o.Values, " ") != o.Value {
			value += " is not " + o.Value
		}
	}
	switch o.Source {
	case "file":
		from = fmt.Sprintf("%s, line %d [%s]", strings.TrimPrefix(o.File, dir+"/"), o.Line, o.Group)
	case "variable":
		from = "$" + o.Variable
	case "flag":
		from = "command line"
	default:
		from = o.Source
	}
	return value, from
}

// mailserver [starttls] [USER PASSWORD] starts one and sets MAILSERVER and MAILCERT.
func scriptMailServer(ts *testscript.TestScript, neg bool, args []string) {
	s := stateOf(ts)
	o := smtptest.Options{}
	if len(args) > 0 && args[0] == "starttls" {
		o.StartTLS, args = true, args[1:]
	}
	if len(args) == 2 {
		o.User, o.Password, args = args[0], args[1], nil
	}
	if neg || len(args) > 0 {
		ts.Fatalf("usage: mailserver [starttls] [USER PASSWORD]")
	}
	s.mails, s.taken = smtptest.Start(s.t, o), 0
	ts.Setenv("MAILSERVER", s.mails.Addr)
	ts.Setenv("MAILCERT", s.mails.CertFile)
}

// mails N checks how many mails came since it was last asked, and prints them, with
// their subjects in plain words.
func scriptMails(ts *testscript.TestScript, neg bool, args []string) {
	s := stateOf(ts)
	if neg || len(args) != 1 || s.mails == nil {
		ts.Fatalf("usage: mails N, after mailserver")
	}
	all := s.mails.Mails()
	fresh := all[s.taken:]
	s.taken = len(all)
	for _, m := range fresh {
		subject, err := subjectOf(m)
		ts.Check(err)
		fmt.Fprintf(ts.Stdout(), "to %s, user %q, encrypted %t\nsubject: %s\n%s\n", strings.Join(m.To, " "), m.User,
			m.Encrypted, subject, m.Data)
	}
	if strconv.Itoa(len(fresh)) != args[0] {
		ts.Fatalf("%d mails, want %s", len(fresh), args[0])
	}
}

// subjectOf is the subject of a mail in plain words.
func subjectOf(m smtptest.Mail) (string, error) {
	msg, err := mail.ReadMessage(strings.NewReader(m.Data))
	if err != nil {
		return "", err
	}
	return new(mime.WordDecoder).DecodeHeader(msg.Header.Get("Subject"))
}

// desk is a web server that keeps what it is sent.
type desk struct {
	mu     sync.Mutex
	status int
	got    []string
}

func (d *desk) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil || r.Method != http.MethodPost {
		b = fmt.Appendf(nil, "%s: %v", r.Method, err)
	}
	d.got = append(d.got, string(b))
	w.WriteHeader(d.status)
}

// taken returns what was sent since it was last asked.
func (d *desk) taken() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	got := d.got
	d.got = nil
	return got
}

// webhook STATUS starts a web server that answers so, and sets WEBHOOK.
func scriptWebhook(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: webhook STATUS")
	}
	status, err := strconv.Atoi(args[0])
	ts.Check(err)
	s := stateOf(ts)
	s.web = &desk{status: status}
	web := httptest.NewServer(s.web)
	ts.Defer(web.Close)
	ts.Setenv("WEBHOOK", web.URL)
}

// posted N checks how many documents came since it was last asked, and prints the last.
// All must be as their schema says.
func scriptPosted(ts *testscript.TestScript, neg bool, args []string) {
	s := stateOf(ts)
	if neg || len(args) != 1 || s.web == nil {
		ts.Fatalf("usage: posted N, after webhook")
	}
	all := s.web.taken()
	for i, text := range all {
		ts.Check(schemaError("notice", text))
		if i == len(all)-1 {
			fmt.Fprintln(ts.Stdout(), text)
		}
	}
	if strconv.Itoa(len(all)) != args[0] {
		ts.Fatalf("%d documents, want %s", len(all), args[0])
	}
}

// files N PATTERN checks how many files there are.
func scriptFiles(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: files N PATTERN")
	}
	names, err := filepath.Glob(ts.MkAbs(args[1]))
	ts.Check(err)
	if strconv.Itoa(len(names)) != args[0] {
		ts.Fatalf("%d files, want %s: %q", len(names), args[0], names)
	}
}

// flip PATTERN changes a bit in the middle of the first such file.
func scriptFlip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: flip PATTERN")
	}
	names, err := filepath.Glob(ts.MkAbs(args[0]))
	ts.Check(err)
	if len(names) == 0 {
		ts.Fatalf("no file %s", args[0])
	}
	b, err := os.ReadFile(names[0])
	ts.Check(err)
	b[len(b)/2] ^= 1
	ts.Check(errors.Join(os.Remove(names[0]), os.WriteFile(names[0], b, 0o600)))
}

// width N checks that no line of the standard output is longer, or ends with a blank.
func scriptWidth(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: width N")
	}
	limit, err := strconv.Atoi(args[0])
	ts.Check(err)
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		line = strings.TrimSuffix(line, "\n")
		if len([]rune(line)) > limit || strings.TrimRight(line, " ") != line {
			ts.Fatalf("the line %q", line)
		}
	}
}
