package restore

import (
	"context"
	"slices"

	"mbk/copier"
	"mbk/copier/pack"
	"mbk/internal/repo"
)

// gap is a run of bytes of a pack that no file of the backup refers to: the first
// copies of files that changed and were copied again. What the manifest refers to and a
// newer layer covers is none, nor is anything that an older member of a chain holds: who
// restores that one reads it.
type gap struct {
	pack           string
	offset, length int64
}

// unreferenced lists all such runs of a backup.
func unreferenced(m *repo.Manifest) []gap {
	used := map[string][]pack.Extent{}
	for _, f := range m.Files {
		for _, e := range f.Extents {
			used[e.Pack] = append(used[e.Pack], e)
		}
		for _, p := range f.Earlier {
			for _, e := range p.Extents {
				used[e.Pack] = append(used[e.Pack], e)
			}
		}
	}
	var found []gap
	for _, p := range m.Packs {
		extents := used[p.Name]
		slices.SortFunc(extents, func(a, b pack.Extent) int { return int(a.Offset - b.Offset) })
		var at int64
		for _, e := range append(extents, pack.Extent{Offset: p.Size}) {
			if e.Offset > at {
				found = append(found, gap{p.Name, at, e.Offset - at})
			}
			at = max(at, e.Offset+e.Length)
		}
	}
	return found
}

// checkUnreferenced reads what an extraction leaves out. Damage there harms no file, but
// whoever keeps the objects has lost bytes.
func checkUnreferenced(ctx context.Context, b *repo.Backup, workers int) error {
	gaps := unreferenced(b.Manifest())
	pieces := make([]copier.Piece[gap], len(gaps))
	for i, g := range gaps {
		pieces[i] = copier.Piece[gap]{From: b, File: g, Extent: pack.Extent{Pack: g.pack, Offset: g.offset, Length: g.length}}
	}
	return copier.Extract(ctx, workers, pieces, func(ctx context.Context, x *pack.Reader, p copier.Piece[gap]) error {
		return x.Check(ctx, b, p.File.pack, p.File.offset, p.File.length)
	})
}
