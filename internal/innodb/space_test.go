package innodb

import (
	"errors"
	"testing"
)

// header returns a sealed page 0 of a tablespace with these flags.
func header(id SpaceID, flags Flags, size PageNo) []byte {
	page := make([]byte, flags.PhysicalSize())
	page[offLSN+7] = 9
	setType(page, 8)
	put32(page, offSpaceID, uint32(id))
	put32(page, offHeaderSpaceID, uint32(id))
	put32(page, offHeaderSize, uint32(size))
	put32(page, offHeaderFlags, uint32(flags))
	sealHeader(page, flags)
	return page
}

// sealHeader computes the checksum of page 0 again after a change.
func sealHeader(page []byte, flags Flags) {
	switch {
	case flags.FullCRC32():
		endLSN(page, 8)
		put32(page, len(page)-4, crc32c(page[:len(page)-4]))
	case flags.ZipSize() != 0:
		put32(page, 0, zipCRC(page))
	default:
		endLSN(page, 4)
		put32(page, 0, legacyCRC(page))
		put32(page, len(page)-8, legacyCRC(page))
	}
}

func TestParseSpace(t *testing.T) {
	tests := []struct {
		name    string
		flags   Flags
		logical int
		want    int // physical page size
	}{
		{"full_crc32 4k", 0x13, 4 << 10, 4 << 10},
		{"full_crc32 8k", 0x14, 8 << 10, 8 << 10},
		{"full_crc32 16k", 0x15, 16 << 10, 16 << 10},
		{"full_crc32 32k", 0x16, 32 << 10, 32 << 10},
		{"full_crc32 64k", 0x17, 64 << 10, 64 << 10},
		{"full_crc32 zlib", 0x35, 16 << 10, 16 << 10},
		{"full_crc32 snappy", 0xd5, 16 << 10, 16 << 10},
		{"compact 16k", 0, 16 << 10, 16 << 10},
		{"compact 4k", 3 << 6, 4 << 10, 4 << 10},
		{"dynamic 16k", 0x21, 16 << 10, 16 << 10},
		{"dynamic 16k DATA DIRECTORY", 0x421, 16 << 10, 16 << 10},
		{"dynamic 64k", 0x21 | 7<<6, 64 << 10, 64 << 10},
		{"zip 1k on 16k", 0x21 | 1<<1, 16 << 10, 1 << 10},
		{"zip 8k on 16k", 0x21 | 4<<1, 16 << 10, 8 << 10},
		{"zip 16k on 16k", 0x21 | 5<<1, 16 << 10, 16 << 10},
		{"zip 2k on 4k", 0x21 | 2<<1 | 3<<6, 4 << 10, 2 << 10},
		{"PAGE_COMPRESSED 16k", 0x21 | flagPageCompressed, 16 << 10, 16 << 10},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			page := header(77, tt.flags, 640)
			s, err := ParseSpace(page, tt.logical)
			if err != nil {
				t.Fatal(err)
			}
			want := Space{ID: 77, Flags: tt.flags, Size: 640, PageSize: tt.want}
			if s != want {
				t.Errorf("ParseSpace = %+v, want %+v", s, want)
			}
			if s.Flags.LogicalSize() != tt.logical {
				t.Errorf("LogicalSize = %d, want %d", s.Flags.LogicalSize(), tt.logical)
			}
			// More of the file, as a caller has who does not know the page size yet.
			if s, err = ParseSpace(append(page, 1, 2, 3), tt.logical); err != nil || s != want {
				t.Errorf("with more bytes: %+v, %v", s, err)
			}
		})
	}
}

func TestParseSpaceErrors(t *testing.T) {
	good := func() []byte { return header(77, full16, 6) }
	changed := func(off int, v uint32) []byte {
		page := good()
		put32(page, off, v)
		sealHeader(page, full16)
		return page
	}
	tests := []struct {
		name    string
		page    []byte
		logical int
		want    error
	}{
		{"empty file", nil, 16 << 10, ErrNoSpace},
		{"zeros", make([]byte, 16<<10), 16 << 10, ErrNoSpace},
		{"few zeros", make([]byte, 10), 16 << 10, ErrNoSpace},
		{"few bytes", good()[:40], 16 << 10, ErrHeader},
		{"half a page", good()[:8<<10], 16 << 10, ErrHeader},
		{"other page size", good(), 8 << 10, ErrPageSize},
		{"other page size, legacy", header(77, 0x21, 6), 8 << 10, ErrPageSize},
		{"not a page size", good(), 12345, ErrPageSize},
		{"two tablespace ids", changed(offHeaderSpaceID, 78), 16 << 10, ErrHeader},
		{"flags of a newer server", changed(offHeaderFlags, 0x10015), 16 << 10, ErrFlags},
		{"flags of MySQL 8.0", changed(offHeaderFlags, 0x4021), 16 << 10, ErrFlags},
		{"page size of 256k", changed(offHeaderFlags, 0x19), 16 << 10, ErrFlags},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := ParseSpace(tt.page, tt.logical); !errors.Is(err, tt.want) {
				t.Errorf("ParseSpace = %v, want %v", err, tt.want)
			}
		})
	}

	reserved := header(0xFFFFFFFE, full16, 6)
	if _, err := ParseSpace(reserved, 16<<10); !errors.Is(err, ErrHeader) {
		t.Errorf("temporary tablespace: %v, want ErrHeader", err)
	}
	for _, off := range []int{2, 17, 37, 50, 12000, 16383} {
		page := good()
		page[off] ^= 1
		var pe *PageError
		if _, err := ParseSpace(page, 16<<10); !errors.As(err, &pe) {
			t.Errorf("byte %d changed: %v, want a *PageError", off, err)
		}
	}
	if _, err := ParseSpace(changed(offPageNo, 3), 16<<10); err == nil {
		t.Error("page 3 taken for page 0")
	}
}

func TestParseSpaceEncrypted(t *testing.T) {
	// The offsets were found in files of real servers.
	tests := []struct {
		name   string
		flags  Flags
		offset int
	}{
		{"4k", 0x13, 1596}, {"8k", 0x14, 3772}, {"16k", 0x15, 10428}, {"32k", 0x16, 20668}, {"64k", 0x17, 41148},
		{"legacy 16k", 0x21, 10428},
		{"zip 8k", 0x21 | 4<<1, 5308}, {"zip 4k", 0x21 | 3<<1, 2748}, {"zip 2k", 0x21 | 2<<1, 1468},
		{"zip 1k", 0x21 | 1<<1, 828},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			page := header(3, tt.flags, 6)
			copy(page[tt.offset:], "\x73\x0e\x0c\x52\x45\x74\x01\x10")
			sealHeader(page, tt.flags)
			s, err := ParseSpace(page, tt.flags.LogicalSize())
			if err != nil || !s.Encrypted {
				t.Errorf("ParseSpace = %+v, %v, want Encrypted", s, err)
			}
		})
	}
}

func TestFlagsOfMariaDB101(t *testing.T) {
	old := func(compressed, level, code Flags) Flags { return 0x21 | compressed<<6 | level<<7 | code<<13 }
	tests := []struct {
		name    string
		flags   Flags
		logical int
		want    Flags
		err     error
	}{
		{"uncompressed 16k is the same in both", 0x21, 16 << 10, 0x21, nil},
		{"compressed 16k level 9", old(1, 9, 0), 16 << 10, 0x21 | flagPageCompressed, nil},
		{"compressed 16k level 1 reads like 4k", old(1, 1, 0), 16 << 10, 0x21 | flagPageCompressed, nil},
		{"4k that reads like compressed 16k", 0x21 | 3<<6, 4 << 10, 0x21 | 3<<6, nil},
		{"uncompressed 8k", old(0, 0, 4), 8 << 10, 0x21 | 4<<6, nil},
		{"compressed 64k", old(1, 6, 7), 64 << 10, 0x21 | 7<<6 | flagPageCompressed, nil},
		{"level without compression", old(0, 6, 0), 16 << 10, 0, ErrFlags},
		{"compressed 64k on a server of 16k", old(1, 6, 7), 16 << 10, 0, ErrFlags},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := parseFlags(tt.flags, tt.logical)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("parseFlags(%#x) = %#x, %v, want %#x, %v", tt.flags, got, err, tt.want, tt.err)
			}
		})
	}
}

func TestFlagsKnown(t *testing.T) {
	known := 0
	for f := Flags(0); f < 1<<18; f++ {
		if f.Known() != nil {
			continue
		}
		known++
		logical, physical, zip := f.LogicalSize(), f.PhysicalSize(), f.ZipSize()
		if logical < 4<<10 || logical > 64<<10 || physical < 1<<10 || physical > logical {
			t.Fatalf("%#x: pages of %d in %d", f, logical, physical)
		}
		if zip != 0 && (zip != physical || f.FullCRC32()) {
			t.Fatalf("%#x: zip %d, physical %d", f, zip, physical)
		}
	}
	// full_crc32: 5 page sizes x 7 algorithms. Before: 5 page sizes x 3 row formats, and
	// 3, 4, 5, 5, 5 sizes of zip; each with and without DATA DIRECTORY and PAGE_COMPRESSED.
	if want := 5*7 + 4*(5*3+3+4+5+5+5); known != want {
		t.Errorf("%d sets of flags are known, want %d", known, want)
	}
}

func TestDoublewrite(t *testing.T) {
	page := func(size int, words ...uint32) []byte {
		p := make([]byte, size)
		for i, w := range words {
			put32(p, size-190+4*i, w)
		}
		return p
	}
	const magic = 536853855
	tests := []struct {
		name   string
		page   []byte
		size   int
		first  PageNo
		second PageNo
		extent int
		ok     bool
	}{
		{"16k", page(16<<10, magic, 64, 128, magic, 64, 128), 16 << 10, 64, 128, 64, true},
		{"4k", page(4<<10, magic, 256, 512, magic, 256, 512), 4 << 10, 256, 512, 256, true},
		{"64k", page(64<<10, magic, 64, 128, magic, 64, 128), 64 << 10, 64, 128, 64, true},
		{"none", page(16 << 10), 16 << 10, 0, 0, 0, false},
		{"the two differ", page(16<<10, magic, 64, 128, magic, 64, 129), 16 << 10, 0, 0, 0, false},
		{"only one", page(16<<10, magic, 64, 128), 16 << 10, 0, 0, 0, false},
		{"at page 0", page(16<<10, magic, 0, 128, magic, 0, 128), 16 << 10, 0, 0, 0, false},
		{"short page", page(4<<10, magic, 64, 128, magic, 64, 128), 16 << 10, 0, 0, 0, false},
		{"no page", nil, 0, 0, 0, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			first, second, extent, ok := Doublewrite(tt.page, tt.size)
			if first != tt.first || second != tt.second || extent != tt.extent || ok != tt.ok {
				t.Errorf("Doublewrite = %d, %d, %d, %v", first, second, extent, ok)
			}
		})
	}
}

func FuzzParseSpace(f *testing.F) {
	for _, flags := range []Flags{0x13, 0x21 | 1<<1, 0x21 | 3<<6, 0x21 | 1<<1 | 3<<6} {
		f.Add(header(77, flags, 640), flags.LogicalSize())
	}
	f.Add([]byte{}, 16<<10)
	f.Fuzz(func(t *testing.T, page []byte, logical int) {
		s, err := ParseSpace(page, logical)
		if err != nil {
			if s != (Space{}) {
				t.Errorf("%+v with error %v", s, err)
			}
			return
		}
		if s.PageSize > len(page) || s.PageSize > logical || s.Flags.Known() != nil {
			t.Errorf("%+v from %d bytes, logical page size %d", s, len(page), logical)
		}
		if err := s.Check(page[:s.PageSize], 0); err != nil {
			t.Errorf("Check = %v", err)
		}
	})
}

func FuzzDoublewrite(f *testing.F) {
	f.Add(make([]byte, 4096), 4096)
	f.Fuzz(func(t *testing.T, page []byte, size int) {
		if first, second, _, ok := Doublewrite(page, size); ok && (first == 0 || second == 0) {
			t.Errorf("runs at %d and %d", first, second)
		}
	})
}

func TestSetID(t *testing.T) {
	for _, flags := range []Flags{0x15, 0x35, 0, 0x21, 0x21 | 1<<1, 0x21 | 4<<1} {
		page := header(7, flags, 6)
		s, err := ParseSpace(page, 16384)
		if err != nil {
			t.Fatal(err)
		}
		before := s
		s.SetID(page, 99)
		again, err := ParseSpace(page, 16384)
		if err != nil || again != s || again.ID != 99 || again.Size != before.Size {
			t.Errorf("flags %#x: %+v is read as %+v: %v", flags, s, again, err)
		}
	}
}
