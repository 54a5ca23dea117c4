package innodb

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Offsets in page 0 of a tablespace, after the page header.
const (
	offHeaderSpaceID = 38 // number of the tablespace, again
	offHeaderSize    = 46 // size of the tablespace in pages
	offHeaderFlags   = 54 // Flags
	headerEnd        = 58
)

const (
	minPhysicalPage = 1 << 10 // smallest ROW_FORMAT=COMPRESSED page
	minLogicalPage  = 4 << 10
	maxLogicalPage  = 64 << 10

	// reservedSpaceID is the first number that no persistent tablespace has.
	reservedSpaceID = 0xFFFFFFF0

	// cryptMagic begins the description of the encryption in page 0.
	cryptMagic = "s\x0e\x0cREt"
)

// Errors of ParseSpace and of Flags.Known.
var (
	// ErrNoSpace is returned by ParseSpace for a first page that was not yet
	// written: the server is creating the file, and its contents are in the redo log.
	ErrNoSpace = errors.New("tablespace not yet written")
	// ErrFlags is returned for tablespace flags that no supported server writes.
	ErrFlags = errors.New("unknown tablespace flags")
	// ErrPageSize is returned by ParseSpace for a tablespace made by a server with
	// another innodb_page_size.
	ErrPageSize = errors.New("page size is not the server's")
	// ErrHeader is returned by ParseSpace for a first page that is whole but
	// contradicts itself.
	ErrHeader = errors.New("tablespace header is inconsistent")
)

// Flags describe the format of a tablespace. They stand in its first page.
type Flags uint32

// Layout of the flags. In the full_crc32 format bits 0 to 3 are the code of the
// page size and bits 5 to 7 the page compression algorithm. Before, bits 1 to 4
// were the code of the ROW_FORMAT=COMPRESSED page size, which never reached bit 4.
const (
	flagPostAntelope   = 1 << 0
	flagFullCRC32      = 1 << 4
	flagAtomicBlobs    = 1 << 5
	flagDataDir        = 1 << 10 // meaningless
	flagPageCompressed = 1 << 16

	// code16K is the code of 16 KiB pages: the size is 512 << code.
	code16K = 5
	// lastAlgorithm is the highest page compression algorithm (snappy).
	lastAlgorithm = 6
)

// FullCRC32 reports whether pages have the format of
// innodb_checksum_algorithm=full_crc32, the default since MariaDB 10.5.
func (f Flags) FullCRC32() bool { return f&flagFullCRC32 != 0 }

// ZipSize returns the size in bytes of the pages of a ROW_FORMAT=COMPRESSED table,
// or 0 if the table is not of that format.
func (f Flags) ZipSize() int {
	if code := f >> 1 & 15; !f.FullCRC32() && code != 0 {
		return 512 << code
	}
	return 0
}

// pageCode returns the code of the logical page size: the size is 512 << code. The
// old format has 0 for 16 KiB.
func (f Flags) pageCode() Flags {
	if f.FullCRC32() {
		return f & 15
	}
	if code := f >> 6 & 15; code != 0 {
		return code
	}
	return code16K
}

// LogicalSize returns the innodb_page_size in bytes with which the tablespace was
// made.
func (f Flags) LogicalSize() int { return 512 << f.pageCode() }

// PhysicalSize returns the size in bytes of a page in the file.
func (f Flags) PhysicalSize() int {
	if zip := f.ZipSize(); zip != 0 {
		return zip
	}
	return f.LogicalSize()
}

// PageCompressed reports whether the tablespace was made with PAGE_COMPRESSED=1. In
// the full_crc32 format single pages can be compressed without it.
func (f Flags) PageCompressed() bool {
	if f.FullCRC32() {
		return f>>5&7 != 0
	}
	return f&flagPageCompressed != 0
}

// Known returns nil if the flags are those of a format that this package checks, and
// otherwise an error that wraps ErrFlags: flags of MySQL 8.0, of a newer server, or
// damage.
func (f Flags) Known() error {
	if f.known() {
		return nil
	}
	return fmt.Errorf("flags %#x: %w", uint32(f), ErrFlags)
}

func (f Flags) known() bool {
	size := f.LogicalSize()
	if size < minLogicalPage || size > maxLogicalPage {
		return false
	}
	if f.FullCRC32() {
		return f>>5 <= lastAlgorithm
	}
	const compact = flagPostAntelope | flagAtomicBlobs
	if f&compact == flagAtomicBlobs {
		return false
	}
	if f>>6&15 == code16K || f&^(flagPageCompressed|flagDataDir|0x3ff) != 0 {
		return false
	}
	zip := f.ZipSize()
	return zip == 0 || zip <= size && zip <= 16<<10 && f&compact == compact
}

// fromMariaDB101 returns flags as MariaDB 10.1.0 to 10.1.20 wrote them, with the
// fields at the wrong bits, in the layout of all other versions, and false if they
// cannot be of those versions. Current servers still read such files, and rewrite
// the flags when they first change them.
func (f Flags) fromMariaDB101() (Flags, bool) {
	compressed, level, atomic, code := f>>6&1, f>>7&15, f>>11&3, f>>13&15
	if f.FullCRC32() || f>>18 != 0 || level > 9 || (compressed != 0) != (level != 0) || atomic == 3 {
		return 0, false
	}
	g := f&0x3f | code<<6
	if compressed != 0 {
		g |= flagPageCompressed
	}
	return g, g.known()
}

// Space is a tablespace, as far as its first page describes it. The zero value is
// not usable; ParseSpace makes one.
type Space struct {
	ID    SpaceID
	Flags Flags
	// Size is the number of pages that the tablespace says it has. The file can be
	// shorter or longer while the server extends it.
	Size PageNo
	// PageSize is the size of a page in the file, in bytes: 1024 to 65536.
	PageSize int
	// Encrypted is true if page 0 describes encryption. Some or all pages may still
	// be clear, and encryption may be switched on later.
	Encrypted bool
}

// ParseSpace reads the first page of a tablespace and proves that it is whole.
// page0 is the beginning of the first file: logicalPageSize bytes, or the whole file
// if that is shorter; logicalPageSize is the server's innodb_page_size.
//
// It returns ErrNoSpace if the page is not yet written, a *PageError if it is torn or
// damaged, and errors that wrap ErrFlags, ErrPageSize or ErrHeader. A page 0 that is
// being written can give any of them, so a caller should read again before it
// believes one.
func ParseSpace(page0 []byte, logicalPageSize int) (Space, error) {
	if PageIsZero(page0[:min(len(page0), minPhysicalPage)]) {
		return Space{}, ErrNoSpace
	}
	if len(page0) < minPhysicalPage {
		return Space{}, fmt.Errorf("%d bytes are not a page: %w", len(page0), ErrHeader)
	}
	flags, err := parseFlags(Flags(be32(page0, offHeaderFlags)), logicalPageSize)
	if err != nil {
		return Space{}, err
	}
	s := Space{
		ID:       SpaceID(be32(page0, offSpaceID)),
		Flags:    flags,
		Size:     PageNo(be32(page0, offHeaderSize)),
		PageSize: flags.PhysicalSize(),
	}
	if len(page0) < s.PageSize {
		return Space{}, fmt.Errorf("%d bytes of a page of %d: %w", len(page0), s.PageSize, ErrHeader)
	}
	page0 = page0[:s.PageSize]
	if err := s.Check(page0, 0); err != nil {
		return Space{}, err
	}
	if id := SpaceID(be32(page0, offHeaderSpaceID)); id != s.ID || id >= reservedSpaceID {
		return Space{}, fmt.Errorf("tablespace id %d in the page header, %d after it: %w", s.ID, id, ErrHeader)
	}
	off := s.cryptOffset()
	s.Encrypted = string(page0[off:off+len(cryptMagic)]) == cryptMagic
	return s, nil
}

// parseFlags returns the flags in the current layout, if they are known and belong to
// the given page size. The page size also tells the two layouts apart where flags
// could be of both.
func parseFlags(f Flags, logicalPageSize int) (Flags, error) {
	known := f.known()
	if known && f.LogicalSize() == logicalPageSize {
		return f, nil
	}
	if g, ok := f.fromMariaDB101(); ok && g.LogicalSize() == logicalPageSize {
		return g, nil
	}
	if known {
		return 0, fmt.Errorf("%d bytes, the server's is %d: %w", f.LogicalSize(), logicalPageSize, ErrPageSize)
	}
	return 0, f.Known()
}

// extentPages returns the number of pages in an extent: 1 MiB, but at least 64 pages.
// It depends on the logical page size only.
func extentPages(logicalPageSize int) int {
	return max(1<<20/logicalPageSize, 64)
}

// cryptOffset returns where page 0 describes the encryption: 38 bytes after the
// descriptors of the extents that the page itself describes.
func (s Space) cryptOffset() int {
	const descriptors = 150 + 38
	extent := extentPages(s.Flags.LogicalSize())
	descriptorSize := 24 + extent/4
	return descriptors + s.PageSize/extent*descriptorSize
}

// Doublewrite reads from page 5 of the system tablespace where its doublewrite area
// is: two runs of extentPages pages, which begin at the pages first and second.
// What they hold are copies of other pages, of no use to anyone who copies the file.
// ok is false if page5 describes no such area. pageSize is the innodb_page_size in
// bytes. The page must have been checked.
func Doublewrite(page5 []byte, pageSize int) (first, second PageNo, extentSize int, ok bool) {
	const (
		fromEnd = 200
		magic   = 536853855
	)
	if len(page5) != pageSize || pageSize < minLogicalPage || pageSize > maxLogicalPage {
		return 0, 0, 0, false
	}
	area := page5[pageSize-fromEnd:]
	word := func(off int) uint32 { return binary.BigEndian.Uint32(area[off:]) }
	// The magic number and the two page numbers stand there twice.
	for _, off := range []int{10, 22} {
		if word(off) != magic || word(off+4) != word(14) || word(off+8) != word(18) {
			return 0, 0, 0, false
		}
	}
	if word(14) == 0 || word(18) == 0 {
		return 0, 0, 0, false
	}
	return PageNo(word(14)), PageNo(word(18)), extentPages(pageSize), true
}
