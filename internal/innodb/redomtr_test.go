package innodb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

func TestVarint(t *testing.T) {
	tests := []struct {
		bytes []byte
		want  uint32
		size  int
	}{
		{[]byte{0}, 0, 1},
		{[]byte{0x7f}, 127, 1},
		{[]byte{0x80, 0}, 128, 2},
		{[]byte{0xbf, 0xff}, 16511, 2},
		{[]byte{0xc0, 0, 0}, 16512, 3},
		{[]byte{0xdf, 0xff, 0xff}, 2113663, 3},
		{[]byte{0xe0, 0, 0, 0}, 2113664, 4},
		{[]byte{0xef, 0xff, 0xff, 0xff}, 270549119, 4},
		{[]byte{0xf0, 0, 0, 0, 0}, 270549120, 5},
		{[]byte{0xf0, 0xef, 0xdf, 0xbf, 0x7f}, ^uint32(0), 5},
		{[]byte{0xf0, 0xef, 0xdf, 0xbf, 0x80}, 0, -1},
		{[]byte{0xf1, 0, 0, 0, 0}, 0, -1},
		{[]byte{0xff}, 0, -1},
		{[]byte{}, 0, 0},
		{[]byte{0x80}, 0, 0},
		{[]byte{0xc0, 0}, 0, 0},
		{[]byte{0xe0, 0, 0}, 0, 0},
		{[]byte{0xf0, 0, 0, 0}, 0, 0},
	}
	for _, tt := range tests {
		if got, size := varint(tt.bytes); got != tt.want || size != tt.size {
			t.Errorf("%x: %d in %d bytes, want %d in %d", tt.bytes, got, size, tt.want, tt.size)
		}
		if tt.size > 0 {
			if b := appendVarint(nil, tt.want); !bytes.Equal(b, tt.bytes) {
				t.Errorf("%d: encoded %x, want %x", tt.want, b, tt.bytes)
			}
		}
	}
}

func TestScanRejects(t *testing.T) {
	good := pageRecord(5, 9, []byte("twelve bytes"))
	long := append(bytes.Repeat(record(0x30, make([]byte, 60000)), 18), 1)
	tests := []struct {
		name   string
		bytes  []byte
		reason string
	}{
		{"no mini-transaction", []byte{0, 1, 2, 3, 4, 5, 6, 7}, "the log ends here"},
		{"wrong sequence bit", sealMTR(good, 0, nil), "sequence bit 0 instead of 1"},
		{"wrong checksum", append(append(bytes.Clone(good), 1), 1, 2, 3, 4), "checksum"},
		{"checksum with a nonce where none belongs", sealMTR(good, 1, make([]byte, 8)), "checksum"},
		{"impossible varint", append([]byte{0x30, 0xff}, make([]byte, 99)...), "impossible length"},
		{"record of a megabyte", append([]byte{0x30, 0xe0, 0, 0, 0}, make([]byte, 99)...), "impossible length"},
		{"too many records", long, "more than 1048576 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newParser(LogHeader{Format: Format108}, normalRing(50000))
			// Behind a good one: its error must not hide that nothing may be used.
			b := append(sealMTR(good, 1, nil), tt.bytes...)
			_, err := p.scan(b, 50000, maxLSN)
			var bad *MTRError
			if !errors.As(err, &bad) || !errors.Is(err, ErrBadMTR) {
				t.Fatalf("error = %v, want an MTRError", err)
			}
			if want := LSN(50000 + len(good) + 5); bad.LSN != want || !strings.Contains(bad.Reason, tt.reason) {
				t.Errorf("LSN %d, %q; want %d, %q", bad.LSN, bad.Reason, want, tt.reason)
			}
		})
	}
}

func TestScanEveryCut(t *testing.T) {
	for _, header := range []LogHeader{
		{Format: Format108},
		{Format: Format108, Crypt: make([]byte, logCryptSize)},
		{Format: FormatEnc11, Crypt: make([]byte, logCryptSize)},
	} {
		t.Run(fmt.Sprintf("format %#x, encrypted %v", header.Format, header.Encrypted()), func(t *testing.T) {
			// Two laps meet inside the second mini-transaction, its marker in the second lap.
			ring := Ring{First: 50000, Capacity: 64}
			var b []byte
			var ends []int
			for i, n := range []int{20, 30, 300, 12} {
				records := append(pageRecord(1, 2, make([]byte, n)), pageRecord(300, 70000, []byte{byte(i)})...)
				var nonce []byte
				if header.Encrypted() {
					nonce = []byte("nonce123")
				}
				bit := ring.Bit(50000 + LSN(len(b)+len(records)))
				b = append(b, sealMTR(records, bit, nonce)...)
				ends = append(ends, len(b))
			}
			for cut := range len(b) + 1 {
				part := bytes.Clone(b[:cut])
				p := newParser(header, ring)
				n, err := p.scan(part, 50000, maxLSN)
				want, whole := 0, int64(0)
				for _, e := range ends {
					if e <= cut {
						want, whole = e, whole+1
					}
				}
				if err != nil || n != want || p.mtrs != whole {
					t.Fatalf("cut at %d: %d bytes, %d whole, %v; want %d, %d", cut, n, p.mtrs, err, want, whole)
				}
				if _, err := newParser(header, normalRing(50000)).scan(part[:n], 50000, maxLSN); err != nil {
					t.Fatalf("cut at %d: the result is not normal: %v", cut, err)
				}
				if !bytes.Equal(part[n:], b[n:cut]) {
					t.Fatalf("cut at %d: bytes behind the last whole mini-transaction were changed", cut)
				}
			}
		})
	}
}

func TestScanStop(t *testing.T) {
	m := sealMTR(pageRecord(1, 2, make([]byte, 50)), 1, nil)
	b := bytes.Repeat(m, 3)
	size := LSN(len(m))
	p := newParser(LogHeader{Format: Format108}, normalRing(50000))
	for _, tt := range []struct {
		stop LSN
		want LSN
	}{
		{50000, 0}, {1, 0}, {50001, size}, {50000 + size, size}, {50000 + size + 1, 2 * size}, {maxLSN, 3 * size},
	} {
		if n, err := p.scan(bytes.Clone(b), 50000, tt.stop); LSN(n) != tt.want || err != nil {
			t.Errorf("stop at %d: %d bytes, %v; want %d", tt.stop, n, err, tt.want)
		}
	}
}

func TestFileRecords(t *testing.T) {
	path := "./db/" + strings.Repeat("x", 300) + ".ibd"
	tests := []struct {
		name    string
		records []byte
		want    []FileOp
	}{
		{"create, then pages of it", append(fileRecord(FileCreate, 7, "./db/t.ibd"),
			pageRecord(7, 0, make([]byte, 40))...),
			[]FileOp{{Kind: FileCreate, Space: 7, Name: "./db/t.ibd"}}},
		{"delete with a long name", fileRecord(FileDelete, 300000, path),
			[]FileOp{{Kind: FileDelete, Space: 300000, Name: path}}},
		{"rename", fileRecord(FileRename, 9, "./db/a.ibd", "/data/db/b.ibd"),
			[]FileOp{{Kind: FileRename, Space: 9, Name: "./db/a.ibd", NewName: "/data/db/b.ibd"}}},
		{"two files and a checkpoint", slices.Concat(fileRecord(FileModify, 9, "./a/a.ibd"),
			fileRecord(FileModify, 10, "./a/b.ibd"), checkpointRecordOf(41000)),
			[]FileOp{{Kind: FileModify, Space: 9, Name: "./a/a.ibd"}, {Kind: FileModify, Space: 10, Name: "./a/b.ibd"},
				{Kind: FileCheckpoint, Checkpoint: 41000, complete: true}}},
		{"padding without a byte", []byte{0xf2, 0, 0}, []FileOp{{Kind: FileCheckpoint}}},
		{"padding", record(0xf0, make([]byte, 40)), []FileOp{{Kind: FileCheckpoint}}},
		{"page records only", slices.Concat(pageRecord(1, 2, []byte("abc")), []byte{0xb3, 1, 2, 3}), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := sealMTR(tt.records, 1, nil)
			p := newParser(LogHeader{Format: Format108}, normalRing(50000))
			if n, err := p.scan(b, 50000, maxLSN); n != len(b) || err != nil {
				t.Fatalf("%d bytes, %v; want %d", n, err, len(b))
			}
			for i := range tt.want {
				tt.want[i].Start, tt.want[i].End = 50000, 50000+LSN(len(b))
			}
			if fmt.Sprint(p.ops) != fmt.Sprint(tt.want) {
				t.Errorf("ops = %+v, want %+v", p.ops, tt.want)
			}
		})
	}
}

func TestFileRecordsMalformed(t *testing.T) {
	tests := []struct {
		name    string
		records []byte
	}{
		{"tablespace 0", fileRecord(FileModify, 0, "./db/t.ibd")},
		{"page not 0", record(0xb0, append([]byte{5, 1}, "./db/t.ibd"...))},
		{"not an .ibd", fileRecord(FileModify, 5, "./db/t.frm")},
		{"no name", fileRecord(FileModify, 5, "")},
		{"no room for a name", []byte{0xb1, 5}},
		{"two names for a create", fileRecord(FileCreate, 5, "./db/t.ibd", "./db/u.ibd")},
		{"one name for a rename", fileRecord(FileRename, 5, "./db/t.ibd")},
		{"three names for a rename", fileRecord(FileRename, 5, "./db/t.ibd", "./db/u.ibd", "./db/v.ibd")},
		{"name longer than a path", fileRecord(FileModify, 5, strings.Repeat("x", 5000)+".ibd")},
		{"unknown kind 0xc0", record(0xc0, append([]byte{5, 0}, "./db/t.ibd"...))},
		{"unknown kind 0xe0", record(0xe0, append([]byte{5, 0}, "./db/t.ibd"...))},
		{"checkpoint of a tablespace", record(0xf0, binary.BigEndian.AppendUint64([]byte{1, 0}, 41000))},
		{"checkpoint in the future", checkpointRecordOf(50001)},
		{"padding that is not zero", record(0xf0, []byte{0, 0, 0, 0, 1})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newParser(LogHeader{Format: Format108}, normalRing(50000))
			_, err := p.scan(sealMTR(tt.records, 1, nil), 50000, maxLSN)
			if !errors.Is(err, ErrBadFileRecord) {
				t.Errorf("error = %v, want ErrBadFileRecord", err)
			}
		})
	}
}

func TestFileRecordsWithoutKey(t *testing.T) {
	header := LogHeader{Format: FormatEnc11, Crypt: make([]byte, logCryptSize)}
	scramble := func(b []byte, head int) []byte {
		for i := head; i < len(b); i++ {
			b[i] ^= 0xa5
		}
		return b
	}
	records := slices.Concat(
		scramble(fileRecord(FileDelete, 9, "./a/abc.ibd"), 1),
		scramble(checkpointRecordOf(41000), 1))
	p := newParser(header, normalRing(50000))
	if _, err := p.scan(sealMTR(records, 1, []byte("nonce123")), 50000, maxLSN); err != nil {
		t.Fatal(err)
	}
	if len(p.ops) != 2 || p.ops[0].Kind != FileDelete || p.ops[0].Name != "" || !p.ops[1].complete {
		t.Errorf("ops = %+v", p.ops)
	}
}

func FuzzScan(f *testing.F) {
	good := sealMTR(slices.Concat(fileRecord(FileRename, 9, "./db/a.ibd", "./db/b.ibd"),
		pageRecord(5, 9, make([]byte, 70))), 1, nil)
	f.Add(good, false, uint16(60))
	f.Add(sealMTR(checkpointRecordOf(40000), 1, []byte("nonce123")), true, uint16(7))
	f.Add([]byte{0xf2, 0, 0, 1, 0xa6, 0x59, 0xc1, 0xdb}, false, uint16(1))
	f.Add([]byte{0x30, 0xf0, 0xff, 0xff, 0xff, 0xff}, false, uint16(5))
	f.Fuzz(func(t *testing.T, b []byte, encrypted bool, capacity uint16) {
		h := LogHeader{Format: Format108}
		if encrypted {
			h.Crypt = make([]byte, logCryptSize)
		}
		ring := Ring{First: 50000, Capacity: int64(capacity) + 1}
		raw := bytes.Clone(b)
		p := newParser(h, ring)
		n, err := p.scan(b, 50000, maxLSN)
		if n > len(b) || err == nil && p.mtrs == 0 && n > 0 {
			t.Fatalf("%d of %d bytes, %d mini-transactions", n, len(b), p.mtrs)
		}
		// What is taken can be taken again, from the normal form too.
		again := newParser(h, normalRing(50000))
		if m, err := again.scan(bytes.Clone(b[:n]), 50000, maxLSN); m != n || err != nil {
			t.Fatalf("second scan: %d bytes, %v; want %d", m, err, n)
		}
		// A shorter buffer yields a prefix.
		part := newParser(h, ring)
		if m, err := part.scan(raw[:len(raw)/2], 50000, maxLSN); m > n || err != nil && m != n {
			t.Fatalf("half of it: %d bytes, %v; whole: %d", m, err, n)
		}
	})
}

// randomLog returns a stretch of log with record sizes as a busy server has them.
func randomLog(r *rand.Rand, size int, header LogHeader) []byte {
	var nonce []byte
	if header.Encrypted() {
		nonce = make([]byte, nonceSize)
	}
	b := make([]byte, 0, size+20000)
	for len(b) < size {
		var records []byte
		for range 2 + r.IntN(8) {
			n := 2 + r.IntN(24)
			if r.IntN(12) == 0 {
				n = 40 + r.IntN(200)
			}
			records = append(records, pageRecord(SpaceID(r.IntN(200)), PageNo(r.IntN(30000)), make([]byte, n))...)
		}
		b = append(b, sealMTR(records, 1, nonce)...)
	}
	return b
}

func BenchmarkScan(b *testing.B) {
	for name, header := range map[string]LogHeader{
		"plain":     {Format: Format108},
		"encrypted": {Format: FormatEnc11, Crypt: make([]byte, logCryptSize)},
	} {
		b.Run(name, func(b *testing.B) {
			log := randomLog(rand.New(rand.NewPCG(1, 2)), 8<<20, header)
			p := newParser(header, normalRing(50000))
			b.SetBytes(int64(len(log)))
			for b.Loop() {
				if n, err := p.scan(log, 50000, maxLSN); n != len(log) || err != nil {
					b.Fatal(n, err)
				}
			}
			b.ReportMetric(float64(len(log))/float64(p.mtrs), "bytes/mtr")
		})
	}
}
