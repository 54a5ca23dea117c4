package consolidate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"mbk/copier"
	"mbk/copier/pack"
	"mbk/internal/repo"
)

// writePacks writes what all files hold, the newer layers before the oldest ones: so of
// each page only the newest version is written.
func (c *consolidation) writePacks(ctx context.Context, st copier.Putter) ([]pack.Pack, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out, err := newOutputs(ctx, st, c.o.Workers, c.chain.Manifest().Codec, c.o.packLimit)
	if err != nil {
		return nil, err
	}
	err = c.merge(ctx, cancel, out)
	if err == nil {
		err = c.copy(ctx, out)
	}
	if err == nil {
		err = c.checkGaps()
	}
	return out.close(err)
}

// checkGaps returns an error if there are bytes of a file that no layer holds.
func (c *consolidation) checkGaps() error {
	for _, f := range c.files {
		if f.over == nil {
			continue
		}
		if start, size, missing := f.over.Missing(); missing {
			return &repo.GapError{File: f.Path, Start: start, Size: size, Members: c.result.From}
		}
	}
	return nil
}

// task is a part of a file of which one worker puts the newer layers together.
type task struct {
	*file
	from, to int64 // bytes of the file
}

// tasks divides the newer layers of all files, in the order in which the newest lies in its
// packs. It returns how many bytes they have in their packs.
func (c *consolidation) tasks() (all []task, total int64) {
	for _, f := range c.files {
		if len(f.layers) < 2 {
			continue
		}
		var stored int64
		for _, l := range f.layers[:len(f.layers)-1] {
			for _, e := range l.Extents {
				stored += e.Length
			}
		}
		total += stored
		pages := (f.Size + int64(f.page) - 1) / int64(f.page)
		per := max(pages/(stored/c.o.taskSize+1), 1) * int64(f.page)
		for at := int64(0); at < f.Size; at += per {
			all = append(all, task{f, at, min(at+per, f.Size)})
		}
	}
	slices.SortStableFunc(all, func(a, b task) int {
		x, y := &a.layers[0].Extents[0], &b.layers[0].Extents[0]
		return compareExtents(x, y)
	})
	return all, total
}

// merge writes what the newer layers of files hold.
func (c *consolidation) merge(ctx context.Context, cancel context.CancelCauseFunc, out *outputs) error {
	tasks, total := c.tasks()
	c.meter.Begin(PhaseMerge, total)
	defer c.meter.End()
	var next atomic.Int64
	results := make(chan error)
	for range c.o.Workers {
		go func() {
			m := merger{c: c, x: pack.NewReader(), out: out.take()}
			defer m.x.Close()
			var err error
			for i := next.Add(1) - 1; i < int64(len(tasks)) && err == nil; i = next.Add(1) - 1 {
				if err = m.merge(ctx, tasks[i]); err != nil {
					err = fmt.Errorf("put %s together: %w", tasks[i].Path, err)
					cancel(err)
				}
			}
			if err == nil {
				err = out.put(m.out)
			}
			results <- err
		}()
	}
	var failed []error
	for range c.o.Workers {
		failed = append(failed, <-results)
	}
	if err := errors.Join(failed...); err != nil {
		return context.Cause(ctx) // the first
	}
	return nil
}

// copy writes what the oldest layers of files hold and no newer ones do.
func (c *consolidation) copy(ctx context.Context, out *outputs) error {
	var pieces []copier.Piece[*file]
	var total int64
	for _, f := range c.files {
		if len(f.layers) == 0 {
			continue
		}
		l := &f.layers[len(f.layers)-1]
		for _, e := range l.Extents {
			if f.over == nil || !f.over.Holds(e.Start, e.Size) {
				pieces = append(pieces, copier.Piece[*file]{From: l.From, Number: l.Number, File: f, Extent: e})
				total += e.Length
			}
		}
	}
	c.meter.Begin(PhaseCopy, total)
	defer c.meter.End()
	return copier.Extract(ctx, c.o.Workers, pieces,
		func(ctx context.Context, x *pack.Reader, p copier.Piece[*file]) error {
			o := out.take()
			err := x.Each(ctx, p.From, p.Number, p.Extent, func(n *pack.Next) error { return c.copyChunk(o, p.File, n) })
			err = errors.Join(err, o.endExtent(p.File, &p.File.bottom))
			if err == nil {
				err = out.put(o)
			}
			if err != nil {
				return fmt.Errorf("copy %s: %w", p.File.Path, insidePage(err, p.From, p.Number, p.Extent))
			}
			c.meter.Add(p.Extent.Length)
			return nil
		})
}

// mostOverlaid is the largest part of a chunk that may be copied although newer layers hold
// it: one in so many bytes.
const mostOverlaid = 4

// copyChunk writes what a chunk of an oldest layer holds and no newer layer does. If that
// is most of it, all of it is copied as it is.
func (c *consolidation) copyChunk(o *output, f *file, n *pack.Next) error {
	start, size := n.Start(), n.Size()
	if f.over == nil {
		return c.copyWhole(o, f, n)
	}
	held := f.over.Held(start, size)
	switch {
	case held == size:
		return nil
	case !n.Pages() && start+size <= f.Size && held <= size/mostOverlaid:
		if err := f.over.Sink(nowhere{}).Zero(start, size); err != nil {
			return err
		}
		return c.copyWhole(o, f, n)
	}
	return n.Pass(f.over.Sink(outputSink{o, f}))
}

// copyWhole copies a chunk as it is.
func (c *consolidation) copyWhole(o *output, f *file, n *pack.Next) error {
	w := o.extent(f, n.Start())
	before := w.Size()
	if err := n.CopyTo(w); err != nil {
		return err
	}
	atomic.AddInt64(&c.result.BytesCopied, w.Size()-before)
	return nil
}

// insidePage makes an error about the bytes of a sink one about the object that they came from.
func insidePage(err error, from pack.Opener, number uint32, e pack.Extent) error {
	if !errors.Is(err, copier.ErrInsidePage) {
		return err
	}
	return &pack.DamageError{
		Object: from.String() + "/" + e.Pack, Offset: e.Offset, Reason: fmt.Sprintf("file %d: %v", number, err),
	}
}

// outputSink writes pages to an output.
type outputSink struct {
	o *output
	f *file
}

// WriteAt implements pack.Sink.
func (s outputSink) WriteAt(b []byte, off int64) (int, error) {
	return len(b), s.o.extent(s.f, off).AddPages(off, b)
}

// Zero implements pack.Sink.
func (s outputSink) Zero(off, n int64) error { return s.o.extent(s.f, off).AddZeros(off, n) }

// nowhere is a sink that forgets.
type nowhere struct{}

// WriteAt implements pack.Sink.
func (nowhere) WriteAt(b []byte, _ int64) (int, error) { return len(b), nil }

// Zero implements pack.Sink.
func (nowhere) Zero(_, _ int64) error { return nil }
