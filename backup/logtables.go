package backup

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path"
	"strings"
	"sync/atomic"

	"mbk/copier"
	"mbk/internal/repo"
)

// The log tables of the server, mysql.general_log and slow_log, are CSV tables that it
// writes to at any time. While one is open its second file (.CSM) says that it crashed,
// and counts the rows that it had when it was opened. So that file is made anew, and
// fits the rows that were copied.

// lineCounter counts the lines that are read of a file. Each byte is read once.
type lineCounter struct {
	*os.File
	lines *atomic.Int64
}

// ReadAt implements io.ReaderAt.
func (c lineCounter) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.File.ReadAt(p, off)
	c.lines.Add(int64(bytes.Count(p[:n], []byte{'\n'})))
	return n, err
}

// counted is f, or something that counts the lines that are read of it if h is a log
// table.
func (h *held) counted(f *os.File) io.ReaderAt {
	if h.lines == nil {
		return f
	}
	return lineCounter{f, h.lines}
}

// wholeLines is how many of the first size bytes of a log table are whole lines: the
// end of the last may be being written. Of a line that is longer than any can be, all is.
func (e entry) wholeLines(f io.ReaderAt, size int64) (int64, error) {
	if !e.logTable() {
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

// csvState is the second file of a CSV table that was closed, with so many rows.
func csvState(rows int64) []byte {
	b := make([]byte, csmSize) // the last byte says whether it crashed
	b[0], b[1] = csmMagic, csmVers
	binary.LittleEndian.PutUint64(b[csmRows:], uint64(rows))
	return b
}

// closeLogTables replaces the second files of the log tables, when their rows are copied.
func (c *copies) closeLogTables(ctx context.Context, f *final) error {
	for name, rows := range f.files {
		if rows.held.lines == nil {
			continue
		}
		state := f.files[strings.TrimSuffix(name, path.Ext(name))+".CSM"]
		if state == nil {
			continue
		}
		if err := rows.held.done(ctx); err != nil {
			return err
		}
		b := csvState(rows.held.lines.Load())
		h := &held{entry: state.entry, number: c.nextNumber(), class: repo.ClassPlain, stat: state.held.stat, size: int64(len(b))}
		pending, err := c.copier.Add(ctx, copier.Source{Number: h.number, Name: state.entry.path(), File: bytes.NewReader(b), Size: h.size})
		if err != nil {
			return err
		}
		h.pending = append(h.pending, pending)
		state.held = h
	}
	return nil
}
