package folder

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"mbk/internal/sys/disk"
)

const (
	// piece is how many bytes of an object are written at a time, but for the last
	// ones. It is large because a spinning disk may get several objects at once.
	piece = 2 << 20

	// writeBack is how many bytes of an object may gather in the page cache,
	// where they have to pass through it, before the kernel is told to write them.
	// Left to itself the kernel gathers gigabytes, and the fsync at the end of a
	// pack would stop the server's writes on the same disk for as long as those take.
	writeBack = 32 << 20
)

// objectWriter is what the callback of Put writes to. It gathers pieces, and one
// is written while the next one fills. Full ones go to the disk past the page cache:
// that takes the kernel a fraction of the time, the cache stays the server's, and
// no dirty pages wait for the fsync at the end. The writer counts, and remembers the
// first error: an object whose callback overlooked one must not be kept.
type objectWriter struct {
	ctx    context.Context
	folder *Store
	name   string
	file   *os.File

	gathered []byte     // not written yet
	sent     []byte     // is being written if busy is not nil, else free
	busy     chan error // gets the result of the write that is under way
	written  int64      // bytes that the callback has written
	err      error

	// Of the goroutine that writes, if there is one.
	direct  bool  // past the page cache
	cached  bool  // that is not possible or no good here
	stored  int64 // bytes in the file
	started int64 // write-back was started for the bytes below
	plain   bool  // no write-back on this file system
}

// Write appends p to the object. The error may be that of an earlier piece.
func (w *objectWriter) Write(p []byte) (int, error) {
	n := 0
	for n < len(p) && w.err == nil {
		if w.gathered == nil {
			// Direct writes need bytes that begin at a block's boundary. Slices of
			// this size do; if one did not, its write would be made again without.
			w.gathered = make([]byte, 0, piece)
		}
		part := p[n:min(len(p), n+piece-len(w.gathered))]
		w.gathered = append(w.gathered, part...)
		n += len(part)
		if len(w.gathered) == piece {
			w.err = w.send()
		}
	}
	w.written += int64(n)
	return n, w.err
}

// send starts the write of a full piece when the one before it has ended.
func (w *objectWriter) send() error {
	if err := errors.Join(w.wait(), w.ctx.Err()); err != nil {
		return err
	}
	w.gathered, w.sent = w.sent[:0], w.gathered
	busy, full := make(chan error, 1), w.sent
	go func() { busy <- w.store(full, true) }()
	w.busy = busy
	return nil
}

// wait waits for the write that is under way. After that the file is nobody's.
func (w *objectWriter) wait() error {
	if w.busy == nil {
		return nil
	}
	err := <-w.busy
	w.busy = nil
	return err
}

// store writes b at the end of the file, past the page cache if b is whole blocks
// and the file system can do that.
func (w *objectWriter) store(b []byte, blocks bool) error {
	err := w.folder.step("write")
	n := 0
	if err == nil {
		w.setDirect(blocks)
		n, err = w.file.Write(b)
	}
	if w.direct && errors.Is(err, unix.EINVAL) {
		w.cached = true
		w.setDirect(false)
		var more int
		more, err = w.file.Write(b[n:])
		n += more
	}
	w.stored += int64(n)
	if w.direct {
		w.started = w.stored
	} else if err == nil {
		err = w.flush()
	}
	return w.folder.explain("write "+w.name, err)
}

// setDirect reports whether the next write goes past the page cache, unless it is
// known that it cannot.
func (w *objectWriter) setDirect(direct bool) {
	w.cached = w.cached || direct && !w.direct && !disk.IsLocal(w.file)
	if w.direct == direct || direct && w.cached {
		return
	}
	flags, err := unix.FcntlInt(w.file.Fd(), unix.F_GETFL, 0)
	if flags &^= unix.O_DIRECT; direct {
		flags |= unix.O_DIRECT
	}
	if err == nil {
		_, err = unix.FcntlInt(w.file.Fd(), unix.F_SETFL, flags)
	}
	w.direct = direct && err == nil
	w.cached = w.cached || direct && err != nil
}

// flush starts the write-back of each part in the page cache when it is full, and
// waits for the part before, so that at most two parts of every object are on
// their way to the disk. What has arrived there is dropped from the page cache,
// which belongs to the server.
func (w *objectWriter) flush() error {
	for !w.plain && w.stored-w.started >= writeBack {
		fd := int(w.file.Fd())
		err := unix.SyncFileRange(fd, w.started, writeBack, unix.SYNC_FILE_RANGE_WRITE)
		if before := w.started - writeBack; err == nil && before >= 0 {
			err = unix.SyncFileRange(fd, before, writeBack,
				unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
			_ = unix.Fadvise(fd, before, writeBack, unix.FADV_DONTNEED) // advice only
		}
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.ENOSYS), errors.Is(err, unix.EINVAL), errors.Is(err, unix.ESPIPE), errors.Is(err, unix.ENOTSUP):
			w.plain = true
			return nil
		case err != nil:
			// An error of an earlier write, which the fsync at the end would
			// not report a second time.
			return err
		}
		w.started += writeBack
	}
	return nil
}

// finish writes what is left, makes everything durable and checks that all is
// there.
func (w *objectWriter) finish() error {
	if w.err == nil {
		w.err = errors.Join(w.wait(), w.ctx.Err())
	}
	if w.err == nil && len(w.gathered) > 0 {
		w.err = w.store(w.gathered, false)
	}
	if w.err != nil {
		return w.err
	}
	err := w.folder.step("sync")
	if err == nil {
		err = w.file.Sync()
	}
	if err != nil {
		return w.folder.explain("write "+w.name, err)
	}
	_ = unix.Fadvise(int(w.file.Fd()), 0, 0, unix.FADV_DONTNEED) // advice only, about what is cached of it
	info, err := w.file.Stat()
	if err != nil {
		return w.folder.explain("write "+w.name, err)
	}
	if info.Size() != w.written {
		return fmt.Errorf("write %s: file has %d bytes after writing %d", w.name, info.Size(), w.written)
	}
	return w.ctx.Err()
}
