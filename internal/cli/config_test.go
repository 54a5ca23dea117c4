package cli_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// option is an entry of "config --json".
type option struct {
	Name, Value, Source, Variable, File, Group string
	Values                                     []string
	Line                                       int
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

// in runs mbk in an environment of its own.
func in(t *testing.T, variables []string, args ...string) outcome {
	t.Helper()
	cmd := command(t, args...)
	cmd.Env = append(cmd.Env, variables...)
	return launch(t, cmd).wait(t, time.Minute)
}

// configured is the option of that name in what "config" says of a command.
func configured(t *testing.T, variables []string, name string, args ...string) option {
	t.Helper()
	o := in(t, variables, append([]string{"config"}, append(args, "--json")...)...)
	var d struct{ Options []option }
	if err := json.Unmarshal([]byte(o.stdout), &d); err != nil {
		t.Fatalf("mbk config %q exits %d: %s%s: %v", args, o.code, o.stdout, o.stderr, err)
	}
	i := slices.IndexFunc(d.Options, func(o option) bool { return o.Name == name })
	if i < 0 {
		t.Fatalf("mbk config %q says nothing of %s: %s", args, name, o.stdout)
	}
	return d.Options[i]
}

// Each place is stronger than the one before it, and config names it.
func TestOptionSources(t *testing.T) {
	t.Parallel()
	file := optionFile(t,
		"[mbk-backup]", "lock_wait = 3", "skip-keep-failed",
		"[mbk]", "repo = /general", "lock-wait = 2m", "keep-failed", "threads = 2", "target = /t", "loose-nonsense = 1",
		"mariadbd-option = --plugin-load-add=a,b", "[mbk-restore]", "mariadbd_option = --x",
		"[client]", "compress", "repo = /not/here", "user = u", "password = geheim",
		"[mbkNIGHT]", "threads = 9", "[mbk-backupNIGHT]", "compress = s2", "[mbk-verify]", "no-such-option")
	defaults := "--defaults-file=" + file
	for _, c := range []struct {
		name      string
		variables []string
		args      []string
		want      option
	}{
		{"default", nil, []string{"--no-defaults"}, option{Name: "compress", Value: "zstd", Source: "default"}},
		{"default that is nothing", nil, []string{"--no-defaults"}, option{Name: "threads", Source: "default"}},
		{"file", nil, []string{defaults}, option{Name: "repo", Value: "/general", Source: "file", File: file, Line: 5, Group: "mbk"}},
		{"seconds in the group of the command", nil, []string{defaults}, option{Name: "lock-wait", Value: "3s", Source: "file", File: file, Line: 2, Group: "mbk-backup"}},
		{"switched off in the group of the command", nil, []string{defaults}, option{Name: "keep-failed", Value: "off", Source: "file", File: file, Line: 3, Group: "mbk-backup"}},
		{"[client] may not set other options", nil, []string{defaults}, option{Name: "compress", Value: "zstd", Source: "default"}},
		{"[client]", nil, []string{defaults}, option{Name: "user", Value: "u", Source: "file", File: file, Line: 17, Group: "client"}},
		{"secret", nil, []string{defaults}, option{Name: "password", Value: "***", Source: "file", File: file, Line: 18, Group: "client"}},
		{"group suffix", nil, []string{defaults, "--defaults-group-suffix=NIGHT"}, option{Name: "threads", Value: "9", Source: "file", File: file, Line: 20, Group: "mbk"}},
		{"group of the command with suffix", nil, []string{defaults, "--defaults-group-suffix=NIGHT"}, option{Name: "compress", Value: "s2", Source: "file", File: file, Line: 22, Group: "mbk-backup"}},
		{"variable", []string{"MBK_LOCK_WAIT=90s", "MBK_REPO="}, []string{defaults}, option{Name: "lock-wait", Value: "1m30s", Source: "variable", Variable: "MBK_LOCK_WAIT"}},
		{"empty variable", []string{"MBK_REPO="}, []string{defaults}, option{Name: "repo", Value: "/general", Source: "file", File: file, Line: 5, Group: "mbk"}},
		{"switch by variable", []string{"MBK_KEEP_FAILED=ON"}, []string{defaults}, option{Name: "keep-failed", Value: "on", Source: "variable", Variable: "MBK_KEEP_FAILED"}},
		{"file named by a variable", []string{"MBK_DEFAULTS_FILE=" + file}, nil, option{Name: "threads", Value: "2", Source: "file", File: file, Line: 8, Group: "mbk"}},
		{"password by variable", []string{"MBK_PASSWORD=geheim"}, []string{defaults}, option{Name: "password", Value: "***", Source: "variable", Variable: "MBK_PASSWORD"}},
		{"variable of another name", []string{"MBK_PARALLEL=7"}, []string{defaults}, option{Name: "threads", Value: "7", Source: "variable", Variable: "MBK_PARALLEL"}},
		{"flag of another name", []string{"MBK_PARALLEL=7"}, []string{defaults, "--parallel", "8"}, option{Name: "threads", Value: "8", Source: "flag"}},
		{"flag", []string{"MBK_LOCK_WAIT=90s"}, []string{defaults, "--lock_wait", "5"}, option{Name: "lock-wait", Value: "5s", Source: "flag"}},
		{"address with a password", nil, []string{"--no-defaults", "--mail-server", "smtp://u:geheim@h:25"}, option{Name: "mail-server", Value: "smtp://u:***@h:25", Source: "flag"}},
		{"address that is a secret", []string{"MBK_WEBHOOK=https://h/services/geheim"}, []string{"--no-defaults"}, option{Name: "webhook", Value: "https://h/***", Source: "variable", Variable: "MBK_WEBHOOK"}},
		{"flag that switches off", []string{"MBK_KEEP_FAILED=1"}, []string{defaults, "--skip-keep-failed"}, option{Name: "keep-failed", Value: "off", Source: "flag"}},
		{"another command", nil, []string{"restore", defaults}, option{Name: "target", Value: "/t", Source: "file", File: file, Line: 9, Group: "mbk"}},
		{"lines of a list add up", nil, []string{defaults, "restore"}, option{Name: "mariadbd-option", Value: "--plugin-load-add=a,b --x", Values: []string{"--plugin-load-add=a,b", "--x"}, Source: "file", File: file, Line: 13, Group: "mbk-restore"}},
		{"a program with arguments", []string{"MBK_HOOK_SUCCESS=curl -H token=x"}, []string{"--no-defaults"}, option{Name: "hook-success", Value: "curl ***", Values: []string{"curl ***"}, Source: "variable", Variable: "MBK_HOOK_SUCCESS"}},
		{"a list in a variable replaces them", []string{"MBK_MARIADBD_OPTION=--y=1,2\n--my-password=x\n"}, []string{"restore", defaults}, option{Name: "mariadbd-option", Value: "--y=1,2 --my-password=***", Values: []string{"--y=1,2", "--my-password=***"}, Source: "variable", Variable: "MBK_MARIADBD_OPTION"}},
		{"a flag replaces that", []string{"MBK_MARIADBD_OPTION=--y"}, []string{"restore", defaults, "--mariadbd-option=--z"}, option{Name: "mariadbd-option", Value: "--z", Values: []string{"--z"}, Source: "flag"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := configured(t, c.variables, c.want.Name, c.args...); fmt.Sprint(got) != fmt.Sprint(c.want) {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
	text := in(t, []string{"MBK_THREADS=3"}, "config", defaults).stdout
	for _, line := range []string{"threads $MBK_THREADS 3", "repo " + file + ", line 5 [mbk] /general"} {
		name, from, _ := strings.Cut(line, " ")
		at, value := from[:strings.LastIndex(from, " ")], from[strings.LastIndex(from, " ")+1:]
		if !slices.ContainsFunc(strings.Split(text, "\n"), func(l string) bool {
			return strings.Join(strings.Fields(l), " ") == name+" "+value+" "+at
		}) {
			t.Errorf("mbk config has no line for %s:\n%s", line, text)
		}
	}
	if said := in(t, []string{"MBK_LOCKWAIT=3"}, "config", defaults).stderr; !strings.Contains(said, "mbk: $MBK_LOCKWAIT is set, but no command has such an option\n") {
		t.Errorf("mbk config says %q of a variable that is misspelt", said)
	}
	if said := in(t, []string{"MBK_MAIL_PASSWORD=geheim"}, "config", defaults).stderr; strings.Contains(said, "MBK_MAIL_PASSWORD") {
		t.Errorf("mbk config says %q of the mail account's password", said)
	}
	if strings.Contains(text, "geheim") {
		t.Error("mbk config shows the password")
	}
}

// A value that is none names the place where it stands.
func TestBadOptionSources(t *testing.T) {
	t.Parallel()
	repository := t.TempDir()
	for _, c := range []struct {
		name      string
		variables []string
		lines     []string
		args      []string
		advice    string
		parts     []string
	}{
		{"unknown in [mbk]", nil, []string{"[mbk]", "rate_limt = 1"}, []string{"list"}, `"mbk list --help"`, []string{"my.cnf, line 2: mbk has no option \"rate-limt\""}},
		{"another command's in [mbk-list]", nil, []string{"[mbk-list]", "compress = s2"}, []string{"list"}, `"mbk list --help"`, []string{"my.cnf, line 2: mbk list has no option \"compress\""}},
		{"no place in a file", nil, []string{"[mbk]", "defaults-file = x"}, []string{"list"}, `"mbk list --help"`, []string{"my.cnf, line 2: option defaults-file cannot be set"}},
		{"number", nil, []string{"[client]", "port = x"}, []string{"backup"}, `"mbk backup --help"`, []string{`my.cnf, line 2: port "x" is not a number`}},
		{"duration", nil, []string{"[mbk]", "", "lock-wait = soon"}, []string{"backup"}, `"mbk backup --help"`, []string{`my.cnf, line 3: lock-wait "soon" is not a duration`}},
		{"switch", nil, []string{"[mbk]", "skip-keep-failed = maybe"}, []string{"backup"}, `"mbk backup --help"`, []string{`my.cnf, line 2: skip-keep-failed "maybe" is neither on nor off`}},
		{"value missing", nil, []string{"[mbk]", "repo"}, []string{"list"}, `"mbk list --help"`, []string{"my.cnf, line 2: repo needs a value"}},
		{"number in a variable", []string{"MBK_THREADS=x"}, nil, []string{"backup"}, `"mbk backup --help"`, []string{`$MBK_THREADS: threads "x" is not a number`}},
		{"codec", nil, []string{"[mbk]", "compress = lzma"}, []string{"backup"}, "--compress is set in ", []string{`--compress: codec "lzma"`}},
		{"negative number in a variable", []string{"MBK_THREADS=-1"}, nil, []string{"backup"}, "--threads is set in $MBK_THREADS", []string{"--threads is negative"}},
		{"protocol", nil, []string{"[client]", "protocol = memory"}, []string{"backup", "--repo", repository}, "--protocol is set in ", []string{`--protocol is tcp or socket, not "memory"`}},
		{"port that is none", nil, []string{"[client]", "port = 99999"}, []string{"backup", "--repo", repository}, "--port is set in ", []string{"--port is 99999"}},
		{"certificate without its key", nil, []string{"[client]", "ssl-cert = /x.pem"}, []string{"backup", "--repo", repository}, "--ssl-cert is set in ", []string{"--ssl-cert and --ssl-key"}},
		{"password file missing", []string{"MBK_PASSWORD_FILE=/nowhere"}, nil, []string{"backup", "--repo", repository}, "--password-file is set in $MBK_PASSWORD_FILE", []string{"--password-file: open /nowhere"}},
		{"no patience", []string{"MBK_LOCK_WAIT=0"}, nil, []string{"backup"}, "--lock-wait is set in $MBK_LOCK_WAIT", []string{"--lock-wait is 0s"}},
		{"no address of mail", []string{"MBK_MAIL_TO=dba"}, nil, []string{"backup", "--repo", repository}, "--mail-to is set in $MBK_MAIL_TO", []string{`"dba" is not an address`}},
		{"no address of the web", []string{"MBK_WEBHOOK=ftp://x/y"}, nil, []string{"backup", "--repo", repository}, "--webhook is set in $MBK_WEBHOOK", []string{"--webhook: the address"}},
		{"no pattern", []string{"MBK_TABLE=orders"}, nil, []string{"backup", "--repo", repository}, "--table is set in $MBK_TABLE", []string{`--table: no pattern of a name: "orders"`}},
		{"config of two commands", nil, nil, []string{"config", "list", "show"}, `"mbk config --help"`, []string{`not "show"`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append(c.args, "--defaults-file="+optionFile(t, c.lines...))
			in(t, c.variables, args...).wantRefusal(t, 2, c.advice, c.parts...)
		})
	}
}

// A file that the user names must not make mbk wait. These calls had no end.
func TestNamedFilesThatAreFIFOs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	fifo, none := filepath.Join(dir, "fifo"), filepath.Join(dir, "none")
	fine(t, unix.Mkfifo(fifo, 0o600))
	for _, options := range [][]string{
		{"--password-file", fifo},
		{"--table-file", fifo},
		{"--exclude-database-file", fifo},
		{"--mail-to", "a@example.com", "--mail-user", "mbk", "--mail-password-file", fifo},
		{"--host", "127.0.0.1", "--port", "1", "--ssl-ca", fifo},
		{"--host", "127.0.0.1", "--port", "1", "--ssl-capath", dir},
		{"--host", "127.0.0.1", "--port", "1", "--ssl-cert", fifo, "--ssl-key", none},
		{"--defaults-extra-file", fifo},
	} {
		t.Run(strings.Join(options, " "), func(t *testing.T) {
			args := append([]string{"backup", "--repo", t.TempDir(), "--quiet", "--socket", none}, options...)
			launch(t, command(t, args...)).wait(t, 20*time.Second).wantRefusal(t, 2, "", "is a FIFO")
		})
	}
}
