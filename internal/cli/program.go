// Package cli is mbk's command line. Each command has a file: its options, and the
// function that runs it. Package options sets the options, package ui prints; the work is
// done by packages such as backup, restore, verify and repo.
package cli

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"mbk/internal/cli/options"
	"mbk/internal/hint"
	"mbk/internal/sys/interrupt"
	"mbk/internal/ui"
)

// Version of mbk; the build sets it.
var Version = "0.1.0-dev"

// tool is the name and version of mbk in what it writes.
func tool() string { return "mbk " + Version }

// Env is the environment of a run.
type Env struct {
	Args   []string // without the program's name
	Getenv func(string) string
	ui.Streams
}

// Process returns the environment of this process.
func Process() Env {
	terminal := func(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
	smart := os.Getenv("TERM") != "dumb" // it can go back in a line
	colors := smart && os.Getenv("NO_COLOR") == ""
	columns, _ := strconv.Atoi(os.Getenv("COLUMNS")) // for a pipe into a pager
	return Env{Args: os.Args[1:], Getenv: os.Getenv, Streams: ui.Streams{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Terminal: smart && terminal(os.Stderr), Typed: terminal(os.Stdin),
		Colored: colors && terminal(os.Stdout), Alarming: colors && terminal(os.Stderr), Columns: max(columns, 0),
		Journal: isJournal(os.Stderr, os.Getenv("JOURNAL_STREAM")),
	}}
}

// isJournal reports whether a file is the stream to systemd's journal, of which systemd says
// device and inode.
func isJournal(f *os.File, stream string) bool {
	var at syscall.Stat_t
	if stream == "" || syscall.Fstat(int(f.Fd()), &at) != nil {
		return false
	}
	return stream == fmt.Sprintf("%d:%d", at.Dev, at.Ino)
}

// endTime is the time after a signal at which mbk exits, whatever hangs.
const endTime = 30 * time.Second

// Run runs one command and returns the exit code. When ctx ends, the command has endTime
// to stop in good order; what hangs then is abandoned.
func Run(ctx context.Context, env Env) int {
	p := newProgram(env)
	p.interrupted = interrupt.Watch(ctx)
	code, err := interrupt.Await(ctx, p.interrupted, endTime, func() (int, error) { return p.run(ctx, env.Args), nil })
	if err == nil {
		return code
	}
	said := make(chan struct{})
	go func() { // stderr may hang too
		p.ui.Error("interrupted, and not done with it after " + ui.Span(endTime) + ": something hangs, and is left as it is")
		close(said)
	}()
	select {
	case <-said:
	case <-time.After(time.Second):
	}
	return exitInterrupted
}

// program is one run of mbk.
type program struct {
	ui          *ui.UI
	getenv      func(string) string
	interrupted *interrupt.Interruption
	commands    []*command
	called      *command // named in the call; nil until it is known
	command     *command // whose options are read; not the same for "config"
	prompt      bool     // --password without a value: ask for it
}

func newProgram(env Env) *program {
	p := &program{ui: ui.New(env.Streams, inJSONPerhaps(env)), getenv: env.Getenv}
	p.commands = []*command{
		setupCommand(p), initCommand(p), backupCommand(p), checkCommand(p), listCommand(p), showCommand(p),
		findCommand(p), diffCommand(p), repoCommand(p), historyCommand(p),
		reportCommand(p), verifyCommand(p), drillCommand(p), restoreCommand(p), extractCommand(p),
		expireCommand(p), pinCommand(p),
		unpinCommand(p), removeCommand(p), consolidateCommand(p), copyCommand(p), sendCommand(p), receiveCommand(p),
		archiveCommand(p), eventsCommand(p), pointsCommand(p), cardCommand(p), recipientsCommand(p), metricsCommand(p),
		notifyTestCommand(p), configCommand(p),
		completionCommand(p), completeCommand(p), manCommand(p),
	}
	return p
}

// inJSONPerhaps guesses whether messages are wanted as JSON before the call is parsed,
// for errors in it.
func inJSONPerhaps(env Env) bool {
	args := strings.ReplaceAll(strings.Join(env.Args, "\n"), "=", "\n") + "\n"
	return env.Getenv(options.Variable("log-format")) == "json" || env.Getenv(options.Variable("progress")) == "json" ||
		strings.Contains(args, "--log-format\njson\n") || strings.Contains(args, "--progress\njson\n")
}

// run carries out a call, reports its error and returns the exit code.
func (p *program) run(ctx context.Context, args []string) int {
	err := p.call(ctx, args)
	if err == nil {
		err = p.ui.OutputErr()
	}
	code := exitCode(ctx, err)
	p.report(err, code)
	p.ui.CloseLog(fmt.Sprintf("ends with exit code %d", code))
	return code
}

// call carries out a call.
func (p *program) call(ctx context.Context, args []string) error {
	args, secrets, prompt := options.TakePassword(args)
	args = p.commandFirst(args)
	if text, wanted := p.helpWanted(args); wanted {
		_, err := fmt.Fprint(p.ui.Stdout, text)
		return err
	}
	if p.called = p.find(args[0]); p.called == nil {
		return p.noCommand(args)
	}
	p.command, args, p.prompt = p.called, args[1:], prompt
	words := []string{p.called.name}
	if p.called.name == "config" { // print the options instead
		p.command, args = p.explained(args)
		words = append(words, p.command.name)
	}
	args, err := p.command.options.Spell(args)
	if err != nil {
		return err
	}
	args, more := options.TakeSecrets(args)
	if secrets = append(secrets, more...); len(secrets) > 0 {
		return options.Hide(append(words, args...), secrets)
	}
	return p.app().RunContext(ctx, slices.Concat([]string{"mbk", p.command.name}, args))
}

// app returns the commands and their flags as urfave/cli parses and runs them. Help and
// version are printed before, by helpWanted.
func (p *program) app() *cli.App {
	app := &cli.App{
		Name: "mbk", Usage: summary, UsageText: usage, Version: Version,
		Writer: p.ui.Stdout, HideHelp: true, HideVersion: true,
		ExitErrHandler: func(*cli.Context, error) {}, // exitCode decides
	}
	for _, c := range p.commands {
		app.Commands = append(app.Commands, &cli.Command{
			Name: c.name, Usage: c.summary, UsageText: c.usage, ArgsUsage: c.arguments, Hidden: c.hidden,
			Flags: c.options.Flags(), HideHelp: true,
			OnUsageError: func(_ *cli.Context, err error, _ bool) error { return options.ParseError(err) },
			Action: func(parsed *cli.Context) error {
				c.options.Parsed(parsed)
				if err := p.read(c, parsed.Args().Slice()); err != nil {
					return err
				}
				return c.run(parsed.Context)
			},
		})
	}
	return app
}

// read sets the options of a command that are not on the command line, and its arguments.
func (p *program) read(c *command, args []string) error {
	if len(c.options.Options()) > 0 { // otherwise read no option file
		if err := c.options.Resolve(p.environment()); err != nil {
			return err
		}
	}
	if err := p.ui.Start(); err != nil {
		return options.Usage(err)
	}
	if p.called == c {
		if err := p.ui.OpenLog(tool() + " " + c.name + " begins"); err != nil {
			return &configError{err}
		}
	}
	p.ui.Silent = p.ui.Quiet && c.routine && !c.options.IsSet("dry-run")
	return c.take(args)
}

// environment returns what resolving the command's options needs.
func (p *program) environment() options.Environment {
	var others []*options.Set
	for _, c := range p.commands {
		others = append(others, c.options)
	}
	return options.Environment{
		Command: p.command.name, Others: others, Getenv: p.getenv, Warn: p.ui.Warn, Prompt: p.prompt,
	}
}

// find returns the command with this name, or nil.
func (p *program) find(name string) *command {
	i := slices.IndexFunc(p.commands, func(c *command) bool { return c.name == name })
	if i < 0 {
		return nil
	}
	return p.commands[i]
}

// noCommand returns the error of a call without a known command.
func (p *program) noCommand(args []string) error {
	word := args[0]
	if word == "help" && len(args) > 1 {
		word = args[1]
	}
	if !strings.HasPrefix(word, "-") {
		return hint.Wrap(usagef("mbk has no command %q", word), p.commandAdvice(word)...)
	}
	name, _, _ := strings.Cut(strings.TrimLeft(word, "-"), "=")
	for _, c := range p.commands {
		if o, _ := c.options.Find(name); o != nil {
			return usagef("%s is an option of commands, and no command is named", hint.Option(name))
		}
	}
	return hint.Wrap(usagef("there is no option %s", hint.Option(name)), p.optionAdvice(nil, name)...)
}

// commandFirst moves the command before options that precede it, as in
// "mbk --repo /backup list".
func (p *program) commandFirst(args []string) []string {
	unknown := -1 // the first option that no command has; its value may be the next argument
	for i := 0; i < len(args) && args[i] != "--"; i++ {
		switch {
		case strings.HasPrefix(args[i], "-"):
			if unknown < 0 && !p.known(args[i]) {
				unknown = i
			}
			if p.valueFollows(args[i]) {
				i++
			}
		case i > 0 && p.find(args[i]) != nil:
			return slices.Concat(args[i:i+1], args[:i], args[i+1:])
		case unknown >= 0:
			return args[unknown:] // noCommand reports it
		case i > 0:
			return args[i:] // and this
		default:
			return args
		}
	}
	return args
}

// valueFollows reports whether an argument is an option of some command with its value in
// the next argument.
func (p *program) valueFollows(arg string) bool {
	return slices.ContainsFunc(p.commands, func(c *command) bool { return c.options.ValueFollows(arg) })
}

// known reports whether some command has an option, or whether it is a short one.
func (p *program) known(arg string) bool {
	name, long := strings.CutPrefix(arg, "--")
	name, _, _ = strings.Cut(strings.ReplaceAll(name, "_", "-"), "=")
	return !long || slices.ContainsFunc(p.commands, func(c *command) bool {
		o, _ := c.options.Find(name)
		return o != nil
	})
}
