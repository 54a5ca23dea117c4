package repo

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"mbk/copier/pack"
)

// The documents with numbers, lineage.bin.zst and progress-0001.bin.zst, are records of
// fixed sizes, little-endian, in the frame of a document.

// recordWriter appends the values of a record.
type recordWriter struct {
	b   []byte
	err error // the first
}

func (w *recordWriter) u8(v uint8)   { w.b = append(w.b, v) }
func (w *recordWriter) u16(v uint16) { w.b = binary.LittleEndian.AppendUint16(w.b, v) }
func (w *recordWriter) u32(v uint32) { w.b = binary.LittleEndian.AppendUint32(w.b, v) }
func (w *recordWriter) u64(v uint64) { w.b = binary.LittleEndian.AppendUint64(w.b, v) }
func (w *recordWriter) i64(v int64)  { w.u64(uint64(v)) }
func (w *recordWriter) raw(v []byte) { w.b = append(w.b, v...) }

// text appends a string in a field of size bytes, the first of which is its length.
func (w *recordWriter) text(s string, size int) {
	if len(s) >= size || len(s) > 255 {
		w.fail(fmt.Errorf("%.100q is longer than %d bytes", s, size-1))
		s = ""
	}
	w.u8(uint8(len(s)))
	w.b = append(w.b, s...)
	w.b = append(w.b, make([]byte, size-1-len(s))...)
}

// hash appends a BLAKE3, zeros for "".
func (w *recordWriter) hash(s string) {
	sum := make([]byte, 32)
	if s != "" && !isHash(s) {
		w.fail(fmt.Errorf("%.100q is no BLAKE3", s))
	} else if _, err := hex.Decode(sum, []byte(s)); err != nil {
		w.fail(err)
	}
	w.raw(sum)
}

// list appends a list of numbers, after how many there are.
func (w *recordWriter) list(all []uint32) {
	w.u32(uint32(len(all)))
	for _, v := range all {
		w.u32(v)
	}
}

func (w *recordWriter) fail(err error) {
	if w.err == nil {
		w.err = err
	}
}

// document returns what was written as a document.
func (w *recordWriter) document() ([]byte, error) {
	if w.err != nil {
		return nil, w.err
	}
	return pack.EncodeDocument(w.b)
}

// recordReader reads the values of records. After an error all values are zero.
type recordReader struct {
	r   *bufio.Reader
	buf [256]byte
	err error // the first
}

// openRecords begins to read a document of records. It may be hostile: most of it is never
// in memory, and it cannot have more bytes than maxManifestRatio times those stored.
func openRecords(b []byte) (r *recordReader, closed func(), err error) {
	doc, err := pack.OpenDocument(b)
	if err != nil {
		return nil, nil, err
	}
	most := min(maxManifest, max(smallManifest, maxManifestRatio*int64(len(b))))
	limited := &meteredReader{r: doc, most: most, value: most}
	return &recordReader{r: bufio.NewReaderSize(limited, 64<<10)}, func() { _ = doc.Close() }, nil
}

// next returns the next n bytes, zeros after an error.
func (r *recordReader) next(n int) []byte {
	b := r.buf[:n]
	if r.err == nil {
		_, err := io.ReadFull(r.r, b)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = errors.New("it ends early")
		}
		r.err = err
	}
	if r.err != nil {
		clear(b)
	}
	return b
}

func (r *recordReader) u8() uint8   { return r.next(1)[0] }
func (r *recordReader) u16() uint16 { return binary.LittleEndian.Uint16(r.next(2)) }
func (r *recordReader) u32() uint32 { return binary.LittleEndian.Uint32(r.next(4)) }
func (r *recordReader) u64() uint64 { return binary.LittleEndian.Uint64(r.next(8)) }
func (r *recordReader) i64() int64  { return int64(r.u64()) }

// text reads a string out of a field of size bytes.
func (r *recordReader) text(size int) string {
	b := r.next(size)
	n := int(b[0])
	if n >= size {
		r.fail(fmt.Errorf("text of %d bytes in a field of %d", n, size))
		return ""
	}
	for _, c := range b[1+n:] {
		if c != 0 {
			r.fail(errors.New("something follows a text in its field"))
			return ""
		}
	}
	return string(b[1 : 1+n])
}

// hash reads a BLAKE3, "" if it is zeros.
func (r *recordReader) hash() string {
	s := hex.EncodeToString(r.next(32))
	if strings.Trim(s, "0") == "" {
		return ""
	}
	return s
}

// list reads a list of numbers, nil if there are none.
func (r *recordReader) list() (all []uint32) {
	for n := r.u32(); n > 0 && r.err == nil; n-- {
		all = append(all, r.u32())
	}
	return all
}

func (r *recordReader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// end returns the first error, one if something follows.
func (r *recordReader) end() error {
	if r.err != nil {
		return r.err
	}
	if _, err := r.r.ReadByte(); err == nil {
		return errors.New("something follows the last record")
	} else if !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}
