package innodb

import (
	"errors"
	"fmt"
)

var (
	// ErrNoFileCheckpoint is returned when the log does not hold, at the end of a
	// checkpoint, the records that belong to it. No server recovers from it.
	ErrNoFileCheckpoint = errors.New("no FILE_CHECKPOINT record for the checkpoint")
	// ErrLogEnd is returned when a log ends before or after the LSN where it
	// should end.
	ErrLogEnd = errors.New("redo log ends at the wrong LSN")
)

// mtrWalk follows a log from a checkpoint on and keeps account of it.
type mtrWalk struct {
	parser  logParser
	journal *Journal
	end     LSN   // of the last mini-transaction that was taken in
	mtrs    int64 // mini-transactions taken in
	open    bool  // the last one announces the next

	checkpoint Checkpoint
	next       LSN  // where the next mini-transaction of the checkpoint's end must begin
	proven     bool // its FILE_CHECKPOINT was found
}

// newWalk returns a walk that begins at c.LSN.
func newWalk(p logParser, c Checkpoint) *mtrWalk {
	p.found().anchor = c.End
	return &mtrWalk{parser: p, journal: newJournal(p.found().readable, p.found().hidden), end: c.LSN, checkpoint: c,
		next: c.End}
}

// pos returns where in the log the bytes begin that take wants next: at the end of
// the last mini-transaction, rounded down to a unit of the log.
func (w *mtrWalk) pos() LSN { return w.end - w.end%w.parser.unit() }

// take scans b, whose first byte is at w.pos(), up to the first mini-transaction
// end at or after stop that does not announce the next, and returns by how many bytes that moved w.pos(). With an
// error nothing is taken in.
func (w *mtrWalk) take(b []byte, stop LSN) (n int, err error) {
	end, err := w.parser.walk(b, w.end, stop)
	if err != nil {
		return 0, err
	}
	next, proven, err := w.prove(end)
	if err != nil {
		return 0, err
	}
	if proven && !w.proven && w.checkpoint.End == w.checkpoint.LSN && w.parser.unit() == 1 {
		w.journal.checkpointOnly(next)
	}
	pos := w.pos()
	w.open = end == w.end && w.open || w.parser.found().announces(end)
	w.end, w.next, w.proven = end, next, proven
	w.mtrs += w.parser.found().mtrs
	w.journal.add(w.parser.found().ops)
	return int(w.pos() - pos), nil
}

// prove looks for the checkpoint's own records among those of the last scan,
// which ended at end: from Checkpoint.End on there must be nothing but
// FILE_MODIFY until a FILE_CHECKPOINT of Checkpoint.LSN.
func (w *mtrWalk) prove(end LSN) (next LSN, proven bool, err error) {
	next = w.next
	if w.proven || end <= next {
		return next, w.proven, nil
	}
	found := w.parser.found()
	if found.hidden {
		// Nothing can be seen. The server had written the records before it wrote
		// the checkpoint.
		return next, true, nil
	}
	if w.checkpoint.End == w.checkpoint.LSN && w.parser.unit() > 1 {
		next, proven = w.proveAmong(found.ops, end)
		return next, proven, nil
	}
	missing := fmt.Errorf("%w: checkpoint %d, end %d, in the log from %d to %d",
		ErrNoFileCheckpoint, w.checkpoint.LSN, w.checkpoint.End, w.end, end)
	if next == w.checkpoint.End && !found.anchored {
		return 0, false, missing
	}
	var current LSN // the mini-transaction that is looked at
	for _, op := range found.ops {
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
		if op.complete && (op.Checkpoint == w.checkpoint.LSN || !found.readable) {
			return next, true, nil
		}
	}
	if next != end {
		return 0, false, missing
	}
	return next, false, nil
}

// proveAmong is prove where records of others may come before the checkpoint's own: 10.5
// does not say where those of its first checkpoints after a crash are.
func (w *mtrWalk) proveAmong(ops []FileOp, end LSN) (next LSN, proven bool) {
	for _, op := range ops {
		if op.complete && op.Checkpoint == w.checkpoint.LSN {
			return op.End, true
		}
	}
	return end, false
}

// LogChecker checks the redo of a backup: the bytes of StoredRedo from a
// checkpoint to an end, with all sequence bits set. Every checksum must be right, every byte belong to
// a mini-transaction, and the checkpoint's own records must be there. Write the
// bytes to it in any portions, then call Finish. It is not safe for concurrent
// use.
type LogChecker struct {
	format uint32
	walk   *mtrWalk
	rest   []byte // from walk.pos() on
	err    error
}

// NewLogChecker returns a checker of the redo from c.LSN on. format and crypt are
// as in LogHeader.
func NewLogChecker(format uint32, crypt []byte, c Checkpoint) (*LogChecker, error) {
	if _, err := (RestoredLog{Format: format, Crypt: crypt, Checkpoint: c}).Header(); err != nil {
		return nil, err
	}
	p := newLogParser(LogHeader{Format: format, Crypt: crypt}, normalRing(c.LSN))
	return &LogChecker{walk: newWalk(p, c), format: format}, nil
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
	_, to := StoredRedo(c.format, c.walk.checkpoint, end)
	last := end
	if c.walk.parser.found().hidden {
		last = to
	}
	switch {
	case c.err != nil:
		return c.err
	case c.walk.end != last || c.walk.pos()+LSN(len(c.rest)) != to:
		return fmt.Errorf("%w: whole mini-transactions to %d, and bytes to %d, instead of to %d and %d",
			ErrLogEnd, c.walk.end, c.walk.pos()+LSN(len(c.rest)), end, to)
	case !c.walk.proven:
		return fmt.Errorf("%w: checkpoint %d, end %d, in the log to %d",
			ErrNoFileCheckpoint, c.walk.checkpoint.LSN, c.walk.checkpoint.End, end)
	}
	return nil
}

// Journal returns what the log has said about files so far.
func (c *LogChecker) Journal() *Journal { return c.walk.journal }

// MTRs returns the number of mini-transactions so far.
func (c *LogChecker) MTRs() int64 { return c.walk.mtrs }
