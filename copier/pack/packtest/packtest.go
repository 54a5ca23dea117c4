// Package packtest has bytes to store and a place to extract them to, for tests.
package packtest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
)

// Noise returns n bytes that no codec makes smaller.
func Noise(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 1))
	for at := 0; at < n; at += 8 {
		var w [8]byte
		binary.LittleEndian.PutUint64(w[:], r.Uint64())
		copy(b[at:], w[:])
	}
	return b
}

// Text returns n bytes that every codec makes smaller.
func Text(n int, seed uint64) []byte {
	b := make([]byte, 0, n+8)
	r := rand.New(rand.NewPCG(seed, 2))
	var words [300][8]byte
	for i := range words {
		binary.LittleEndian.PutUint64(words[i][:], r.Uint64()&0x0F0F0F0F0F0F0F0F|0x6060606060606060)
	}
	for len(b) < n {
		word := words[r.IntN(len(words))]
		b = append(b, word[:4+r.IntN(5)]...)
	}
	return b[:n]
}

// File is a pack.Sink that refuses to write a byte twice. It is not for several
// goroutines at once.
type File struct {
	Bytes  []byte // 0xEE where nothing was written
	Zeroed int64  // bytes by Zero

	written []byte // 1 for each byte that was
}

// NewFile returns a File of size bytes.
func NewFile(size int64) *File {
	return &File{Bytes: bytes.Repeat([]byte{0xEE}, int(size)), written: make([]byte, size)}
}

// WriteAt implements pack.Sink.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	if err := f.mark(off, int64(len(p))); err != nil {
		return 0, err
	}
	return copy(f.Bytes[off:], p), nil
}

// Zero implements pack.Sink.
func (f *File) Zero(off, n int64) error {
	if err := f.mark(off, n); err != nil {
		return err
	}
	f.Zeroed += n
	clear(f.Bytes[off : off+n])
	return nil
}

// mark notes that bytes are written.
func (f *File) mark(off, n int64) error {
	if off < 0 || off+n > int64(len(f.Bytes)) {
		return fmt.Errorf("%d bytes at %d of %d", n, off, len(f.Bytes))
	}
	part := f.written[off : off+n]
	if i := bytes.IndexByte(part, 1); i >= 0 {
		return fmt.Errorf("byte %d is written twice", off+int64(i))
	}
	copy(part, bytes.Repeat([]byte{1}, int(n)))
	return nil
}

// Missing returns the offset of the first byte that was not written, -1 if all were.
func (f *File) Missing() int { return bytes.IndexByte(f.written, 0) }

// Nowhere is a pack.Sink that forgets.
type Nowhere struct{}

// WriteAt implements pack.Sink.
func (Nowhere) WriteAt(p []byte, off int64) (int, error) { return len(p), nil }

// Zero implements pack.Sink.
func (Nowhere) Zero(off, n int64) error { return nil }
