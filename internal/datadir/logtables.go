package datadir

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
)

// WholeLines returns how many of the first size bytes of a log table are whole lines: the
// end of the last one may still be written. All bytes of an impossibly long line count.
func (e Entry) WholeLines(f io.ReaderAt, size int64) (int64, error) {
	if !e.HoldsLogRows() {
		return size, nil
	}
	const most = 1 << 30 // bytes of a statement
	b := make([]byte, 64<<10)
	for all := size; size > 0; {
		if all-size > most {
			return all, nil
		}
		from := max(size-int64(len(b)), 0)
		n, err := f.ReadAt(b[:size-from], from)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if i := bytes.LastIndexByte(b[:n], '\n'); i >= 0 {
			return from + int64(i) + 1, nil
		}
		size = from
	}
	return 0, nil
}

// Parts of the second file of a CSV table.
const (
	csmSize  = 35
	csmMagic = 0xfe
	csmVers  = 1
	csmRows  = 2 // offset of the number of rows, 8 bytes
)

// CSVState returns the second file of a closed CSV table with that number of rows.
func CSVState(rows int64) []byte {
	b := make([]byte, csmSize) // the last byte says whether it crashed
	b[0], b[1] = csmMagic, csmVers
	binary.LittleEndian.PutUint64(b[csmRows:], uint64(rows))
	return b
}

// ReadTail reads the last bytes of a log table's data of that size, which show later
// whether the table has only grown. Of other files it reads nothing.
func (e Entry) ReadTail(f io.ReaderAt, size int64) ([]byte, error) {
	const length = 4096
	if !e.HoldsLogRows() {
		return nil, nil
	}
	b := make([]byte, min(size, length))
	n, err := f.ReadAt(b, size-int64(len(b)))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return b[:n], nil
}
