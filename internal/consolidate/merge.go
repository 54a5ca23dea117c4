package consolidate

import (
	"cmp"
	"context"
	"slices"

	"mbk/copier/pack"
	"mbk/internal/repo"
)

// merger puts the newer layers of files together. It belongs to one goroutine.
type merger struct {
	c   *consolidation
	x   *pack.Reader
	out *output
	t   task // at present

	// Pages that are not written yet: those of several layers are written in the order of
	// the file.
	pages []byte
	runs  []arenaRun
}

// arenaRun is a run of pages of a file.
type arenaRun struct {
	off, size int64
	at        int // of its bytes in merger.pages, -1: zeros
}

// mostRuns is the most runs that are sorted at a time.
const mostRuns = 1 << 20

// merge writes what the newer layers hold of a part of a file.
func (m *merger) merge(ctx context.Context, t task) error {
	m.t = t
	for i := range t.layers[:len(t.layers)-1] {
		l := &t.layers[i]
		for _, e := range l.Extents {
			from, to := max(e.Start, t.from), min(e.Start+e.Size, t.to)
			if from < to && !t.over.Holds(from, to-from) {
				if err := m.read(ctx, l, e); err != nil {
					return insidePage(err, l.From, l.Number, e)
				}
			}
			if e.Start >= t.from && e.Start < t.to {
				m.c.meter.Add(e.Length)
			}
		}
	}
	if err := m.flush(); err != nil {
		return err
	}
	// The pack may be full.
	out := m.out.of
	if err := out.put(m.out); err != nil {
		return err
	}
	m.out = out.take()
	return nil
}

// read takes over what an extent holds of the part and no newer layer does.
func (m *merger) read(ctx context.Context, l *repo.Layer, e pack.Extent) error {
	sink := m.t.over.Sink(arenaSink{m})
	err := m.x.Each(ctx, l.From, l.Number, e, func(n *pack.Next) error {
		start, end := n.Start(), n.Start()+n.Size()
		from, to := max(start, m.t.from), min(end, m.t.to)
		if from >= to || m.t.over.Holds(from, to-from) {
			return nil
		}
		if !n.Pages() && start >= m.t.from && end <= m.t.to && m.t.over.Held(start, end-start) == 0 {
			if err := m.t.over.Sink(nowhere{}).Zero(start, end-start); err != nil {
				return err
			}
			return m.c.copyWhole(m.out, m.t.file, n)
		}
		return n.Pass(clipped{sink, m.t.from, m.t.to})
	})
	if err != nil {
		return err
	}
	return m.out.endExtent(m.t.file, &m.t.file.upper)
}

// keep keeps a run of pages until flush. b is nil for zeros.
func (m *merger) keep(off, size int64, b []byte) error {
	if len(m.pages)+len(b) > m.c.o.arenaLimit || len(m.runs) >= mostRuns {
		if err := m.flush(); err != nil {
			return err
		}
	}
	r := arenaRun{off: off, size: size, at: -1}
	if b != nil {
		r.at = len(m.pages)
		m.pages = append(m.pages, b...)
	}
	m.runs = append(m.runs, r)
	return nil
}

// flush writes the pages that were kept, as one extent.
func (m *merger) flush() error {
	f := m.t.file
	if err := m.out.endExtent(f, &f.upper); err != nil {
		return err
	}
	slices.SortFunc(m.runs, func(a, b arenaRun) int { return cmp.Compare(a.off, b.off) })
	for _, r := range m.runs {
		w := m.out.extent(f, r.off)
		var err error
		if r.at < 0 {
			err = w.AddZeros(r.off, r.size)
		} else {
			err = w.AddPages(r.off, m.pages[r.at:r.at+int(r.size)])
		}
		if err != nil {
			return err
		}
	}
	m.pages, m.runs = m.pages[:0], m.runs[:0]
	return m.out.endExtent(f, &f.upper)
}

// arenaSink keeps pages.
type arenaSink struct{ m *merger }

// WriteAt implements pack.Sink.
func (s arenaSink) WriteAt(b []byte, off int64) (int, error) {
	return len(b), s.m.keep(off, int64(len(b)), b)
}

// Zero implements pack.Sink.
func (s arenaSink) Zero(off, n int64) error { return s.m.keep(off, n, nil) }

// clipped is a sink that passes on what lies in a part of a file.
type clipped struct {
	to         pack.Sink
	from, till int64
}

// WriteAt implements pack.Sink.
func (c clipped) WriteAt(b []byte, off int64) (int, error) {
	from, to := max(off, c.from), min(off+int64(len(b)), c.till)
	if from >= to {
		return len(b), nil
	}
	if _, err := c.to.WriteAt(b[from-off:to-off], from); err != nil {
		return 0, err
	}
	return len(b), nil
}

// Zero implements pack.Sink.
func (c clipped) Zero(off, n int64) error {
	from, to := max(off, c.from), min(off+n, c.till)
	if from >= to {
		return nil
	}
	return c.to.Zero(from, to-from)
}

// compareExtents orders extents as they lie in packs.
func compareExtents(a, b *pack.Extent) int {
	return cmp.Or(cmp.Compare(a.Pack, b.Pack), cmp.Compare(a.Offset, b.Offset))
}
