package mariadbd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// process is a running mariadbd, whose error log is read as it is written.
type process struct {
	cmd   *exec.Cmd
	log   *errorLog
	ended chan struct{} // closed at its end
	err   error         // its exit, valid after ended

	stillLimit time.Duration // see waitAtWork
}

// start runs a command, which cannot gain privileges. The kernel sends the parent-death
// signal when the thread that forked ends, so a goroutine keeps that thread until the
// server has ended.
func start(cmd *exec.Cmd, log *errorLog) (*process, error) {
	p := &process{cmd: cmd, log: log, ended: make(chan struct{}), stillLimit: stillLimit}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	read := make(chan struct{})
	started := make(chan error)
	go func() {
		// The thread is never given back: what is set here cannot be undone.
		runtime.LockOSThread()
		err := noNewPrivileges()
		if err == nil {
			err = cmd.Start()
		}
		err = errors.Join(err, w.Close())
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			<-read
			close(p.ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, errors.Join(err, r.Close()))
	}
	log.patience.kill = func() { _ = cmd.Process.Kill() } // an error means that it has ended
	go func() {
		defer close(read)
		log.read(r)
		_ = r.Close() // all of it was read
	}()
	return p, nil
}

// noNewPrivileges makes the kernel ignore set-user-ID bits and the like for programs that
// this thread starts.
func noNewPrivileges() error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up new privileges: %w", err)
	}
	return nil
}

// wait waits for the end of the process. When ctx is done first, it is killed:
// what it works on is thrown away then.
func (p *process) wait(ctx context.Context) error {
	select {
	case <-p.ended:
		return p.err
	case <-ctx.Done():
		p.kill()
		return ctx.Err()
	}
}

// stop asks the server to shut down, and kills it when ctx is done.
func (p *process) stop(ctx context.Context) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // an error means that it has ended
	return p.waitAtWork(ctx, p.stillLimit)
}

// kill ends the program and what it has started at once, and waits for its end.
func (p *process) kill() {
	select {
	case <-p.ended:
		return
	default:
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // an error means that it has ended
	<-p.ended
}
