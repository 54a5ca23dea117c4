package copier

import (
	"cmp"
	"context"
	"io"
	"time"

	"mbk/copier/pack"
)

// worker copies segments into packs, one after another. It is used by one goroutine at
// a time.
type worker struct {
	c      *Copier
	pages  pageReader
	writer *pack.Writer
	open   *openPack // what the writer writes to; nil: nothing had to be stored since the last pack
	parts  []Part    // what was read since the last pack
	began  time.Time // when the first segment since then was begun; zero: there was none
	spans  []pack.Span
}

// openPack is a pack that a worker has begun. Put runs on a goroutine of its own, and
// makes the pack durable while the worker writes the next one.
type openPack struct {
	pack    pack.Pack  // set, like parts, before written gets nil
	parts   []Part     // what was read for it
	written chan error // gets one value: nil if all is written, else why the pack is given up
}

// runInBackground copies at the priority of the options, until no segments are left or
// it becomes urgent. Then another goroutine takes over, and with it a thread of the
// process's priority: a thread of low priority may wait too long for a processor while
// the server's locks are held. A thread cannot get its own priority back.
func (w *worker) runInBackground() {
	defer w.c.background.Done()
	if err := w.c.opts.Priority.Enter(); err != nil {
		w.c.fail(err)
	}
	w.copyUntil(w.c.urgent)
	w.c.wg.Go(w.run)
}

// run copies until no segments are left, and ends the last pack. If the copier has failed,
// that depends on what becomes of the packs.
func (w *worker) run() {
	w.copyUntil(nil)
	useful := true
	if isClosed(w.c.failed) {
		<-w.c.judged
		useful = w.c.save && len(w.parts) > 0
	}
	if useful {
		w.endPack()
	} else {
		w.giveUpPack()
	}
	if err := w.writer.Close(); err != nil {
		w.c.fail(err)
	}
}

// copyUntil copies segments until none are left, stop is closed, or the copier fails.
func (w *worker) copyUntil(stop <-chan struct{}) {
	late := time.NewTimer(0)
	defer late.Stop()
	for {
		var tooLate <-chan time.Time
		if limit := w.c.opts.PackTime; limit > 0 && !w.began.IsZero() && !isClosed(w.c.urgent) {
			late.Reset(limit - time.Since(w.began))
			tooLate = late.C
		}
		s, ok, isLate := w.c.next(stop, tooLate)
		switch {
		case isLate:
			w.endPackUnlessUrgent()
			continue
		case !ok:
			return
		}
		if err := w.add(s); err != nil {
			w.c.fail(err)
			return
		}
	}
}

// add copies a segment into the pack that is open, or into a new one. A pack that is
// full by then is ended.
func (w *worker) add(s segment) error {
	if w.began.IsZero() {
		w.began = time.Now()
	}
	if err := w.copy(s); err != nil {
		return err
	}
	if held := s.job.release(); held != nil {
		if err := w.copy(*held); err != nil {
			return err
		}
	}
	limit := w.c.opts.PackTime
	if w.writer.Size() >= w.c.opts.PackLimit || limit > 0 && time.Since(w.began) >= limit {
		w.endPackUnlessUrgent()
	}
	return nil
}

// endPackUnlessUrgent ends the pack that is open, but not while somebody waits: the
// disk is not to sync it then.
func (w *worker) endPackUnlessUrgent() {
	if !isClosed(w.c.urgent) {
		w.endPack()
	}
}

// makePack makes the next pack, when there is something to write to it.
func (w *worker) makePack() (string, io.Writer, error) {
	c := w.c
	select {
	case c.puts <- struct{}{}:
	case <-c.failed:
		return "", nil, c.err
	}
	name := c.newName()
	p := &openPack{written: make(chan error, 1)}
	opened := make(chan io.Writer, 1)
	c.wg.Go(func() {
		defer func() { <-c.puts }()
		err := c.st.Put(c.storing, name, func(out io.Writer) error {
			opened <- out
			return <-p.written
		})
		if err != nil {
			c.fail(cmp.Or(context.Cause(c.storing), err)) // a store returns what ctx.Err says
			return
		}
		c.finished(p.pack, p.parts)
	})
	w.open = p
	select {
	case out := <-opened:
		return name, out, nil
	case <-c.failed:
		return "", nil, c.err
	}
}

// endPack ends the pack that is open, and passes on what was read for it, even if nothing
// of that had to be stored.
func (w *worker) endPack() {
	made, err := w.writer.End()
	if err != nil {
		w.c.fail(err)
	}
	parts := w.parts
	w.parts, w.began = nil, time.Time{}
	w.writer.BeginLater(w.makePack)
	if w.open == nil {
		if err == nil {
			w.c.finished(pack.Pack{}, parts)
		}
		return
	}
	w.open.pack, w.open.parts = made, parts
	w.open.written <- err
	w.open = nil
}

// giveUpPack gives up the pack that is open after the copier has failed.
func (w *worker) giveUpPack() {
	if w.open != nil {
		w.open.written <- w.c.err
		w.open = nil
	}
}

// copy copies a segment.
func (w *worker) copy(s segment) error {
	c, p := w.c, w.writer
	src := s.job.src
	if s.isFirst {
		// Other workers are about to complete these: all of them came earlier out of the queue.
		for _, other := range src.After {
			if _, err := other.Wait(c.ctx); err != nil {
				return err
			}
		}
	}
	page := 0
	if src.Pages != nil {
		page = src.Pages.PageSize()
	}
	p.BeginExtent(src.Number, s.start, page)
	stored := p.Size()
	empty := holesOf(s)
	var at int64
	pass := func() (bool, error) { // over a hole
		n := empty.skip(s.start+at, s.size-at)
		if n == 0 {
			return false, nil
		}
		c.opts.OnProgress(n, 0)
		skipped(src, s.start+at, n)
		at += n
		return true, p.AddHole(n)
	}
	if _, err := pass(); err != nil { // now, so that nothing is fetched of it
		return err
	}
	prints := newFootprint(segment{job: s.job, start: s.start + at, size: s.size - at}, c.opts.PreserveCache)
	for at < s.size {
		if hole, err := pass(); err != nil {
			return err
		} else if hole {
			prints.passed(s.start + at)
			continue
		}
		n := min(s.job.step, s.size-at)
		if err := w.admit(int(n)); err != nil {
			return err
		}
		prints.reading(s.start + at + n)
		if err := w.pages.read(c.ctx, s.job, p.Buffer()[:n], s.start+at); err != nil {
			return err
		}
		if err := w.store(s, s.start+at, int(n)); err != nil {
			return err
		}
		c.opts.OnProgress(n, p.Size()-stored)
		stored = p.Size()
		at += n
		prints.read(s.start + at)
	}
	e, err := p.EndExtent()
	if err != nil {
		return err
	}
	if p.Size() > stored {
		c.opts.OnProgress(0, p.Size()-stored)
	}
	if c.opts.OnPack != nil {
		w.parts = append(w.parts, Part{Number: src.Number, Extent: e})
	}
	s.job.finish(e)
	return nil
}

// store appends n bytes of the buffer, which were read at an offset of the source, to the
// pack: of a base only pages that have changed.
func (w *worker) store(s segment, off int64, n int) error {
	if s.base == nil {
		return w.writer.Add(n)
	}
	w.spans = w.pages.changed(w.spans[:0], s.job.src, w.writer.Buffer()[:n], off, s.base.Since)
	if len(w.spans) == 1 && w.spans[0].To-w.spans[0].From == n {
		return w.writer.Add(n)
	}
	return w.writer.AddSome(int64(n), w.spans)
}

// admit waits until n bytes may be read.
func (w *worker) admit(n int) error {
	c := w.c
	if c.limit == nil || isClosed(c.urgent) {
		return context.Cause(c.ctx)
	}
	place := c.limit.ReserveN(time.Now(), n)
	t := time.NewTimer(place.Delay())
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.urgent:
		place.Cancel()
	case <-c.ctx.Done():
	}
	return context.Cause(c.ctx)
}
