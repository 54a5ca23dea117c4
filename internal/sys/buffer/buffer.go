// Package buffer holds bytes of unknown number: in memory, and beyond a limit in a file that has
// no name.
package buffer

import (
	"errors"
	"fmt"
	"io"
	"os"
)

// Buffer holds bytes that are written once, can be cut off at the end, and read any number of
// times. It is used by one goroutine. The caller calls Reset in the end.
type Buffer struct {
	dir    string
	limit  int
	memory []byte
	file   *os.File // has all bytes from len(memory) on; nil: there are none
	size   int64
}

// New returns a Buffer that keeps limit bytes in memory, and more in a file in a folder; "" is
// the system's folder for such files.
func New(dir string, limit int) *Buffer { return &Buffer{dir: dir, limit: limit} }

// Len returns the number of bytes.
func (b *Buffer) Len() int64 { return b.size }

// Write adds bytes.
func (b *Buffer) Write(p []byte) (int, error) {
	if b.file == nil && len(b.memory)+len(p) <= b.limit {
		b.memory = append(b.memory, p...)
		b.size += int64(len(p))
		return len(p), nil
	}
	if err := b.open(); err != nil {
		return 0, err
	}
	n, err := b.file.WriteAt(p, b.size-int64(len(b.memory)))
	b.size += int64(n)
	if err != nil {
		return n, fmt.Errorf("write a temporary file: %w", err)
	}
	return n, nil
}

// open makes the file if there is none.
func (b *Buffer) open() error {
	if b.file != nil {
		return nil
	}
	f, err := os.CreateTemp(b.dir, "mbk-")
	if err == nil {
		b.file = f
		err = os.Remove(f.Name())
	}
	if err != nil {
		return fmt.Errorf("make a temporary file: %w", err)
	}
	return nil
}

// Truncate leaves the first size bytes, of which there must be as many.
func (b *Buffer) Truncate(size int64) {
	if size <= int64(len(b.memory)) {
		b.memory = b.memory[:size]
		if b.file != nil {
			_ = b.file.Close() // nothing of it is wanted
			b.file = nil
		}
	}
	b.size = size
}

// Reset leaves nothing, and releases the memory and the file.
func (b *Buffer) Reset() {
	b.Truncate(0)
	if cap(b.memory) > 1<<20 {
		b.memory = nil
	}
}

// WriteTo writes all bytes to w, and leaves them in the buffer.
func (b *Buffer) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(b.memory)
	if err != nil || b.file == nil {
		return int64(n), err
	}
	more, err := io.Copy(w, io.NewSectionReader(b.file, 0, b.size-int64(len(b.memory))))
	if err == nil && int64(n)+more != b.size {
		err = errors.New("a temporary file has lost bytes")
	}
	return int64(n) + more, err
}
