package innodb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

// put32 stores v at off.
func put32(b []byte, off int, v uint32) { binary.BigEndian.PutUint32(b[off:], v) }

// form is a way in which a page can be stored.
type form struct {
	name  string
	flags Flags
	// seal makes a page of random bytes, which has its number and tablespace
	// already, one of this form.
	seal func(page []byte)
	// open are the ranges in which a changed byte cannot be seen: [from, to), to <= 0
	// counts from the end of the page.
	open [][2]int
	// unverifiable says that Verifiable is false.
	unverifiable bool
}

const (
	full16   = Flags(flagFullCRC32 | 5)
	legacy16 = Flags(flagPostAntelope | flagAtomicBlobs)
	zip4     = Flags(flagPostAntelope | flagAtomicBlobs | 3<<1)
)

func setType(page []byte, t uint16) { binary.BigEndian.PutUint16(page[offType:], t) }
func setKeys(page []byte, full, old int) {
	put32(page, 0, uint32(full))
	put32(page, offLegacyKey, uint32(old))
}

// endLSN repeats the low word of the LSN, off bytes before the end.
func endLSN(page []byte, off int) { copy(page[len(page)-off:], page[offLSN+4:offLSN+8]) }

func legacyCRC(page []byte) uint32 { return crc32c(page[4:26]) ^ crc32c(page[38:len(page)-8]) }

func zipCRC(page []byte) uint32 {
	return crc32c(page[4:16]) ^ crc32c(page[24:26]) ^ crc32c(page[34:])
}

func forms() []form {
	var all []form
	for code := Flags(3); code <= 7; code++ {
		all = append(all, form{
			name: fmt.Sprintf("full_crc32 %d", 512<<code), flags: flagFullCRC32 | code,
			seal: func(p []byte) {
				setType(p, 17855)
				setKeys(p, 0, 0)
				endLSN(p, 8)
				put32(p, len(p)-4, crc32c(p[:len(p)-4]))
			},
		})
		ssize := code
		if code == code16K {
			ssize = 0
		}
		all = append(all, form{
			name: fmt.Sprintf("crc32 %d", 512<<code), flags: legacy16 | ssize<<6,
			seal: func(p []byte) {
				setKeys(p, 0, 0)
				endLSN(p, 4)
				put32(p, 0, legacyCRC(p))
				put32(p, len(p)-8, legacyCRC(p))
			},
			open: [][2]int{{26, 34}},
		})
	}
	for code := Flags(1); code <= 5; code++ {
		all = append(all, form{
			name: fmt.Sprintf("zip %d", 512<<code), flags: legacy16 | code<<1,
			seal: func(p []byte) { setKeys(p, 0, 0); put32(p, 0, zipCRC(p)) },
			open: [][2]int{{16, 24}, {26, 34}},
		})
	}
	return append(all, []form{
		{
			name: "full_crc32 encrypted", flags: full16,
			seal: func(p []byte) {
				setType(p, 17855)
				put32(p, 0, 1)
				put32(p, len(p)-4, crc32c(p[:len(p)-4]))
			},
		},
		{
			name: "full_crc32 compressed", flags: full16 | 1<<5,
			seal: func(p []byte) {
				setKeys(p, 0, 0)
				setType(p, 1<<15|7)
				put32(p, 7*256-4, crc32c(p[:7*256-4]))
			},
			open: [][2]int{{7 * 256, 0}},
		},
		{
			name: "full_crc32 compressed and encrypted", flags: full16 | 1<<5,
			seal: func(p []byte) {
				put32(p, 0, 9)
				setType(p, 1<<15|63)
				put32(p, 63*256-4, crc32c(p[:63*256-4]))
			},
			open: [][2]int{{63 * 256, 0}},
		},
		{
			name: "crc32 encrypted", flags: legacy16,
			seal: func(p []byte) { put32(p, 26, 1); put32(p, 30, legacyCRC(p)) },
			open: [][2]int{{0, 4}, {26, 30}, {-8, 0}},
		},
		{
			name: "innodb", flags: legacy16,
			seal: func(p []byte) {
				setKeys(p, 0, 0)
				endLSN(p, 4)
				put32(p, 0, foldPage(p))
				put32(p, len(p)-8, fold(p[:26]))
			},
			open: [][2]int{{26, 34}},
		},
		{
			name: "innodb encrypted", flags: legacy16,
			seal: func(p []byte) { put32(p, 26, 1); put32(p, 30, foldPage(p)) },
			open: [][2]int{{0, 4}, {26, 30}, {-8, 0}},
		},
		{
			name: "zip encrypted", flags: zip4,
			seal: func(p []byte) { put32(p, 26, 1); put32(p, 30, zipCRC(p)) },
			open: [][2]int{{0, 4}, {16, 24}, {26, 30}},
		},
		{
			name: "zip innodb", flags: zip4,
			seal: func(p []byte) { setKeys(p, 0, 0); put32(p, 0, zipAdler(p)) },
			open: [][2]int{{16, 24}, {26, 34}},
		},
		{
			name: "zip innodb encrypted", flags: zip4,
			seal: func(p []byte) { put32(p, 26, 1); put32(p, 30, zipAdler(p)) },
			open: [][2]int{{0, 4}, {16, 24}, {26, 30}},
		},
		{
			name: "zip none", flags: zip4,
			seal:         func(p []byte) { setKeys(p, 0, 0); put32(p, 0, noChecksum) },
			open:         [][2]int{{8, 34}, {38, 0}},
			unverifiable: true,
		},
		{
			name: "zip none encrypted", flags: zip4,
			seal:         func(p []byte) { put32(p, 26, 1); put32(p, 30, noChecksum) },
			open:         [][2]int{{0, 4}, {8, 30}, {38, 0}},
			unverifiable: true,
		},
		{
			name: "none", flags: legacy16,
			seal: func(p []byte) {
				setKeys(p, 0, 0)
				endLSN(p, 4)
				put32(p, 0, noChecksum)
				put32(p, len(p)-8, noChecksum)
			},
			open:         [][2]int{{8, 20}, {24, 34}, {38, -8}},
			unverifiable: true,
		},
		{
			name: "none encrypted", flags: legacy16,
			seal:         func(p []byte) { put32(p, 26, 1); put32(p, 30, noChecksum) },
			open:         [][2]int{{0, 4}, {8, 30}, {38, 0}},
			unverifiable: true,
		},
		{
			name: "legacy PAGE_COMPRESSED", flags: legacy16 | flagPageCompressed,
			seal: func(p []byte) {
				put32(p, 26, 0)
				setType(p, typeLegacyCompressed)
				binary.BigEndian.PutUint16(p[38:], 900)
			},
			open:         [][2]int{{0, 4}, {8, 24}, {26, 34}, {39, 0}},
			unverifiable: true,
		},
		{
			name: "legacy PAGE_COMPRESSED encrypted", flags: legacy16 | flagPageCompressed,
			seal: func(p []byte) {
				put32(p, 26, 1)
				setType(p, typeLegacyCompressedEncrypted)
				binary.BigEndian.PutUint16(p[38:], 900)
			},
			open:         [][2]int{{0, 4}, {8, 24}, {26, 34}, {39, 0}},
			unverifiable: true,
		},
	}...)
}

// sealed returns page 7 of tablespace 5 in the form, with random contents.
func (f form) sealed(seed uint64) (Space, []byte) {
	s := Space{ID: 5, Flags: f.flags, PageSize: f.flags.PhysicalSize()}
	page := make([]byte, s.PageSize)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range page {
		page[i] = byte(r.Uint32())
	}
	put32(page, offPageNo, 7)
	put32(page, offSpaceID, 5)
	if f.name == "full_crc32 encrypted" {
		put32(page, offSpaceID, 0x12345678) // it is encrypted
	}
	f.seal(page)
	return s, page
}

// covered reports whether a change of byte i of a page of the form must be found.
func (f form) covered(i, size int) bool {
	for _, o := range f.open {
		from, to := o[0], o[1]
		if from < 0 {
			from += size
		}
		if to <= 0 {
			to += size
		}
		if i >= from && i < to {
			return false
		}
	}
	return true
}

func TestCheckForms(t *testing.T) {
	for _, f := range forms() {
		t.Run(f.name, func(t *testing.T) {
			s, page := f.sealed(3)
			if err := f.flags.Known(); err != nil {
				t.Fatal(err)
			}
			if err := s.Check(page, 7); err != nil {
				t.Fatalf("whole page: %v", err)
			}
			if got := s.Verifiable(page); got == f.unverifiable {
				t.Errorf("Verifiable = %v, want %v", got, !f.unverifiable)
			}
			step := max(1, len(page)/2048)
			for i := 0; i < len(page); i++ {
				// Every byte of header and trailer, and a part of the rest.
				if i > 64 && i < len(page)-64 && i%step != 0 {
					continue
				}
				page[i] ^= 0xff
				err := s.Check(page, 7)
				page[i] ^= 0xff
				if found, want := err != nil, f.covered(i, len(page)); found != want {
					t.Errorf("byte %d changed: found = %v, want %v (%v)", i, found, want, err)
				}
			}
			if n := testing.AllocsPerRun(10, func() { _ = s.Check(page, 7) }); n != 0 {
				t.Errorf("%v allocations per page, want 0", n)
			}
		})
	}
}

func TestCheckTornPage(t *testing.T) {
	for _, f := range forms() {
		if f.unverifiable {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			s, older := f.sealed(3)
			_, newer := f.sealed(4)
			for cut := 512; cut < len(older); cut += 512 {
				torn := append(append([]byte{}, newer[:cut]...), older[cut:]...)
				if !f.covered(cut, len(older)) {
					continue
				}
				if err := s.Check(torn, 7); err == nil {
					t.Errorf("torn after %d bytes: not found", cut)
				}
			}
		})
	}
}

func TestCheckZeroPage(t *testing.T) {
	for _, f := range forms() {
		s := Space{ID: 5, Flags: f.flags, PageSize: f.flags.PhysicalSize()}
		page := make([]byte, s.PageSize)
		if err := s.Check(page, 9); err != nil {
			t.Errorf("%s: page of zeros: %v", f.name, err)
		}
		if !s.Verifiable(page) {
			t.Errorf("%s: page of zeros: not verifiable", f.name)
		}
		page[len(page)-20] = 1
		if err := s.Check(page, 9); err == nil {
			t.Errorf("%s: page of zeros but one byte: not found", f.name)
		}
	}
}

func TestCheckReasons(t *testing.T) {
	crc := form{flags: legacy16}
	for _, f := range forms() {
		if f.name == "crc32 16384" {
			crc = f
		}
	}
	full, fullPage := forms()[4].sealed(1)
	legacy, legacyPage := crc.sealed(1)
	change := func(page []byte, do func([]byte)) []byte {
		page = append([]byte{}, page...)
		do(page)
		return page
	}
	tests := []struct {
		name  string
		space Space
		page  []byte
		no    PageNo
		want  Reason
		text  string
	}{
		{"whole", full, fullPage, 7, 0, ""},
		{"a byte short", full, fullPage[1:], 7, ReasonLength, "page 7: length: got 16383, want 16384"},
		{"no bytes", full, nil, 7, ReasonLength, "page 7: length: got 0"},
		{"page of another number", full, fullPage, 8, ReasonPageNo, "page 8: page number: got 7, want 8"},
		{"page of another tablespace", Space{ID: 6, Flags: full.Flags, PageSize: full.PageSize}, fullPage, 7,
			ReasonSpace, "page 7: tablespace id: got 5, want 6"},
		{"page of another tablespace, legacy", Space{ID: 6, Flags: legacy.Flags, PageSize: legacy.PageSize}, legacyPage,
			7,
			ReasonSpace, "tablespace id"},
		{"system tablespace older than the field", Space{ID: 0, Flags: legacy.Flags, PageSize: legacy.PageSize},
			legacyPage, 7, 0, ""},
		{"page number of zero", full, change(fullPage, func(p []byte) {
			put32(p, offPageNo, 0)
			put32(p, len(p)-4, crc32c(p[:len(p)-4]))
		}), 7, ReasonPageNo, "got 0, want 7"},
		{"contents", full, change(fullPage, func(p []byte) { p[5000]++ }), 7, ReasonChecksum,
			"page 7: checksum: got 0x"},
		{"LSN at the end", full, change(fullPage, func(p []byte) {
			p[len(p)-8]++
			put32(p, len(p)-4, crc32c(p[:len(p)-4]))
		}), 7, ReasonLSN, "log sequence number"},
		{"LSN at the end, legacy", legacy, change(legacyPage, func(p []byte) { p[len(p)-1]++ }), 7, ReasonLSN, ""},
		{"second checksum, legacy", legacy, change(legacyPage, func(p []byte) { p[len(p)-8]++ }), 7, ReasonChecksum,
			""},
		{"compressed to nothing", full, change(fullPage, func(p []byte) { setType(p, 1<<15) }), 7, ReasonSize,
			"got 0, want 16128"},
		{"compressed to a whole page", full, change(fullPage, func(p []byte) { setType(p, 1<<15|64) }), 7, ReasonSize,
			"got 16384, want 16128"},
		{"compressed to more than a page", full, change(fullPage, func(p []byte) { setType(p, 1<<15|0x7fff) }), 7,
			ReasonSize, ""},
		{"compressed page in a tablespace that has none", legacy,
			change(legacyPage, func(p []byte) { setType(p, typeLegacyCompressed) }),
			7, ReasonChecksum, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.space.Check(tt.page, tt.no)
			if tt.want == 0 {
				if err != nil {
					t.Errorf("Check = %v, want nil", err)
				}
				return
			}
			var pe *PageError
			if !errors.As(err, &pe) {
				t.Fatalf("Check = %v, want a *PageError", err)
			}
			if pe.Page != tt.no || pe.Reason != tt.want {
				t.Errorf("page %d, reason %q, want %d, %q", pe.Page, pe.Reason, tt.no, tt.want)
			}
			if !strings.Contains(pe.Error(), tt.text) {
				t.Errorf("error %q, want it to contain %q", pe, tt.text)
			}
		})
	}
}

// Old servers left a flush LSN in pages that are otherwise clear or empty; it looks
// like the version of a key.
func TestCheckOldSystemTablespace(t *testing.T) {
	var crc form
	for _, f := range forms() {
		if f.name == "crc32 16384" {
			crc = f
		}
	}
	s, page := crc.sealed(1)
	put32(page, offLegacyKey, 0x01020304)
	put32(page, offLegacyPost, 0x05060708)
	if err := s.Check(page, 7); err != nil {
		t.Errorf("clear page with a flush LSN: %v", err)
	}
	page[400]++
	if err := s.Check(page, 7); err == nil {
		t.Error("clear page with a flush LSN, damaged: not found")
	}
	empty := make([]byte, s.PageSize)
	put32(empty, offLegacyPost, 0x05060708)
	if err := s.Check(empty, 7); err != nil {
		t.Errorf("empty page with a flush LSN: %v", err)
	}

	// Before MySQL 4.0.14 there was no first checksum.
	system := Space{ID: 0, Flags: 0, PageSize: 16 << 10}
	put32(page, offChecksum, 0)
	put32(page, len(page)-8, be32(page, offLSN))
	if err := system.Check(page, 7); err != nil {
		t.Errorf("page of MySQL 3.23: %v", err)
	}
	if system.Verifiable(page) {
		t.Error("page of MySQL 3.23: verifiable")
	}
	if err := s.Check(page, 7); err == nil {
		t.Error("page without checksum in a table's own tablespace: not found")
	}
}

// The pages in testdata are page 4 of tables that MariaDB 10.5 wrote with its old
// checksum algorithms, which later servers only read.
func TestCheckPagesOfMariaDB105(t *testing.T) {
	const table = Flags(flagPostAntelope | flagAtomicBlobs | 3<<6)
	tests := []struct {
		name       string
		flags      Flags
		verifiable bool
		open       [][2]int
	}{
		{"innodb-dynamic", table, true, [][2]int{{26, 34}}},
		{"innodb-encrypted_dynamic", table, true, [][2]int{{0, 4}, {26, 30}, {-8, 0}}},
		{"innodb-zip_1", table | 1<<1, true, [][2]int{{16, 24}, {26, 34}}},
		{"innodb-encrypted_zip_1", table | 1<<1, true, [][2]int{{0, 4}, {16, 24}, {26, 30}}},
		{"none-dynamic", table, false, [][2]int{{8, 20}, {24, 34}, {38, -8}}},
		{"none-encrypted_zip_1", table | 1<<1, false, [][2]int{{0, 4}, {8, 34}, {38, 0}}},
		{"crc32-encrypted_compressed", table | flagPageCompressed, false, [][2]int{{0, 4}, {8, 24}, {26, 34}, {39, 0}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			page, err := os.ReadFile("testdata/" + tt.name + ".page")
			if err != nil {
				t.Fatal(err)
			}
			s := Space{ID: SpaceID(be32(page, offSpaceID)), Flags: tt.flags, PageSize: len(page)}
			if err := s.Check(page, 4); err != nil {
				t.Fatal(err)
			}
			if got := s.Verifiable(page); got != tt.verifiable {
				t.Errorf("Verifiable = %v, want %v", got, tt.verifiable)
			}
			for i := range page {
				page[i] ^= 0xff
				err := s.Check(page, 4)
				page[i] ^= 0xff
				if found, want := err != nil, (form{open: tt.open}).covered(i, len(page)); found != want {
					t.Errorf("byte %d changed: found = %v, want %v (%v)", i, found, want, err)
				}
			}
		})
	}
}

func TestPageLSN(t *testing.T) {
	page := make([]byte, 64)
	binary.BigEndian.PutUint64(page[16:], 1<<40+5)
	if got := PageLSN(page); got != 1<<40+5 {
		t.Errorf("PageLSN = %v, want %d", got, 1<<40+5)
	}
	if got := PageLSN(page[:30]); got != 0 {
		t.Errorf("PageLSN of a short buffer = %v, want 0", got)
	}
	if got := LSN(1<<63 + 1).String(); got != "9223372036854775809" {
		t.Errorf("String = %s", got)
	}
}

func TestPageIsZero(t *testing.T) {
	for _, n := range []int{0, 1, 2, 7, 8, 9, 63, 64, 65, 1000, 65536} {
		b := make([]byte, n)
		if !PageIsZero(b) {
			t.Errorf("%d zeros: false", n)
		}
		for i := 0; i < n; i += max(1, n/97) {
			b[i] = 1
			if PageIsZero(b) {
				t.Errorf("%d bytes with a one at %d: true", n, i)
			}
			b[i] = 0
		}
		for i := range b {
			b[i] = 3
		}
		if n > 0 && PageIsZero(b) {
			t.Errorf("%d threes: true", n)
		}
	}
}

func FuzzCheck(f *testing.F) {
	for i, fm := range forms() {
		if _, page := fm.sealed(1); len(page) <= 4096 {
			f.Add(uint32(fm.flags), uint32(7), uint16(100*i), page)
		}
	}
	f.Fuzz(func(t *testing.T, flags, no uint32, at uint16, data []byte) {
		s := Space{ID: 5, Flags: Flags(flags), PageSize: len(data)}
		err := s.Check(data, PageNo(no))
		_ = s.Verifiable(data)
		if err != nil {
			if err.Error() == "" {
				t.Error("error without a text")
			}
			return
		}
		// A page with a checksum stays whole only if the changed byte is not covered.
		if s.blank(data) || !s.Verifiable(data) {
			return
		}
		i := int(at) % len(data)
		data[i] ^= 0x55
		if s.Flags.FullCRC32() && !compressedBit(data) && i != offType && s.Check(data, PageNo(no)) == nil {
			t.Errorf("byte %d changed: not found", i)
		}
	})
}

func BenchmarkCheck(b *testing.B) {
	for _, f := range forms() {
		b.Run(f.name, func(b *testing.B) {
			s, page := f.sealed(1)
			b.SetBytes(int64(len(page)))
			b.ReportAllocs()
			for b.Loop() {
				if err := s.Check(page, 7); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("zeros", func(b *testing.B) {
		s := Space{ID: 5, Flags: full16, PageSize: 16 << 10}
		page := make([]byte, s.PageSize)
		b.SetBytes(int64(len(page)))
		for b.Loop() {
			if err := s.Check(page, 7); err != nil {
				b.Fatal(err)
			}
		}
	})
}
