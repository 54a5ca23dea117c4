package pack

import (
	"bytes"
	"fmt"
	"testing"

	"mbk/copier/pack/packtest"
)

func TestParseCodec(t *testing.T) {
	for _, tc := range []struct {
		s     string
		codec Codec
		level int
		ok    bool
	}{
		{"none", None, 0, true},
		{"zstd", Zstd, 0, true},
		{"zstd:1", Zstd, 1, true},
		{"zstd:19", Zstd, 19, true},
		{"s2", S2, 0, true},
		{"s2:3", S2, 3, true},
		{"", 0, 0, false},
		{"gzip", 0, 0, false},
		{"ZSTD", 0, 0, false},
		{"none:1", 0, 0, false},
		{"zstd:", 0, 0, false},
		{"zstd:0", 0, 0, false},
		{"zstd:-1", 0, 0, false},
		{"zstd:23", 0, 0, false},
		{"zstd:1:2", 0, 0, false},
		{"s2:4", 0, 0, false},
		{"codec 7", 0, 0, false},
	} {
		codec, level, err := ParseCodec(tc.s)
		if (err == nil) != tc.ok || codec != tc.codec || level != tc.level {
			t.Errorf("ParseCodec(%q) = %v, %d, %v", tc.s, codec, level, err)
		}
	}
	if got := Codec(7).String(); got != "codec 7" {
		t.Errorf("String = %q", got)
	}
}

// Every codec and level must give back what it got, in the buffers it was given.
func TestCodecs(t *testing.T) {
	levels := map[Codec][]int{Zstd: {0, 1, 3, 7, 11}, S2: {0, 2, 3}}
	for codec, levels := range levels {
		for _, level := range levels {
			t.Run(fmt.Sprint(codec, level), func(t *testing.T) {
				enc, err := newEncoder(codec, level)
				if err != nil {
					t.Fatal(err)
				}
				defer enc.close()
				var dec decoder
				defer dec.close()
				buf, room := make([]byte, 5, 5+encodedBound(MaxChunk)), make([]byte, 0, MaxChunk)
				for _, size := range []int{1, 7, 100, 65 << 10, 128 << 10, 128<<10 + 1, MaxChunk} {
					for _, raw := range [][]byte{packtest.Noise(size, 1), packtest.Text(size, 1), make([]byte, size)} {
						out := enc.appendFrame(buf, raw)
						if &out[0] != &buf[0] {
							t.Errorf("%d bytes became %d and left the buffer", size, len(out))
						}
						got, err := dec.decode(room, out[5:], codec, size)
						if err != nil || !bytes.Equal(got, raw) {
							t.Fatalf("%d bytes: %v", size, err)
						}
						if &got[0] != &room[:1][0] {
							t.Errorf("%d raw bytes left the buffer", size)
						}
						if _, err := dec.decode(room, out[5:], codec, size+1); err == nil {
							t.Errorf("%d bytes are accepted as %d", size, size+1)
						}
					}
				}
			})
		}
	}
}

func TestEncoderMakesNoGarbage(t *testing.T) {
	for _, codec := range []Codec{Zstd, S2} {
		enc, err := newEncoder(codec, 0)
		if err != nil {
			t.Fatal(err)
		}
		raw, buf := packtest.Text(MaxChunk, 1), make([]byte, 0, encodedBound(MaxChunk))
		if n := testing.AllocsPerRun(10, func() { enc.appendFrame(buf, raw) }); n > 2 {
			t.Errorf("%v: %v allocations for a chunk", codec, n)
		}
		if err := enc.close(); err != nil {
			t.Error(err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, codec := range []Codec{Zstd, S2} {
		enc, err := newEncoder(codec, 0)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(byte(codec), enc.appendFrame(nil, packtest.Text(1000, 1)), 1000)
	}
	f.Add(byte(None), appendPlain(nil, packtest.Text(1000, 1)), 1000)
	f.Fuzz(func(t *testing.T, codec byte, frame []byte, size int) {
		if size < 0 || size > MaxChunk {
			return
		}
		var dec decoder
		defer dec.close()
		raw, err := dec.decode(make([]byte, 0, MaxChunk), frame, Codec(codec), size)
		if err == nil && len(raw) != size {
			t.Fatalf("%d bytes, want %d", len(raw), size)
		}
	})
}
