package pack

import (
	"errors"
	"fmt"
	"io"

	"github.com/zeebo/xxh3"
)

const (
	// margin is the room before a buffer of raw bytes, for the headers of a chunk
	// with codec none.
	margin = 4 << 10

	// gather is how many bytes of small chunks are written at a time.
	gather = 512 << 10

	// smallPlain is the most raw bytes of a chunk with codec none that are copied
	// to be written together with others.
	smallPlain = 64 << 10
)

// Writer writes one pack after another, and reuses its buffers and its encoder. It may be
// used by one goroutine at a time.
type Writer struct {
	enc *encoder
	raw []byte // margin bytes, then a buffer for raw bytes
	out []byte // chunks that are not written yet

	open func() (name string, to io.Writer, err error) // to is nil: makes it
	to   io.Writer
	pack Pack // Size counts the bytes in out too

	number uint32 // file of the current extent
	page   int    // bytes of its pages; 0: none
	extent Extent
	left   int64      // bytes of the extent of which nothing is stored
	zeros  int64      // bytes of zeros at the extent's end that have no chunk yet; else
	some   pageGather // pages that have none
	failed error      // of a write
}

// Span is a part of a Writer's Buffer.
type Span struct{ From, To int }

// NewWriter returns a Writer for chunks of at most chunkSize raw bytes.
func NewWriter(c Codec, level, chunkSize int) (*Writer, error) {
	enc, err := newEncoder(c, level)
	if err != nil {
		return nil, err
	}
	size := gather + headerSize + smallPlain + 1024
	if c != None {
		size = gather + headerSize + encodedBound(chunkSize)
	}
	return &Writer{enc: enc, raw: make([]byte, margin+chunkSize), out: make([]byte, 0, size)}, nil
}

// Buffer returns the buffer for the raw bytes that Add appends. Add overwrites some of
// them.
func (w *Writer) Buffer() []byte { return w.raw[margin:] }

// Begin starts a pack.
func (w *Writer) Begin(name string, to io.Writer) {
	w.open, w.to, w.pack, w.failed = nil, to, Pack{Name: name}, nil
	w.out = w.out[:0]
}

// BeginLater is Begin for a pack that is made by open when it gets its first byte.
func (w *Writer) BeginLater(open func() (name string, to io.Writer, err error)) {
	w.Begin("", nil)
	w.open = open
}

// begun makes the pack if it is to be made only now.
func (w *Writer) begun() error {
	if w.to != nil || w.failed != nil {
		return w.failed
	}
	w.pack.Name, w.to, w.failed = w.open()
	return w.failed
}

// End writes what is left of the pack. It has no Name if it was never made.
func (w *Writer) End() (Pack, error) {
	if err := w.flush(); err != nil {
		return Pack{}, err
	}
	w.to = nil
	return w.pack, nil
}

// Size returns the bytes of the pack so far, including those that are not written yet.
func (w *Writer) Size() int64 { return w.pack.Size }

// BeginExtent starts an extent of a file at an offset. page is the bytes of a page of the
// file, and the offset is the beginning of one: chunks then begin and end between pages, except
// at the end of the extent. It is 0 if the file has no pages.
func (w *Writer) BeginExtent(number uint32, start int64, page int) {
	w.number, w.page, w.left, w.zeros = number, page, 0, 0
	w.some.take() // of an extent that was given up
	w.extent = Extent{Offset: w.pack.Size, Start: start}
}

// EndExtent finishes the extent that began last. If nothing had to be stored, it has no
// bytes in a pack.
func (w *Writer) EndExtent() (Extent, error) {
	err := errors.Join(w.endPages(), w.endZeros())
	if w.extent.Length = w.pack.Size - w.extent.Offset; w.extent.Length > 0 {
		w.extent.Pack = w.pack.Name
	} else {
		w.extent.Offset = 0
	}
	w.pack.Raw += w.extent.Size - w.left
	return w.extent, err
}

// Add appends the first n bytes of Buffer to the extent.
func (w *Writer) Add(n int) error {
	if err := w.endPages(); err != nil {
		return err
	}
	b := w.Buffer()[:n]
	for from := 0; from < n; {
		zero := w.wholePages(ZeroRun(b[from:]), n-from)
		if zero > 0 && (w.zeros > 0 || zero >= MinZeros) {
			w.zeros += int64(zero)
			w.extent.Size += int64(zero)
			from += zero
			continue
		}
		end := from + DataRun(b[from:], zero, MinZeros+w.page)
		if w.page > 0 && end%w.page > 0 {
			end = min(end+w.page-end%w.page, n)
		}
		if err := w.data(from, end); err != nil {
			return err
		}
		from = end
	}
	return nil
}

// AddSome appends n bytes to the extent, of which only some pages are stored: those of
// the parts of Buffer in changed, which are ascending and not empty. Nothing but changed
// needs to be in Buffer. The extent, which has pages, becomes a partial one.
func (w *Writer) AddSome(n int64, changed []Span) error {
	b, at := w.Buffer(), w.end()
	for _, s := range changed {
		if err := w.AddPages(at+int64(s.From), b[s.From:s.To]); err != nil {
			return err
		}
	}
	return w.leaveOut(at + n)
}

// AddPages appends the bytes of whole pages, not before the end of the extent so far. What
// lies between that and the offset in the file is not stored. The extent, which has pages,
// becomes a partial one.
func (w *Writer) AddPages(off int64, b []byte) error {
	if err := w.leaveOut(off); err != nil {
		return err
	}
	for len(b) > 0 {
		n, err := w.addRun(off, b)
		if err != nil {
			return err
		}
		off, b = off+int64(n), b[n:]
	}
	return nil
}

// AddZeros is AddPages for zeros.
func (w *Writer) AddZeros(off, n int64) error {
	if off > w.end() {
		if err := w.leaveOut(off); err != nil {
			return err
		}
	}
	return w.AddHole(n)
}

// end returns the offset in the file where the extent ends so far.
func (w *Writer) end() int64 { return w.extent.Start + w.extent.Size }

// leaveOut goes on at an offset in the file. The extent becomes a partial one.
func (w *Writer) leaveOut(off int64) error {
	if err := w.endZeros(); err != nil {
		return err
	}
	gap := off - w.end()
	if gap < 0 {
		return fmt.Errorf("an extent of file %d goes back from byte %d to %d", w.number, w.end(), off)
	}
	w.extent.Partial = true
	w.extent.Size, w.left = w.extent.Size+gap, w.left+gap
	return nil
}

// addRun appends the first pages of b, either zeros or not, and returns how many bytes
// these are.
func (w *Writer) addRun(off int64, b []byte) (n int, err error) {
	page := min(w.page, len(b))
	run := Run{Start: off, Zero: isZero(b[:page])}
	for n < len(b) && isZero(b[n:min(n+page, len(b))]) == run.Zero {
		n = min(n+page, len(b))
	}
	least := page
	if run.Zero {
		least = 1
	}
	if w.some.room() < least {
		if err := w.endPages(); err != nil {
			return 0, err
		}
	}
	if most := w.some.room(); !run.Zero && n > most {
		n = most - most%page
	}
	run.Size = int64(n)
	if run.Zero {
		b = nil
	}
	w.some.add(run, b[:min(n, len(b))])
	w.extent.Size += run.Size
	return n, nil
}

// addFrame appends a chunk that another pack holds, of which h is the header there.
func (w *Writer) addFrame(h header, frame []byte) error {
	if err := errors.Join(w.endPages(), w.endZeros()); err != nil {
		return err
	}
	if off := int64(h.start); off != w.end() {
		if err := w.leaveOut(off); err != nil {
			return err
		}
	}
	if err := w.begun(); err != nil {
		return err
	}
	h.number = w.number
	w.extent.Size += int64(h.size)
	w.pack.Size += headerSize + int64(len(frame))
	n := len(w.out)
	w.out = append(w.out, w.raw[:headerSize]...)
	h.put(w.out[n:])
	w.out = append(w.out, frame...)
	return w.flushAt(gather)
}

// AddHole appends n zeros to the extent.
func (w *Writer) AddHole(n int64) error {
	if len(w.some.list) > 0 {
		if w.some.room() == 0 {
			if err := w.endPages(); err != nil {
				return err
			}
		}
		w.some.add(Run{Start: w.end(), Size: n, Zero: true}, nil)
	} else {
		w.zeros += n
	}
	w.extent.Size += n
	return nil
}

// wholePages returns how many of n zeros, of left bytes, may be stored as such.
func (w *Writer) wholePages(n, left int) int {
	if w.page > 0 && n < left {
		n -= n % w.page
	}
	return n
}

// endZeros makes a chunk of the zeros that the extent ends with.
func (w *Writer) endZeros() error {
	if w.zeros == 0 {
		return nil
	}
	if err := w.begun(); err != nil {
		return err
	}
	start := uint64(w.end() - w.zeros)
	h := header{kind: kindZero, number: w.number, start: start, size: uint64(w.zeros)}
	w.zeros = 0
	n := len(w.out)
	w.out = append(w.out, w.raw[:headerSize]...)
	h.put(w.out[n:])
	w.pack.Size += headerSize
	return w.flushAt(gather)
}

// endPages makes a chunk of the pages that were gathered.
func (w *Writer) endPages() error {
	start, from, to := w.some.take()
	if from == to {
		return nil
	}
	return w.chunk(header{kind: kindPages, start: uint64(start)}, w.some.buf, from, to)
}

// data makes a chunk of the part [from, to) of Buffer().
func (w *Writer) data(from, to int) error {
	if err := w.endZeros(); err != nil {
		return err
	}
	start := uint64(w.end())
	w.extent.Size += int64(to - from)
	return w.chunk(header{kind: kindData, start: start}, w.raw, margin+from, margin+to)
}

// chunk writes a chunk of the raw bytes [from, to) of a buffer, with margin bytes before
// them that it may overwrite. h has its kind and start.
func (w *Writer) chunk(h header, buf []byte, from, to int) error {
	if err := w.begun(); err != nil {
		return err
	}
	raw := buf[from:to]
	h.codec, h.number, h.size, h.sum = w.enc.codec, w.number, uint64(len(raw)), xxh3.Hash(raw)
	if h.codec != None && w.encode(&h, raw) {
		return w.flushAt(gather)
	}
	h.codec, h.check, h.stored = None, 0, uint32(plainSize(len(raw)))
	w.pack.Size += headerSize + int64(h.stored)
	if len(raw) > smallPlain {
		return w.writePlain(&h, buf, from, to)
	}
	n := len(w.out)
	w.out = append(w.out, w.raw[:headerSize]...)
	h.put(w.out[n:])
	w.out = appendPlain(w.out, raw)
	return w.flushAt(gather)
}

// encode appends a chunk with the Writer's codec to out. It returns false, and appends
// nothing, if the frame is no smaller than the raw bytes.
func (w *Writer) encode(h *header, raw []byte) bool {
	n := len(w.out)
	w.out = w.enc.appendFrame(append(w.out, w.raw[:headerSize]...), raw)
	frame := w.out[n+headerSize:]
	if len(frame) >= len(raw) {
		w.out = w.out[:n]
		return false
	}
	h.stored, h.check = uint32(len(frame)), castagnoli(frame)
	h.put(w.out[n:])
	w.pack.Size += headerSize + int64(len(frame))
	return true
}

// writePlain writes a chunk with codec none without copying its raw bytes, which are
// buf[from:to]. The headers of the chunk and of its first block go before them; the
// header of each later block overwrites the end of the block before it, which is written
// by then.
func (w *Writer) writePlain(h *header, buf []byte, from, to int) error {
	if err := w.flush(); err != nil {
		return err
	}
	front := from - headerSize - plainHeader - blockHeader
	h.put(buf[front:])
	putPlainHeader(buf[front+headerSize:], to-from)
	for at := from; at < to; {
		end := min(at+plainBlock, to)
		putBlockHeader(buf[at-blockHeader:], end-at, end == to)
		if err := w.write(buf[front:end]); err != nil {
			return err
		}
		at, front = end, end-blockHeader
	}
	return nil
}

// flush writes the gathered chunks.
func (w *Writer) flush() error { return w.flushAt(1) }

// flushAt writes the gathered chunks if they are at least n bytes.
func (w *Writer) flushAt(n int) error {
	if len(w.out) < n {
		return w.failed
	}
	err := w.write(w.out)
	w.out = w.out[:0]
	return err
}

// write writes b to the pack. After an error it does nothing.
func (w *Writer) write(b []byte) error {
	if w.failed != nil {
		return w.failed
	}
	n, err := w.to.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		w.failed = err // the store has named the object
		return err
	}
	return nil
}

// Close releases the encoder's memory.
func (w *Writer) Close() error { return w.enc.close() }
