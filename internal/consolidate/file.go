package consolidate

import (
	"cmp"
	"slices"
	"sync"

	"mbk/copier"
	"mbk/copier/pack"
	"mbk/internal/repo"
)

// file is a file of the new backup.
type file struct {
	*repo.File // in the newest manifest
	layers     []repo.Layer
	page       int
	over       *copier.Overlay // nil: it has one layer, which holds all of it

	mu     sync.Mutex
	upper  []pack.Extent // what newer layers than the oldest hold; no page is in two of them
	bottom []pack.Extent // what the oldest holds of the rest, and a little more
}

// newFile returns a file that has layers.
func newFile(f *repo.File, layers []repo.Layer) *file {
	n := &file{File: f, layers: layers, page: f.Unit()}
	if f.Class == repo.ClassRedo || f.Size == 0 || len(layers) == 1 && holdsAll(layers[0].Extents, f.Size) {
		return n
	}
	n.over = copier.NewOverlay(f.Size, n.page)
	return n
}

// holdsAll reports whether extents hold a file of size bytes, and nothing beyond its end.
func holdsAll(extents []pack.Extent, size int64) bool {
	var at int64
	for _, e := range extents {
		if e.Partial || e.Start != at {
			return false
		}
		at += e.Size
	}
	return at == size
}

// add adds an extent, if it holds anything.
func (f *file) add(to *[]pack.Extent, e pack.Extent) {
	if e.Length > 0 {
		f.mu.Lock()
		defer f.mu.Unlock()
		*to = append(*to, e)
	}
}

// described describes the file in the new backup.
func (f *file) described() repo.File {
	d := *f.File
	d.Base, d.Earlier = nil, nil
	passes := passesOf(f.upper)
	if len(f.bottom) > 0 {
		passes = append(passes, passesOf(f.bottom)...)
	}
	d.Extents = []pack.Extent{}
	for i, extents := range passes {
		if i == 0 {
			d.Extents = extents
			continue
		}
		d.Earlier = append(d.Earlier, repo.Pass{Number: d.Number, Extents: extents})
	}
	return d
}

// passesOf puts extents of which no page is in two into as few passes as possible, in
// each of which they are in order and do not reach over each other.
func passesOf(extents []pack.Extent) (passes [][]pack.Extent) {
	sorted := slices.Clone(extents)
	slices.SortFunc(sorted, func(a, b pack.Extent) int { return cmp.Compare(a.Start, b.Start) })
	for _, e := range sorted {
		i := slices.IndexFunc(passes, func(p []pack.Extent) bool {
			last := &p[len(p)-1]
			return last.Start+last.Size <= e.Start
		})
		if i < 0 {
			passes = append(passes, []pack.Extent{e})
			continue
		}
		passes[i] = append(passes[i], e)
	}
	return passes
}
