package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"mbk/internal/cli/options"
	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/ui"
)

// errFindings is the error of a command whose output has said already what was
// found damaged.
var errFindings = fault.New(fault.Damage, "damage was found")

// Exit codes. Scripts rely on them; docs/manual/exit-codes.md lists them.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2   // bad usage or configuration: the call must be changed
	exitDamage      = 3   // damage found, in the source or in a backup
	exitBusy        = 4   // another try may succeed: all errors that are fault.Busy
	exitIncomplete  = 5   // the backup is whole and listed, but a copy of it is missing
	exitInterrupted = 130 // by a signal
)

// exitCode is the only place that turns an error into an exit code.
func exitCode(ctx context.Context, err error) int {
	switch _, output := errors.AsType[*ui.OutputError](err); {
	case err == nil:
		return exitDone
	case ctx.Err() != nil:
		return exitInterrupted
	case output: // whatever is wrong with the other end of a pipe
		return exitFailed
	}
	switch fault.Of(err) {
	case fault.Damage:
		return exitDamage
	case fault.Busy:
		return exitBusy
	case fault.Config:
		return exitUsage
	case fault.Incomplete:
		return exitIncomplete
	}
	return exitFailed
}

// report writes an error and its advice to stderr.
func (p *program) report(err error, code int) {
	if err == nil || errors.Is(err, errFindings) || p.unread(err) {
		return
	}
	if code == exitInterrupted {
		p.ui.Error("interrupted")
		if errors.Is(err, context.Canceled) {
			return
		}
	}
	for _, one := range separate(err) {
		p.ui.Error(one.Error())
	}
	for _, step := range p.advice(err) {
		p.ui.Hint(step)
	}
}

// advice is what a person can do about an error.
func (p *program) advice(err error) []string {
	if _, output := errors.AsType[*ui.OutputError](err); output {
		return nil
	}
	steps := hint.Strings(hint.WithKernel(err))
	if p.command != nil {
		steps = append(steps, p.command.options.WhereSet(hint.Options(err))...)
	}
	if unknown, ok := errors.AsType[*options.UnknownError](err); ok {
		steps = append(steps, hint.Strings(p.optionAdvice(p.command, unknown.Name))...)
	}
	if isUsage(err) {
		steps = append(steps, p.helpOf())
	}
	return steps
}

// helpOf is advice on a call that was not understood.
func (p *program) helpOf() string {
	if p.called == nil {
		return `"mbk --help" lists the commands`
	}
	return fmt.Sprintf("\"mbk %s --help\" lists the options", p.called.name)
}

// warnOf tells an error as a warning, with its advice.
func (p *program) warnOf(err error) {
	p.ui.Warn(err.Error())
	for _, step := range p.advice(err) {
		p.ui.Hint(step)
	}
}

// unread reports whether err is only that the reader of a list has seen enough of it, as
// head has.
func (p *program) unread(err error) bool {
	var output *ui.OutputError
	return errors.As(err, &output) && errors.Is(err, syscall.EPIPE) && p.command != nil && !p.command.changes
}

// separate takes joined errors apart, so that each gets a line.
func separate(err error) []error {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || strings.Count(err.Error(), "\n") == 0 {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, separate(e)...)
	}
	return all
}
