package innodb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"
)

// This file is what Run does: one read after another, and the change to another
// file when the server resizes its log.

// step reads and hands on one chunk. lsns must have been polled just before. It
// returns whether there is more to read at once, and the server's LSNs after the
// read.
func (t *Tailer) step(ctx context.Context, lsns LSNs) (more bool, after LSNs, err error) {
	if t.next == nil {
		// In this order: poll, then look whether the file is still the same one.
		// Then all that was durable when polled is in this file.
		same, err := t.file.current()
		if err != nil {
			return false, lsns, err
		}
		if !same {
			after, err = t.replace(ctx)
			return err == nil, after, err
		}
		if what, err := t.file.changed(); err != nil {
			return false, lsns, err
		} else if what != "" {
			return false, lsns, t.fail(ErrRedoReplaced, errors.New(what))
		}
	}
	limit := t.limit(lsns.Flushed)
	from := t.position()
	if from >= limit {
		if t.next != nil {
			return false, lsns, t.fail(ErrRedoReplaced, fmt.Errorf("the old log changed below LSN %d", limit))
		}
		t.publish(t.headroom(from, lsns))
		return false, lsns, nil
	}
	n := int(min(int64(len(t.buf)-t.have), int64(limit-from), t.file.ring.Capacity))
	n -= n % int(t.walk.parser.unit())
	if err := t.file.read(t.buf[t.have:t.have+n], from); err != nil {
		return false, lsns, err
	}
	if after, err = t.poll(ctx); err != nil {
		return false, lsns, err
	}
	// The bytes are what they should be unless the server could have written a
	// whole lap over them before the read was over.
	room := t.headroom(from, after)
	if room <= 0 {
		return false, after, t.fail(ErrRedoOverwritten, nil)
	}
	t.have += n
	if err := t.deliver(lsns.Flushed); err != nil {
		return false, after, err
	}
	t.publish(room)
	if !t.failing.IsZero() {
		return false, after, nil
	}
	if t.next != nil && t.walk.end >= t.nextAt {
		return true, after, t.adopt()
	}
	to := t.position()
	return t.next != nil || to > from && to < t.limit(after.Flushed), after, nil
}

// position returns where the log is read next.
func (t *Tailer) position() LSN { return t.walk.pos() + LSN(t.have) }

// limit returns up to where the file may be read, given an LSN that was flushed
// before. While the log is only followed, the block that the server may be
// rewriting is left alone; when an LSN is waited for, every byte below the
// flushed LSN is taken, since no rewriting changes those. In a log of blocks that
// makes it necessary to take all of the last block.
func (t *Tailer) limit(flushed LSN) LSN {
	if t.next != nil {
		return t.nextAt
	}
	unit := t.walk.parser.unit()
	switch wanted := t.wanted(flushed); {
	case wanted:
		return (flushed + unit - 1) / unit * unit
	case unit > 1:
		return flushed - flushed%unit
	}
	return flushed - LSN(t.file.ring.Offset(flushed)%writeBlock)
}

// headroom returns how many bytes the server could write, after it reported
// lsns, before it overwrites the byte at from.
func (t *Tailer) headroom(from LSN, lsns LSNs) int64 {
	written := lsns.Current
	if t.next != nil {
		written = t.nextMax // nothing more goes to this file
	}
	return t.file.ring.Capacity - ringSlack - int64(written-from)
}

// deliver hands the whole mini-transactions in the buffer to the sink. A place
// that cannot be read is given some time. flushed was polled before the buffer was
// read.
func (t *Tailer) deliver(flushed LSN) error {
	start := t.walk.pos()
	stop := t.stop()
	if t.walk.parser.found().hidden {
		stop = min(stop, flushed) // the log says nothing of its end
	}
	n, err := t.walk.take(t.buf[:t.have], stop)
	if lapped(err) {
		return t.fail(ErrRedoOverwritten, err)
	}
	if err != nil {
		return t.reread(err)
	}
	t.failing = time.Time{}
	done := t.finished()
	if done {
		n += t.walk.parser.seal(t.buf[n:t.have], t.walk.end)
	}
	if n > 0 {
		if err := t.sink(t.buf[:n], start, start+LSN(n)); err != nil {
			return fmt.Errorf("store redo log from LSN %d: %w", start, err)
		}
	}
	if t.sealed = done; done {
		return nil
	}
	t.have = copy(t.buf, t.buf[n:t.have])
	// What the server may still be filling is read again.
	if last := flushed - flushed%t.walk.parser.unit(); t.position() > last {
		t.have = int(max(last, t.walk.pos()) - t.walk.pos())
	}
	return nil
}

// stop returns where to stop: the first end of a mini-transaction at or after
// it is the last that is copied.
func (t *Tailer) stop() LSN {
	final := t.stopAt()
	switch {
	case final == 0:
		return maxLSN
	case !t.walk.proven:
		return max(final, t.walk.next+1)
	case t.walk.open:
		return max(final, t.walk.end+1)
	}
	return final
}

// reread throws away what was read, so that it is read again, unless that was
// tried for too long. Nothing of it was handed on.
func (t *Tailer) reread(cause error) error {
	now := time.Now()
	if t.failing.IsZero() {
		t.failing = now
		t.log.Debug("redo log cannot be read, trying again", "lsn", t.walk.end, "cause", cause)
	} else if now.Sub(t.failing) > t.options.Patience {
		return t.fail(ErrRedoDamaged, cause)
	}
	t.have = 0
	t.mu.Lock()
	t.progress.Rereads++
	t.trouble = cause
	t.mu.Unlock()
	t.file.forget()
	return nil
}

// replace is called when the path names another file: the server resized its
// log. Until the moment of the change it wrote to both files.
func (t *Tailer) replace(ctx context.Context) (LSNs, error) {
	next, lsns, err := t.openNext(ctx)
	if err != nil {
		return lsns, err
	}
	if next.ring.First > t.walk.end {
		// There may have been other logs in between.
		if between := t.pins.successor(t.file); between != nil {
			if err := next.close(); err != nil {
				return lsns, errors.Join(err, between.close())
			}
			next = between
		}
	}
	if err = t.follow(next, lsns); err != nil && t.file != next {
		err = errors.Join(err, next.close())
	}
	return lsns, err
}

// openNext opens the file that path names. It returns LSNs such that everything
// from its first LSN to the flushed one is in that file.
func (t *Tailer) openNext(ctx context.Context) (*logFile, LSNs, error) {
	for {
		next, err := openLog(t.options.Files, t.path)
		if err != nil {
			return nil, LSNs{}, err
		}
		lsns, err := t.poll(ctx)
		if err != nil {
			return nil, lsns, errors.Join(err, next.close())
		}
		same, err := next.current()
		if same && err == nil {
			return next, lsns, nil
		}
		// Replaced once more: only the newest counts.
		if err = errors.Join(err, next.close()); err != nil {
			return nil, lsns, err
		}
	}
}

// follow decides how to get from the present file to next.
func (t *Tailer) follow(next *logFile, lsns LSNs) error {
	if !t.file.header.sameLog(next.header) {
		return t.fail(ErrRedoReplaced, errors.New("the new log has another format or key"))
	}
	t.log.Info("redo log resized", "size", next.info.Size(), "first_lsn", next.ring.First, "copied", t.walk.end)
	t.have = 0
	t.next, t.nextMax = next, lsns.Current
	if next.ring.First <= t.walk.end {
		// Whatever happened in between, the new file has all from here on.
		return t.adopt()
	}
	var err error
	if t.nextAt, err = t.bridge(lsns); err != nil {
		t.next = nil
		return t.fail(ErrRedoReplaced, fmt.Errorf("the new log begins at LSN %d: %w", next.ring.First, err))
	}
	return nil
}

// adopt changes to t.next.
func (t *Tailer) adopt() error {
	old := t.file
	t.use(t.next)
	t.next, t.nextAt, t.nextMax, t.have = nil, 0, 0, 0
	t.walk.parser = newLogParser(t.file.header, t.file.ring)
	t.walk.parser.found().anchor = t.walk.checkpoint.End
	t.failing = time.Time{}
	t.mu.Lock()
	t.progress.Resizes++
	t.mu.Unlock()
	return old.close()
}

// bridge returns the LSN at which t.next can take over from t.file: the first end
// of a mini-transaction after t.next's first LSN. It proves that t.file was
// still in use then: it must hold, at the same LSN, the same FILE_CHECKPOINT
// record that t.next holds there. Bytes of an older lap cannot be equal to it,
// because it names an LSN of its time.
func (t *Tailer) bridge(lsns LSNs) (LSN, error) {
	first := t.next.ring.First
	old := newParser(t.file.header, t.file.ring)
	if t.headroom(t.walk.end, lsns) <= 0 {
		return 0, errors.New("the old one may be overwritten")
	}
	at, _, err := t.scanFile(t.file, old, t.walk.end, first, first+maxMTR+maxFraming)
	if err != nil {
		return 0, fmt.Errorf("the old one does not lead there: %w", err)
	}
	if at < first {
		return 0, fmt.Errorf("the old one ends at LSN %d", at)
	}
	_, op, err := t.scanFile(t.next, newParser(t.next.header, t.next.ring), at, lsns.Flushed, lsns.Flushed)
	if err != nil {
		return 0, fmt.Errorf("it does not go on at LSN %d: %w", at, err)
	}
	if !op.complete {
		return 0, fmt.Errorf("it holds no checkpoint from LSN %d to %d", at, lsns.Flushed)
	}
	a, b := make([]byte, op.End-op.Start), make([]byte, op.End-op.Start)
	if err := errors.Join(t.file.read(a, op.Start), t.next.read(b, op.Start)); err != nil {
		return 0, err
	}
	// The scan sets the sequence bits, in which the files may differ.
	if _, err := old.scan(a, op.Start, op.End); err != nil {
		return 0, fmt.Errorf("the old one ended before the checkpoint in the new one: %w", err)
	}
	if _, err := newParser(t.next.header, t.next.ring).scan(b, op.Start, op.End); err != nil {
		return 0, err
	}
	if !bytes.Equal(a, b) {
		return 0, fmt.Errorf("the two differ at LSN %d", op.Start)
	}
	return at, nil
}

// scanFile walks over the mini-transactions in file from pos on until one ends at
// or after stop, or it meets a FILE_CHECKPOINT record in t.next. It reads no byte
// at or above limit. Nothing is handed on.
func (t *Tailer) scanFile(file *logFile, p *mtrParser, pos, stop, limit LSN) (end LSN, checkpoint FileOp, err error) {
	have := 0
	for pos < stop {
		from := pos + LSN(have)
		n := int(min(int64(len(t.buf)-have), int64(limit-from), file.ring.Capacity))
		if n <= 0 {
			return pos, checkpoint, nil
		}
		if err := file.read(t.buf[have:have+n], from); err != nil {
			return pos, checkpoint, err
		}
		have += n
		n, err := p.scan(t.buf[:have], pos, stop)
		for _, op := range p.ops {
			// What comes after it is of no interest: t.next may have been replaced.
			if op.complete && file == t.next {
				return pos, op, nil
			}
		}
		if err != nil {
			return pos, checkpoint, err
		}
		pos += LSN(n)
		have = copy(t.buf, t.buf[n:have])
	}
	return pos, checkpoint, nil
}
