package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// figures are what was measured in one run, by the keys in metrics.
type figures map[string]float64

// usage is what programs needed.
type usage struct {
	wall, cpu time.Duration
	peak      int64 // bytes of memory; of a pipeline, the sum of its programs' peaks
	read      int64 // bytes, by system calls of the first program of each pipeline
}

// add adds the usage of a program that ran after the former.
func (u usage) add(next usage) usage {
	return usage{wall: u.wall + next.wall, cpu: u.cpu + next.cpu, peak: max(u.peak, next.peak), read: u.read + next.read}
}

func (u usage) figures() figures {
	return figures{"wall": u.wall.Seconds(), "cpu": u.cpu.Seconds(), "memory": mib(u.peak), "read": mib(u.read)}
}

// pipe runs programs, the output of each the input of the next, that of the last
// one a file ("": thrown away). The kernel accounts for what they need. This
// process is kept small: a program's peak begins at that of the process it was
// forked from. Each program or pipeline has a session that neither the server nor
// another has, as what systemd and cron start: a program alone one of its own, a
// pipeline that of this process, which does nothing meanwhile.
func pipe(ctx context.Context, out string, programs ...[]string) (usage, error) {
	var end io.WriteCloser
	if out != "" {
		f, err := os.Create(out)
		if err != nil {
			return usage{}, err
		}
		end = f
		defer f.Close() //nolint:errcheck // closed below
	}
	begin := time.Now()
	cmds := make([]*exec.Cmd, len(programs))
	errs := make([]*tail, len(programs))
	var closers []io.Closer // our ends of the pipes
	for i, p := range programs {
		errs[i] = &tail{}
		cmds[i] = exec.CommandContext(ctx, p[0], p[1:]...)
		cmds[i].Stderr = errs[i]
		cmds[i].SysProcAttr = &syscall.SysProcAttr{Setsid: len(programs) == 1}
		if i > 0 {
			r, w, err := os.Pipe()
			if err != nil {
				return usage{}, err
			}
			cmds[i-1].Stdout, cmds[i].Stdin = w, r
			closers = append(closers, r, w)
		}
	}
	if end != nil {
		cmds[len(cmds)-1].Stdout = end
	}
	var failed error
	for _, c := range cmds {
		if err := c.Start(); err != nil {
			failed = errors.Join(failed, err)
		}
	}
	for _, c := range closers {
		failed = errors.Join(failed, c.Close())
	}
	var u usage
	for i, c := range cmds {
		if c.Process == nil {
			continue
		}
		if i == 0 {
			u.read = readOf(c.Process.Pid)
		}
		if err := c.Wait(); err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w: %s", filepath.Base(c.Path), err, errs[i]))
			continue
		}
		u.cpu += c.ProcessState.UserTime() + c.ProcessState.SystemTime()
		if r, ok := c.ProcessState.SysUsage().(*syscall.Rusage); ok {
			u.peak += r.Maxrss << 10
		}
	}
	u.wall = time.Since(begin)
	if end != nil {
		failed = errors.Join(failed, end.Close())
	}
	return u, failed
}

// readOf waits for the end of a child, without taking its status, and tells how many
// bytes it has read by system calls; 0 if the kernel does not tell.
func readOf(pid int) int64 {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.EINTR) {
			return 0
		}
	}
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/io")
	if err != nil {
		return 0
	}
	var n int64
	if _, err := fmt.Sscanf(string(text), "rchar: %d", &n); err != nil {
		return 0
	}
	return n
}

// tail keeps the end of what is written to it.
type tail struct{ b []byte }

func (t *tail) Write(p []byte) (int, error) {
	const keep = 2000
	t.b = append(t.b, p...)
	t.b = t.b[max(0, len(t.b)-keep):]
	return len(p), nil
}

func (t *tail) String() string { return strings.TrimSpace(string(bytes.ToValidUTF8(t.b, nil))) }

// fileList are the files of a data directory that a backup has to read.
type fileList struct {
	names []string
	bytes int64
}

// dataFiles lists them: everything but the logs.
func dataFiles(dir string) (fileList, error) {
	var l fileList
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		for _, log := range []string{"binlog.", "ib_logfile", "ibtmp", "aria_log"} {
			if strings.HasPrefix(e.Name(), log) {
				return nil
			}
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		l.names = append(l.names, name)
		l.bytes += info.Size()
		return nil
	})
	return l, err
}

// warm reads all files, so that every run finds them in memory, whatever the one
// before it has told the kernel to drop.
func (l fileList) warm() error {
	b := make([]byte, 1<<20)
	for _, name := range l.names {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // dropped meanwhile
		}
		if err != nil {
			return err
		}
		_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, b)
		if err = errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// syncDisk waits until the disk has everything that was written to it, and tells
// how long that took.
func syncDisk(dir string) (time.Duration, error) {
	d, err := os.Open(dir)
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	err = unix.Syncfs(int(d.Fd()))
	return time.Since(begin), errors.Join(err, d.Close())
}

// stored is how many bytes a folder's files have.
func stored(dir string) (int64, error) {
	var sum int64
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			sum += info.Size()
		}
		return err
	})
	return sum, err
}

// mib is a number of bytes in MiB.
func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }
