package innodb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
)

const (
	// maxMTR bounds the records of one mini-transaction, as the server does.
	maxMTR = 1 << 20
	// maxFraming is the most that may follow the records: marker, nonce, CRC.
	maxFraming = 1 + nonceSize + 4
	nonceSize  = 8
	// maxPath bounds the file names in records.
	maxPath = 4096
)

var (
	// ErrBadMTR is returned where no whole mini-transaction stands although the
	// bytes are known to be written. errors.As finds an *MTRError.
	ErrBadMTR = errors.New("no valid mini-transaction")
	// ErrBadFileRecord is returned for a record of a file operation that has a
	// correct checksum and makes no sense: a newer server wrote it.
	ErrBadFileRecord = errors.New("unknown record of a file operation in the redo log")
)

// MTRError says where no mini-transaction begins, and why.
type MTRError struct {
	LSN    LSN
	Reason string
}

// Error returns the place and the reason.
func (e *MTRError) Error() string {
	return fmt.Sprintf("%v at LSN %d: %s", ErrBadMTR, e.LSN, e.Reason)
}

// Unwrap returns ErrBadMTR.
func (e *MTRError) Unwrap() error { return ErrBadMTR }

// frameState is the outcome of frame.
type frameState uint8

const (
	frameWhole  frameState = iota
	frameShort             // the mini-transaction goes on after the buffer
	frameEmpty             // the log ends here
	frameVarint            // impossible length
	frameLong              // longer than any mini-transaction can be
)

// frame finds the marker byte after the records of the mini-transaction at the
// start of b: its offset in b, and whether the records are well formed up to
// there. With frameWhole the marker is in b, what follows it need not be.
// More than most bytes of records are frameLong.
func frame(b []byte, most int) (marker int, state frameState) {
	if len(b) == 0 {
		return 0, frameShort
	}
	if b[0] <= 1 {
		return 0, frameEmpty
	}
	i := 0
	for i < len(b) && i < most {
		c := b[i]
		if c <= 1 {
			return i, frameWhole
		}
		if n := int(c & 15); n != 0 {
			i += 1 + n
			continue
		}
		v, size := varint(b[i+1:])
		switch {
		case size == 0:
			return i, frameShort
		case size < 0 || int64(v) >= int64(most):
			return i, frameVarint
		}
		// The record has v+16 bytes, the bytes of v itself included.
		i += 16 + int(v)
	}
	if i >= most {
		return i, frameLong
	}
	return i, frameShort
}

// varint decodes a number as the redo log writes it. size is the number of its
// bytes, 0 if b is too short, -1 if no number is written so.
func varint(b []byte) (v uint32, size int) {
	if len(b) == 0 {
		return 0, 0
	}
	switch c := b[0]; {
	case c < 0x80:
		return uint32(c), 1
	case c < 0xc0:
		if len(b) < 2 {
			return 0, 0
		}
		return uint32(c&0x3f)<<8 + uint32(b[1]) + minVarint2, 2
	case c < 0xe0:
		if len(b) < 3 {
			return 0, 0
		}
		return uint32(c&0x1f)<<16 + uint32(b[1])<<8 + uint32(b[2]) + minVarint3, 3
	case c < 0xf0:
		if len(b) < 4 {
			return 0, 0
		}
		return uint32(c&0x0f)<<24 + uint32(b[1])<<16 + uint32(b[2])<<8 + uint32(b[3]) + minVarint4, 4
	case c == 0xf0:
		if len(b) < 5 {
			return 0, 0
		}
		v = binary.BigEndian.Uint32(b[1:])
		if v > ^uint32(0)-minVarint5 {
			return 0, -1
		}
		return v + minVarint5, 5
	}
	return 0, -1
}

// The smallest numbers that take 2, 3, 4 and 5 bytes.
const (
	minVarint2 = 1 << 7
	minVarint3 = minVarint2 + 1<<14
	minVarint4 = minVarint3 + 1<<21
	minVarint5 = minVarint4 + 1<<28
)

// logParser decides which bytes of a log are valid mini-transactions. There is one
// for each way in which they are framed.
type logParser interface {
	// walk goes over the whole mini-transactions in b, the first of which begins
	// at start, until one ends at or after stop that does not announce the next, or b
	// ends. b begins at start, rounded down to a unit. It returns the end of the last,
	// or start. It sets
	// sequence bits in b to 1, and leaves in finds what it found. An error says that
	// something is not valid; nothing of b should be used then.
	walk(b []byte, start, stop LSN) (end LSN, err error)
	// seal makes the unit at the start of b, the one that end lies in, the last of
	// a log that ends at end, and returns its size; 0 if a log can end anywhere.
	seal(b []byte, end LSN) int
	// edit lets change alter the records, but not their length, of the
	// mini-transaction from one LSN to another, in b, of which walk has said that it
	// is whole, and recomputes checksums. b and start are as walk had them.
	edit(b []byte, start, from, to LSN, change func(records []byte) error) error
	// unit is what the log is read and written in, in bytes.
	unit() LSN
	// most is the most that one mini-transaction takes up, in bytes.
	most() int
	// found returns what the last walk found.
	found() *finds
}

// finds are the results of one walk of a logParser, and what it looks for.
type finds struct {
	readable bool // names and numbers in file records are in clear
	hidden   bool // not even the mini-transactions can be seen
	anchor   LSN  // where a mini-transaction should begin

	ops      []FileOp
	mtrs     int64
	anchored bool // one does begin at anchor
}

// announces reports whether the mini-transaction that was found to end at end only names
// files. The server writes it together with the one that follows: the first change of a
// page since a checkpoint, perhaps the one with FILE_CREATE, or the next of a checkpoint's
// records. No log should end in between: mtr_t::name_write and fil_names_clear.
func (f *finds) announces(end LSN) bool {
	n := len(f.ops)
	return n > 0 && f.ops[n-1].End == end && f.ops[n-1].alone
}

// found returns f.
func (f *finds) found() *finds { return f }

// reset forgets the results.
func (f *finds) reset() { f.ops, f.mtrs, f.anchored = f.ops[:0], 0, false }

// newLogParser returns a parser of the log with this header, whose bytes lie in
// ring.
func newLogParser(h LogHeader, ring Ring) logParser {
	if hasBlocks(h.Format) {
		return newBlockParser(h)
	}
	return newParser(h, ring)
}

// mtrParser walks over mini-transactions that lie one after another in memory, as
// MariaDB 10.8 and later write them. It is not safe for concurrent use.
type mtrParser struct {
	finds
	ring    Ring
	trailer int // bytes after the records: marker, nonce, CRC
	crc     *crc32.Table

	lapEnd LSN  // of the lap that bit is for
	bit    byte // sequence bit below lapEnd
}

// newParser returns a parser of the log with this header, whose bytes lie in
// ring.
func newParser(h LogHeader, ring Ring) *mtrParser {
	p := &mtrParser{
		finds: finds{readable: h.Readable()},
		ring:  ring, trailer: 1 + 4, crc: crc32.MakeTable(crc32.Castagnoli),
	}
	if h.Encrypted() {
		p.trailer += nonceSize
	}
	return p
}

// normalRing is the ring of a log whose sequence bits are all 1.
func normalRing(first LSN) Ring { return Ring{First: first, Capacity: 1 << 62} }

// unit implements logParser.
func (p *mtrParser) unit() LSN { return 1 }

// most implements logParser.
func (p *mtrParser) most() int { return maxMTR + maxFraming }

// seal implements logParser.
func (p *mtrParser) seal([]byte, LSN) int { return 0 }

// walk implements logParser.
func (p *mtrParser) walk(b []byte, start, stop LSN) (end LSN, err error) {
	n, err := p.scan(b, start, stop)
	return start + LSN(n), err
}

// scan walks over the whole mini-transactions at the start of b, the first of
// which is at LSN start, until one ends at or after stop that does not announce the
// next, or b ends in the middle of one. It returns the bytes of those that are whole. It sets their
// markers in b to 1, and leaves their number and file operations in p. An error
// says that some mini-transaction is not valid; nothing of b should be used then.
func (p *mtrParser) scan(b []byte, start, stop LSN) (n int, err error) {
	p.reset()
	p.lapEnd = 0
	for n < len(b) {
		rest := b[n:]
		lsn := start + LSN(n)
		if lsn >= stop && !p.announces(lsn) {
			break
		}
		marker, state := frame(rest, maxMTR)
		if state == frameShort {
			break
		}
		if state != frameWhole {
			return n, &MTRError{lsn, frameReason(state, marker, maxMTR)}
		}
		if at := lsn + LSN(marker); at >= p.lapEnd {
			p.lapEnd, p.bit = p.ring.lapEnd(at), p.ring.Bit(at)
		}
		if rest[marker] != p.bit {
			return n, &MTRError{lsn, fmt.Sprintf("sequence bit %d instead of %d after %d bytes", rest[marker], p.bit,
				marker)}
		}
		size := marker + p.trailer
		if size > len(rest) {
			break
		}
		sum := crc32.Update(0, p.crc, rest[:marker])
		if p.trailer > 5 {
			sum = crc32.Update(sum, p.crc, rest[marker+1:marker+1+nonceSize])
		}
		if want := binary.BigEndian.Uint32(rest[size-4 : size]); sum != want {
			return n, &MTRError{lsn, fmt.Sprintf("checksum %#08x instead of %#08x over %d bytes", sum, want, marker)}
		}
		if lsn == p.anchor {
			p.anchored = true
		}
		if rest[0]&sameBit != 0 {
			if err := p.fileRecords(rest[:marker], lsn, lsn+LSN(size)); err != nil {
				return n, err
			}
		}
		rest[marker] = 1
		p.mtrs++
		n += size
	}
	return n, nil
}

func frameReason(s frameState, at, most int) string {
	switch s {
	case frameEmpty:
		return "the log ends here"
	case frameVarint:
		return fmt.Sprintf("impossible length of the record after %d bytes", at)
	default:
		return fmt.Sprintf("more than %d bytes of records", most)
	}
}

// FileOpKind is the kind of a file operation in the redo log: the high half of
// its record's first byte.
type FileOpKind byte

// The kinds of file operations.
const (
	FileCreate     FileOpKind = 0x80
	FileDelete     FileOpKind = 0x90
	FileRename     FileOpKind = 0xa0
	FileModify     FileOpKind = 0xb0 // a page of the file changes for the first time since a checkpoint
	FileCheckpoint FileOpKind = 0xf0
)

// String returns the server's name of the kind.
func (k FileOpKind) String() string {
	switch k {
	case FileCreate:
		return "FILE_CREATE"
	case FileDelete:
		return "FILE_DELETE"
	case FileRename:
		return "FILE_RENAME"
	case FileModify:
		return "FILE_MODIFY"
	case FileCheckpoint:
		return "FILE_CHECKPOINT"
	}
	return fmt.Sprintf("file operation %#02x", byte(k))
}

// FileOp is a file operation recorded in the redo log. In a log that is not
// Readable only Kind, Start and End are known.
type FileOp struct {
	Kind       FileOpKind
	Space      SpaceID
	Name       string // the file, as the server names it: "./db/t.ibd", or an absolute path
	NewName    string // FileRename: what it is called from now on
	Checkpoint LSN    // FileCheckpoint: the LSN of the checkpoint; 0 in padding
	Start, End LSN    // of the mini-transaction

	complete bool // FileCheckpoint: no padding, the record carries an LSN
	alone    bool // FileModify: the mini-transaction has nothing but such
}

const (
	sameBit   = 0x80 // in a record's first byte: a file operation, or "same page as the last record"
	kindBits  = 0xf0
	ibdSuffix = ".ibd"
	// checkpointRecord is the length of a FILE_CHECKPOINT record with an LSN:
	// type, space 0, page 0, LSN.
	checkpointRecord = 1 + 2 + 8
)

// fileRecords appends to f.ops the file operations with which a
// mini-transaction begins. b is its records, which are well formed.
func (f *finds) fileRecords(b []byte, start, end LSN) error {
	first := len(f.ops)
	for len(b) > 0 && b[0]&sameBit != 0 {
		size, head := recordSize(b)
		op := FileOp{Kind: FileOpKind(b[0] & kindBits), Start: start, End: end}
		switch op.Kind {
		case FileCreate, FileDelete, FileRename, FileModify, FileCheckpoint:
		default:
			return &fileRecordError{op}
		}
		if size < head || size > len(b) {
			return &fileRecordError{op}
		}
		op.complete = op.Kind == FileCheckpoint && size == checkpointRecord
		if f.readable && !op.parse(b[head:size]) {
			return &fileRecordError{op}
		}
		f.ops = append(f.ops, op)
		b = b[size:]
	}
	other := func(op FileOp) bool { return op.Kind != FileModify }
	f.ops[len(f.ops)-1].alone = len(b) == 0 && !slices.ContainsFunc(f.ops[first:], other)
	return nil
}

// recordSize returns the length of the record at the start of b, and how much of
// it its type and length take up.
func recordSize(b []byte) (size, head int) {
	if n := int(b[0] & 15); n != 0 {
		return 1 + n, 1
	}
	v, n := varint(b[1:])
	return 16 + int(v), 1 + n
}

// fileRecordError is a file record that cannot be understood.
type fileRecordError struct{ op FileOp }

func (e *fileRecordError) Error() string {
	return fmt.Sprintf("%v: %v in the mini-transaction at LSN %d", ErrBadFileRecord, e.op.Kind, e.op.Start)
}

func (e *fileRecordError) Unwrap() error { return ErrBadFileRecord }

// parse reads what follows the length of a file record into op.
func (op *FileOp) parse(b []byte) bool {
	space, n := varint(b)
	if n <= 0 {
		return false
	}
	page, m := varint(b[n:])
	if m <= 0 || page != 0 {
		return false
	}
	op.Space = SpaceID(space)
	b = b[n+m:]
	if op.Kind == FileCheckpoint {
		if op.complete && len(b) == 8 {
			op.Checkpoint = LSN(binary.BigEndian.Uint64(b))
			return space == 0 && op.Checkpoint <= op.Start
		}
		return space == 0 && PageIsZero(b) // padding
	}
	name, newName, two := cutNUL(b)
	if space == 0 || two != (op.Kind == FileRename) || !isIBD(name) || two && !isIBD(newName) {
		return false
	}
	op.Name, op.NewName = string(name), string(newName)
	return true
}

func cutNUL(b []byte) (before, after []byte, found bool) {
	for i, c := range b {
		if c == 0 {
			return b[:i], b[i+1:], true
		}
	}
	return b, nil, false
}

// isIBD reports whether b can be the name of a tablespace's file.
func isIBD(b []byte) bool {
	if len(b) <= len(ibdSuffix) || len(b) > maxPath {
		return false
	}
	for _, c := range b {
		if c == 0 {
			return false
		}
	}
	return string(b[len(b)-len(ibdSuffix):]) == ibdSuffix
}
