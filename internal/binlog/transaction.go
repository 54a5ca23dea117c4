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
	place Place
}

// Place is where a transaction is in the files of the server that wrote it.
type Place struct {
	File  string // name of the file, "" if it is not known
	Begin int64  // offset in bytes of its first event
	End   int64  // and of what follows it; before it was ended, of its first event
}

// Place returns where the transaction is that began last. Offsets are those that the server has
// written into its events, which it leaves out within transactions from release 11.4 on: they are
// too low by the checksums, if the server has taken these out as it sent the events.
func (c *Cutter) Place() Place { return c.place }

// Enter says in which file the events to come are, if no event does.
func (c *Cutter) Enter(file string) { c.place = Place{File: file} }

// track follows the offsets of a transaction. h is the header of one of its events.
func (c *Cutter) track(h Header, part Part) {
	end := int64(h.End)
	if part != Opening {
		c.place.End = max(c.place.End+int64(h.Size), beyond4GiB(end, c.place.Begin))
		return
	}
	begin := max(end-int64(h.Size), 0)
	c.place.Begin = beyond4GiB(begin, c.place.End)
	c.place.End = c.place.Begin + int64(h.Size)
}

// beyond4GiB returns an offset of which only 32 bits were written, and which is not before
// another one. 0 is no offset.
func beyond4GiB(offset, after int64) int64 {
	if offset == 0 {
		return 0
	}
	for offset < after-1<<31 {
		offset += 1 << 32
	}
	return offset
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
	h, err := ParseHeader(b)
	if err != nil {
		return Outside, false, err
	}
	switch kind := Type(b[4]); {
	case kind == TypeGTID:
		dropped = c.open
		if c.begin, err = c.Format.Begin(b); err != nil {
			return Outside, false, err
		}
		c.open = true
		c.track(h, Opening)
		return Opening, dropped, nil
	case outside(kind), !c.open && binary.LittleEndian.Uint16(b[17:])&flagIgnorable != 0:
		if kind == TypeRotate || kind == TypeStop {
			dropped, c.open = c.open, false
		}
		if kind == TypeRotate {
			file, err := c.Format.NextFile(b)
			if err != nil {
				return Outside, dropped, err
			}
			if file != c.place.File {
				c.Enter(file)
			}
		}
		return Outside, dropped, nil
	case !c.open:
		return Outside, false, fmt.Errorf("%w: an event of type %d is in no transaction", ErrDamaged, kind)
	case c.ends(kind, b):
		c.open = false
		c.track(h, Closing)
		return Closing, false, nil
	}
	c.track(h, Inside)
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
