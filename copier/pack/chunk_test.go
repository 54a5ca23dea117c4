package pack

import (
	"bytes"
	"errors"
	"math"
	"testing"

	"mbk/copier/pack/packtest"

	"github.com/klauspost/compress/zstd"
)

// goodHeaders are one of each kind.
func goodHeaders() []header {
	return []header{
		{kind: kindData, codec: None, number: 7, stored: uint32(plainSize(100)), start: 4096, size: 100, sum: 123456789},
		{
			kind: kindData, codec: None, number: math.MaxUint32, stored: uint32(plainSize(MaxChunk)),
			start: math.MaxInt64 - MaxChunk, size: MaxChunk, sum: math.MaxUint64,
		},
		{kind: kindData, codec: Zstd, stored: 1, size: 2, check: 77},
		{kind: kindData, codec: S2, stored: MaxChunk - 1, size: MaxChunk, check: math.MaxUint32},
		{kind: kindZero, number: 3, start: 1 << 40, size: 1 << 50},
		{kind: kindPages, codec: Zstd, number: 3, start: 1 << 40, size: leastPages, stored: leastPages - 1, sum: 5, check: 6},
		{kind: kindPages, codec: None, start: 7, size: MaxChunk, stored: uint32(plainSize(MaxChunk)), sum: 5},
	}
}

func TestHeader(t *testing.T) {
	for _, want := range goodHeaders() {
		var b [headerSize]byte
		want.put(b[:])
		got, err := parseHeader(b[:])
		if err != nil || got != want {
			t.Errorf("parseHeader = %+v, %v, want %+v", got, err, want)
		}
		for bit := range headerSize * 8 {
			b[bit/8] ^= 1 << (bit % 8)
			if _, err := parseHeader(b[:]); err == nil {
				t.Errorf("bit %d of the header of %+v may change", bit, want)
			}
			b[bit/8] ^= 1 << (bit % 8)
		}
		if _, err := parseHeader(b[:headerSize-1]); !errors.Is(err, errNoHeader) {
			t.Errorf("short header: %v, want %v", err, errNoHeader)
		}
	}
}

func TestHeaderBounds(t *testing.T) {
	for _, tc := range []struct {
		name string
		h    header
	}{
		{"no bytes", header{kind: kindData, codec: Zstd, stored: 1}},
		{"more than a chunk", header{kind: kindData, codec: Zstd, stored: 1, size: MaxChunk + 1}},
		{"end beyond 63 bits", header{kind: kindZero, start: math.MaxInt64, size: 1}},
		{"size beyond 63 bits", header{kind: kindZero, size: math.MaxUint64}},
		{"start beyond 63 bits", header{kind: kindZero, start: math.MaxUint64, size: 1}},
		{"frame without bytes", header{kind: kindData, codec: S2, size: 10}},
		{"frame larger than raw", header{kind: kindData, codec: Zstd, size: 10, stored: 10}},
		{"plain frame too short", header{kind: kindData, codec: None, size: 10, stored: 10}},
		{"plain frame with a check", header{kind: kindData, codec: None, size: 10, stored: uint32(plainSize(10)), check: 1}},
		{"zeros with a frame", header{kind: kindZero, size: 10, stored: 5}},
		{"zeros with a codec", header{kind: kindZero, size: 10, codec: Zstd}},
		{"zeros with a sum", header{kind: kindZero, size: 10, sum: 1}},
		{"kind 0", header{size: 10}},
		{"kind 4", header{kind: 4, size: 10}},
		{"pages without a frame", header{kind: kindPages, codec: Zstd, size: 100}},
		{"pages without a run", header{kind: kindPages, codec: Zstd, size: leastPages - 1, stored: 5}},
		{"more pages than a chunk", header{kind: kindPages, codec: Zstd, size: MaxChunk + 1, stored: 5}},
		{"codec 3", header{kind: kindData, codec: 3, size: 10, stored: 5}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var b [headerSize]byte
			tc.h.put(b[:])
			if h, err := parseHeader(b[:]); err == nil {
				t.Errorf("accepted: %+v", h)
			}
		})
	}
}

func FuzzHeader(f *testing.F) {
	for _, h := range goodHeaders() {
		var b [headerSize]byte
		h.put(b[:])
		f.Add(b[:])
	}
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := parseHeader(b)
		if err != nil {
			// With a good checksum everything else is reached too.
			if b = bytes.Clone(b); len(b) < headerSize {
				return
			}
			h = header{
				kind: b[12], codec: Codec(b[13]), number: 1, stored: uint32(b[20]),
				start: uint64(b[24]) << b[25], size: uint64(b[32]) << b[33],
			}
			h.put(b)
			if h, err = parseHeader(b); err != nil {
				return
			}
		}
		if h.size == 0 || int64(h.start+h.size) < 0 || h.kind != kindZero && (h.size > MaxChunk || h.stored > maxPlainSize) {
			t.Fatalf("accepted %+v", h)
		}
		var again [headerSize]byte
		if h.put(again[:]); !bytes.Equal(again[:], b[:headerSize]) {
			t.Fatalf("%+v is written as %x, was %x", h, again, b[:headerSize])
		}
	})
}

func TestPlainFrame(t *testing.T) {
	dec, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dec.Close()
	sizes := []int{1, 100, plainBlock - 1, plainBlock, plainBlock + 1, 3 * plainBlock, MaxChunk - 1, MaxChunk}
	for _, size := range sizes {
		raw := packtest.Noise(size, 1)
		frame := appendPlain(nil, raw)
		if len(frame) != plainSize(size) {
			t.Errorf("frame of %d bytes has %d, want %d", size, len(frame), plainSize(size))
		}
		if got, err := dec.DecodeAll(frame, nil); err != nil || !bytes.Equal(got, raw) {
			t.Errorf("zstd does not read a frame of %d bytes: %v", size, err)
		}
		if got, err := decodePlain(nil, frame, size); err != nil || !bytes.Equal(got, raw) {
			t.Errorf("decodePlain does not read a frame of %d bytes: %v", size, err)
		}
		if _, err := decodePlain(nil, frame[:len(frame)-1], size); err == nil {
			t.Error("a short frame is accepted")
		}
		for _, at := range []int{0, 4, 5, 8, 9, 11} {
			frame[at]++
			if _, err := decodePlain(nil, frame, size); err == nil {
				t.Errorf("byte %d of a frame may change", at)
			}
			frame[at]--
		}
	}
}
