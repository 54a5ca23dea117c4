package backup

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// arzExt is the extension of the data of an ARCHIVE table. The file holds the table's
// definition, too, and is all that there is of a table until somebody opens it: only
// then does the server make a .frm file.
const arzExt = ".ARZ"

// Places in an .ARZ file (storage/archive/azlib.h of MariaDB). Integers are
// little-endian.
const (
	arzMagic      = 0xfe // u8
	arzFrmOffset  = 5    // u32
	arzFrmLength  = 9    // u32
	arzHeaderSize = 78
)

// errNotArchive is returned for a file that is no .ARZ file with a definition.
var errNotArchive = errors.New("not the data of an ARCHIVE table")

// archiveDefinition reads the definition out of an .ARZ file.
func archiveDefinition(f io.ReaderAt) (definition, error) {
	head := make([]byte, arzHeaderSize)
	if _, err := f.ReadAt(head, 0); err != nil {
		if errors.Is(err, io.EOF) {
			err = errNotArchive
		}
		return definition{}, err
	}
	offset, length := binary.LittleEndian.Uint32(head[arzFrmOffset:]), binary.LittleEndian.Uint32(head[arzFrmLength:])
	if head[0] != arzMagic || length == 0 || length > largestFrm {
		return definition{}, errNotArchive
	}
	frm, err := io.ReadAll(io.NewSectionReader(f, int64(offset), int64(length)))
	if err != nil {
		return definition{}, err
	}
	d, err := parseDefinition(frm)
	if err != nil {
		return definition{}, fmt.Errorf("definition in the data of an ARCHIVE table: %w", err)
	}
	return d, nil
}
