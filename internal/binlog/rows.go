package binlog

import (
	"bufio"
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// Kinds of events that change rows: of the first and the second version, and compressed.
const (
	typeWriteRows1         Type = 23
	typeUpdateRows1        Type = 24
	typeDeleteRows1        Type = 25
	typeWriteRows2         Type = 30
	typeUpdateRows2        Type = 31
	typeDeleteRows2        Type = 32
	typeWriteRowsCompress1 Type = 166
	typeWriteRowsCompress2 Type = 169
	typeDeleteRowsCompress Type = 171 // the last one: write, update, delete, of each version
)

// TableMap is the table that an event of rows is about.
type TableMap struct {
	ID       uint64
	Database string
	Table    string
	types    []byte
	metadata []uint16 // one of each column
}

// maxColumns limits the columns of a table; the server has at most 4096.
const maxColumns = 4096

// TableMap reads a table map that Check has accepted. The error is ErrDamaged.
func (f Format) TableMap(b []byte) (*TableMap, error) {
	if _, err := whole(b, TypeTableMap); err != nil {
		return nil, err
	}
	body := cursor{rest: f.body(b)}
	t := &TableMap{ID: body.number(6)}
	body.take(2) // flags
	t.Database = string(body.take(int(body.number(1))))
	body.take(1)
	t.Table = string(body.take(int(body.number(1))))
	body.take(1)
	columns := body.length()
	if body.bad || columns > maxColumns {
		return nil, fmt.Errorf("%w: a table map of %d bytes with %d columns", ErrDamaged, len(b), columns)
	}
	t.types = slices.Clone(body.take(int(columns)))
	metadata := cursor{rest: body.take(int(body.length()))}
	for _, kind := range t.types {
		t.metadata = append(t.metadata, metadata.metadata(kind))
	}
	if body.bad || metadata.bad || len(metadata.rest) > 0 {
		return nil, fmt.Errorf("%w: the columns of a table map of %s.%s", ErrDamaged, t.Database, t.Table)
	}
	return t, nil
}

// cursor takes numbers off bytes. Past the end it returns zeros, and is bad.
type cursor struct {
	rest []byte
	bad  bool
}

// take returns the next n bytes.
func (c *cursor) take(n int) []byte {
	if c.bad || n < 0 || n > len(c.rest) {
		c.bad = true
		return nil
	}
	b := c.rest[:n]
	c.rest = c.rest[n:]
	return b
}

// number returns a number of n bytes.
func (c *cursor) number(n int) uint64 {
	var v uint64
	for i, x := range c.take(n) {
		v |= uint64(x) << (8 * i)
	}
	return v
}

// length returns a number as the protocol packs it.
func (c *cursor) length() uint64 {
	switch first := c.number(1); first {
	case 252:
		return c.number(2)
	case 253:
		return c.number(3)
	case 254:
		return min(c.number(8), 1<<62)
	case 251, 255:
		c.bad = true
		return 0
	default:
		return first
	}
}

// Kinds of columns, as in a table map.
const (
	columnTiny          = 1
	columnShort         = 2
	columnLong          = 3
	columnFloat         = 4
	columnDouble        = 5
	columnNull          = 6
	columnTimestamp     = 7
	columnLongLong      = 8
	columnInt24         = 9
	columnDate          = 10
	columnTime          = 11
	columnDatetime      = 12
	columnYear          = 13
	columnNewDate       = 14
	columnVarchar       = 15
	columnBit           = 16
	columnTimestamp2    = 17
	columnDatetime2     = 18
	columnTime2         = 19
	columnBlobCompress  = 140
	columnVarcharCompr  = 141
	columnDecimal       = 246
	columnEnum          = 247
	columnSet           = 248
	columnTinyBlob      = 249
	columnMediumBlob    = 250
	columnLongBlob      = 251
	columnBlob          = 252
	columnVarString     = 253
	columnString        = 254
	columnGeometry      = 255
	decimalDigits       = 9 // in a group
	decimalGroup        = 4 // bytes
	maxDecimalPrecision = 65
)

// metadata takes what a table map says of a column, beside its kind: table_def::table_def in
// sql/rpl_utility.cc.
func (c *cursor) metadata(kind byte) uint16 {
	switch kind {
	case columnFloat, columnDouble, columnTinyBlob, columnMediumBlob, columnLongBlob, columnBlob, columnGeometry,
		columnBlobCompress, columnTime2, columnTimestamp2, columnDatetime2:
		return uint16(c.number(1))
	case columnEnum, columnSet, columnString, columnDecimal:
		high := c.number(1)
		return uint16(high<<8 | c.number(1))
	case columnVarchar, columnVarString, columnVarcharCompr, columnBit:
		return uint16(c.number(2))
	}
	return 0
}

// rowHeader is what an event of rows says before the rows.
type rowHeader struct {
	change  Change
	table   uint64
	columns int
	present [][]byte // a bitmap of the columns; of an update a second one of what they become
	rows    []byte
	packed  bool
}

// Change is what an event does to rows.
type Change int

// Changes of rows.
const (
	Insert Change = iota
	Update
	Delete
)

// rowsEvent reports whether a kind of event changes rows, and how.
func rowsEvent(kind Type) (change Change, second, packed, ok bool) {
	switch {
	case kind >= typeWriteRows1 && kind <= typeDeleteRows1:
		return Change(kind - typeWriteRows1), false, false, true
	case kind >= typeWriteRows2 && kind <= typeDeleteRows2:
		return Change(kind - typeWriteRows2), true, false, true
	case kind >= typeWriteRowsCompress1 && kind < typeWriteRowsCompress2:
		return Change(kind - typeWriteRowsCompress1), false, true, true
	case kind >= typeWriteRowsCompress2 && kind <= typeDeleteRowsCompress:
		return Change(kind - typeWriteRowsCompress2), true, true, true
	}
	return 0, false, false, false
}

// rowHeader reads an event of rows up to the rows.
func (f Format) rowHeader(b []byte) (h rowHeader, err error) {
	change, second, packed, ok := rowsEvent(Type(b[4]))
	if !ok {
		return h, fmt.Errorf("%w: type %d changes no rows", ErrDamaged, b[4])
	}
	c := cursor{rest: f.body(b)}
	h.change, h.packed, h.table = change, packed, c.number(6)
	c.take(2) // flags
	if second {
		c.take(int(c.number(2)) - 2)
	}
	columns := c.length()
	if c.bad || columns > maxColumns {
		return h, fmt.Errorf("%w: an event of rows of type %d with %d columns", ErrDamaged, b[4], columns)
	}
	h.columns = int(columns)
	h.present = append(h.present, c.take((h.columns+7)/8))
	if change == Update {
		h.present = append(h.present, c.take((h.columns+7)/8))
	}
	if h.rows = c.rest; c.bad {
		return h, fmt.Errorf("%w: an event of rows of type %d with %d bytes", ErrDamaged, b[4], len(b))
	}
	return h, nil
}

// count returns how many rows an event changes. Nothing of the rows is kept. The error is
// ErrDamaged, also for columns whose length in the log depends on what the log does not say.
func (h rowHeader) count(t *TableMap) (int64, error) {
	if len(t.types) != h.columns {
		return 0, fmt.Errorf("%w: rows of %d columns in a table of %d", ErrDamaged, h.columns, len(t.types))
	}
	var in io.Reader = bytes.NewReader(h.rows)
	if h.packed {
		unpacked, err := unpack(h.rows)
		if err != nil {
			return 0, err
		}
		defer unpacked.Close() //nolint:errcheck // it was only read
		in = unpacked
	}
	rows := rowReader{in: bufio.NewReaderSize(in, 16<<10), table: t}
	var n int64
	for {
		if _, err := rows.in.Peek(1); err == io.EOF {
			return n, nil
		}
		for _, present := range h.present {
			if err := rows.row(present); err != nil {
				return n, fmt.Errorf("%w: row %d of %s.%s: %w", ErrDamaged, n+1, t.Database, t.Table, err)
			}
		}
		n++
	}
}

// unpack reads what the server has compressed: a byte that says how, the length, and the bytes.
// Nobody believes the length.
func unpack(b []byte) (io.ReadCloser, error) {
	const mark, algorithm, lengthBytes = 0x80, 0x70, 0x07
	if len(b) == 0 || b[0]&0x80 != mark || b[0]&algorithm != 0 || len(b) < 1+int(b[0]&lengthBytes) {
		return nil, fmt.Errorf("%w: it is not compressed as the server does", ErrDamaged)
	}
	r, err := zlib.NewReader(bytes.NewReader(b[1+int(b[0]&lengthBytes):]))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return r, nil
}

// rowReader passes over rows.
type rowReader struct {
	in    *bufio.Reader
	table *TableMap
	nulls []byte
}

// row passes over one image of a row, which has the columns of a bitmap.
func (r *rowReader) row(present []byte) error {
	columns := 0
	for i := range r.table.types {
		if bit(present, i) {
			columns++
		}
	}
	if columns == 0 {
		return fmt.Errorf("a row without columns")
	}
	r.nulls = slices.Grow(r.nulls[:0], (columns+7)/8)[:(columns+7)/8]
	if _, err := io.ReadFull(r.in, r.nulls); err != nil {
		return err
	}
	at := 0
	for i := range r.table.types {
		if !bit(present, i) {
			continue
		}
		if !bit(r.nulls, at) {
			if err := r.value(r.table.types[i], r.table.metadata[i]); err != nil {
				return fmt.Errorf("column %d: %w", i+1, err)
			}
		}
		at++
	}
	return nil
}

func bit(b []byte, i int) bool { return b[i/8]&(1<<(i%8)) != 0 }

// value passes over one value.
func (r *rowReader) value(kind byte, metadata uint16) error {
	size, prefix := width(kind, metadata)
	if size < 0 {
		return fmt.Errorf("a column of kind %d", kind)
	}
	if prefix > 0 {
		var b [4]byte
		if _, err := io.ReadFull(r.in, b[:prefix]); err != nil {
			return err
		}
		size = int(binary.LittleEndian.Uint32(b[:]))
	}
	n, err := r.in.Discard(size)
	if n < size && err == nil {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// width returns how many bytes a value has in the log, or how many say how many it has; a size of -1
// if nobody knows: table_def::calc_field_size in sql/rpl_utility.cc.
func width(kind byte, metadata uint16) (size, prefix int) {
	high, low := int(metadata>>8), int(metadata&0xff)
	switch kind {
	case columnNull:
		return 0, 0
	case columnTiny, columnYear:
		return 1, 0
	case columnShort:
		return 2, 0
	case columnInt24, columnNewDate, columnDate, columnTime:
		return 3, 0
	case columnLong, columnTimestamp:
		return 4, 0
	case columnLongLong, columnDatetime:
		return 8, 0
	case columnFloat, columnDouble:
		return low, 0
	case columnTime2:
		return 3 + (low+1)/2, 0
	case columnTimestamp2:
		return 4 + (low+1)/2, 0
	case columnDatetime2:
		return 5 + (low+1)/2, 0
	case columnBit:
		return high + min(low, 1), 0
	case columnDecimal:
		return decimalSize(high, low), 0
	case columnEnum, columnSet:
		return low, 0
	case columnString:
		return stringWidth(high, low)
	case columnVarchar, columnVarString, columnVarcharCompr:
		return 0, lengthPrefix(int(metadata))
	case columnTinyBlob, columnMediumBlob, columnLongBlob, columnBlob, columnGeometry, columnBlobCompress:
		if low >= 1 && low <= 4 {
			return 0, low
		}
	}
	return -1, 0
}

// stringWidth is width for CHAR, which stands for ENUM and SET, too. The two high bits of its
// length are in the kind, inverted.
func stringWidth(kind, length int) (size, prefix int) {
	if kind == columnEnum || kind == columnSet {
		return length, 0
	}
	if kind&0x30 != 0x30 {
		length |= (kind&0x30 ^ 0x30) << 4
	}
	return 0, lengthPrefix(length)
}

// lengthPrefix returns how many bytes say how long a string is that has at most so many.
func lengthPrefix(most int) int {
	if most > 255 {
		return 2
	}
	return 1
}

// decimalSize returns the bytes of a DECIMAL, -1 for one that cannot be.
func decimalSize(precision, scale int) int {
	if scale > precision || precision > maxDecimalPrecision {
		return -1
	}
	part := func(digits int) int { return digits/decimalDigits*decimalGroup + (digits%decimalDigits+1)/2 }
	return part(precision-scale) + part(scale)
}
