// Package pipe reads from and writes to what a process was given as standard input and
// output, so that waiting for the other end can be interrupted.
package pipe

import (
	"context"
	"errors"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// size is how many bytes a pipe is to hold, so that both ends have to wait less often. It is
// what the kernel allows to everybody, unless somebody has changed that.
const size = 1 << 20

// Writer returns a writer to a file. When ctx ends, a Write that waits for the other end of a
// pipe fails, and so do all later ones, with the cause. What else than a pipe the file is
// is waited for as long as it takes. The file stays open until the end of the process.
func Writer(ctx context.Context, f *os.File) io.Writer {
	return interruptible(ctx, f, unix.O_WRONLY)
}

// Reader is Writer for a file that is read.
func Reader(ctx context.Context, f *os.File) io.Reader {
	return interruptible(ctx, f, unix.O_RDONLY)
}

// interruptible opens a pipe again: then it can be made non-blocking without doing that to
// other processes that have it, too.
func interruptible(ctx context.Context, f *os.File, mode int) *end {
	e := &end{ctx: ctx, f: f}
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		return e
	}
	again, err := os.OpenFile("/proc/self/fd/"+strconv.Itoa(int(f.Fd())), mode|unix.O_NONBLOCK, 0)
	if err != nil { // it is another user's, or nobody is at the other end
		return e
	}
	if conn, err := again.SyscallConn(); err == nil {
		_ = conn.Control(func(fd uintptr) {
			_, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, size) // it also works with a smaller one
		})
	}
	e.f = again
	context.AfterFunc(ctx, func() { _ = again.SetDeadline(time.Unix(1, 0)) }) // a pipe has deadlines
	return e
}

// end is an end of a pipe.
type end struct {
	ctx context.Context
	f   *os.File
}

// Read implements io.Reader.
func (e *end) Read(p []byte) (int, error) {
	n, err := e.f.Read(p)
	return n, e.cause(err)
}

// Write implements io.Writer.
func (e *end) Write(p []byte) (int, error) {
	n, err := e.f.Write(p)
	return n, e.cause(err)
}

// cause returns why the context has ended, if that is why there is an error. The name of the
// file, which it does not have for others, is left out.
func (e *end) cause(err error) error {
	if err != nil && err != io.EOF && e.ctx.Err() != nil {
		return context.Cause(e.ctx)
	}
	if of, ok := errors.AsType[*os.PathError](err); ok {
		return of.Err
	}
	return err
}
