package innodb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"
)

func TestBlockAdvance(t *testing.T) {
	tests := []struct {
		name    string
		from    LSN
		n       int
		trailer int
		want    LSN
	}{
		{"inside a block", 8704 + 12, 100, 4, 8704 + 112},
		{"to the last byte of the payload", 8704 + 12, 495, 4, 8704 + 507},
		{"a block is full", 8704 + 12, 496, 4, 9216 + 12},
		{"an encrypted block is full", 8704 + 12, 492, 8, 9216 + 12},
		{"over several blocks", 8704 + 500, 8 + 2*496 + 1, 4, 8704 + 3*512 + 13},
		{"nowhere", 8704 + 77, 0, 4, 8704 + 77},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := blockAdvance(tt.from, tt.n, tt.trailer); got != tt.want {
				t.Errorf("LSN = %d, want %d", got, tt.want)
			}
		})
	}
}

func TestStoredRedo(t *testing.T) {
	c := Checkpoint{LSN: 50000, End: 50100}
	if from, to := StoredRedo(Format108, c, 60000); from != 50000 || to != 60000 {
		t.Errorf("10.8: [%d, %d), want [50000, 60000)", from, to)
	}
	if from, to := StoredRedo(Format105, c, 60000); from != 49664 || to != 60416 {
		t.Errorf("10.5: [%d, %d), want [49664, 60416)", from, to)
	}
}

func TestCheckpointCovers(t *testing.T) {
	tests := []struct {
		name string
		c    Checkpoint
		lsn  LSN
		want bool
	}{
		{"checkpoint behind it", Checkpoint{LSN: 9000, End: 9500}, 9000, true},
		{"changes in between", Checkpoint{LSN: 9000, End: 9500}, 9012, false},
		{"nothing but the checkpoint's record", Checkpoint{LSN: 9000, End: 9000}, 9012, true},
		{"more than that record", Checkpoint{LSN: 9000, End: 9000}, 9100, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.c.Covers(tt.lsn); got != tt.want {
				t.Errorf("Covers = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestParseBlockPoint(t *testing.T) {
	good := blockPoint{Checkpoint: Checkpoint{LSN: 44981, End: 45000}, number: 5, offset: 38325}
	tests := []struct {
		name   string
		format uint32
		change func(p *blockPoint, b []byte)
		ok     bool
	}{
		{"as a server wrote it", Format105, nil, true},
		{"encrypted", Format105Enc, nil, true},
		{"wrong checksum", Format105, func(_ *blockPoint, b []byte) { b[20]++ }, false},
		{"end before start", Format105, func(p *blockPoint, _ []byte) { p.End = p.LSN - 1 }, false},
		{"LSN in a block's header", Format105, func(p *blockPoint, _ []byte) {
			p.LSN, p.End, p.offset = 45056, 45100,
				38400
		}, false},
		{"LSN in an encrypted block's trailer", Format105Enc, func(p *blockPoint, _ []byte) {
			p.LSN += 45056 - 44981 - 6
			p.offset += 45056 - 44981 - 6
			p.End = 45100
		}, false},
		{"offset in the header", Format105, func(p *blockPoint, _ []byte) { p.offset = int64(p.LSN % 512) }, false},
		{"offset of another place in a block", Format105, func(p *blockPoint, _ []byte) { p.offset++ }, false},
		{"offset beyond the LSN", Format105, func(p *blockPoint, _ []byte) { p.offset += 512 * 100 }, false},
		{"absurd offset", Format105, func(p *blockPoint, _ []byte) { p.offset = -187 }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := good
			if tt.format == Format105Enc {
				p.crypt = crypt105
			}
			if tt.change != nil {
				tt.change(&p, make([]byte, blockSize))
			}
			b := p.append(nil)
			if tt.change != nil {
				tt.change(&p, b)
			}
			got, err := parseBlockPoint(b, tt.format)
			if (err == nil) != tt.ok || err != nil && !errors.Is(err, ErrBadLogHeader) {
				t.Fatalf("error = %v, want success %v", err, tt.ok)
			}
			if err == nil && (got.Checkpoint != p.Checkpoint || got.number != 5 || got.offset != p.offset ||
				!bytes.Equal(got.crypt, p.crypt)) {
				t.Errorf("checkpoint = %+v, want %+v", got, p)
			}
		})
	}
}

func TestCheckBlock(t *testing.T) {
	const lsn = LSN(8704 + 5*512)
	tests := []struct {
		name   string
		change func(b []byte)
		want   string // "": whole
	}{
		{"full", func([]byte) {}, ""},
		{"with a flush bit", func(b []byte) { b[0] |= 0x80 }, ""},
		{"empty", func(b []byte) { binary.BigEndian.PutUint16(b[4:], 12) }, ""},
		{"number of the next lap", func(b []byte) { binary.BigEndian.PutUint32(b, 1000) }, "lapped"},
		{"number of the lap before", func(b []byte) { binary.BigEndian.PutUint32(b, 1) }, "older"},
		{"length within the header", func(b []byte) { binary.BigEndian.PutUint16(b[4:], 11) }, "damaged"},
		{"length within the trailer", func(b []byte) { binary.BigEndian.PutUint16(b[4:], 510) }, "damaged"},
		{"length beyond the block", func(b []byte) { binary.BigEndian.PutUint16(b[4:], 513) }, "damaged"},
		{"first mini-transaction within the header", func(b []byte) { binary.BigEndian.PutUint16(b[6:], 4) },
			"damaged"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := make([]byte, blockSize)
			binary.BigEndian.PutUint32(b, blockNumber(lsn))
			binary.BigEndian.PutUint16(b[4:], blockSize)
			tt.change(b)
			binary.BigEndian.PutUint32(b[508:], crc32c(b[:508]))
			err := checkBlock(b, lsn)
			if err == nil {
				_, err = blockUse(b, lsn, 4)
			}
			if (err == nil) != (tt.want == "") || lapped(err) != (tt.want == "lapped") || err != nil &&
				!errors.Is(err, ErrBadMTR) {
				t.Errorf("error = %v, lapped %v, want %q", err, lapped(err), tt.want)
			}
			b[100] ^= 1
			if checkBlock(b, lsn) == nil {
				t.Error("a flipped bit is not found")
			}
		})
	}
}

func TestRestoredLogOfBlocks(t *testing.T) {
	for _, crypt := range [][]byte{nil, crypt105} {
		r := RestoredLog{Format: Format105, Checkpoint: Checkpoint{LSN: 50000, End: 50100}, Version: "mbk 1",
			Crypt: crypt}
		if crypt != nil {
			r.Format = Format105Enc
		}
		b, err := r.Header()
		if err != nil {
			t.Fatal(err)
		}
		if int64(len(b)) != DataOffset(r.Format) {
			t.Fatalf("%d bytes, want %d", len(b), DataOffset(r.Format))
		}
		h, err := ParseLogHeader(b)
		if err != nil || h.Creator != "Backup mbk 1" || h.Format != r.Format {
			t.Errorf("header = %+v, %v", h, err)
		}
		c, torn, err := NewestCheckpoint(append(b, make([]byte, LogDataOffset)...), h.FirstLSN)
		if err != nil || torn || c != r.Checkpoint {
			t.Errorf("checkpoint = %+v, torn %v, %v, want %+v", c, torn, err, r.Checkpoint)
		}
		p, _, err := newestBlockPoint(b, r.Format)
		if err != nil || p.ring(1<<20).Offset(50000) != 2048+50000%512 || !bytes.Equal(p.crypt, crypt) {
			t.Errorf("block = %+v, %v", p, err)
		}
		r.Crypt = make([]byte, 3)
		if _, err := r.Header(); !errors.Is(err, ErrBadLogHeader) {
			t.Errorf("crypt of 3 bytes: %v, want ErrBadLogHeader", err)
		}
	}
	r := RestoredLog{Format: Format105, Checkpoint: Checkpoint{LSN: 51200, End: 51300}}
	if _, err := r.Header(); !errors.Is(err, ErrBadLogHeader) {
		t.Errorf("checkpoint in a block's header: %v, want ErrBadLogHeader", err)
	}
}

// FuzzBlockParser feeds blocks with right checksums and numbers but any contents.
func FuzzBlockParser(f *testing.F) {
	l := newFakeBlocks(f, Format105, 1<<20, 8704)
	l.do(func() { l.fill(10, 200) })
	f.Add(l.truth, uint16(0), false)
	f.Add(l.truth, uint16(300), true)
	f.Add(bytes.Repeat([]byte{0x30, 0xf0, 0xff}, 1000), uint16(12), false)
	f.Fuzz(func(t *testing.T, b []byte, skip uint16, hidden bool) {
		first, format := LSN(8704), Format105
		if hidden {
			format = Format105Enc
		}
		for i := 0; i+blockSize <= len(b); i += blockSize {
			binary.BigEndian.PutUint32(b[i:], blockNumber(first+LSN(i)))
			binary.BigEndian.PutUint32(b[i+508:], crc32c(b[i:i+508]))
		}
		start := first + LSN(blockHeader+skip%490)
		p := newBlockParser(LogHeader{Format: format})
		end, err := p.walk(b, start, maxLSN)
		switch {
		case err != nil && end != start:
			t.Errorf("end = %d with error %v", end, err)
		case end < start || end > max(start, first+LSN(len(b))):
			t.Errorf("end = %d, from %d to %d", end, start, first+LSN(len(b)))
		case err == nil && end > start && !hidden:
			// A log that is cut off there is whole.
			p.seal(b[blockStart(end)-first:], end)
			again, err := p.walk(b[:blockStart(end)-first+blockSize], start, maxLSN)
			if err != nil || again != end {
				t.Errorf("cut off at %d: end = %d, %v", end, again, err)
			}
		}
	})
}

// FuzzBlockHeader feeds the beginning of a log.
func FuzzBlockHeader(f *testing.F) {
	b, err := RestoredLog{Format: Format105, Checkpoint: Checkpoint{LSN: 50000, End: 50100}, Version: "1"}.Header()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b, int64(1<<20))
	f.Fuzz(func(t *testing.T, b []byte, size int64) {
		if len(b) < blockDataStart || size < minBlockFile {
			return
		}
		for _, at := range []int{0, blockPoint1, blockPoint2} {
			binary.BigEndian.PutUint32(b[at+508:], crc32c(b[at:at+508]))
		}
		h, err := ParseLogHeader(b)
		if err != nil {
			return
		}
		p, _, err := newestBlockPoint(b, h.Format)
		if err != nil {
			return
		}
		if ring := p.ring(size); ring.First > p.LSN || p.offset < size && p.offset < blockDataStart+ring.Capacity &&
			ring.Offset(p.LSN) != p.offset {
			t.Errorf("checkpoint %+v lies at %d", p, ring.Offset(p.LSN))
		}
	})
}
