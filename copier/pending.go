package copier

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"mbk/copier/pack"
)

// Result describes the copy of a source.
type Result struct {
	Extents   []pack.Extent // in the order of the file; not nil
	TornPages int64         // pages that were valid only when they were read again
	Damaged   []uint32      // pages that never were, ascending; only with Options.DamagedOK
	Read      int64         // bytes of the source
	Stored    int64         // bytes that they take in the packs
}

// Pending is a source on its way into the packs.
type Pending struct {
	c    *Copier // nil in StoreStream
	src  Source
	step int64 // bytes of a read

	left atomic.Int64  // segments to copy
	done chan struct{} // closed after the last
	torn atomic.Int64

	mu      sync.Mutex
	extents []pack.Extent
	damaged []uint32
}

// Wait waits until the source is in the packs. They are not durable before Close
// returns. The error is the one that the Copier failed with, whichever source it came
// from, or that of ctx. When Wait returns a result, the source's file is no longer used;
// after an error it may be for a moment, but can be closed.
func (p *Pending) Wait(ctx context.Context) (Result, error) {
	select {
	case <-p.done:
		return p.result(), nil
	default:
	}
	select {
	case <-p.done:
		return p.result(), nil
	case <-p.c.failed:
		return Result{}, p.c.err
	case <-ctx.Done():
		return Result{}, fmt.Errorf("copy %s: %w", p.src.Name, context.Cause(ctx))
	}
}

// result returns the result of a source that is done.
func (p *Pending) result() Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := Result{Extents: mergeExtents(p.extents), TornPages: p.torn.Load(), Read: p.src.Size}
	r.Damaged = slices.Clone(p.damaged)
	slices.Sort(r.Damaged)
	for _, e := range r.Extents {
		r.Stored += e.Length
	}
	return r
}

// mergeExtents returns extents in the order of the file. Those that also follow each
// other in a pack are joined. Those of which nothing is stored are left out, and between
// partial ones they are part of what is joined.
func mergeExtents(extents []pack.Extent) []pack.Extent {
	sorted := slices.Clone(extents)
	slices.SortFunc(sorted, func(a, b pack.Extent) int { return cmp.Compare(a.Start, b.Start) })
	merged := make([]pack.Extent, 0, len(sorted))
	for _, e := range sorted {
		if n := len(merged); n == 0 || !join(&merged[n-1], &e) {
			merged = append(merged, e)
		}
	}
	return slices.DeleteFunc(merged, func(e pack.Extent) bool { return e.Length == 0 })
}

// join joins an extent to the one before it, if that is possible.
func join(last, e *pack.Extent) bool {
	if last.Start+last.Size != e.Start || last.Partial != e.Partial {
		return false
	}
	adjacent := last.Pack == e.Pack && last.Offset+last.Length == e.Offset
	switch {
	case adjacent || e.Partial && e.Length == 0:
	case e.Partial && last.Length == 0:
		last.Pack, last.Offset = e.Pack, e.Offset
	default:
		return false
	}
	last.Length += e.Length
	last.Size += e.Size
	return true
}

// finish records the extent of a segment.
func (p *Pending) finish(e pack.Extent) {
	p.mu.Lock()
	p.extents = append(p.extents, e)
	p.mu.Unlock()
	if p.left.Add(-1) == 0 {
		p.complete()
	}
}

// complete ends the wait for the source, and drops its references: callers keep results
// for a long time, and would keep the bytes of small files with them.
func (p *Pending) complete() {
	done := p.src.Done
	p.src.File, p.src.Pages, p.src.Done = nil, nil, nil
	close(p.done)
	if done != nil {
		done()
	}
}

// damage records a page that stayed damaged, or returns the error.
func (p *Pending) damage(no uint32, cause error, ok bool) error {
	bad := &PageError{File: p.src.Name, Page: no, Err: cause}
	if !ok {
		return bad
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.damaged) >= maxDamaged {
		return fmt.Errorf("%w: %w", ErrManyDamaged, bad)
	}
	p.damaged = append(p.damaged, no)
	return nil
}
