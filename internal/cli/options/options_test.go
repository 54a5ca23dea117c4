package options

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/urfave/cli/v2"
)

// sample is a set with an option of each kind.
type sample struct {
	repo, password string
	quiet          bool
	threads        int
	wait           time.Duration
	tables         []string
	table          string
}

func (o *sample) set() *Set {
	s := NewSet()
	s.In("Connection").Files()
	s.String(&o.repo, "repo", "", "`FOLDER` with the backups").WithShort("r")
	s.String(&o.password, PasswordOption, "", "log in with it").MayBeBare("ask").Withheld()
	s.Bool(&o.quiet, "quiet", "say nothing").WithShort("q")
	s.Int(&o.threads, "threads", 4, "work with `N` threads").WithAlias("parallel").AtMost(64)
	s.Duration(&o.wait, "lock-wait", time.Minute, "wait for `DURATION`").MoreThanNothing()
	s.Strings(&o.tables, "mariadbd-option", "give it `OPTION`").WithShort("m")
	s.String(&o.table, "history-table", "", "write into `TABLE`").MayBeBare("mysql.history")
	return s
}

// The command line is read as MariaDB's own programs would read it.
func TestSpell(t *testing.T) {
	for _, c := range []struct{ in, want, wrong string }{
		{in: "latest --repo /b", want: "--repo=/b -- latest"},
		{in: "-r /b -q", want: "--repo=/b --quiet=on"},
		{in: "-r/b", want: "--repo=/b"},
		{in: "-r=/b", want: "--repo=/b"},
		{in: "-repo /b", want: "--repo=/b"},
		{in: "--lock_wait 5", want: "--lock-wait=5"},
		{in: "--parallel 8", want: "--threads=8"},
		{in: "--skip-quiet", want: "--quiet=off"},
		{in: "--disable_quiet=0", want: "--quiet=on"},
		{in: "--enable-quiet", want: "--quiet=on"},
		{in: "--loose-lock-wait=1 --loose-rubbish=2", want: "--lock-wait=1"},
		{in: "--history-table latest", want: "--history-table=mysql.history -- latest"},
		{in: "--history-table=a.b", want: "--history-table=a.b"},
		{in: "--mariadbd-option --x", want: "--mariadbd-option=--x"},
		{in: "--repo=--x", want: "--repo=--x"},
		{in: "- -q -- --repo --", want: "--quiet=on -- - --repo --"},
		{in: "--nonsense", want: "--nonsense"},
		{in: "-=x -q", want: "-=x --quiet=on"},
		{in: "--repo", wrong: "option --repo needs a value"},
		{in: "--repo --quiet", wrong: "but --quiet follows"},
	} {
		got, err := new(sample).set().Spell(strings.Fields(c.in))
		switch {
		case c.wrong != "":
			if err == nil || !strings.Contains(err.Error(), c.wrong) {
				t.Errorf("Spell(%s): error %v, want %q", c.in, err, c.wrong)
			}
		case err != nil || strings.Join(got, " ") != c.want:
			t.Errorf("Spell(%s) = %q, %v, want %q", c.in, got, err, c.want)
		}
	}
}

// parse parses arguments that Spell returned, as a command with these options would.
func parse(t *testing.T, s *Set, args []string) error {
	app := &cli.App{
		Flags: s.Flags(), HideHelp: true,
		OnUsageError: func(_ *cli.Context, err error, _ bool) error { return ParseError(err) },
		Action: func(c *cli.Context) error {
			s.Parsed(c)
			return nil
		},
	}
	return app.RunContext(t.Context(), append([]string{"test"}, args...))
}

// Values reach the fields, and what is none is a mistake of the call.
func TestResolve(t *testing.T) {
	for _, c := range []struct {
		name  string
		args  string
		vars  map[string]string
		check func(sample) bool
		wrong string
	}{
		{name: "defaults", check: func(o sample) bool {
			return o.threads == 4 && o.wait == time.Minute && !o.quiet &&
				o.tables == nil
		}},
		{name: "command line", args: "--threads=2 --lock-wait=5 --quiet", check: func(o sample) bool {
			return o.threads == 2 && o.wait == 5*time.Second && o.quiet
		}},
		{name: "variables", vars: map[string]string{"MBK_PARALLEL": "3", "MBK_QUIET": "ON", "MBK_MARIADBD_OPTION": "a\nb\n"},
			check: func(o sample) bool { return o.threads == 3 && o.quiet && strings.Join(o.tables, "|") == "a|b" }},
		{name: "the command line wins", args: "--threads=2", vars: map[string]string{"MBK_THREADS": "3"},
			check: func(o sample) bool { return o.threads == 2 }},
		{name: "a password stays where it is", vars: map[string]string{"MBK_PASSWORD": "secret"},
			check: func(o sample) bool { return o.password == "" }},
		{name: "negative", args: "--threads=-1", wrong: "option --threads is negative"},
		{name: "too large", vars: map[string]string{"MBK_THREADS": "65"}, wrong: "option --threads is 65, want at most 64"},
		{name: "nothing", args: "--lock-wait=0", wrong: "option --lock-wait is 0s, want more than nothing"},
		{name: "no number", vars: map[string]string{"MBK_THREADS": "x"}, wrong: `$MBK_THREADS: threads "x" is not a number`},
		{name: "no switch", args: "--quiet=maybe", wrong: `invalid value "maybe" for option --quiet`},
		{name: "no option", args: "--nonsense", wrong: "there is no option --nonsense"},
		{name: "help with a value", args: "--help=3", wrong: "option --help takes no value"},
		{name: "no name", args: "--=3", wrong: "bad flag syntax: --=3"},
		{name: "twice", args: "--mariadbd-option=a,b --mariadbd-option=c -m d --threads=2 --parallel=3 --threads 5",
			check: func(o sample) bool { return strings.Join(o.tables, "|") == "a,b|c|d" && o.threads == 5 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			var o sample
			s := o.set()
			args, err := s.Spell(append([]string{"--no-defaults"}, strings.Fields(c.args)...))
			if err == nil {
				err = parse(t, s, args)
			}
			if err == nil {
				err = s.Resolve(Environment{Command: "test", Getenv: func(name string) string { return c.vars[name] }})
			}
			var usage *UsageError
			switch {
			case c.wrong != "":
				if !errors.As(err, &usage) || !strings.Contains(err.Error(), c.wrong) {
					t.Errorf("error %v, want %q", err, c.wrong)
				}
			case err != nil:
				t.Error(err)
			case !c.check(o):
				t.Errorf("the options are %+v", o)
			}
		})
	}
}

// What the arguments must not show goes into variables.
func TestTakeSecrets(t *testing.T) {
	rest, variables, prompt := TakePassword([]string{"backup", "-pa", "--password=b", "--", "-pc"})
	if strings.Join(rest, " ") != "backup -- -pc" || strings.Join(variables, " ") != "MBK_PASSWORD=b" || prompt {
		t.Errorf("TakePassword: %q, %q, %v", rest, variables, prompt)
	}
	rest, variables = TakeSecrets([]string{"--quiet", "--webhook=https://h/a", "--hook-before=x", "--hook-before=y",
		"--webhook=https://h/b"})
	want := "MBK_HOOK_BEFORE=x\ny MBK_WEBHOOK=https://h/b MBK_SECRET_OPTIONS=hook-before,webhook"
	if strings.Join(rest, " ") != "--quiet" || strings.Join(variables, " ") != want {
		t.Errorf("TakeSecrets: %q, %q", rest, variables)
	}
}
