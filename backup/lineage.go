package backup

import (
	"cmp"
	"slices"

	"mbk/internal/repo"
)

// lineage returns the numbers that the next increment needs of this backup, whose manifest
// is m.
func (a *attempt) lineage(m *repo.Manifest) *repo.Lineage {
	version := a.found.Facts.Version
	l := &repo.Lineage{
		ID: m.ID, Checkpoint: m.LSN.Checkpoint, End: m.LSN.End,
		AriaUUID: a.aria.control.UUID, Series: [2]uint16{uint16(version.Major), uint16(version.Minor)},
		PageSize: uint32(len(a.copies.page)),
	}
	for _, fc := range a.copies.system {
		l.Files = append(l.Files, lineageOf(fc))
	}
	for _, fc := range a.aria.logs {
		l.Files = append(l.Files, lineageOf(fc))
	}
	for _, ff := range a.final.files {
		l.Files = append(l.Files, lineageOf(ff.copy))
	}
	slices.SortFunc(l.Files, func(a, b repo.LineageFile) int { return cmp.Compare(a.Number, b.Number) })
	return l
}

// lineageOf describes one copied file.
func lineageOf(fc *fileCopy) repo.LineageFile {
	f := fc.stat.Lineage()
	f.Number, f.Class, f.Copied = fc.number, fc.class, fc.size
	// A write to a tablespace may be on its way without showing in the times.
	f.Quiescent = fc.class != repo.ClassInnoDB && fc.stat.Quiescent()
	if fc.space != nil {
		f.HasSpace, f.Space, f.PageSize, f.Flags = true, *fc.id, uint32(fc.space.PageSize), uint32(fc.space.Flags)
	}
	return f
}
