package binlog

import (
	"encoding/binary"
	"fmt"
	"io"
)

// Query is a statement in the binary log.
type Query struct {
	Thread   uint32 // id of the connection that sent it
	Database string // the default one
	Text     []byte // in the character set of the client
	Cut      bool   // there is more text
}

// loadHeader is what the event of LOAD DATA has more than another query: which file, where its name
// stands in the text, and what happens to rows that are there.
const loadHeader = 4 + 4 + 4 + 1

// Query reads a query event that Check has accepted, compressed or not. Of its text it reads
// limit bytes at most. The error is ErrDamaged.
func (f Format) Query(b []byte, limit int) (q Query, err error) {
	body, header := f.body(b), queryHeader
	if Type(b[4]) == TypeExecuteLoad {
		header += loadHeader
	}
	if len(body) < header {
		return q, fmt.Errorf("%w: a query event of %d bytes", ErrDamaged, len(b))
	}
	q.Thread = binary.LittleEndian.Uint32(body)
	at := header + int(binary.LittleEndian.Uint16(body[11:]))
	end := at + int(body[8])
	if len(body) < end+1 {
		return q, fmt.Errorf("%w: a query event of %d bytes", ErrDamaged, len(b))
	}
	q.Database, q.Text = string(body[at:end]), body[end+1:]
	if Type(b[4]) == TypeQueryCompress {
		unpacked, err := unpack(q.Text)
		if err != nil {
			return q, err
		}
		defer unpacked.Close() //nolint:errcheck // it was only read
		if q.Text, err = io.ReadAll(io.LimitReader(unpacked, int64(limit)+1)); err != nil {
			return q, fmt.Errorf("%w: %w", ErrDamaged, err)
		}
	}
	if len(q.Text) > limit {
		q.Text, q.Cut = q.Text[:limit], true
	}
	return q, nil
}

// Annotation returns the statement that an annotate event shows.
func (f Format) Annotation(b []byte) []byte { return f.body(b) }
