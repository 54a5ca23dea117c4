package innodb

import "encoding/binary"

// SetID gives a tablespace another id in its first page, of which the space was read, and makes the
// page's checksum anew. The other pages keep the old id: a server that imports the file sets it there.
// page0 is as ParseSpace takes it.
func (s *Space) SetID(page0 []byte, id SpaceID) {
	page := page0[:s.PageSize]
	binary.BigEndian.PutUint32(page[offSpaceID:], uint32(id))
	binary.BigEndian.PutUint32(page[offHeaderSpaceID:], uint32(id))
	s.ID = id
	end := len(page) - trailerSize
	switch {
	case s.Flags.FullCRC32():
		size := len(page) - 4
		binary.BigEndian.PutUint32(page[size:], crc32c(page[:size]))
	case s.Flags.ZipSize() != 0:
		sum := crc32c(page[offPageNo:offLSN]) ^ crc32c(page[offType:offLegacyKey]) ^ crc32c(page[offSpaceID:])
		binary.BigEndian.PutUint32(page[offChecksum:], sum)
	default:
		sum := crc32c(page[offPageNo:offLegacyKey]) ^ crc32c(page[offData:end])
		binary.BigEndian.PutUint32(page[offChecksum:], sum)
		binary.BigEndian.PutUint32(page[end:], sum)
	}
}
