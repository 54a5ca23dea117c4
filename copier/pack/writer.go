package pack

import (
	"encoding/hex"
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

	to   io.Writer
	hash xxh3.Hasher128
	pack Pack // Size counts the bytes in out too

	number uint32 // file of the current extent
	extent Extent
	zeros  int64 // bytes of zeros at the extent's end that have no chunk yet
	failed error // of a write
}

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
	w.to, w.pack, w.failed = to, Pack{Name: name}, nil
	w.out = w.out[:0]
	w.hash.Reset()
}

// End writes what is left of the pack.
func (w *Writer) End() (Pack, error) {
	if err := w.flush(); err != nil {
		return Pack{}, err
	}
	w.to = nil
	sum := w.hash.Sum128().Bytes()
	w.pack.Hash = hex.EncodeToString(sum[:])
	return w.pack, nil
}

// Size returns the bytes of the pack so far, including those that are not written yet.
func (w *Writer) Size() int64 { return w.pack.Size }

// BeginExtent starts an extent of a file at an offset.
func (w *Writer) BeginExtent(number uint32, start int64) {
	w.number, w.zeros = number, 0
	w.extent = Extent{Pack: w.pack.Name, Offset: w.pack.Size, Start: start}
}

// EndExtent finishes the extent that began last.
func (w *Writer) EndExtent() (Extent, error) {
	err := w.endZeros()
	w.extent.Length = w.pack.Size - w.extent.Offset
	w.pack.Raw += w.extent.Size
	return w.extent, err
}

// Add appends the first n bytes of Buffer to the extent.
func (w *Writer) Add(n int) error {
	b := w.Buffer()[:n]
	for from := 0; from < n; {
		zero := ZeroRun(b[from:])
		if zero > 0 && (w.zeros > 0 || zero >= MinZeros) {
			w.zeros += int64(zero)
			w.extent.Size += int64(zero)
			from += zero
			continue
		}
		end := from + DataRun(b[from:], zero, MinZeros)
		if err := w.data(from, end); err != nil {
			return err
		}
		from = end
	}
	return nil
}

// AddHole appends n zeros to the extent.
func (w *Writer) AddHole(n int64) {
	w.zeros += n
	w.extent.Size += n
}

// endZeros makes a chunk of the zeros that the extent ends with.
func (w *Writer) endZeros() error {
	if w.zeros == 0 {
		return nil
	}
	start := uint64(w.extent.Start + w.extent.Size - w.zeros)
	h := header{kind: kindZero, number: w.number, start: start, size: uint64(w.zeros)}
	w.zeros = 0
	n := len(w.out)
	w.out = append(w.out, w.raw[:headerSize]...)
	h.put(w.out[n:])
	w.pack.Size += headerSize
	return w.flushAt(gather)
}

// data makes a chunk of the part [from, to) of Buffer().
func (w *Writer) data(from, to int) error {
	if err := w.endZeros(); err != nil {
		return err
	}
	raw := w.Buffer()[from:to]
	h := header{
		kind:   kindData,
		codec:  w.enc.codec,
		number: w.number,
		start:  uint64(w.extent.Start + w.extent.Size),
		size:   uint64(len(raw)),
		sum:    xxh3.Hash(raw),
	}
	w.extent.Size += int64(len(raw))
	if h.codec != None && w.encode(&h, raw) {
		return w.flushAt(gather)
	}
	h.codec, h.check, h.stored = None, 0, uint32(plainSize(len(raw)))
	w.pack.Size += headerSize + int64(h.stored)
	if len(raw) > smallPlain {
		return w.writePlain(&h, margin+from, margin+to)
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
// w.raw[from:to]. The headers of the chunk and of its first block go before them; the
// header of each later block overwrites the end of the block before it, which is written
// by then.
func (w *Writer) writePlain(h *header, from, to int) error {
	if err := w.flush(); err != nil {
		return err
	}
	front := from - headerSize - plainHeader - blockHeader
	h.put(w.raw[front:])
	putPlainHeader(w.raw[front+headerSize:], to-from)
	for at := from; at < to; {
		end := min(at+plainBlock, to)
		putBlockHeader(w.raw[at-blockHeader:], end-at, end == to)
		if err := w.write(w.raw[front:end]); err != nil {
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
	w.hash.Write(b)
	return nil
}

// Close releases the encoder's memory.
func (w *Writer) Close() error { return w.enc.close() }
