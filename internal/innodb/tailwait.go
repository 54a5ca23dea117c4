package innodb

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// This file is the part of Tailer that its callers and Run share.

func (t *Tailer) started() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.running
}

// start notes that Run was called; false if it had been before.
func (t *Tailer) start() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	was := t.running
	t.running = true
	return !was
}

// end notes that Run returns err, and tells those who wait.
func (t *Tailer) end(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended, t.err = true, err
	t.tell()
}

// tell wakes those who wait in await. The caller holds t.mu.
func (t *Tailer) tell() {
	close(t.advanced)
	t.advanced = make(chan struct{})
}

// publish makes progress visible after something was copied or polled.
func (t *Tailer) publish(headroom int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := &t.progress
	moved := p.Copied != t.walk.end
	p.Copied, p.LSNs, p.MTRs = t.walk.end, t.last, t.walk.mtrs
	p.Bytes = int64(t.walk.end - t.walk.checkpoint.LSN)
	p.Headroom = headroom
	p.LowestHeadroom = min(p.LowestHeadroom, headroom)
	t.lowest = min(t.lowest, headroom)
	if moved {
		t.trouble = nil
		t.tell()
	}
}

// TakeLowest returns the lowest head-room since it was last called, or since the checkpoint.
func (t *Tailer) TakeLowest() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	lowest := t.lowest
	t.lowest = t.progress.Headroom
	return lowest
}

// stopAt returns the LSN at which Run ends, 0 if it is not known yet.
func (t *Tailer) stopAt() LSN {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.final
}

// finished reports whether Run has done what Finish asked for.
func (t *Tailer) finished() bool {
	final := t.stopAt()
	return final != 0 && t.walk.end >= final && t.walk.proven && !t.walk.open
}

// complete reports whether the sink has it, too.
func (t *Tailer) complete() bool {
	return t.sealed || t.walk.parser.unit() == 1 && t.finished()
}

// wanted reports whether somebody waits for an LSN that is not copied and not
// above limit.
func (t *Tailer) wanted(limit LSN) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, lsn := range t.waits {
		if lsn > t.walk.end && lsn <= limit {
			return true
		}
	}
	// The checkpoint's own records may stand after the end that was asked for.
	return t.final != 0 && t.final <= limit
}

// await waits until lsn is copied and, if final, until Run has ended there. It
// returns the LSN up to which is copied.
func (t *Tailer) await(ctx context.Context, lsn LSN, final bool) (LSN, error) {
	t.ask(lsn, final)
	defer t.unask(lsn)
	timer := time.NewTimer(t.options.Patience)
	defer timer.Stop()
	for {
		t.mu.Lock()
		copied, ended, err, advanced := t.progress.Copied, t.ended, t.err, t.advanced
		t.mu.Unlock()
		switch {
		case ended && err != nil:
			return copied, err
		case copied >= lsn && (ended || !final):
			return copied, nil
		case ended:
			return copied, fmt.Errorf("follow redo log to LSN %d: copying ended at %d", lsn, copied)
		}
		select {
		case <-ctx.Done():
			return copied, fmt.Errorf("follow redo log to LSN %d: %w", lsn, ctx.Err())
		case <-advanced:
			timer.Reset(t.options.Patience)
		case <-timer.C:
			return copied, t.stalled(lsn)
		}
	}
}

// ask tells Run what is waited for.
func (t *Tailer) ask(lsn LSN, final bool) {
	t.mu.Lock()
	t.waits = append(t.waits, lsn)
	if final && t.final == 0 {
		t.final = lsn
	}
	t.mu.Unlock()
	t.resume()
}

// resume ends the pause of Run.
func (t *Tailer) resume() {
	select {
	case t.wake <- struct{}{}:
	default: // Run has not yet seen the last one
	}
}

// unask takes back what ask said, except that Run shall end.
func (t *Tailer) unask(lsn LSN) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := slices.Index(t.waits, lsn); i >= 0 {
		t.waits = slices.Delete(t.waits, i, i+1)
	}
}

// stalled is the error of a wait in which nothing moved.
func (t *Tailer) stalled(target LSN) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := &TailError{
		Kind: ErrRedoStalled, Path: t.path, Copied: t.progress.Copied, Target: target,
		Capacity: t.ring.Capacity, LSNs: t.progress.LSNs, Cause: t.trouble,
	}
	if !t.running {
		e.Cause = errors.New("Tailer.Run is not running")
	}
	return e
}

// pause waits until it is time to poll again: soon if someone waits, if a place
// could not be read, or if the log fills quickly.
func (t *Tailer) pause(ctx context.Context) error {
	d := t.options.Interval
	switch {
	case !t.failing.IsZero():
		d = rereadInterval
	case t.wanted(maxLSN):
		d = shortInterval
	case t.pace > 0:
		// Look at least 32 times while the server fills its log once.
		fill := float64(t.file.ring.Capacity) / 32 / t.pace * float64(time.Second)
		d = min(d, max(shortInterval, time.Duration(fill)))
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("follow redo log: %w", ctx.Err())
	case <-t.wake:
	case <-timer.C:
	}
	return nil
}

// poll asks the server for its LSNs.
func (t *Tailer) poll(ctx context.Context) (LSNs, error) {
	t.mu.Lock()
	written := t.written
	t.mu.Unlock()
	lsns, err := t.status.LSNs(ctx)
	if err != nil {
		return LSNs{}, fmt.Errorf("follow redo log: %w", err)
	}
	// The server does not read them all at the same moment.
	lsns.Flushed = max(lsns.Flushed, written)
	lsns.Current = max(lsns.Current, lsns.Flushed)
	now := time.Now()
	if c := t.walk.checkpoint.LSN; lsns.Flushed < c {
		return LSNs{},
			fmt.Errorf("follow redo log: the server says that its log is flushed to LSN %d, with a checkpoint at %d",
				lsns.Flushed, c)
	}
	if lsns.Flushed < t.last.Flushed {
		went := fmt.Errorf("the server's flushed LSN went from %d back to %d", t.last.Flushed, lsns.Flushed)
		return LSNs{}, t.fail(ErrRedoReplaced, went)
	}
	if d := now.Sub(t.polled).Seconds(); t.last.Current != 0 && d > 0 && lsns.Current > t.last.Current {
		// Half of the new rate, half of the old: bursts are seen at once, and
		// forgotten within a few polls.
		rate := float64(lsns.Current-t.last.Current) / d
		t.pace = max(rate, (t.pace+rate)/2)
	} else {
		t.pace /= 2
	}
	t.last, t.polled = lsns, now
	return lsns, nil
}

// fail builds the error of Run. Only Run's goroutine may call it.
func (t *Tailer) fail(kind, cause error) error {
	return &TailError{
		Kind: kind, Path: t.path, Copied: t.walk.end, Capacity: t.file.ring.Capacity, LSNs: t.last, Cause: cause,
	}
}
