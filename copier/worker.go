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
	open   *openPack // what the writer writes to; nil: the next segment begins a pack
}

// openPack is a pack that a worker has begun. Put runs on a goroutine of its own, and
// makes the pack durable while the worker writes the next one.
type openPack struct {
	pack    pack.Pack  // set before written gets nil
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

// run copies until no segments are left, and ends the last pack.
func (w *worker) run() {
	w.copyUntil(nil)
	w.endPack()
	if err := w.writer.Close(); err != nil {
		w.c.fail(err)
	}
}

// copyUntil copies segments until none are left, stop is closed, or the copier fails.
func (w *worker) copyUntil(stop <-chan struct{}) {
	for {
		s, ok := w.c.next(stop)
		if !ok {
			return
		}
		if err := w.add(s); err != nil {
			w.c.fail(err)
			return
		}
	}
}

// add copies a segment into the pack that is open, or into a new one. A pack that is
// full by then is ended, unless it is urgent.
func (w *worker) add(s segment) error {
	if w.open == nil {
		if err := w.beginPack(); err != nil {
			return err
		}
	}
	if err := w.copy(s); err != nil {
		return err
	}
	if w.writer.Size() >= w.c.opts.PackLimit && !isClosed(w.c.urgent) {
		w.endPack()
	}
	return nil
}

// beginPack opens the next pack.
func (w *worker) beginPack() error {
	c := w.c
	select {
	case c.puts <- struct{}{}:
	case <-c.failed:
		return c.err
	}
	name := c.newName()
	p := &openPack{written: make(chan error, 1)}
	opened := make(chan io.Writer, 1)
	c.wg.Go(func() {
		defer func() { <-c.puts }()
		err := c.st.Put(c.ctx, name, func(out io.Writer) error {
			opened <- out
			return <-p.written
		})
		if err != nil {
			c.fail(cmp.Or(context.Cause(c.ctx), err)) // a store returns what ctx.Err says
			return
		}
		c.finished(p.pack)
	})
	w.open = p
	select {
	case out := <-opened:
		w.writer.Begin(name, out)
		return nil
	case <-c.failed:
		return c.err
	}
}

// endPack ends the pack that is open, if there is one. If the copier has failed, the
// pack is given up.
func (w *worker) endPack() {
	if w.open == nil {
		return
	}
	var err error
	if isClosed(w.c.failed) {
		err = w.c.err
	} else if w.open.pack, err = w.writer.End(); err != nil {
		w.c.fail(err)
	}
	w.open.written <- err
	w.open = nil
}

// copy copies a segment.
func (w *worker) copy(s segment) error {
	c, p := w.c, w.writer
	page := 0
	if s.job.src.Pages != nil {
		page = s.job.src.Pages.PageSize()
	}
	p.BeginExtent(s.job.src.Number, s.start, page)
	stored := p.Size()
	empty := holesOf(s)
	var at int64
	pass := func() (bool, error) { // over a hole
		n := empty.skip(s.start+at, s.size-at)
		if n == 0 {
			return false, nil
		}
		c.opts.OnProgress(n, 0)
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
		buf := p.Buffer()[:n]
		if err := w.pages.read(c.ctx, s.job, buf, s.start+at); err != nil {
			return err
		}
		if err := p.Add(len(buf)); err != nil {
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
	s.job.finish(e)
	return nil
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
