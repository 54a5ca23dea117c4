package innodb

import (
	"errors"
	"fmt"
)

var (
	// ErrNoFileCheckpoint is returned when the log does not hold, at the end of a
	// checkpoint, the records that belong to it. No server recovers from it.
	ErrNoFileCheckpoint = errors.New("no FILE_CHECKPOINT record for the checkpoint")
	// ErrLogEnd is returned when a log ends before or behind the LSN where it
	// should end.
	ErrLogEnd = errors.New("redo log ends at the wrong LSN")
)

// mtrWalk follows a log from a checkpoint on and keeps account of it.
type mtrWalk struct {
	parser  *mtrParser
	journal *Journal
	pos     LSN   // end of what was taken in
	mtrs    int64 // mini-transactions taken in

	checkpoint Checkpoint
	next       LSN  // where the next mini-transaction of the checkpoint's end must begin
	proven     bool // its FILE_CHECKPOINT was found
}

// newWalk returns a walk that begins at c.LSN.
func newWalk(p *mtrParser, c Checkpoint) *mtrWalk {
	p.anchor = c.End
	return &mtrWalk{parser: p, journal: newJournal(p.readable), pos: c.LSN, checkpoint: c, next: c.End}
}

// take scans b, whose first byte is at w.pos, up to the first mini-transaction
// end at or behind stop, and returns the bytes of whole mini-transactions. With
// an error nothing is taken in.
func (w *mtrWalk) take(b []byte, stop LSN) (n int, err error) {
	n, err = w.parser.scan(b, w.pos, stop)
	if err != nil {
		return 0, err
	}
	end := w.pos + LSN(n)
	next, proven, err := w.prove(end)
	if err != nil {
		return 0, err
	}
	w.pos, w.next, w.proven = end, next, proven
	w.mtrs += w.parser.mtrs
	w.journal.add(w.parser.ops)
	return n, nil
}

// prove looks for the checkpoint's own records among those of the last scan,
// which ended at end: from Checkpoint.End on there must be nothing but
// FILE_MODIFY until a FILE_CHECKPOINT of Checkpoint.LSN.
func (w *mtrWalk) prove(end LSN) (next LSN, proven bool, err error) {
	next = w.next
	if w.proven || end <= next {
		return next, w.proven, nil
	}
	missing := fmt.Errorf("%w: checkpoint %d, end %d, in the log from %d to %d",
		ErrNoFileCheckpoint, w.checkpoint.LSN, w.checkpoint.End, w.pos, end)
	if next == w.checkpoint.End && !w.parser.anchored {
		return 0, false, missing
	}
	var current LSN // the mini-transaction that is looked at
	for _, op := range w.parser.ops {
		if op.Start < w.checkpoint.End {
			continue
		}
		if op.Start != current {
			current = op.Start
			if op.Start != next || op.Kind != FileModify && !op.complete {
				return 0, false, missing
			}
			next = op.End
		}
		if op.complete && (op.Checkpoint == w.checkpoint.LSN || !w.parser.readable) {
			return next, true, nil
		}
	}
	if next != end {
		return 0, false, missing
	}
	return next, false, nil
}

// LogChecker checks the redo of a backup: the bytes from a checkpoint to an end,
// with all sequence bits set. Every checksum must be right, every byte belong to
// a mini-transaction, and the checkpoint's own records must be there. Write the
// bytes to it in any portions, then call Finish. It is not safe for concurrent
// use.
type LogChecker struct {
	walk *mtrWalk
	rest []byte // the beginning of a mini-transaction
	err  error
}

// NewLogChecker returns a checker of the redo from c.LSN on. format and crypt are
// as in LogHeader.
func NewLogChecker(format uint32, crypt []byte, c Checkpoint) (*LogChecker, error) {
	if _, err := (RestoredLog{Format: format, Crypt: crypt, Checkpoint: c}).Header(); err != nil {
		return nil, err
	}
	p := newParser(LogHeader{Format: format, Crypt: crypt}, normalRing(c.LSN))
	return &LogChecker{walk: newWalk(p, c)}, nil
}

// Write takes in more bytes, all of them or none. An error is final; errors.Is
// finds ErrBadMTR, ErrBadFileRecord or ErrNoFileCheckpoint. b is not changed.
func (c *LogChecker) Write(b []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	c.rest = append(c.rest, b...)
	n, err := c.walk.take(c.rest, maxLSN)
	if err != nil {
		c.err = err
		return 0, err
	}
	c.rest = c.rest[:copy(c.rest, c.rest[n:])]
	return len(b), nil
}

// Finish reports whether the log is whole and ends exactly at end.
func (c *LogChecker) Finish(end LSN) error {
	switch {
	case c.err != nil:
		return c.err
	case c.walk.pos != end || len(c.rest) != 0:
		return fmt.Errorf("%w: whole mini-transactions to %d and %d bytes more, instead of to %d",
			ErrLogEnd, c.walk.pos, len(c.rest), end)
	case !c.walk.proven:
		return fmt.Errorf("%w: checkpoint %d, end %d, in the log to %d",
			ErrNoFileCheckpoint, c.walk.checkpoint.LSN, c.walk.checkpoint.End, end)
	}
	return nil
}

// Journal returns what the log told of files so far.
func (c *LogChecker) Journal() *Journal { return c.walk.journal }

// MTRs returns the number of mini-transactions so far.
func (c *LogChecker) MTRs() int64 { return c.walk.mtrs }
