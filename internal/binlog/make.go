package binlog

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"
)

// What a server makes for a replica, in the place of what its files hold. server is the id of
// the server.

// Rotate returns the event that names the file in which the events that follow are.
func (f Format) Rotate(server uint32, file string) []byte {
	body := binary.LittleEndian.AppendUint64(nil, uint64(len(Magic)))
	return f.artificial(TypeRotate, server, append(body, file...))
}

// Reached returns the event that tells a replica that it has got all up to the position that it
// asked for.
func (f Format) Reached(server uint32, p Position) []byte {
	body := binary.LittleEndian.AppendUint32(nil, uint32(len(p))|listReached)
	list := slices.SortedFunc(maps.Values(p), func(a, b GTID) int { return cmp.Compare(a.Domain, b.Domain) })
	for _, g := range list {
		body = binary.LittleEndian.AppendUint32(body, g.Domain)
		body = binary.LittleEndian.AppendUint32(body, g.Server)
		body = binary.LittleEndian.AppendUint64(body, g.Sequence)
	}
	return f.artificial(TypeGTIDList, server, body)
}

// artificial makes an event that is in no file.
func (f Format) artificial(kind Type, server uint32, body []byte) []byte {
	size := HeaderSize + len(body)
	if f.Checksum {
		size += checksumSize
	}
	b := make([]byte, size)
	b[4] = byte(kind)
	binary.LittleEndian.PutUint32(b[5:], server)
	binary.LittleEndian.PutUint32(b[9:], uint32(size))
	binary.LittleEndian.PutUint16(b[17:], flagArtificial)
	copy(b[HeaderSize:], body)
	f.Seal(b)
	return b
}
