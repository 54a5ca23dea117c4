package copier

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"io"

	"github.com/zeebo/xxh3"
)

const (
	// zeroBlock is the grain in which runs of zeros are found: the block size
	// of the file systems, so that what is a hole can come back as one.
	zeroBlock = 4 << 10

	// margin is the room in front of a buffer of raw bytes for the headers of a
	// chunk with codec none.
	margin = 4 << 10

	// gather is how many bytes of small chunks are written at a time.
	gather = 512 << 10

	// smallPlain is the most raw bytes that codec none copies to gather them.
	smallPlain = 64 << 10
)

// packer writes chunks to one pack after another. It belongs to one goroutine at
// a time. Its buffers and its encoder serve for all its packs.
type packer struct {
	enc *encoder
	raw []byte // margin bytes, then a buffer for raw bytes
	out []byte // chunks that are not written yet

	w    io.Writer
	hash xxh3.Hasher128
	pack Pack // Size counts the bytes in out too

	number uint32 // file of the current extent
	extent Extent
	zeros  int64 // bytes of zeros at the extent's end that have no chunk yet
	failed error // of a write
}

// newPacker returns a packer for chunks of at most chunkSize raw bytes.
func newPacker(c Codec, level, chunkSize int) (*packer, error) {
	enc, err := newEncoder(c, level)
	if err != nil {
		return nil, err
	}
	size := gather + headerSize + smallPlain + 1024
	if c != None {
		size = gather + headerSize + encodedBound(chunkSize)
	}
	return &packer{enc: enc, raw: make([]byte, margin+chunkSize), out: make([]byte, 0, size)}, nil
}

// buffer returns where the raw bytes of the next chunks are to be read to.
// Adding changes some of what lies there.
func (p *packer) buffer() []byte { return p.raw[margin:] }

// begin starts a pack.
func (p *packer) begin(name string, w io.Writer) {
	p.w, p.pack, p.failed = w, Pack{Name: name}, nil
	p.out = p.out[:0]
	p.hash.Reset()
}

// end writes what is left of the pack.
func (p *packer) end() (Pack, error) {
	if err := p.flush(); err != nil {
		return Pack{}, err
	}
	p.w = nil
	sum := p.hash.Sum128().Bytes()
	p.pack.Hash = hex.EncodeToString(sum[:])
	return p.pack, nil
}

// beginExtent starts an extent of a file at an offset.
func (p *packer) beginExtent(number uint32, start int64) {
	p.number, p.zeros = number, 0
	p.extent = Extent{Pack: p.pack.Name, Offset: p.pack.Size, Start: start}
}

// endExtent finishes the extent that began last.
func (p *packer) endExtent() (Extent, error) {
	err := p.endZeros()
	p.extent.Length = p.pack.Size - p.extent.Offset
	p.pack.Raw += p.extent.Size
	return p.extent, err
}

// add appends the next bytes of the extent: the first n of buffer().
func (p *packer) add(n int) error {
	b := p.buffer()[:n]
	for from := 0; from < n; {
		zero := zeroRun(b[from:])
		if zero > 0 && (p.zeros > 0 || zero >= minZero) {
			p.zeros += int64(zero)
			p.extent.Size += int64(zero)
			from += zero
			continue
		}
		end := from + dataRun(b[from:], zero)
		if err := p.data(from, end); err != nil {
			return err
		}
		from = end
	}
	return nil
}

// addHole appends n bytes of zeros to the extent that nobody has read.
func (p *packer) addHole(n int64) {
	p.zeros += n
	p.extent.Size += n
}

// zeroRun returns how many bytes b begins with that are zeros, counted in blocks;
// a shorter block at the end counts as well.
func zeroRun(b []byte) int {
	at := 0
	for at < len(b) {
		end := min(at+zeroBlock, len(b))
		if !isZero(b[at:end]) {
			break
		}
		at = end
	}
	return at
}

// dataRun returns where the first run of zeros begins that is long enough for a
// chunk, or len(b). The first from bytes are known not to be one.
func dataRun(b []byte, from int) int {
	for at := from; at < len(b); {
		zero := zeroRun(b[at:])
		if zero >= minZero {
			return at
		}
		at = min(at+zero+zeroBlock, len(b))
	}
	return len(b)
}

// isZero reports whether all bytes are zero.
func isZero(b []byte) bool {
	if len(b) >= 8 && binary.LittleEndian.Uint64(b) != 0 {
		return false // the usual case, without the calls
	}
	return len(b) == 0 || b[0] == 0 && bytes.Equal(b[1:], b[:len(b)-1])
}

// endZeros makes a chunk of the zeros that the extent ends with.
func (p *packer) endZeros() error {
	if p.zeros == 0 {
		return nil
	}
	h := header{kind: kindZero, number: p.number, start: uint64(p.extent.Start + p.extent.Size - p.zeros), size: uint64(p.zeros)}
	p.zeros = 0
	n := len(p.out)
	p.out = append(p.out, p.raw[:headerSize]...)
	h.put(p.out[n:])
	p.pack.Size += headerSize
	return p.flushAt(gather)
}

// data makes a chunk of the part [from, to) of buffer().
func (p *packer) data(from, to int) error {
	if err := p.endZeros(); err != nil {
		return err
	}
	raw := p.buffer()[from:to]
	h := header{
		kind:   kindData,
		codec:  p.enc.codec,
		number: p.number,
		start:  uint64(p.extent.Start + p.extent.Size),
		size:   uint64(len(raw)),
		sum:    xxh3.Hash(raw),
	}
	p.extent.Size += int64(len(raw))
	if h.codec != None && p.encode(&h, raw) {
		return p.flushAt(gather)
	}
	h.codec, h.check, h.stored = None, 0, uint32(plainSize(len(raw)))
	p.pack.Size += headerSize + int64(h.stored)
	if len(raw) > smallPlain {
		return p.writePlain(&h, margin+from, margin+to)
	}
	n := len(p.out)
	p.out = append(p.out, p.raw[:headerSize]...)
	h.put(p.out[n:])
	p.out = appendPlain(p.out, raw)
	return p.flushAt(gather)
}

// encode appends a chunk with the packer's codec to out, or returns false if that
// is no smaller than the raw bytes.
func (p *packer) encode(h *header, raw []byte) bool {
	n := len(p.out)
	p.out = p.enc.appendFrame(append(p.out, p.raw[:headerSize]...), raw)
	frame := p.out[n+headerSize:]
	if len(frame) >= len(raw) {
		p.out = p.out[:n]
		return false
	}
	h.stored, h.check = uint32(len(frame)), castagnoli(frame)
	h.put(p.out[n:])
	p.pack.Size += headerSize + int64(len(frame))
	return true
}

// writePlain writes a chunk with codec none without copying its raw bytes, which
// are p.raw[from:to]. The headers of the chunk and of its first block go in front
// of them, each other block's header over the end of the block before, which is
// written by then.
func (p *packer) writePlain(h *header, from, to int) error {
	if err := p.flush(); err != nil {
		return err
	}
	front := from - headerSize - plainHeader - blockHeader
	h.put(p.raw[front:])
	putPlainHeader(p.raw[front+headerSize:], to-from)
	for at := from; at < to; {
		end := min(at+plainBlock, to)
		putBlockHeader(p.raw[at-blockHeader:], end-at, end == to)
		if err := p.write(p.raw[front:end]); err != nil {
			return err
		}
		at, front = end, end-blockHeader
	}
	return nil
}

// flush writes the gathered chunks.
func (p *packer) flush() error { return p.flushAt(1) }

// flushAt writes the gathered chunks if they are at least n bytes.
func (p *packer) flushAt(n int) error {
	if len(p.out) < n {
		return p.failed
	}
	err := p.write(p.out)
	p.out = p.out[:0]
	return err
}

// write writes b to the pack. After an error it does nothing.
func (p *packer) write(b []byte) error {
	if p.failed != nil {
		return p.failed
	}
	n, err := p.w.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		p.failed = err // the store says of what
		return err
	}
	p.hash.Write(b)
	return nil
}

// close gives back what the packer holds.
func (p *packer) close() error { return p.enc.close() }
