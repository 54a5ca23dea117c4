// Package cli is mbk's command line: flags, option files and the environment on
// the way in; text, JSON, progress and exit codes on the way out. Each command
// has its file and does its work through packages backup, restore and repo.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

// Version of mbk; the build sets it.
var Version = "0.1.0-dev"

// Env is what a run of mbk takes from its surroundings.
type Env struct {
	Args     []string // without the program's name
	Stdin    io.Reader
	Stdout   io.Writer
	Stderr   io.Writer
	Terminal bool // stderr is a terminal
	Getenv   func(string) string

	prompt bool // for the password
}

// Process is the environment of this process.
func Process() Env {
	return Env{
		Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv,
		Terminal: term.IsTerminal(int(os.Stderr.Fd())),
	}
}

// Run runs one command and returns the exit code.
func Run(ctx context.Context, env Env) int {
	args, password, given, prompt := takePassword(env.Args)
	env.prompt = prompt
	app := newApp(env)
	args, err := optionsFirst(app, args)
	switch {
	case err != nil:
	case given:
		err = hidePassword(args, password)
	default:
		err = app.RunContext(ctx, append([]string{"mbk"}, args...))
	}
	code := exitCode(ctx, err)
	report(env, err, code)
	return code
}

// newApp declares the commands.
func newApp(env Env) *cli.App {
	app := &cli.App{
		Name:                   "mbk",
		Usage:                  "hot physical backups of MariaDB, each one proven to restore",
		UsageText:              "mbk COMMAND [OPTIONS] [ARGUMENTS]",
		Version:                Version,
		Reader:                 env.Stdin,
		Writer:                 env.Stdout,
		ErrWriter:              env.Stderr,
		ExitErrHandler:         func(*cli.Context, error) {}, // exit codes are decided in exit.go only
		OnUsageError:           onUsageError,
		HideHelpCommand:        true,
		UseShortOptionHandling: false,
		CustomAppHelpTemplate:  appHelp,
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usagef("mbk has no command %q", c.Args().First())
			}
			return cli.ShowAppHelp(c)
		},
		Commands: []*cli.Command{
			backupCommand(env), checkCommand(env), listCommand(env), showCommand(env), verifyCommand(env),
			restoreCommand(env), extractCommand(env), expireCommand(env),
		},
	}
	for _, c := range app.Commands {
		c.OnUsageError = onUsageError
		c.HideHelpCommand = true
		c.CustomHelpTemplate = commandHelp(c)
	}
	return app
}

// onUsageError makes errors of the flag library ours.
func onUsageError(_ *cli.Context, err error, _ bool) error {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		return usagef("there is no option --%s", strings.TrimPrefix(name, "-"))
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
		return usagef("option --%s needs a value", strings.TrimPrefix(name, "-"))
	}
	text = strings.ReplaceAll(text, "for flag -", "for option --")
	return &usageError{message: strings.TrimSuffix(text, ": parse error")}
}

// optionsFirst moves the options of a command before its arguments, because the
// flag library takes everything behind the first argument for one more.
func optionsFirst(app *cli.App, args []string) ([]string, error) {
	if len(args) < 2 {
		return args, nil
	}
	command := app.Command(args[0])
	if command == nil {
		return args, nil
	}
	takesValue, known := map[string]bool{}, map[string]bool{}
	for _, f := range command.Flags {
		_, isBool := f.(*cli.BoolFlag)
		for _, name := range f.Names() {
			takesValue[name], known[name] = !isBool, true
		}
	}
	var options, arguments []string
	for i := 1; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			arguments = append(arguments, args[i+1:]...)
			break
		}
		if len(arg) < 2 || arg[0] != '-' {
			arguments = append(arguments, arg)
			continue
		}
		if short := arg[1:2]; short != "-" && takesValue[short] && len(arg) > 2 && !known[longName(arg)] {
			options = append(options, arg[:2], arg[2:]) // -uroot, -P3307
			continue
		}
		options = append(options, arg)
		name := strings.TrimLeft(arg, "-")
		if !takesValue[name] {
			continue
		}
		if i++; i == len(args) {
			return nil, usagef("option %s needs a value", arg)
		}
		// A forgotten value must not swallow the next option, --dry-run perhaps.
		// The values of --mariadbd-option are options.
		if strings.HasPrefix(args[i], "--") && name != "mariadbd-option" {
			return nil, usagef("option %s needs a value, but %s follows (if that is the value, write %s=%s)", arg, args[i], arg, args[i])
		}
		options = append(options, args[i])
	}
	ordered := append([]string{args[0]}, options...)
	return append(append(ordered, "--"), arguments...), nil
}

// longName is the name in "--name=value" and "-name".
func longName(arg string) string {
	name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	return name
}

// usageError is a call that cannot be carried out as it was written.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

// configError is an error about what an option names: a folder that is not
// there, say. The call itself was understood.
type configError struct{ error }

func (e *configError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error {
	return &usageError{message: fmt.Sprintf(format, args...)}
}

// noArguments is for commands that take none.
func noArguments(c *cli.Context) error {
	if c.Args().Present() {
		return usagef("mbk %s takes no argument, but %q was given", c.Command.Name, c.Args().First())
	}
	return nil
}

// oneID returns the backup that a command is about; "latest" is allowed.
func oneID(c *cli.Context) (string, error) {
	switch c.Args().Len() {
	case 0:
		return "", usagef("mbk %s needs the id of a backup, or \"latest\"", c.Command.Name)
	case 1:
		return c.Args().First(), nil
	}
	return "", usagef("mbk %s takes one id, but %q was given too", c.Command.Name, c.Args().Get(1))
}

// isUsage says whether a call was not understood.
func isUsage(err error) bool {
	var usage *usageError
	return errors.As(err, &usage)
}

// maxThreads bounds --threads: each thread has buffers.
const maxThreads = 1024

// checkNumbers is for options that are numbers or durations.
func checkNumbers(c *cli.Context, names ...string) error {
	for _, name := range names {
		if c.Int(name) < 0 || c.Duration(name) < 0 {
			return usagef("option --%s is negative", name)
		}
	}
	if n := c.Int("threads"); n > maxThreads {
		return usagef("option --threads is %d, want at most %d", n, maxThreads)
	}
	return nil
}
