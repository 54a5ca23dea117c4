package innodb

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Offsets in every page. The first 38 bytes are the page header; the last 8 are
// the trailer, which pages of ROW_FORMAT=COMPRESSED do not have.
const (
	offChecksum   = 0  // legacy: checksum
	offKeyVersion = 0  // full_crc32: version of the encryption key, 0 = clear
	offPageNo     = 4  // number of this page
	offLSN        = 16 // end of the last mini-transaction that changed the page
	offType       = 24 // page type
	offLegacyKey  = 26 // legacy: version of the encryption key, 0 = clear
	offLegacyPost = 30 // legacy: checksum of the encrypted page
	offSpaceID    = 34 // number of the tablespace
	offData       = 38 // end of the header
	trailerSize   = 8
)

// Page types that change how a page is checked.
const (
	typeLegacyCompressed          = 34354 // legacy PAGE_COMPRESSED
	typeLegacyCompressedEncrypted = 37401 // the same, then encrypted
	typeCompressedBit             = 1 << 15
)

// noChecksum stands in the checksum fields of pages that were written with
// innodb_checksum_algorithm=none.
const noChecksum = 0xDEADBEEF

// Reason says what is wrong with a page.
type Reason uint8

// The reasons of a PageError.
const (
	// ReasonLength: the buffer is not one page long. Want and Got are bytes.
	ReasonLength Reason = iota + 1
	// ReasonChecksum: the contents do not match the checksum: the page is torn
	// (a reader met the writer; a second read is whole) or damaged.
	ReasonChecksum
	// ReasonLSN: the low words of the LSN at both ends differ: torn or damaged.
	ReasonLSN
	// ReasonSize: a compressed page claims an impossible size. Got is in bytes,
	// Want is the largest that is possible.
	ReasonSize
	// ReasonPageNo: the page carries the number of another page.
	ReasonPageNo
	// ReasonSpace: the page belongs to another tablespace than page 0 of its
	// file. ALTER TABLE ... IMPORT TABLESPACE at work in the file looks like this.
	ReasonSpace
)

// String returns what is wrong in a few words.
func (r Reason) String() string {
	switch r {
	case ReasonLength:
		return "length"
	case ReasonChecksum:
		return "checksum"
	case ReasonLSN:
		return "log sequence number at the end"
	case ReasonSize:
		return "compressed size"
	case ReasonPageNo:
		return "page number"
	case ReasonSpace:
		return "tablespace id"
	}
	return fmt.Sprintf("reason %d", uint8(r))
}

// PageError is what Space.Check returns for a page that is not whole. Only a
// caller who can read again knows whether the page was torn or is damaged.
type PageError struct {
	Page   PageNo
	Reason Reason
	// Want is what was expected, Got is what the page holds. For a checksum,
	// Want is the first form that the page could have had.
	Want, Got uint32
}

// Error describes the page and what is wrong with it.
func (e *PageError) Error() string {
	switch e.Reason {
	case ReasonChecksum, ReasonLSN:
		return fmt.Sprintf("page %d: %v: got %#08x, want %#08x", e.Page, e.Reason, e.Got, e.Want)
	}
	return fmt.Sprintf("page %d: %v: got %d, want %d", e.Page, e.Reason, e.Got, e.Want)
}

// PageLSN returns the page's log sequence number: the end of the last
// mini-transaction that changed it. It is never encrypted or compressed. A page
// that was not yet written, or that was imported and not changed since, has 0.
// A buffer too short for a page header gives 0.
func PageLSN(page []byte) LSN {
	if len(page) < offData {
		return 0
	}
	return LSN(binary.BigEndian.Uint64(page[offLSN:]))
}

// PageIsZero reports whether all bytes of b are zero. An empty b is.
func PageIsZero(b []byte) bool {
	if len(b) == 0 {
		return true
	}
	// Comparing b with itself moved by one byte: if the first byte is zero and
	// each byte equals the one before it, all are. The comparison of the runtime
	// is vector code, and it stops at the first difference.
	return b[0] == 0 && bytes.Equal(b[:len(b)-1], b[1:])
}

// Check returns nil if page is whole and is page no of this tablespace, and a
// *PageError otherwise. page must be exactly PageSize bytes. A page of zeros is
// whole: it was never written, or was freed.
//
// Encrypted pages are checked without keys. Some old forms carry no checksum;
// Check tests what there is and returns nil, and Verifiable tells them apart. In
// the system tablespace the doublewrite area holds copies of other pages and must
// not be checked (see Doublewrite). Check may be called concurrently and does not
// allocate unless it returns an error.
func (s Space) Check(page []byte, no PageNo) error {
	if len(page) != s.PageSize || len(page) < offData+trailerSize {
		return &PageError{Page: no, Reason: ReasonLength, Want: uint32(s.PageSize), Got: uint32(len(page))}
	}
	if s.blank(page) {
		return nil
	}
	var why *PageError
	switch {
	case s.Flags.FullCRC32():
		why = checkFull(page)
	case s.Flags.ZipSize() != 0:
		why = checkZip(page, no)
	default:
		why = s.checkLegacy(page, no)
	}
	if why == nil {
		why = s.checkIdentity(page, no)
	}
	if why == nil {
		return nil
	}
	why.Page = no
	return why
}

// blank reports whether page was never written. Old servers stored a flush LSN in
// an otherwise empty legacy page; it is overlooked.
func (s Space) blank(page []byte) bool {
	if s.Flags.FullCRC32() {
		return PageIsZero(page)
	}
	return PageIsZero(page[:offLegacyKey]) && PageIsZero(page[offSpaceID:])
}

// checkIdentity compares the page's own number and tablespace with where it was
// found. Both stand in the header, which not all checksums cover.
func (s Space) checkIdentity(page []byte, no PageNo) *PageError {
	if got := be32(page, offPageNo); got != uint32(no) {
		return &PageError{Reason: ReasonPageNo, Want: uint32(no), Got: got}
	}
	// The system tablespace can be older than the field. In the full_crc32 format
	// encryption and compression begin before it.
	if s.ID == 0 || s.Flags.FullCRC32() && (be32(page, offKeyVersion) != 0 || compressedBit(page)) {
		return nil
	}
	if got := be32(page, offSpaceID); got != uint32(s.ID) {
		return &PageError{Reason: ReasonSpace, Want: uint32(s.ID), Got: got}
	}
	return nil
}

// Verifiable reports whether Check proves the contents of page. It is false for the
// forms that carry no checksum (the PAGE_COMPRESSED pages of files from before
// the full_crc32 format, and pages written with innodb_checksum_algorithm=none):
// only a second, equal read shows that such a page was not torn.
func (s Space) Verifiable(page []byte) bool {
	if s.Flags.FullCRC32() || len(page) != s.PageSize || len(page) < offData+trailerSize || s.blank(page) {
		return true
	}
	if be32(page, offLegacyKey) != 0 && be32(page, offPageNo) != 0 &&
		be32(page, offLegacyPost) == noChecksum {
		return false
	}
	field := be32(page, offChecksum)
	if s.Flags.ZipSize() != 0 {
		return field != noChecksum
	}
	if s.legacyCompressed(page) {
		return false
	}
	return field != noChecksum && (field != 0 || s.ID != 0)
}

// be32 returns the integer at off.
func be32(b []byte, off int) uint32 {
	return binary.BigEndian.Uint32(b[off:])
}
