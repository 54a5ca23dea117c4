package backup

import (
	"cmp"
	"context"
	"slices"
	"time"

	"mbk/backup/preflight"
	"mbk/internal/datadir"
	"mbk/internal/innodb"
	"mbk/internal/repo"
	"mbk/internal/sys/boot"
	"mbk/stage"
)

// ancestry is what connects an attempt to the backup that it is an increment of, and to
// those that will be increments of it.
type ancestry struct {
	parent *preflight.Parent // nil: it makes a full backup
	resume *resume
	layout datadir.Layout
	boot   boot.ID // zero: not known

	before  time.Time  // a moment before the checkpoint,
	reached innodb.LSN // and how far the server's log had got then
	redo    repo.RedoFile
}

// newAncestry begins an attempt.
func newAncestry(l datadir.Layout, parent *preflight.Parent, from *resume) *ancestry {
	an := &ancestry{layout: l, parent: parent, resume: from}
	an.boot, _ = boot.Present() // else no file counts as unchanged
	return an
}

// bases are the passes under the attempt.
func (an *ancestry) bases(readAll bool) *bases {
	if an.parent == nil && an.resume == nil {
		return nil
	}
	var parent *repo.Lineage
	if an.parent != nil {
		parent = an.parent.Lineage
	}
	b := newBases(an.boot, parent, an.resume.progress()...)
	b.readAll = readAll
	return b
}

// look is called before the checkpoint is read.
func (an *ancestry) look(ctx context.Context, watch *stage.Watch) error {
	at := time.Now()
	lsns, err := watch.LSNs(ctx)
	an.before, an.reached = at, lsns.Current
	return err
}

// prove is called when the redo log is open and no page is copied yet. It makes sure that
// this is still the server of the parent; else the error is a *preflight.Doubt.
func (an *ancestry) prove(ctx context.Context, watch *stage.Watch, aria [16]byte) (err error) {
	if an.redo, err = preflight.RedoFile(an.layout); err != nil || an.parent == nil && an.resume == nil {
		return err
	}
	lsns, err := watch.LSNs(ctx)
	if err != nil {
		return err
	}
	if an.parent != nil {
		if err := an.parent.Doubt(aria, lsns.Current, an.redo); err != nil {
			return err
		}
	}
	return an.resume.prove(an.boot, aria, lsns.Current, an.redo)
}

// progress is what each object of progress begins with.
func (an *ancestry) progress(
	d *repo.Draft, found *preflight.Report, c innodb.Checkpoint, aria [16]byte, pageSize int,
) repo.Progress {
	v := found.Facts.Version
	p := repo.Progress{
		Lineage: repo.Lineage{
			ID: d.ID(), Checkpoint: c.LSN, End: max(c.LSN, an.resume.reached()), BootID: an.boot, AriaUUID: aria,
			Series: [2]uint16{uint16(v.Major), uint16(v.Minor)}, PageSize: uint32(pageSize), Redo: an.redo,
		},
		Kind: d.Kind(), Adopted: an.resume.ids(),
	}
	if an.parent != nil {
		p.Parent, p.End = an.parent.ID, max(p.End, an.parent.Lineage.End)
	}
	return p
}

// arrived is a moment before which the server had no write on its way to a file when that
// was copied (datadir.FileStat.WritesArrived), zero if none is known.
func (an *ancestry) arrived(c innodb.Checkpoint, redo *innodb.Journal) time.Time {
	switch p := an.parent; {
	case c.Covers(an.reached), an.reached <= redo.CheckpointOnly():
		return an.before
	case p != nil && c.LSN >= p.Lineage.End:
		return p.Started // the log had not got as far then
	}
	return time.Time{}
}

// lineage returns the numbers that the next increment needs of this backup. arrived is what
// ancestry.arrived returned.
func (an *ancestry) lineage(
	m *repo.Manifest, version stage.Version, pageSize int, files []*fileCopy, arrived time.Time,
) *repo.Lineage {
	l := &repo.Lineage{
		ID: m.ID, Checkpoint: m.LSN.Checkpoint, End: m.LSN.End, BootID: an.boot, AriaUUID: m.Aria.Control.UUID,
		Series: [2]uint16{uint16(version.Major), uint16(version.Minor)}, PageSize: uint32(pageSize), Redo: an.redo,
	}
	damaged := map[string]bool{}
	for _, d := range m.Damaged {
		damaged[d.File] = true
	}
	spoilt := map[uint32]bool{} // of which a page is damaged
	for i := range m.Files {
		if f := &m.Files[i]; damaged[f.Path] {
			spoilt[f.Number] = true
		}
	}
	l.Files = make([]repo.LineageFile, 0, len(files))
	for _, fc := range files {
		f := fc.lineage(arrived)
		f.Quiescent = f.Quiescent && !spoilt[f.Number]
		f.LSNs = fc.lsns()
		l.Files = append(l.Files, f)
	}
	slices.SortFunc(l.Files, func(a, b repo.LineageFile) int { return cmp.Compare(a.Number, b.Number) })
	return l
}

// lineage describes the file as the next pass must know it.
func (fc *fileCopy) lineage(arrived time.Time) repo.LineageFile {
	f := fc.stat.Lineage()
	f.Number, f.Class, f.Copied = fc.number, fc.class, fc.size
	if fc.space != nil {
		f.HasSpace, f.Space, f.PageSize, f.Flags = true, *fc.id, uint32(fc.space.PageSize), uint32(fc.space.Flags)
	}
	f.Quiescent = fc.below().unread ||
		fc.stat.Quiescent() && (fc.class != repo.ClassInnoDB || fc.stat.WritesArrived(arrived)) && !fc.entry.OfLogTable()
	return f
}

// lsns returns the sums of LSNs of the copy, which is complete.
func (fc *fileCopy) lsns() []uint32 {
	switch {
	case fc.below().unread:
		return fc.below().lsns
	case fc.pages != nil:
		return fc.pages.sums(0, innodb.LSNGroups(fc.size/int64(fc.space.PageSize)))
	}
	return nil
}

// reuse is what the backup has of its parent.
func (an *ancestry) reuse(fullReason string, files []*fileCopy) repo.Reuse {
	resumed := an.resume.resumed(files)
	if an.parent == nil {
		return repo.Reuse{FullReason: fullReason, Resumed: resumed}
	}
	r := repo.Reuse{Chain: an.parent.Chain, Unchanged: &repo.Amount{}, Pages: &repo.PageCounts{}, Resumed: resumed}
	for _, fc := range files {
		if fc.below().unread {
			r.Unchanged.Files++
			r.Unchanged.Bytes += fc.size
		}
		if fc.pages != nil {
			r.Pages.Examined += fc.pages.examined.Load()
			r.Pages.Changed += fc.pages.changed.Load()
		}
	}
	return r
}
