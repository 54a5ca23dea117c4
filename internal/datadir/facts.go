package datadir

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"

	"mbk/internal/aria"
)

// Facts is what a file says about the state of its table.
type Facts struct {
	Definition    *Definition // of a .frm file, and of the data of an ARCHIVE table
	BadDefinition string      // why the definition in a .frm file cannot be read
	release       uint32      // by which version of the server, of a .frm file: 101119
	crashed       bool        // the index file of MyISAM or Aria has the mark
	Open          bool        // of MyISAM: somebody has it open for writing, or was killed with it open
	DataSize      int64       // bytes that the data file must have, of an index file and of ARCHIVE; 0: unknown
	Partitions    []string    // of a .par file: the partitions, as in the names of their files
}

// Places in the index file of a MyISAM table (storage/myisam/myisamdef.h of MariaDB).
// Integers are big-endian.
const (
	myiMagic      = "\xfe\xfe\x07"
	myiOpenCount  = 24 // u16
	myiChanged    = 26 // u8
	myiDataLength = 68 // u64
)

// Places in the index file of an Aria table.
const (
	maiMagic      = "\xfe\xfe\x09"
	maiOpenCount  = 24 // u16
	maiChanged    = 26 // u16
	maiDataLength = 97 // u64
)

const (
	indexHead    = 105 // bytes of an index file that are read
	stateCrashed = 2 | 4
	largestPar   = 16 << 20 // bytes, more than any list of partitions has
	frmVersion   = 51       // u32
)

// Inspect reads what a file says about its table. A file that cannot be parsed says
// nothing.
func Inspect(e Entry, f io.ReaderAt, size int64) (Facts, error) {
	switch path.Ext(e.Name) {
	case ".frm":
		b, err := readUpTo(f, size, MaxDefinition)
		if err != nil {
			return Facts{}, err
		}
		return inspectDefinition(b), nil
	case ARZExt:
		found, err := inspectArchive(f)
		if errors.Is(err, errNotArchive) || errors.Is(err, errNotFrm) {
			return Facts{}, nil
		}
		return found, err
	case ".par":
		b, err := readUpTo(f, size, largestPar)
		return Facts{Partitions: partitionNames(b)}, err
	case ".MYI", aria.IndexExt:
		b, err := readUpTo(f, size, indexHead)
		return inspectIndex(b), err
	}
	return Facts{}, nil
}

// readUpTo reads a file that may be changing, but no more than so much of it.
func readUpTo(f io.ReaderAt, size, most int64) ([]byte, error) {
	return io.ReadAll(io.NewSectionReader(f, 0, min(size, most)))
}

func inspectDefinition(b []byte) Facts {
	d, err := parseDefinition(b)
	if err != nil {
		return Facts{BadDefinition: fmt.Sprintf("%d bytes, %v", len(b), err)}
	}
	facts := Facts{Definition: &d}
	if d.Kind != KindView {
		facts.release = binary.LittleEndian.Uint32(b[frmVersion:])
	}
	return facts
}

// inspectIndex reads the state of a table of MyISAM or Aria. The size that it gives
// the data file is true if the table was closed.
func inspectIndex(b []byte) Facts {
	if len(b) < indexHead {
		return Facts{}
	}
	var found Facts
	var size uint64
	switch {
	case bytes.HasPrefix(b, []byte(myiMagic)):
		found.crashed = b[myiChanged]&stateCrashed != 0
		if found.Open = binary.BigEndian.Uint16(b[myiOpenCount:]) != 0; !found.Open {
			size = binary.BigEndian.Uint64(b[myiDataLength:])
		}
	case bytes.HasPrefix(b, []byte(maiMagic)):
		found.crashed = binary.BigEndian.Uint16(b[maiChanged:])&stateCrashed != 0
		if binary.BigEndian.Uint16(b[maiOpenCount:]) == 0 {
			size = binary.BigEndian.Uint64(b[maiDataLength:])
		}
	}
	if size < 1<<62 {
		found.DataSize = int64(size)
	}
	return found
}

// partitionNames are the partitions in a .par file, as in the names of their files:
// "p0", "p0#SP#s0". The file is words of four bytes: its length in words, a checksum,
// how many partitions there are, their engines (a byte each, filled up to a word), the
// length of the names, and the names, each followed by a zero byte.
func partitionNames(b []byte) []string {
	const word, head = 4, 12
	if len(b) < head {
		return nil
	}
	count := int64(binary.LittleEndian.Uint32(b[2*word:]))
	names := head + (count+word-1)/word*word
	if count > 1<<20 || names+word > int64(len(b)) {
		return nil
	}
	length := int64(binary.LittleEndian.Uint32(b[names:]))
	if names+word+length > int64(len(b)) {
		return nil
	}
	text := b[names+word : names+word+length]
	var all []string
	for range count {
		name, rest, ok := bytes.Cut(text, []byte{0})
		if !ok || len(name) == 0 {
			return nil
		}
		all, text = append(all, string(name)), rest
	}
	return all
}
