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
	"time"

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
	Typed    bool // stdin is a terminal: a person gives the command, not a timer
	Getenv   func(string) string

	prompt   bool      // for the password
	sources  sources   // of the options, once they are resolved
	messages *messages // how to talk, which an option decides

	interrupted *interruption
}

// Process is the environment of this process.
func Process() Env {
	return Env{
		Args: os.Args[1:], Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv,
		Terminal: term.IsTerminal(int(os.Stderr.Fd())), Typed: term.IsTerminal(int(os.Stdin.Fd())),
	}
}

// Run runs one command and returns the exit code. When ctx ends, it has half a
// minute to end in good order, and what hangs then is given up.
func Run(ctx context.Context, env Env) int {
	env.messages, env.interrupted = &messages{json: inJSONPerhaps(env)}, watchFor(ctx)
	code, err := await(ctx, env.interrupted, endTime, func() (int, error) { return run(ctx, env), nil })
	if err == nil {
		return code
	}
	said := make(chan struct{})
	go func() { // nobody may read it
		tell(env, messageError, "interrupted, and not done with it after "+span(endTime)+": something hangs, and is left as it is")
		close(said)
	}()
	select {
	case <-said:
	case <-time.After(time.Second):
	}
	return exitInterrupted
}

// run is Run without a limit.
func run(ctx context.Context, env Env) int {
	args, password, given, prompt := takePassword(env.Args)
	env.prompt, env.sources = prompt, sources{}
	result := &resultWriter{to: env.Stdout}
	env.Stdout = result
	args = commandFirst(newApp(env), args)
	env.Args = args
	app := newApp(env)
	if text, wanted := helpWanted(app, args); wanted {
		_, err := fmt.Fprint(env.Stdout, text)
		report(env, err, exitCode(ctx, err))
		return exitCode(ctx, err)
	}
	explains := len(args) > 0 && args[0] == "config"
	args, err := optionsFirst(app, explainInstead(app, env, args))
	args, hidden := takeSecrets(args)
	if given {
		hidden = append(hidden, passwordVariable+"="+password)
	}
	switch {
	case err != nil:
	case len(hidden) > 0 && explains: // else it would carry out what it is to explain
		err = hide(append([]string{"config"}, args...), hidden)
	case len(hidden) > 0:
		err = hide(args, hidden)
	default:
		err = app.RunContext(ctx, append([]string{"mbk"}, args...))
	}
	if err == nil {
		err = result.err
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
		HideHelpCommand:        true,
		UseShortOptionHandling: false,
		CustomAppHelpTemplate:  appHelp,
		// A name or an option of mariadbd may have a comma.
		DisableSliceFlagSeparator: true,
		Action: func(c *cli.Context) error {
			names := c.Args().Slice()
			if len(names) > 0 && names[0] == "help" {
				names = names[1:] // helpWanted knows those that there are
			}
			if len(names) > 0 {
				return usagef("mbk has no command %q", names[0])
			}
			return cli.ShowAppHelp(c)
		},
		Commands: []*cli.Command{
			backupCommand(env), checkCommand(env), listCommand(env), showCommand(env), historyCommand(env), reportCommand(env), verifyCommand(env),
			restoreCommand(env), extractCommand(env), expireCommand(env), metricsCommand(env), notifyTestCommand(env), configCommand(),
			completionCommand(env), manCommand(env),
		},
	}
	app.OnUsageError = func(c *cli.Context, err error, sub bool) error {
		name := longName(strings.TrimPrefix(err.Error(), "flag provided but not defined: "))
		for _, command := range app.Commands {
			if _, _, known := findOption(command.Flags, name); known {
				return usagef("--%s is an option of commands, and no command is named", name)
			}
		}
		return onUsageError(c, err, sub)
	}
	for _, c := range app.Commands {
		c.OnUsageError = onUsageError
		c.HideHelpCommand = true
		c.HideHelp = true // helpWanted prints it
		action := c.Action
		c.Action = func(c *cli.Context) error {
			if len(c.Command.Flags) > 0 {
				if err := resolve(c, env); err != nil {
					return err
				}
			}
			var err error
			if env.messages.json, err = inJSON(c); err != nil {
				return err
			}
			return action(c)
		}
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

// isUsage reports whether a call was not understood.
func isUsage(err error) bool {
	var usage *usageError
	return errors.As(err, &usage)
}

// maxThreads bounds --threads: each thread has buffers.
const maxThreads = 1024

// threadsFlag is the flag of commands that work in parallel. mariadb-backup and
// others call it --parallel.
func threadsFlag(usage string) cli.Flag {
	return &cli.IntFlag{Name: "threads", Aliases: []string{"parallel"}, Usage: usage}
}

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
