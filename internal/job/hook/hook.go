// Package hook runs the programs that an operator has named for certain moments
// of a backup: with facts in the environment and on standard input, a limit of
// time, and a record of what became of them. What the facts are is not known
// here. There is no shell in between.
package hook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/mattn/go-shellwords"

	"mbk/internal/hint"
)

// ErrTimeout is the cause when a program did not end in time. It and what it had
// started in its process group were killed.
var ErrTimeout = errors.New("did not end in time")

// Command is a program and its arguments.
type Command struct {
	path string // of the program, absolute
	args []string
}

// Parse takes a command line apart: words at blanks, with single quotes, double
// quotes and backslashes as in a shell, and nothing else of a shell: no
// variables, pipes or redirections. The program must be there, so that a wrong
// name shows before it is needed.
func Parse(line string) (*Command, error) {
	p := shellwords.NewParser()
	words, err := p.Parse(line)
	switch {
	case err != nil:
		return nil, hint.Wrap(errors.New("a quote or a bracket has no end"), "quote as in a shell")
	case p.Position >= 0:
		return nil, hint.Wrap(fmt.Errorf("there is no shell to make something of %q", []rune(line)[p.Position]),
			"quote it, or write sh -c '...' if you want a shell")
	case len(words) == 0:
		return nil, hint.Wrap(errors.New("no program is named"), "name a program, and its arguments behind it")
	}
	path, err := exec.LookPath(words[0])
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		return nil, hint.Wrap(fmt.Errorf("program %s: %w", words[0], reason(err)), "name a file that this user may execute")
	}
	return &Command{path: path, args: words}, nil
}

// reason takes away what an error says of the program's name.
func reason(err error) error {
	var lookup *exec.Error
	if errors.As(err, &lookup) {
		err = lookup.Err
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		err = path.Err
	}
	return err
}

// Program is the path of the program. Arguments may be secret.
func (c *Command) Program() string { return c.path }

// Call is what a program gets.
type Call struct {
	Env     []string          // "NAME=value", all of its environment
	Stdin   []byte            // it need not read that
	Timeout time.Duration     // 0: none
	Grace   time.Duration     // between SIGTERM and SIGKILL, 0: five seconds
	Print   func(line string) // hears each line of its output, on one goroutine; nil: nobody
}

// Result is what became of a program.
type Result struct {
	Started  time.Time // UTC
	Took     time.Duration
	ExitCode int    // -1: it did not start, or a signal ended it
	Output   string // the last 4 KiB of what it printed, stdout and stderr
}

// drain is how long output is waited for when the program has ended. A program
// that it has left running may hold the pipe open for ever.
const drain = time.Second

// Run runs the program to its end. An error says which program it was, and ends
// with the last line that it printed. If ctx ends or the time is over, the process
// group gets SIGTERM and, after the grace, SIGKILL. If this process dies, the
// program gets SIGTERM.
func (c *Command) Run(ctx context.Context, call Call) (Result, error) {
	if call.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, call.Timeout, fmt.Errorf("%w: %s", ErrTimeout, call.Timeout))
		defer cancel()
	}
	out := &output{print: call.Print}
	cmd := &exec.Cmd{
		Path: c.path, Args: c.args, Env: call.Env,
		Stdin: bytes.NewReader(call.Stdin), Stdout: out, Stderr: out, WaitDelay: drain,
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM},
	}
	result := Result{Started: time.Now().UTC(), ExitCode: -1}
	err := context.Cause(ctx)
	if err == nil {
		// Pdeathsig is sent when the thread ends that has started the program.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err = supervise(ctx, cmd, call.Grace)
	}
	result.Took = time.Since(result.Started)
	result.Output = out.end()
	if cmd.ProcessState != nil {
		result.ExitCode = cmd.ProcessState.ExitCode()
	}
	if err == nil {
		return result, nil
	}
	err = fmt.Errorf("%s: %w", c.path, err)
	if last := lastLine(result.Output); last != "" {
		err = fmt.Errorf("%w: %s", err, last)
	}
	return result, err
}

// supervise starts a program and waits for its end, or makes it end.
func supervise(ctx context.Context, cmd *exec.Cmd, grace time.Duration) error {
	if grace == 0 {
		grace = 5 * time.Second
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("did not start: %w", reason(err))
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		if errors.Is(err, exec.ErrWaitDelay) {
			return nil // it has ended well, and left something running
		}
		return err
	case <-ctx.Done():
	}
	group := -cmd.Process.Pid
	_ = syscall.Kill(group, syscall.SIGTERM) // it may have ended in this moment
	select {
	case err := <-done:
		done <- err
	case <-time.After(grace):
	}
	_ = syscall.Kill(group, syscall.SIGKILL) // what its children have made of SIGTERM is not known
	<-done
	return context.Cause(ctx)
}
