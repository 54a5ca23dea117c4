package datadir

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ARZExt is the extension of the data of an ARCHIVE table. The file holds the table's
// definition, too, and is all that there is of a table until somebody opens it: only
// then does the server make a .frm file.
const ARZExt = ".ARZ"

// Places in an .ARZ file (storage/archive/azlib.h of MariaDB). Integers are
// little-endian.
const (
	arzMagic      = 0xfe // u8
	arzFrmOffset  = 5    // u32
	arzFrmLength  = 9    // u32
	arzEnd        = 45   // u64, bytes of the file when it was closed last
	arzHeaderSize = 78
)

// errNotArchive is returned for a file that is no .ARZ file with a definition.
var errNotArchive = errors.New("not the data of an ARCHIVE table")

// inspectArchive reads the definition and the size out of an .ARZ file.
func inspectArchive(f io.ReaderAt) (Facts, error) {
	head := make([]byte, arzHeaderSize)
	if _, err := f.ReadAt(head, 0); err != nil {
		if errors.Is(err, io.EOF) {
			err = errNotArchive
		}
		return Facts{}, err
	}
	var found Facts
	offset, length := binary.LittleEndian.Uint32(head[arzFrmOffset:]), binary.LittleEndian.Uint32(head[arzFrmLength:])
	if head[0] != arzMagic || length == 0 || length > MaxDefinition {
		return Facts{}, errNotArchive
	}
	if end := binary.LittleEndian.Uint64(head[arzEnd:]); end < 1<<62 {
		found.DataSize = int64(end)
	}
	frm, err := io.ReadAll(io.NewSectionReader(f, int64(offset), int64(length)))
	if err != nil {
		return Facts{}, err
	}
	d, err := parseDefinition(frm)
	if err != nil {
		return Facts{}, fmt.Errorf("definition in the data of an ARCHIVE table: %w", err)
	}
	found.Definition = &d
	return found, nil
}
