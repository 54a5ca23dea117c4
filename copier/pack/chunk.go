package pack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

const (
	// MaxChunk is the most raw bytes of one chunk of data.
	MaxChunk = 1 << 20

	headerSize  = 56
	headerMagic = "mbk1"
	skipMagic   = 0x184D2A5B // of a skippable zstd frame
	skipHeader  = 8          // magic and length

	kindData  = 1
	kindZero  = 2
	kindPages = 3 // runs of pages, of a partial extent

	frameMagic   = 0xFD2FB528 // of a zstd frame
	plainDescr   = 0xA0       // single segment, content size in 4 bytes
	plainHeader  = 4 + 1 + 4  // of a frame with codec none
	plainBlock   = 128 << 10  // raw bytes of a block with codec none
	blockHeader  = 3
	maxPlainSize = MaxChunk + plainHeader + MaxChunk/plainBlock*blockHeader
)

// errNoHeader is returned by parseHeader for bytes that no chunk begins with.
var errNoHeader = errors.New("no chunk header")

// header is the header of a chunk. The package comment describes its bytes.
type header struct {
	kind   byte
	codec  Codec
	number uint32 // of the file
	stored uint32 // bytes of the frame
	start  uint64 // offset in the file
	size   uint64 // raw bytes; of zeros, bytes of the file
	sum    uint64 // XXH3-64 of the raw bytes
	check  uint32 // CRC-32C of the frame
}

// put writes the header to the first headerSize bytes of b.
func (h *header) put(b []byte) {
	b = b[:headerSize]
	le := binary.LittleEndian
	le.PutUint32(b, skipMagic)
	le.PutUint32(b[4:], headerSize-skipHeader)
	copy(b[8:], headerMagic)
	b[12] = h.kind
	b[13] = byte(h.codec)
	le.PutUint16(b[14:], 0)
	le.PutUint32(b[16:], h.number)
	le.PutUint32(b[20:], h.stored)
	le.PutUint64(b[24:], h.start)
	le.PutUint64(b[32:], h.size)
	le.PutUint64(b[40:], h.sum)
	le.PutUint32(b[48:], h.check)
	le.PutUint32(b[52:], castagnoli(b[:52]))
}

// parseHeader reads the header at the front of b. A header that it returns without an
// error has lengths within the bounds that this package keeps.
func parseHeader(b []byte) (header, error) {
	le := binary.LittleEndian
	if len(b) < headerSize || le.Uint32(b) != skipMagic || le.Uint32(b[4:]) != headerSize-skipHeader ||
		string(b[8:12]) != headerMagic {
		return header{}, errNoHeader
	}
	if got, want := castagnoli(b[:52]), le.Uint32(b[52:]); got != want {
		return header{}, fmt.Errorf("checksum of a chunk header is %08x, not %08x", got, want)
	}
	h := header{
		kind:   b[12],
		codec:  Codec(b[13]),
		number: le.Uint32(b[16:]),
		stored: le.Uint32(b[20:]),
		start:  le.Uint64(b[24:]),
		size:   le.Uint64(b[32:]),
		sum:    le.Uint64(b[40:]),
		check:  le.Uint32(b[48:]),
	}
	if le.Uint16(b[14:]) != 0 {
		return header{}, errors.New("a chunk header with unknown fields")
	}
	return h, h.validate()
}

// validate checks the fields of a header against each other.
func (h *header) validate() error {
	if h.size == 0 || h.size > math.MaxInt64 || h.start > math.MaxInt64-h.size {
		return fmt.Errorf("a chunk of %d bytes at %d", h.size, h.start)
	}
	switch {
	case h.kind == kindZero:
		if h.codec != 0 || h.stored != 0 || h.sum != 0 || h.check != 0 {
			return errors.New("a chunk of zeros with a frame")
		}
		return nil
	case h.kind != kindData && h.kind != kindPages:
		return fmt.Errorf("a chunk of unknown kind %d", h.kind)
	case h.size > MaxChunk || h.kind == kindPages && h.size < leastPages:
		return fmt.Errorf("a chunk of %d bytes", h.size)
	}
	switch h.codec {
	case None:
		if int(h.stored) != plainSize(int(h.size)) || h.check != 0 {
			return fmt.Errorf("a frame of %d bytes for %d raw bytes", h.stored, h.size)
		}
	case Zstd, S2:
		if h.stored == 0 || uint64(h.stored) >= h.size {
			return fmt.Errorf("a frame of %d bytes for %d raw bytes", h.stored, h.size)
		}
	default:
		return fmt.Errorf("a chunk with unknown codec %d", byte(h.codec))
	}
	return nil
}

// plainSize returns the length of a frame with codec none for n raw bytes.
func plainSize(n int) int {
	blocks := (n + plainBlock - 1) / plainBlock
	return plainHeader + blocks*blockHeader + n
}

// putPlainHeader writes the beginning of a frame with codec none, up to its first
// block, to the first plainHeader bytes of b. n is the number of raw bytes.
func putPlainHeader(b []byte, n int) {
	binary.LittleEndian.PutUint32(b, frameMagic)
	b[4] = plainDescr
	binary.LittleEndian.PutUint32(b[5:], uint32(n))
}

// putBlockHeader writes the header of a raw block to the first 3 bytes of b.
func putBlockHeader(b []byte, n int, last bool) {
	v := uint32(n) << 3
	if last {
		v |= 1
	}
	b[0], b[1], b[2] = byte(v), byte(v>>8), byte(v>>16)
}

// appendPlain appends raw as a frame with codec none.
func appendPlain(dst, raw []byte) []byte {
	var b [plainHeader]byte
	putPlainHeader(b[:], len(raw))
	dst = append(dst, b[:]...)
	for len(raw) > 0 {
		n := min(len(raw), plainBlock)
		putBlockHeader(b[:], n, n == len(raw))
		dst = append(dst, b[:blockHeader]...)
		dst = append(dst, raw[:n]...)
		raw = raw[n:]
	}
	return dst
}

// decodePlain appends the raw bytes of a frame with codec none to dst. A frame
// that differs anywhere from what appendPlain makes of size bytes is an error.
func decodePlain(dst, frame []byte, size int) ([]byte, error) {
	if size <= 0 || len(frame) != plainSize(size) {
		return dst, fmt.Errorf("frame of %d bytes for %d raw bytes", len(frame), size)
	}
	var want [plainHeader]byte
	putPlainHeader(want[:], size)
	if string(frame[:plainHeader]) != string(want[:]) {
		return dst, errors.New("frame header differs")
	}
	frame = frame[plainHeader:]
	for left := size; left > 0; {
		n := min(left, plainBlock)
		left -= n
		putBlockHeader(want[:], n, left == 0)
		if string(frame[:blockHeader]) != string(want[:blockHeader]) {
			return dst, errors.New("block header differs")
		}
		dst = append(dst, frame[blockHeader:blockHeader+n]...)
		frame = frame[blockHeader+n:]
	}
	return dst, nil
}

// castagnoli returns the CRC-32C of b.
func castagnoli(b []byte) uint32 {
	return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
}
