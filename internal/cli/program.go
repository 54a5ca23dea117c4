// Package cli is mbk's command line: each command has a file with its options, and
// what it does with them through packages backup, restore, repo and job. Package
// options gives the options their values, package ui prints.
package cli

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"mbk/internal/cli/options"
	"mbk/internal/hint"
	"mbk/internal/sys/interrupt"
	"mbk/internal/ui"
)

// Version of mbk; the build sets it.
var Version = "0.1.0-dev"

// tool is what mbk calls itself in what it writes.
func tool() string { return "mbk " + Version }

// Env is what a run of mbk takes from its surroundings.
type Env struct {
	Args   []string // without the program's name
	Getenv func(string) string
	ui.Streams
}

// Process is the environment of this process.
func Process() Env {
	return Env{Args: os.Args[1:], Getenv: os.Getenv, Streams: ui.Streams{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Terminal: term.IsTerminal(int(os.Stderr.Fd())), Typed: term.IsTerminal(int(os.Stdin.Fd())),
	}}
}

// endTime is how long after a signal mbk ends, whatever hangs.
const endTime = 30 * time.Second

// Run runs one command and returns the exit code. When ctx ends, it has half a
// minute to end in good order, and what hangs then is given up.
func Run(ctx context.Context, env Env) int {
	p := newProgram(env)
	p.interrupted = interrupt.Watch(ctx)
	code, err := interrupt.Await(ctx, p.interrupted, endTime, func() (int, error) { return p.run(ctx, env.Args), nil })
	if err == nil {
		return code
	}
	said := make(chan struct{})
	go func() { // nobody may read it
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
	called      *command // the one that the call names, nil as long as it is not known
	command     *command // the one whose options count: of "config" it is another one
	prompt      bool     // the command line wants to be asked for the password
}

func newProgram(env Env) *program {
	p := &program{ui: ui.New(env.Streams, inJSONPerhaps(env)), getenv: env.Getenv}
	p.commands = []*command{
		backupCommand(p), checkCommand(p), listCommand(p), showCommand(p), historyCommand(p), reportCommand(p),
		verifyCommand(p), restoreCommand(p), extractCommand(p), expireCommand(p), metricsCommand(p), notifyTestCommand(p),
		configCommand(p), completionCommand(p), manCommand(p),
	}
	return p
}

// inJSONPerhaps guesses whether messages are wanted as JSON by a call that is not yet
// understood, for the error that it may turn out to be.
func inJSONPerhaps(env Env) bool {
	args := strings.ReplaceAll(strings.Join(env.Args, "\n"), "=", "\n") + "\n"
	return env.Getenv(options.Variable("log-format")) == "json" || env.Getenv(options.Variable("progress")) == "json" ||
		strings.Contains(args, "--log-format\njson\n") || strings.Contains(args, "--progress\njson\n")
}

// run carries out a call, tells of its error and returns its exit code.
func (p *program) run(ctx context.Context, args []string) int {
	err := p.call(ctx, args)
	if err == nil {
		err = p.ui.OutputErr()
	}
	code := exitCode(ctx, err)
	p.report(err, code)
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
	if p.called.name == "config" { // carries nothing out
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
	if err := p.read(args); err != nil {
		return err
	}
	return p.command.run(ctx)
}

// read gives the options and arguments of the command their values.
func (p *program) read(args []string) error {
	c := p.command
	args, err := c.options.Parse(args)
	if err != nil {
		return err
	}
	if len(c.options.Options()) > 0 { // else no option file is looked at
		if err := c.options.Resolve(p.environment()); err != nil {
			return err
		}
	}
	if err := p.ui.Start(); err != nil {
		return options.Usage(err)
	}
	return c.take(args)
}

// environment is what the command's options are resolved in.
func (p *program) environment() options.Environment {
	var others []*options.Set
	for _, c := range p.commands {
		others = append(others, c.options)
	}
	return options.Environment{
		Command: p.command.name, Others: others, Getenv: p.getenv, Warn: p.ui.Warn, Prompt: p.prompt,
	}
}

// find returns the command of a name, nil if there is none.
func (p *program) find(name string) *command {
	i := slices.IndexFunc(p.commands, func(c *command) bool { return c.name == name })
	if i < 0 {
		return nil
	}
	return p.commands[i]
}

// noCommand is the error of a call that names no command that there is.
func (p *program) noCommand(args []string) error {
	word := args[0]
	if word == "help" && len(args) > 1 {
		word = args[1]
	}
	if !strings.HasPrefix(word, "-") {
		return usagef("mbk has no command %q", word)
	}
	name, _, _ := strings.Cut(strings.TrimLeft(word, "-"), "=")
	for _, c := range p.commands {
		if o, _ := c.options.Find(name); o != nil {
			return usagef("%s is an option of commands, and no command is named", hint.Option(name))
		}
	}
	return usagef("there is no option %s", hint.Option(name))
}

// commandFirst moves the command before the options that were written before it, as
// in "mbk --repo /backup list".
func (p *program) commandFirst(args []string) []string {
	for i := 0; i < len(args) && args[i] != "--"; i++ {
		switch {
		case strings.HasPrefix(args[i], "-"):
			if p.valueFollows(args[i]) {
				i++
			}
		case i > 0 && p.find(args[i]) != nil:
			return slices.Concat(args[i:i+1], args[:i], args[i+1:])
		case i > 0:
			return args[i:] // which is the mistake
		default:
			return args
		}
	}
	return args
}

// valueFollows reports whether an argument is some command's option that has its value
// in the next argument.
func (p *program) valueFollows(arg string) bool {
	return slices.ContainsFunc(p.commands, func(c *command) bool { return c.options.ValueFollows(arg) })
}
