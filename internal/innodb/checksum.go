package innodb

import (
	"encoding/binary"
	"hash/crc32"
)

// crc32c returns the CRC-32C of b. The processor computes it where it can.
func crc32c(b []byte) uint32 {
	// MakeTable returns the package's own table here, at the price of one load.
	return crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
}

// compressedBit reports whether the page type has the bit that marks a compressed
// page of the full_crc32 format; the type then holds the page's real size.
func compressedBit(page []byte) bool {
	return page[offType]&(typeCompressedBit>>8) != 0
}

// checkFull verifies a page of the full_crc32 format: one CRC-32C over all of it,
// whatever it holds. The checksum of a compressed page stands at the end of the
// compressed size, and what follows is not covered.
func checkFull(page []byte) *PageError {
	size := len(page)
	compressed := compressedBit(page)
	if compressed {
		size = int(binary.BigEndian.Uint16(page[offType:])&(typeCompressedBit-1)) << 8
		if size == 0 || size >= len(page) {
			return &PageError{Reason: ReasonSize, Want: uint32(len(page) - 1<<8), Got: uint32(size)}
		}
	}
	want, got := crc32c(page[:size-4]), be32(page, size-4)
	if want != got {
		return &PageError{Reason: ReasonChecksum, Want: want, Got: got}
	}
	if compressed || be32(page, offKeyVersion) != 0 {
		return nil
	}
	return checkEndLSN(page, size-trailerSize)
}

// checkEndLSN compares the low word of the LSN with its copy at off, near the end
// of the page.
func checkEndLSN(page []byte, off int) *PageError {
	if want, got := be32(page, offLSN+4), be32(page, off); want != got {
		return &PageError{Reason: ReasonLSN, Want: want, Got: got}
	}
	return nil
}

// legacyCompressed reports whether page is of a type that carries no checksum, in a
// legacy tablespace that can have such pages.
func (s Space) legacyCompressed(page []byte) bool {
	if !s.Flags.PageCompressed() {
		return false
	}
	t := binary.BigEndian.Uint16(page[offType:])
	return t == typeLegacyCompressed || t == typeLegacyCompressedEncrypted
}

// checkLegacy verifies a page of a tablespace from before the full_crc32 format,
// in which every page says by its own fields how it was written.
func (s Space) checkLegacy(page []byte, no PageNo) *PageError {
	if s.legacyCompressed(page) {
		size := int(binary.BigEndian.Uint16(page[offData:]))
		if limit := len(page) - offData; size > limit {
			return &PageError{Reason: ReasonSize, Want: uint32(limit), Got: uint32(size)}
		}
		return nil
	}
	end := len(page) - trailerSize
	want := crc32c(page[offPageNo:offLegacyKey]) ^ crc32c(page[offData:end])
	encrypted := legacyEncrypted(page, no)
	if encrypted {
		post := be32(page, offLegacyPost)
		if post == want || post == noChecksum || post == foldPage(page) {
			return nil
		}
	}
	first, last := be32(page, offChecksum), be32(page, end)
	if first == want && last == want || s.oldChecksums(page, first, last) {
		return checkEndLSN(page, end+4)
	}
	got := first
	if encrypted {
		got = be32(page, offLegacyPost)
	} else if first == want {
		got = last
	}
	return &PageError{Reason: ReasonChecksum, Want: want, Got: got}
}

// oldChecksums reports whether the two checksum fields hold what servers wrote that
// did not use CRC-32C: a fold of the page and a fold of its header, or the marker
// of "no checksum" in both. The oldest pages of a system tablespace have no first
// checksum, and half of the LSN in place of the second.
func (s Space) oldChecksums(page []byte, first, last uint32) bool {
	lastOK := last == noChecksum || last == fold(page[:offLegacyKey]) ||
		s.ID == 0 && last == be32(page, offLSN)
	if !lastOK {
		return false
	}
	return first == noChecksum || s.ID == 0 && first == 0 || first == foldPage(page)
}

// legacyEncrypted reports whether page can be an encrypted one: it names a key. Only
// page 0 is never encrypted. In a tablespace without encryption the field is 0, but
// for a few pages of old system tablespaces, where it held something else; so a page
// that names a key can still be a clear one. Whether page 0 describes encryption is
// not asked: that may have been switched on since it was read.
func legacyEncrypted(page []byte, no PageNo) bool {
	return no != 0 && be32(page, offLegacyKey) != 0
}

// checkZip verifies a page of a ROW_FORMAT=COMPRESSED table. It has one checksum
// field, and no trailer; of an encrypted page the field after the key version is
// the one to look at. The LSN is in neither checksum.
func checkZip(page []byte, no PageNo) *PageError {
	want := crc32c(page[offPageNo:offLSN]) ^ crc32c(page[offType:offLegacyKey]) ^ crc32c(page[offSpaceID:])
	got := be32(page, offChecksum)
	if got == want || got == noChecksum {
		return nil
	}
	encrypted := legacyEncrypted(page, no)
	if encrypted {
		post := be32(page, offLegacyPost)
		if post == want || post == noChecksum {
			return nil
		}
	}
	adler := zipAdler(page)
	if got == adler || encrypted && be32(page, offLegacyPost) == adler {
		return nil
	}
	if encrypted {
		got = be32(page, offLegacyPost)
	}
	return &PageError{Reason: ReasonChecksum, Want: want, Got: got}
}

// zipAdler returns the Adler-32 that innodb_checksum_algorithm=innodb wrote to
// compressed pages. It begins with 0 instead of Adler-32's usual 1, so the
// standard library's cannot be used.
func zipAdler(page []byte) uint32 {
	const (
		mod = 65521
		run = 5552 // bytes after which the sums must be reduced, lest they overflow
	)
	var a, b uint32
	for _, part := range [...][]byte{page[offPageNo:offLSN], page[offType:offLegacyKey], page[offSpaceID:]} {
		for len(part) > 0 {
			n := min(run, len(part))
			for _, c := range part[:n] {
				a += uint32(c)
				b += a
			}
			a %= mod
			b %= mod
			part = part[n:]
		}
	}
	return b<<16 | a
}

// foldPage returns the checksum that innodb_checksum_algorithm=innodb wrote to the
// first field of a page. It covers the same bytes as the CRC-32C.
func foldPage(page []byte) uint32 {
	return fold(page[offPageNo:offLegacyKey]) + fold(page[offData:len(page)-trailerSize])
}

// fold is InnoDB's old hash of a string of bytes.
func fold(b []byte) uint32 {
	const mask1, mask2 = 1463735687, 1653893711
	var h uint32
	for _, c := range b {
		h = (((h^uint32(c)^mask2)<<8 + h) ^ mask1) + uint32(c)
	}
	return h
}
