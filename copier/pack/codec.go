package pack

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

// Codec is the compression of a chunk's frame.
type Codec uint8

// Codecs. The values are those of the pack format.
const (
	None Codec = 0 // raw blocks in a zstd frame
	Zstd Codec = 1 // a zstd frame
	S2   Codec = 2 // a block in the S2 format: faster and larger than zstd
)

// DefaultLevel is the zstd level that level 0 means. On InnoDB files level 3 makes packs
// about 5 % smaller and takes nearly twice the time.
const DefaultLevel = 1

// String returns the codec's name: "none", "zstd" or "s2".
func (c Codec) String() string {
	switch c {
	case None:
		return "none"
	case Zstd:
		return "zstd"
	case S2:
		return "s2"
	}
	return "codec " + strconv.Itoa(int(c))
}

// ParseCodec parses a codec with an optional level: "none", "zstd", "zstd:3", "s2",
// "s2:2". Without one the level is 0, the codec's default.
func ParseCodec(s string) (c Codec, level int, err error) {
	name, number, given := strings.Cut(s, ":")
	for _, c = range []Codec{None, Zstd, S2} {
		if c.String() == name {
			break
		}
	}
	if c.String() != name {
		return 0, 0, fmt.Errorf("codec %q: not none, zstd or s2", s)
	}
	if given {
		if level, err = strconv.Atoi(number); err != nil || level < 1 {
			return 0, 0, fmt.Errorf("codec %q: the level is no number from 1", s)
		}
	}
	if err := c.CheckLevel(level); err != nil {
		return 0, 0, fmt.Errorf("codec %q: %w", s, err)
	}
	return c, level, nil
}

// CheckLevel returns an error if the codec has no such level. Level 0 is the default.
func (c Codec) CheckLevel(level int) error {
	most := map[Codec]int{None: 0, Zstd: 22, S2: 3}
	if _, known := most[c]; !known {
		return fmt.Errorf("unknown %v", c)
	}
	if level < 0 || level > most[c] {
		return fmt.Errorf("%v has no level %d, the highest is %d", c, level, most[c])
	}
	return nil
}

// encoder makes frames. It belongs to one goroutine.
type encoder struct {
	codec Codec
	zstd  *zstd.Encoder
	s2    func(dst, src []byte) []byte
}

// newEncoder returns an encoder for a codec and level that CheckLevel accepts.
func newEncoder(c Codec, level int) (*encoder, error) {
	e := &encoder{codec: c}
	switch c {
	case Zstd:
		if level == 0 {
			level = DefaultLevel
		}
		var err error
		e.zstd, err = zstd.NewWriter(nil,
			zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)),
			zstd.WithEncoderConcurrency(1),
			zstd.WithWindowSize(MaxChunk),
			zstd.WithLowerEncoderMem(true),
			zstd.WithEncoderCRC(false)) // the header has a better one
		if err != nil {
			return nil, fmt.Errorf("zstd level %d: %w", level, err)
		}
	case S2:
		e.s2 = s2.Encode
		switch level {
		case 2:
			e.s2 = s2.EncodeBetter
		case 3:
			e.s2 = s2.EncodeBest
		}
	}
	return e, nil
}

// appendFrame appends the frame of raw to dst. It does not allocate if dst has room for
// encodedBound(len(raw)) more bytes.
func (e *encoder) appendFrame(dst, raw []byte) []byte {
	if e.zstd != nil {
		return e.zstd.EncodeAll(raw, dst)
	}
	room := dst[len(dst):cap(dst)]
	frame := e.s2(room, raw)
	if len(room) > 0 && &frame[0] == &room[0] {
		return dst[:len(dst)+len(frame)]
	}
	return append(dst, frame...)
}

// encodedBound returns the most bytes that an encoder writes for n raw bytes. A frame that
// is no smaller than the raw bytes is written before it is given up.
func encodedBound(n int) int { return n + n/64 + 1024 }

// close releases the encoder's memory.
func (e *encoder) close() error {
	if e.zstd == nil {
		return nil
	}
	return e.zstd.Close()
}

// decoder is the inverse of encoder. It belongs to one goroutine.
type decoder struct {
	zstd *zstd.Decoder
}

// decode returns the raw bytes of a frame, in dst if that has the capacity. If they are
// not exactly size bytes, that is an error; not much more is allocated.
func (d *decoder) decode(dst, frame []byte, c Codec, size int) (raw []byte, err error) {
	switch c {
	case None:
		return decodePlain(dst[:0], frame, size)
	case Zstd:
		if d.zstd == nil {
			if d.zstd, err = newZstdDecoder(); err != nil {
				return nil, err
			}
		}
		raw, err = d.zstd.DecodeAll(frame, dst[:0])
	case S2:
		var n int
		if n, err = s2.DecodedLen(frame); err == nil && n == size {
			raw, err = s2.Decode(dst[:0], frame)
		}
	default:
		return nil, fmt.Errorf("unknown %v", c)
	}
	if err == nil && len(raw) != size {
		err = fmt.Errorf("%v frame without the %d raw bytes that it should hold", c, size)
	}
	return raw, err
}

// newZstdDecoder returns a decoder for single frames of at most MaxChunk raw bytes.
func newZstdDecoder() (*zstd.Decoder, error) {
	return zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(1),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxMemory(MaxChunk))
}

// close releases the decoder's memory.
func (d *decoder) close() {
	if d.zstd != nil {
		d.zstd.Close()
	}
}
