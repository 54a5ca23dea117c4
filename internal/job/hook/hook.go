// Package hook runs a program that the user has configured: without a shell, with a
// given environment and standard input, and with a time limit. It returns the outcome
// and the end of the output. It knows nothing of backups.
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

// ErrTimeout is returned when a program did not end in time. Its process group was
// killed.
var ErrTimeout = errors.New("did not end in time")

// Command is a program and its arguments.
type Command struct {
	path string // absolute path of the program
	args []string
}

// Parse splits a command line into words, with single quotes, double quotes and
// backslashes as in a shell. It supports nothing else of a shell: no variables, pipes
// or redirections. The program must exist, so that a wrong name is found early.
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
		return nil, hint.Wrap(errors.New("no program is named"), "name a program, followed by its arguments")
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

// Words returns the absolute path of the program, and its arguments.
func (c *Command) Words() []string { return append([]string{c.path}, c.args[1:]...) }

// reason removes the program's name from an error.
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

// Program returns the path of the program, without the arguments, which may be secret.
func (c *Command) Program() string { return c.path }

// Call is the input and the limits of one run.
type Call struct {
	Env     []string          // "NAME=value", the whole environment
	Stdin   []byte            // the program need not read it
	Timeout time.Duration     // 0: none
	Grace   time.Duration     // between SIGTERM and SIGKILL, 0: five seconds
	Print   func(line string) // called with each line of output, by one goroutine; may be nil
}

// Result is the outcome of one run.
type Result struct {
	Started  time.Time // UTC
	Took     time.Duration
	ExitCode int    // -1: the program did not start, or a signal ended it
	Output   string // the last 4 KiB of stdout and stderr
}

// drain is how long Run waits for output after the program has ended. A child that is
// still running may keep the pipe open.
const drain = time.Second

// Run runs the program and waits for it. Errors name the program and quote its last
// line of output. If ctx ends or the time is over, the process group gets SIGTERM and,
// after the grace period, SIGKILL. If this process dies, the program gets SIGTERM.
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
		// Pdeathsig is sent when the thread that started the program ends.
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

// supervise starts a program and waits for it, or stops it.
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
			return nil // it succeeded, and left a child running
		}
		return err
	case <-ctx.Done():
	}
	group := -cmd.Process.Pid
	_ = syscall.Kill(group, syscall.SIGTERM) // it may have ended just now
	select {
	case err := <-done:
		done <- err
	case <-time.After(grace):
	}
	_ = syscall.Kill(group, syscall.SIGKILL) // its children may have ignored SIGTERM
	<-done
	return context.Cause(ctx)
}
