package verify

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"mbk/copier"
	"mbk/copier/pack"
	"mbk/internal/aria"
	"mbk/internal/innodb"
	"mbk/internal/repo"
)

// pagesDepth proves that what the objects hold is whole.
type pagesDepth struct{ *verification }

// run decompresses everything, checks every page that carries a checksum, and
// walks the redo log.
func (d *pagesDepth) run(ctx context.Context) error {
	found := d.count()
	var total int64
	for _, f := range d.m.Files {
		total += f.Size
	}
	d.meter.Begin(PhasePages, total)
	checks := d.pageChecks()
	if err := d.readAll(ctx, checks); err != nil {
		return err
	}
	for _, c := range checks {
		d.report.Pages += c.checked.Load()
	}
	d.meter.End()
	d.prove(found, "all chunks of %d files decompress to what was read, and %d pages have the right checksums",
		len(d.m.Files), d.report.Pages)
	if d.count() > found {
		return nil
	}
	return d.redo(ctx)
}

// pageChecks makes the checks of all files but the redo log.
func (d *pagesDepth) pageChecks() []*pageCheck {
	indexes := map[string]*repo.File{}
	for i := range d.m.Files {
		if stem, ok := strings.CutSuffix(d.m.Files[i].Path, aria.IndexExt); ok {
			indexes[stem] = &d.m.Files[i]
		}
	}
	known := map[string]map[uint32]bool{}
	for _, d := range d.m.Damaged {
		if known[d.File] == nil {
			known[d.File] = map[uint32]bool{}
		}
		known[d.File][d.Page] = true
	}
	checks := make([]*pageCheck, 0, len(d.m.Files))
	for i := range d.m.Files {
		f := &d.m.Files[i]
		if f.Class == repo.ClassRedo {
			continue
		}
		c := &pageCheck{file: f, known: known[f.Path], index: indexes[strings.TrimSuffix(f.Path, path.Ext(f.Path))]}
		c.fail = func(err error) { d.findInFile(f, err.Error()) }
		checks = append(checks, c)
	}
	return checks
}

// findInFile adds a finding about what a file holds. The packs were compared with their
// hashes before: so of a table with which something was wrong on the source, the server
// had these bytes too.
func (d *pagesDepth) findInFile(f *repo.File, problem string) {
	for _, t := range d.problems {
		if slices.ContainsFunc(t.Files, func(i int) bool { return d.m.Files[i].Path == f.Path }) {
			d.wasSo(t.Database+"."+t.Name, "%s (%s: %s)", t.Problem, f.Path, problem)
			return
		}
	}
	d.add(repo.Finding{File: f.Path, Problem: problem})
}

// headOf returns the file whose beginning says what the pages of a file look like, and
// how many bytes of it that takes: its own first page, or the header of its table's
// index. It is nil if nothing has to be read for that.
func (c *pageCheck) headOf() (*repo.File, int64) {
	switch {
	case c.file.Class == repo.ClassInnoDB && c.file.First == 0 && c.isSpace():
		return c.file, min(64<<10, c.file.Size)
	case c.file.Class == repo.ClassAria && c.index != nil:
		return c.index, min(aria.MaxIndexHeader, c.index.Size)
	}
	return nil, 0
}

// isSpace reports whether the manifest knows which tablespace a file belongs to.
func (c *pageCheck) isSpace() bool { return c.file.Space != nil && c.file.PageSize != 0 }

// prepare makes the check of a file's pages out of what headOf wants. It is called once
// for each file.
func (d *pagesDepth) prepare(c *pageCheck, head []byte) {
	switch c.file.Class {
	case repo.ClassInnoDB:
		d.innodbCheck(c, head)
	case repo.ClassAria:
		d.ariaCheck(c, head)
	case repo.ClassLog:
		d.ariaLogCheck(c)
	}
}

// ariaLogCheck makes the check of a log of Aria. The end of one before that of the
// checkpoint may be damaged since a crash of the source, and recovery does not read it.
func (d *pagesDepth) ariaLogCheck(c *pageCheck) {
	n, ok := aria.ParseLogName(path.Base(c.file.Path))
	if control := d.m.Aria.Control; !ok || control != nil && n < control.Checkpoint.File {
		return
	}
	c.size, c.full = aria.LogPageSize, true
	c.test = func(page []byte, no uint32) error { return aria.CheckLogPage(page, n, no) }
}

// innodbCheck makes the check of a tablespace's file. A first page that holds
// nothing yet is made by recovery, out of the redo log.
func (d *pagesDepth) innodbCheck(c *pageCheck, head []byte) {
	f := c.file
	if !c.isSpace() {
		return
	}
	space := innodb.Space{ID: *f.Space, Flags: innodb.Flags(f.Flags), PageSize: f.PageSize}
	if f.First == 0 {
		s, err := innodb.ParseSpace(head, space.Flags.LogicalSize())
		switch {
		case errors.Is(err, innodb.ErrNoSpace):
		case err != nil:
			if !c.known[0] {
				d.findInFile(f, err.Error())
			}
		case s.ID != space.ID || s.PageSize != space.PageSize:
			d.findInFile(f, fmt.Sprintf("tablespace %d with pages of %d bytes, want %d with %d", s.ID, s.PageSize, space.ID,
				space.PageSize))
		default:
			space = s
		}
	}
	c.size = space.PageSize
	c.test = func(page []byte, no uint32) error {
		if err := space.Check(page, innodb.PageNo(no)+innodb.PageNo(f.First)); err != nil {
			return err
		}
		if lsn := innodb.PageLSN(page); lsn > d.m.LSN.End {
			return fmt.Errorf("page %d: its LSN %d lies after the end of the redo log, %d", no, lsn, d.m.LSN.End)
		}
		return nil
	}
}

// ariaCheck makes the check of one of the two files of an Aria table.
func (d *pagesDepth) ariaCheck(c *pageCheck, head []byte) {
	f, index, ext := c.file, c.index, path.Ext(c.file.Path)
	if index == nil {
		d.findInFile(f, "the table's "+aria.IndexExt+" file is missing")
		return
	}
	ix, err := aria.ParseIndex(head)
	if err != nil {
		if index == f {
			d.findInFile(f, err.Error())
		}
		return
	}
	c.size = ix.BlockSize
	switch ext {
	case aria.DataExt:
		c.test = ix.CheckData
	case aria.IndexExt:
		c.test = ix.CheckIndex
	default:
		c.size = 0
	}
}

// readAll reads all files in rounds, the newest layer of each first: every page of the
// final state once.
func (d *pagesDepth) readAll(ctx context.Context, checks []*pageCheck) error {
	for _, c := range checks {
		c.layers = d.files.Layered(c.file.Number)
	}
	left := checks
	for round := 0; len(left) > 0; round++ {
		var pieces []copier.Piece[*pageCheck]
		var ended, goOn []*pageCheck
		for _, c := range left {
			more, last := repo.Pieces(c.layers, round, c)
			pieces = append(pieces, more...)
			if last {
				ended = append(ended, c)
			} else {
				goOn = append(goOn, c)
			}
		}
		if err := copier.Extract(ctx, d.o.Workers, pieces, d.readPiece); err != nil {
			return err
		}
		for _, c := range ended {
			if !c.damaged.Load() {
				if err := d.addDamage(c, c.layers.Gap()); err != nil {
					return err
				}
			}
			c.layers = nil // it may be large
		}
		// What an older layer has in the place of damaged bytes is not what was there.
		left = slices.DeleteFunc(goOn, func(c *pageCheck) bool { return c.damaged.Load() })
	}
	return nil
}

// addDamage makes a finding of an error that was met when a file was read, if it tells of
// damage, else it returns the error.
func (d *pagesDepth) addDamage(c *pageCheck, err error) error {
	f, err := damageOf(err)
	if f != nil {
		c.damaged.Store(true)
		f.File = c.file.Path
		d.add(*f)
	}
	return err
}

// readPiece reads and checks one extent.
func (d *pagesDepth) readPiece(ctx context.Context, x *pack.Reader, p copier.Piece[*pageCheck]) (err error) {
	c := p.File
	var sink pack.Sink = &pageSink{check: c}
	of, n := c.headOf()
	if of == c.file && c.layers.Single() && p.Extent.Start == 0 && p.Extent.Size >= n {
		// Most files begin like this: so nothing is read twice.
		sink = &headFirst{n: int(n), rest: sink, use: func(head []byte) {
			c.once.Do(func() { d.prepare(c, head) })
		}}
	} else {
		c.once.Do(func() {
			var head []byte
			if of != nil {
				head, err = d.files.Layered(of.Number).Head(ctx, x, n)
			}
			if err == nil {
				d.prepare(c, head)
			}
		})
	}
	if err == nil {
		err = repo.Read(ctx, c.layers, x, p, countedSink{sink, d.meter})
	}
	return d.addDamage(c, err)
}
