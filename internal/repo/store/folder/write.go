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
	// piece is how many bytes of an object are written at a time, except for the last
	// ones. It is large because a spinning disk may get several objects at once.
	piece = 2 << 20

	// writeBack is how many bytes of an object may gather in the page cache,
	// where they have to pass through it, before the kernel is told to write them.
	// Left to itself the kernel gathers gigabytes, and the fsync at the end of a
	// pack would stop the server's writes on the same disk for as long as those take.
	writeBack = 32 << 20
)

// objectWriter is what the callback of Put writes to. It gathers pieces, and one
// is written while the next one fills. The writer counts, and remembers the
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
	out    disk.Writer // to the file
	stored int64       // bytes in the file
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
	go func() { busy <- w.store(full) }()
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

// store writes b at the end of the file.
func (w *objectWriter) store(b []byte) error {
	err := w.folder.step("write")
	n := 0
	if err == nil {
		n, err = w.out.WriteAt(b, w.stored)
	}
	w.stored += int64(n)
	return w.folder.explain("write "+w.name, err)
}

// finish writes what is left, makes everything durable and checks that all is
// there.
func (w *objectWriter) finish() error {
	if w.err == nil {
		w.err = errors.Join(w.wait(), w.ctx.Err())
	}
	if w.err == nil && len(w.gathered) > 0 {
		w.err = w.store(w.gathered)
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
