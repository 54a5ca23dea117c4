package binlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"time"
)

// Type is the kind of an event.
type Type byte

// Kinds of events that are told apart.
const (
	TypeQuery         Type = 2
	TypeStop          Type = 3
	TypeRotate        Type = 4
	TypeIntvar        Type = 5
	TypeAppendBlock   Type = 9
	TypeRand          Type = 13
	TypeUserVar       Type = 14
	TypeFormat        Type = 15
	TypeXID           Type = 16
	TypeBeginLoad     Type = 17
	TypeExecuteLoad   Type = 18
	TypeTableMap      Type = 19
	TypeIncident      Type = 26
	TypeHeartbeat     Type = 27
	TypeXAPrepare     Type = 38
	TypeAnnotate      Type = 160
	TypeCheckpoint    Type = 161
	TypeGTID          Type = 162
	TypeGTIDList      Type = 163
	TypeEncryption    Type = 164
	TypeQueryCompress Type = 165
)

// HeaderSize is the length of the header of an event in bytes.
const HeaderSize = 19

// checksumSize is the length of the checksum at the end of an event in bytes.
const checksumSize = 4

// Flags of an event.
const (
	flagInUse      = 0x1  // of a format description: the server writes this file now
	flagArtificial = 0x20 // the server has made the event for a replica
	flagIgnorable  = 0x80 // a reader that does not know the kind may pass over it
)

// MaxEvent limits an event in bytes: the server sends none that is larger than its largest
// max_allowed_packet and a header.
const MaxEvent = 1<<30 + 1<<20

// ErrDamaged is returned for an event that no server has written so.
var ErrDamaged = errors.New("damaged event of the binary log")

// Header is the header of an event.
type Header struct {
	Time     uint32 // when its statement began, in seconds since 1970; 0 in what the server makes up
	Type     Type
	ServerID uint32 // of the server that wrote it first
	Size     uint32 // bytes of the event, header and checksum included
	End      uint32 // offset in the log file of what follows, modulo 2^32; 0 if unknown
	Flags    uint16
}

// When returns the time of the event in UTC, zero if it has none.
func (h Header) When() time.Time {
	if h.Time == 0 {
		return time.Time{}
	}
	return time.Unix(int64(h.Time), 0).UTC()
}

// Artificial reports whether the server has made the event for a replica: it is in no file.
func (h Header) Artificial() bool { return h.Flags&flagArtificial != 0 }

// ParseHeader reads the header at the beginning of b, which need not hold all of the event.
// The size is that of an event. The error is ErrDamaged.
func ParseHeader(b []byte) (Header, error) {
	if len(b) < HeaderSize {
		return Header{}, fmt.Errorf("%w: %d bytes in place of a header", ErrDamaged, len(b))
	}
	h := Header{
		Time: binary.LittleEndian.Uint32(b), Type: Type(b[4]), ServerID: binary.LittleEndian.Uint32(b[5:]),
		Size: binary.LittleEndian.Uint32(b[9:]), End: binary.LittleEndian.Uint32(b[13:]),
		Flags: binary.LittleEndian.Uint16(b[17:]),
	}
	if h.Size < HeaderSize || h.Size > MaxEvent {
		return Header{}, fmt.Errorf("%w: an event of type %d with a size of %d bytes", ErrDamaged, h.Type, h.Size)
	}
	return h, nil
}

// Format is what a format description event says of the events that follow it.
type Format struct {
	Server   string // version of the server that wrote them
	Created  uint32 // when the server was started, in the first file since then; else 0
	Checksum bool   // events end with a CRC-32
}

// Bytes of the format description before the lengths of the kinds of events, and its end.
const (
	formatVersion = HeaderSize      // 2 bytes: 4
	formatServer  = HeaderSize + 2  // 50 bytes
	formatCreated = HeaderSize + 52 // 4 bytes
	formatHeader  = HeaderSize + 56 // 1 byte: 19
	formatLengths = HeaderSize + 57
	formatTail    = 1 + checksumSize // the kind of checksum, and one
)

// ParseFormat reads a whole format description event. The error is ErrDamaged.
func ParseFormat(b []byte) (f Format, err error) {
	h, err := whole(b, TypeFormat)
	switch {
	case err != nil:
		return f, err
	case len(b) < formatLengths+int(TypeEncryption)+formatTail:
		return f, fmt.Errorf("%w: a format description of %d bytes", ErrDamaged, h.Size)
	case binary.LittleEndian.Uint16(b[formatVersion:]) != 4 || b[formatHeader] != HeaderSize:
		return f, fmt.Errorf("%w: format %d of events with a header of %d bytes", ErrDamaged,
			binary.LittleEndian.Uint16(b[formatVersion:]), b[formatHeader])
	}
	server := b[formatServer:formatCreated]
	for i, c := range server {
		if c == 0 {
			server = server[:i]
			break
		}
		if c < ' ' || c > '~' {
			return f, fmt.Errorf("%w: a format description with the version %.50q", ErrDamaged, server)
		}
	}
	f.Server, f.Created = string(server), binary.LittleEndian.Uint32(b[formatCreated:])
	switch kind := b[len(b)-formatTail]; kind {
	case 0:
		return f, nil
	case 1:
		f.Checksum = true
	default:
		return f, fmt.Errorf("%w: checksums of kind %d", ErrDamaged, kind)
	}
	return f, checkSum(b)
}

// Check compares the checksum of an event, if it has one, and its length. The error is
// ErrDamaged.
func (f Format) Check(b []byte) error {
	h, err := ParseHeader(b)
	if err != nil {
		return err
	}
	if int(h.Size) != len(b) {
		return fmt.Errorf("%w: an event of type %d with %d bytes, its header says %d", ErrDamaged, h.Type, len(b), h.Size)
	}
	if !f.Checksum {
		return nil
	}
	return checkSum(b)
}

// checkSum compares the checksum at the end of an event.
func checkSum(b []byte) error {
	if len(b) < HeaderSize+checksumSize {
		return fmt.Errorf("%w: an event of %d bytes, too short for a checksum", ErrDamaged, len(b))
	}
	end := len(b) - checksumSize
	if got, want := eventSum(b[:end]), binary.LittleEndian.Uint32(b[end:]); got != want {
		return fmt.Errorf("%w: an event of type %d with the checksum %08x, want %08x", ErrDamaged, b[4], got, want)
	}
	return nil
}

// eventSum is the CRC-32 of an event without its last four bytes. The server leaves the flag
// out that it takes back when it closes the file.
func eventSum(b []byte) uint32 {
	if Type(b[4]) != TypeFormat || b[17]&flagInUse == 0 {
		return crc32.ChecksumIEEE(b)
	}
	sum := crc32.ChecksumIEEE(b[:17])
	sum = crc32.Update(sum, crc32.IEEETable, []byte{b[17] &^ flagInUse})
	return crc32.Update(sum, crc32.IEEETable, b[18:])
}

// body returns what an event holds between header and checksum.
func (f Format) body(b []byte) []byte {
	if f.Checksum {
		return b[HeaderSize:max(HeaderSize, len(b)-checksumSize)]
	}
	return b[HeaderSize:]
}

// Seal writes the checksum of an event that was changed, if events have one.
func (f Format) Seal(b []byte) {
	if f.Checksum || Type(b[4]) == TypeFormat {
		end := len(b) - checksumSize
		binary.LittleEndian.PutUint32(b[end:], eventSum(b[:end]))
	}
}

// Description returns a copy of a format description event to begin a part of the log with.
// Unless the part is the first since the server was started, it does not say so: temporary
// tables end with a start.
func (f Format) Description(b []byte, started bool) []byte {
	c := append([]byte(nil), b...)
	if !started {
		clear(c[formatCreated : formatCreated+4])
	}
	clear(c[13:17]) // its place in a file
	binary.LittleEndian.PutUint16(c[17:], binary.LittleEndian.Uint16(c[17:])&^(flagInUse|flagArtificial))
	f.Seal(c)
	return c
}

// Same reports whether two format description events describe the same events: they may be of
// different files.
func Same(a, b []byte) bool {
	if len(a) != len(b) || len(a) < formatLengths+formatTail {
		return false
	}
	return string(a[formatVersion:formatCreated]) == string(b[formatVersion:formatCreated]) &&
		string(a[formatHeader:len(a)-checksumSize]) == string(b[formatHeader:len(b)-checksumSize])
}

// whole checks that b is one event of a type.
func whole(b []byte, want Type) (Header, error) {
	h, err := ParseHeader(b)
	if err != nil {
		return h, err
	}
	if h.Type != want || int(h.Size) != len(b) {
		return h, fmt.Errorf("%w: %d bytes of type %d, want %d bytes of type %d", ErrDamaged, len(b), h.Type, h.Size, want)
	}
	return h, nil
}

// maxFile limits the name of a file of the log in bytes.
const maxFile = 512

// NextFile reads the name of the file that a rotate event begins, without folders. The server sends one
// before any format description: whether that has a checksum shows by itself. The error is
// ErrDamaged.
func (f Format) NextFile(b []byte) (string, error) {
	if _, err := whole(b, TypeRotate); err != nil {
		return "", err
	}
	if checkSum(b) == nil {
		f.Checksum = true
	}
	body := f.body(b)
	if len(body) < 8+1 || len(body) > 8+maxFile {
		return "", fmt.Errorf("%w: a rotate event of %d bytes", ErrDamaged, len(b))
	}
	name := string(body[8:])
	return name[strings.LastIndexByte(name, '/')+1:], nil
}

// FileNumber returns the number at the end of a file's name, "binlog.000012".
func FileNumber(name string) (uint64, bool) {
	dot := strings.LastIndexByte(name, '.')
	if dot < 1 || len(name)-dot-1 < 6 {
		return 0, false
	}
	n, err := number(name[dot+1:], 64)
	return n, err == nil && n > 0
}
