package folder

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"mbk/internal/repo/store/pieces"
	"mbk/internal/sys/disk"
)

// writeBack is how many bytes of an object may gather in the page cache,
// where they have to pass through it, before the kernel is told to write them.
// Left to itself the kernel gathers gigabytes, and the fsync at the end of a
// pack would stop the server's writes on the same disk for as long as those take.
const writeBack = 32 << 20

// objectWriter is what the callback of Put writes to.
type objectWriter struct {
	*pieces.Writer
	folder *Store
	name   string
	file   *os.File

	// Of the goroutine that writes, if there is one.
	out    disk.Writer // to the file
	stored int64       // bytes in the file
}

func newObjectWriter(ctx context.Context, f *Store, t *temp) *objectWriter {
	w := &objectWriter{
		folder: f, name: t.name, file: t.file, out: disk.Writer{File: t.file, WriteBack: writeBack, Drop: true},
	}
	w.Writer = pieces.NewWriter(ctx, w.store)
	return w
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
func (w *objectWriter) finish(ctx context.Context) error {
	if err := w.Flush(); err != nil {
		return err
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
	if info.Size() != w.Written() {
		return fmt.Errorf("write %s: file has %d bytes after writing %d", w.name, info.Size(), w.Written())
	}
	return ctx.Err()
}
