// Package aria knows the formats of the Aria storage engine's files, as far as
// a backup needs them: the control file, the headers of the log files, the
// headers of tables and the checksums of their blocks. It reads and writes
// bytes only: it opens no files, and it does not know how Aria recovers; that
// is the server's work.
package aria

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
)

// ErrFormat is the cause of every error about bytes that are not in a form
// that this package knows: damaged, cut short, or of a newer server.
var ErrFormat = errors.New("aria: unknown or damaged format")

// LSN is a position in Aria's log: a byte offset in one of its files. It has
// nothing to do with an InnoDB LSN. The zero LSN means "none".
type LSN struct {
	File   uint32 `json:"file"`   // number of the log file, 1 to MaxLog, 0 for none
	Offset uint32 `json:"offset"` // bytes from the start of that file
}

// lsnSize is the size of a stored LSN in bytes: three for the file's number
// and four for the offset.
const lsnSize = 7

// String returns the LSN as the server's messages show it, "(1,0x2090)".
func (l LSN) String() string {
	return fmt.Sprintf("(%d,%#x)", l.File, l.Offset)
}

// Compare returns -1, 0 or 1 as l lies before, at or after other.
func (l LSN) Compare(other LSN) int {
	a := uint64(l.File)<<32 | uint64(l.Offset)
	b := uint64(other.File)<<32 | uint64(other.Offset)
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// littleLSN reads an LSN as the control file and the log headers store it.
func littleLSN(b []byte) LSN {
	return LSN{
		File:   uint32(b[0]) | uint32(b[1])<<8 | uint32(b[2])<<16,
		Offset: binary.LittleEndian.Uint32(b[3:]),
	}
}

// appendLittleLSN is the inverse of littleLSN.
func appendLittleLSN(b []byte, l LSN) []byte {
	b = append(b, byte(l.File), byte(l.File>>8), byte(l.File>>16))
	return binary.LittleEndian.AppendUint32(b, l.Offset)
}

// UUID names one instance of Aria: every server's data directory has its own.
// In text and JSON it is 32 hexadecimal digits.
type UUID [16]byte

// String returns the UUID as 32 hexadecimal digits.
func (u UUID) String() string { return hex.EncodeToString(u[:]) }

// MarshalText implements encoding.TextMarshaler.
func (u UUID) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (u *UUID) UnmarshalText(text []byte) error {
	if len(text) != 2*len(u) {
		return fmt.Errorf("aria uuid %q: %d characters, want %d", text, len(text), 2*len(u))
	}
	if _, err := hex.Decode(u[:], text); err != nil {
		return fmt.Errorf("aria uuid %q: %w", text, err)
	}
	return nil
}
