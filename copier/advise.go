package copier

import (
	"io"
	"syscall"

	"golang.org/x/sys/unix"
)

// adviseFrom is the size of the smallest source that is worth a system call.
const adviseFrom = 1 << 20

// adviseSequential tells the kernel that a source will be read from front to back.
func adviseSequential(s Source) {
	if s.Size >= adviseFrom {
		advise(s.File, s.Start, s.Size, unix.FADV_SEQUENTIAL)
	}
}

// adviseDrop tells the kernel that n bytes of a source will not be needed again.
func adviseDrop(s Source, off, n int64) { advise(s.File, off, n, unix.FADV_DONTNEED) }

// advise gives advice about a part of a file, if it is one. Advice that is not
// taken changes nothing but the speed.
func advise(r io.ReaderAt, off, n int64, advice int) {
	f, ok := r.(syscall.Conn)
	if !ok {
		return
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) { _ = unix.Fadvise(int(fd), off, n, advice) })
}
