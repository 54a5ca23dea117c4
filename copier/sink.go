package copier

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"mbk/copier/pack"
)

// FileSink writes to a file, which has its final length before the first call. Several
// goroutines may write to a file at once, each with a sink of its own.
type FileSink struct {
	File *os.File

	// Out is what bytes are written with, File if it is nil.
	Out io.WriterAt

	// Sparse makes a hole of every run of zeros, in blocks of 4 KiB. Otherwise
	// zeros take up disk space like other bytes, without being written if the
	// file system can do that.
	Sparse bool

	// Fresh promises that the file was one hole before the first call, and that
	// no byte is written twice. With Sparse, zeros then cost nothing.
	Fresh bool
}

var _ pack.Sink = (*FileSink)(nil)

// WriteAt writes b, without its zero blocks if the file is to be sparse.
func (s *FileSink) WriteAt(b []byte, off int64) (int, error) {
	if !s.Sparse {
		return s.out().WriteAt(b, off)
	}
	for at := 0; at < len(b); {
		if zero := pack.ZeroRun(b[at:]); zero > 0 {
			if err := s.Zero(off+int64(at), int64(zero)); err != nil {
				return at, err
			}
			at += zero
			continue
		}
		end := at + pack.DataRun(b[at:], 0, 1)
		n, err := s.out().WriteAt(b[at:end], off+int64(at))
		if err != nil {
			return at + n, err
		}
		at += n
	}
	return len(b), nil
}

// out is what bytes are written with.
func (s *FileSink) out() io.WriterAt {
	if s.Out == nil {
		return s.File
	}
	return s.Out
}

// Zero makes a hole or writes zeros.
func (s *FileSink) Zero(off, n int64) error {
	mode := uint32(unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE)
	if s.Sparse {
		mode = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
		if s.Fresh {
			return nil
		}
	}
	err := s.fallocate(mode, off, n)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) {
		return s.writeZeros(off, n)
	}
	if err != nil {
		return &os.PathError{Op: "fallocate", Path: s.File.Name(), Err: err}
	}
	return nil
}

// fallocate calls the system call of that name.
func (s *FileSink) fallocate(mode uint32, off, n int64) error {
	conn, err := s.File.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	err = conn.Control(func(fd uintptr) {
		for {
			inner = unix.Fallocate(int(fd), mode, off, n)
			if !errors.Is(inner, unix.EINTR) {
				return
			}
		}
	})
	return errors.Join(err, inner)
}

// writeZeros writes zeros where the file system cannot do it by itself.
func (s *FileSink) writeZeros(off, n int64) error {
	zeros := make([]byte, min(n, pack.MaxChunk))
	for n > 0 {
		w, err := s.out().WriteAt(zeros[:min(n, int64(len(zeros)))], off)
		if err != nil {
			return err
		}
		off, n = off+int64(w), n-int64(w)
	}
	return nil
}
