package binlog

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// Part says where an event stands.
type Part int

// Parts of a stream of events.
const (
	Outside Part = iota // of all transactions: it describes the log and changes nothing
	Opening             // the first of a transaction
	Inside              // neither first nor last
	Closing             // the last
)

// Cutter finds where transactions begin and end in a stream of events, in their order. It
// belongs to one connection. The zero value is the beginning of a log.
type Cutter struct {
	Format Format // of the events to come

	open  bool
	begin Begin
}

// Begun returns the transaction that began last, and whether it is still open.
func (c *Cutter) Begun() (Begin, bool) { return c.begin, c.open }

// Next checks an event and says where it stands. A transaction that was open when another one
// or another file begins, is given up by the server: it was never finished. dropped says so.
// The error is ErrDamaged.
func (c *Cutter) Next(b []byte) (part Part, dropped bool, err error) {
	if len(b) >= HeaderSize && Type(b[4]) == TypeFormat {
		dropped = c.open
		c.open = false
		c.Format, err = ParseFormat(b)
		return Outside, dropped, err
	}
	if err := c.Format.Check(b); err != nil {
		return Outside, false, err
	}
	switch kind := Type(b[4]); {
	case kind == TypeGTID:
		dropped = c.open
		if c.begin, err = c.Format.Begin(b); err != nil {
			return Outside, false, err
		}
		c.open = true
		return Opening, dropped, nil
	case outside(kind), !c.open && binary.LittleEndian.Uint16(b[17:])&flagIgnorable != 0:
		if kind == TypeRotate || kind == TypeStop {
			dropped, c.open = c.open, false
		}
		return Outside, dropped, nil
	case !c.open:
		return Outside, false, fmt.Errorf("%w: an event of type %d is in no transaction", ErrDamaged, kind)
	case c.ends(kind, b):
		c.open = false
		return Closing, false, nil
	}
	return Inside, false, nil
}

// outside reports whether events of a kind belong to no transaction.
func outside(kind Type) bool {
	switch kind {
	case TypeStop, TypeRotate, TypeFormat, TypeIncident, TypeHeartbeat, TypeCheckpoint, TypeGTIDList, TypeEncryption:
		return true
	}
	return false
}

// ends reports whether an event is the last one of the transaction that is open.
func (c *Cutter) ends(kind Type, b []byte) bool {
	if c.begin.standalone {
		return !precedes(kind)
	}
	switch kind {
	case TypeXID, TypeXAPrepare:
		return true
	case TypeQuery:
		return ending(c.Format.queryText(b))
	}
	return false
}

// precedes reports whether events of a kind prepare the one that does something.
func precedes(kind Type) bool {
	switch kind {
	case TypeIntvar, TypeRand, TypeUserVar, TypeTableMap, TypeAnnotate, TypeBeginLoad, TypeAppendBlock:
		return true
	}
	return false
}

// ending reports whether a statement ends a transaction. That to a savepoint does not.
func ending(query []byte) bool {
	return string(query) == "COMMIT" || string(query) == "ROLLBACK" ||
		bytes.HasPrefix(query, []byte("XA COMMIT ")) || bytes.HasPrefix(query, []byte("XA ROLLBACK "))
}

// queryHeader is the length of the fixed part of a query event after the header: thread,
// duration, length of the database, error and length of the status variables.
const queryHeader = 4 + 4 + 1 + 2 + 2

// queryText returns the statement of a query event that is not compressed, nil if there is none
// in it.
func (f Format) queryText(b []byte) []byte {
	body := f.body(b)
	if len(body) < queryHeader {
		return nil
	}
	skip := queryHeader + int(binary.LittleEndian.Uint16(body[11:])) + int(body[8]) + 1
	if len(body) < skip {
		return nil
	}
	return body[skip:]
}

// Content returns an event without what differs when the same event is read again: the flags,
// its place in the file, and therefore the checksum. The parts together are the content.
func (f Format) Content(b []byte) (head, body []byte) { return b[:13], f.body(b) }
