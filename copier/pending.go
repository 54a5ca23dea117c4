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
	c    *Copier
	src  *Source // nil when it is in the packs
	name string  // of the source
	size int64   // of the source
	step int64   // bytes of a read

	torn atomic.Int64

	mu      sync.Mutex
	left    int      // segments to copy
	held    *segment // of these, the one with the first page, until only it is left
	extents []pack.Extent
	damaged []uint32
	waiting chan struct{} // closed after the last segment, nil as long as nobody waits
}

// Wait waits until the source is in the packs. They are not durable before Close
// returns. The error is the one that the Copier failed with, whichever source it came
// from, or that of ctx. When Wait returns a result, the source's file is no longer used;
// after an error it may be for a moment, but can be closed.
func (p *Pending) Wait(ctx context.Context) (Result, error) {
	last := p.last()
	if last == nil {
		return p.result(), nil
	}
	select {
	case <-last:
		return p.result(), nil
	case <-p.c.failed:
		return Result{}, p.c.err
	case <-ctx.Done():
		return Result{}, fmt.Errorf("copy %s: %w", p.name, context.Cause(ctx))
	}
}

// last returns a channel that is closed when the last segment is in the packs, nil if it
// is. Nobody waits that early for most sources of many, so they have none.
func (p *Pending) last() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left > 0 && p.waiting == nil {
		p.waiting = make(chan struct{})
	}
	if p.left == 0 {
		return nil
	}
	return p.waiting
}

// result returns the result of a source that is done.
func (p *Pending) result() Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := Result{Extents: mergeExtents(p.extents), TornPages: p.torn.Load(), Read: p.size}
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
	p.left--
	over := p.left == 0
	p.mu.Unlock()
	if over {
		p.complete()
	}
}

// release returns the segment that was held back until now, when all others are copied.
// nil: there is none, or not yet.
func (p *Pending) release() *segment {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left != 1 {
		return nil
	}
	held := p.held
	p.held = nil
	return held
}

// complete ends the wait for the source when no segment is left, and drops it: callers keep
// results for a long time, and would keep the bytes of small files with them.
func (p *Pending) complete() {
	done := p.src.Done
	p.src = nil
	p.mu.Lock()
	if p.waiting != nil {
		close(p.waiting)
	}
	p.mu.Unlock()
	if done != nil {
		done()
	}
}

// damage records a page that stayed damaged, or returns the error.
func (p *Pending) damage(no uint32, cause error, ok bool) error {
	bad := &PageError{File: p.name, Page: no, Err: cause}
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
