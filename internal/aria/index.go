package aria

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Extensions of the two files of a table.
const (
	IndexExt = ".MAI" // header, state and keys
	DataExt  = ".MAD" // rows
)

// MaxIndexHeader is the number of bytes from the start of a table's index file
// that ParseIndex needs at most.
const MaxIndexHeader = 1 << 16

// DataType is how the rows of a table are stored.
type DataType uint8

// The kinds of data files.
const (
	DataFixed      DataType = 0 // ROW_FORMAT=FIXED
	DataDynamic    DataType = 1 // ROW_FORMAT=DYNAMIC
	DataCompressed DataType = 2 // made by aria_pack, read only
	DataBlocks     DataType = 3 // ROW_FORMAT=PAGE: blocks with checksums
	DataNone       DataType = 4 // no rows are stored
)

// Index is what the header of an index file says about its table. An Index is
// a plain value and safe for concurrent use.
type Index struct {
	Data      DataType
	BlockSize int // bytes, of both files
	// bytes of the index file before its first block of keys; a whole number of blocks, without checksums
	HeaderLen     int64
	Transactional bool // changes are in Aria's log
	Checksums     bool // blocks are written with checksums
	Encrypted     bool // checksums are of the plain text, so only the server can check them

	// Instance is the UUID of the server's Aria that made the table.
	Instance UUID

	// Created is where in the log the table was made or last renamed, and
	// Skip the point before which recovery ignores the log for this table: it
	// moves when the server has changed the table without logging the changes
	// (bulk insert into an empty table, REPAIR, ENABLE KEYS). A copy of which a
	// part was read before such a change, and another part after it, cannot be
	// recovered. Horizon is the point up to which the state in the header
	// counts the log. They mean nothing in a table that is not transactional.
	Created, Skip, Horizon LSN

	OpenCount uint16 // how often it is open and changed; not 0 in a table that was not closed
	Changed   uint16 // bits of the STATE_ flags of the server

	// ActiveKeys has a bit for each key that the server keeps up to date. The log
	// does not tell of DISABLE KEYS, and after it not of these keys either.
	ActiveKeys uint64
}

// broken are the bits of Changed that say that the server takes the table for
// damaged: crashed, crashed in a repair, being repaired.
const broken = 1<<1 | 1<<2 | 1<<10

// Offsets in the header of an index file. Integers are big-endian, LSNs as in
// the control file.
const (
	indexMagic = "\xfe\xfe\x09\x03"

	indexOptions   = 4  // u16
	indexLength    = 6  // u16, of header, state and definitions
	indexStateLen  = 8  // u16, of the state without what it has for each key
	indexBasePos   = 12 // u16
	indexKeys      = 18 // u8, how many
	indexDataType  = 22 // u8
	indexOpenCount = 24 // u16
	indexChanged   = 26 // u16
	indexCreated   = 28 // LSN
	indexHorizon   = 35 // LSN
	indexSkip      = 42 // LSN
	indexStateEnd  = 49 // of the first part of the state that this package reads

	stateLen    = 215           // as indexStateLen; a newer server may have more of it
	stateKeys   = 155           // where the roots of the keys begin, if it has not
	stateActive = 8 + 4 + 4 + 4 // offset from the end of these roots: free block, two counters, version

	baseKeyStart  = 16  // u64
	baseExtra     = 90  // u16
	baseBlockSize = 100 // u16
	baseBornTrans = 106 // u8
	baseLen       = 107 // what this package reads of the base part

	optionPageChecksum = 0x0800
	extraEncrypted     = 1

	minBlockSize = 1024
	maxBlockSize = 32768
)

// ParseIndex reads the start of an index file: the whole file, or its first
// MaxIndexHeader bytes. The error wraps ErrFormat.
func ParseIndex(b []byte) (Index, error) {
	if len(b) < indexStateEnd {
		return Index{}, fmt.Errorf("aria index header: %d bytes: %w", len(b), ErrFormat)
	}
	if string(b[:4]) != indexMagic {
		return Index{}, fmt.Errorf("aria index header: starts with %x, want %x: %w", b[:4], indexMagic, ErrFormat)
	}
	length := int(binary.BigEndian.Uint16(b[indexLength:]))
	base := int(binary.BigEndian.Uint16(b[indexBasePos:]))
	if base < indexStateEnd || base+baseLen > length || length > len(b) {
		return Index{}, fmt.Errorf("aria index header: base part at %d of %d bytes, %d read: %w", base, length, len(b),
			ErrFormat)
	}
	p := b[base:]
	options := binary.BigEndian.Uint16(b[indexOptions:])
	ix := Index{
		Data:          DataType(b[indexDataType]),
		BlockSize:     int(binary.BigEndian.Uint16(p[baseBlockSize:])),
		Transactional: p[baseBornTrans] != 0,
		Checksums:     options&optionPageChecksum != 0,
		Encrypted:     binary.BigEndian.Uint16(p[baseExtra:])&extraEncrypted != 0,
		Instance:      UUID(p[:16]),
		Created:       littleLSN(b[indexCreated:]),
		Horizon:       littleLSN(b[indexHorizon:]),
		Skip:          littleLSN(b[indexSkip:]),
		OpenCount:     binary.BigEndian.Uint16(b[indexOpenCount:]),
		Changed:       binary.BigEndian.Uint16(b[indexChanged:]),
	}
	if ix.Data > DataNone {
		return Index{}, fmt.Errorf("aria index header: unknown kind %d of data file: %w", ix.Data, ErrFormat)
	}
	if ix.BlockSize < minBlockSize || ix.BlockSize > maxBlockSize || ix.BlockSize&(ix.BlockSize-1) != 0 {
		return Index{}, fmt.Errorf("aria index header: block size %d: %w", ix.BlockSize, ErrFormat)
	}
	start := binary.BigEndian.Uint64(p[baseKeyStart:])
	if start < uint64(length) || start > 1<<20 || start%uint64(ix.BlockSize) != 0 {
		return Index{}, fmt.Errorf("aria index header: keys start at %d: %w", start, ErrFormat)
	}
	ix.HeaderLen = int64(start)
	active := stateKeys + int(binary.BigEndian.Uint16(b[indexStateLen:])) - stateLen + 8*int(b[indexKeys]) + stateActive
	if active < indexStateEnd || active+8 > base {
		return Index{}, fmt.Errorf("aria index header: %d keys in a state of %d bytes: %w", b[indexKeys], base,
			ErrFormat)
	}
	ix.ActiveKeys = binary.BigEndian.Uint64(b[active:])
	return ix, nil
}

// OnlineSafe reports whether both files can be copied while the server writes to
// them, because every change is in the log. A block that was read half-written
// shows, or, where it carries no checksum that we can test (see Verifiable), must
// be read twice.
func (ix Index) OnlineSafe() bool {
	return ix.Transactional && ix.Data == DataBlocks
}

// MarkClosed sets the OpenCount in an index file to 0, if it has another: for a table of
// which recovery has made up for all changes. The error wraps ErrFormat if it is none.
func MarkClosed(file interface {
	io.ReaderAt
	io.WriterAt
}) error {
	b := make([]byte, indexChanged)
	if _, err := file.ReadAt(b, 0); err != nil {
		return fmt.Errorf("read aria index header: %w", err)
	}
	if string(b[:4]) != indexMagic {
		return fmt.Errorf("aria index header: starts with %x, want %x: %w", b[:4], indexMagic, ErrFormat)
	}
	count := b[indexOpenCount:indexChanged]
	if count[0] == 0 && count[1] == 0 {
		return nil
	}
	if _, err := file.WriteAt([]byte{0, 0}, indexOpenCount); err != nil {
		return fmt.Errorf("write aria index header: %w", err)
	}
	return nil
}

// Continues reports whether the log makes up for all that the server did to the
// table between two readings of its header, ix and the later one. If not, what
// was copied since the first must be copied again: TRUNCATE, RENAME, REPAIR,
// OPTIMIZE, DISABLE or ENABLE KEYS or a bulk insert into the empty table came
// between, or the server has found damage in the table.
func (ix Index) Continues(later Index) bool {
	return ix.Transactional && later.Transactional && ix.Instance == later.Instance &&
		ix.Created == later.Created && ix.Skip == later.Skip &&
		ix.ActiveKeys == later.ActiveKeys && ix.Changed&broken == later.Changed&broken
}
