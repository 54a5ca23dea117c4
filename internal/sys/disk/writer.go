package disk

import (
	"errors"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// block is what writes past the page cache, and their places in memory, are multiples of.
const block = 4096

// Writer writes to a file from front to back, in large pieces, and has the disk follow.
// Whole blocks go past the page cache where that is worth it: it takes the kernel a
// fraction of the time, what is cached stays cached, and nothing is left for the sync at
// the end. Left to itself the kernel gathers gigabytes first. A Writer belongs to one
// goroutine at a time; a file may have several, each with a descriptor of its own.
type Writer struct {
	File *os.File

	Cached    bool  // nothing goes past the page cache
	WriteBack int64 // bytes that may gather in the page cache before the kernel is told to write them
	// Drop waits for the bytes before the last WriteBack to be on the disk, and drops them
	// from the page cache. So at most two such parts are on their way.
	Drop bool

	begun   bool
	direct  bool  // File has O_DIRECT
	plain   bool  // the file system knows no write-back
	started int64 // write-back was started for the bytes before
}

// WriteAt implements io.WriterAt. The error may be that of an earlier write.
func (w *Writer) WriteAt(p []byte, off int64) (int, error) {
	if !w.begun {
		w.begun, w.started = true, off
	}
	w.setDirect(off%block == 0 && len(p)%block == 0 && uintptr(unsafe.Pointer(unsafe.SliceData(p)))%block == 0)
	n, err := w.File.WriteAt(p, off)
	if w.direct && errors.Is(err, unix.EINVAL) { // its blocks are larger, or it cannot do that
		w.Cached = true
		w.setDirect(false)
		var more int
		more, err = w.File.WriteAt(p[n:], off+int64(n))
		n += more
	}
	end := off + int64(n)
	if w.direct {
		w.started = max(w.started, end)
	} else if err == nil {
		err = w.follow(end)
	}
	return n, err
}

// setDirect makes the next write go past the page cache, or not.
func (w *Writer) setDirect(direct bool) {
	w.Cached = w.Cached || direct && !w.direct && !IsLocal(w.File)
	if direct = direct && !w.Cached; w.direct == direct {
		return
	}
	flags, err := unix.FcntlInt(w.File.Fd(), unix.F_GETFL, 0)
	if flags &^= unix.O_DIRECT; direct {
		flags |= unix.O_DIRECT
	}
	if err == nil {
		_, err = unix.FcntlInt(w.File.Fd(), unix.F_SETFL, flags)
	}
	w.direct = direct && err == nil
	w.Cached = w.Cached || direct && err != nil
}

// follow starts the write-back of what has gathered in the page cache before end.
func (w *Writer) follow(end int64) error {
	for !w.plain && w.WriteBack > 0 && end-w.started >= w.WriteBack {
		fd, size := int(w.File.Fd()), end-w.started
		if w.Drop {
			size = w.WriteBack
		}
		err := unix.SyncFileRange(fd, w.started, size, unix.SYNC_FILE_RANGE_WRITE)
		if before := w.started - w.WriteBack; w.Drop && err == nil && before >= 0 {
			err = unix.SyncFileRange(fd, before, w.WriteBack,
				unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
			_ = unix.Fadvise(fd, before, w.WriteBack, unix.FADV_DONTNEED) // advice only
		}
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ESPIPE),
			errors.Is(err, unix.ENOTSUP):
			w.plain = true
			return nil
		case err != nil:
			// An error of an earlier write, which a sync at the end would not report
			// a second time.
			return err
		}
		w.started += size
	}
	return nil
}
