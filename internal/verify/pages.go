package verify

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

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
	d.prove(found, "all chunks of %d files decompress to what was read, and %d pages have the right checksums", len(d.m.Files), d.report.Pages)
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

// prepare finds out what the pages of a file look like, from its first page or
// from the header of its table. It is called once for each file.
func (d *pagesDepth) prepare(ctx context.Context, e *pack.Reader, c *pageCheck) error {
	switch c.file.Class {
	case repo.ClassInnoDB:
		return d.innodbCheck(ctx, e, c)
	case repo.ClassAria:
		return d.ariaCheck(ctx, e, c)
	case repo.ClassLog:
		d.ariaLogCheck(c)
	}
	return nil
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
func (d *pagesDepth) innodbCheck(ctx context.Context, e *pack.Reader, c *pageCheck) error {
	f := c.file
	if f.Space == nil || f.PageSize == 0 {
		return nil
	}
	space := innodb.Space{ID: *f.Space, Flags: innodb.Flags(f.Flags), PageSize: f.PageSize}
	if f.First == 0 {
		head, err := d.beginning(ctx, e, f, 64<<10)
		if err != nil {
			return err
		}
		s, err := innodb.ParseSpace(head, space.Flags.LogicalSize())
		switch {
		case errors.Is(err, innodb.ErrNoSpace):
		case err != nil:
			if !c.known[0] {
				d.findInFile(f, err.Error())
			}
		case s.ID != space.ID || s.PageSize != space.PageSize:
			d.findInFile(f, fmt.Sprintf("tablespace %d with pages of %d bytes, want %d with %d", s.ID, s.PageSize, space.ID, space.PageSize))
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
			return fmt.Errorf("page %d: its LSN %d lies behind the end of the redo log, %d", no, lsn, d.m.LSN.End)
		}
		return nil
	}
	return nil
}

// ariaCheck makes the check of one of the two files of an Aria table.
func (d *pagesDepth) ariaCheck(ctx context.Context, e *pack.Reader, c *pageCheck) error {
	f, index, ext := c.file, c.index, path.Ext(c.file.Path)
	if index == nil {
		d.findInFile(f, "the table's "+aria.IndexExt+" file is missing")
		return nil
	}
	head, err := d.beginning(ctx, e, index, aria.MaxIndexHeader)
	if err != nil {
		return err
	}
	ix, err := aria.ParseIndex(head)
	if err != nil {
		if index == f {
			d.findInFile(f, err.Error())
		}
		return nil
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
	return nil
}

// beginning reads the first n bytes of a file, or all of a shorter one.
func (d *pagesDepth) beginning(ctx context.Context, e *pack.Reader, f *repo.File, n int64) ([]byte, error) {
	head := &headSink{b: make([]byte, min(n, f.Size))}
	for _, x := range f.Extents {
		err := e.Extent(ctx, d.packs, f.Number, x, head)
		if errors.Is(err, errEnough) || x.Start+x.Size >= int64(len(head.b)) && err == nil {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	return head.b, nil
}

// piece is an extent to read and check.
type piece struct {
	check  *pageCheck
	extent pack.Extent
}

// readAll reads every extent of the files, several at a time.
func (d *pagesDepth) readAll(ctx context.Context, checks []*pageCheck) error {
	queue := make(chan piece)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(queue)
		for _, c := range checks {
			for _, x := range c.file.Extents {
				select {
				case queue <- piece{c, x}:
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		}
		return nil
	})
	for range d.o.Workers {
		group.Go(func() error {
			e := pack.NewReader()
			defer e.Close()
			for p := range queue {
				if err := d.readPiece(ctx, e, p); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// readPiece reads and checks one extent.
func (d *pagesDepth) readPiece(ctx context.Context, e *pack.Reader, p piece) error {
	var err error
	p.check.once.Do(func() { err = d.prepare(ctx, e, p.check) })
	if err == nil {
		sink := countedSink{&pageSink{check: p.check}, d.meter}
		err = e.Extent(ctx, d.packs, p.check.file.Number, p.extent, sink)
	}
	f, err := damageOf(err)
	if f != nil {
		f.File = p.check.file.Path
		d.add(*f)
	}
	return err
}
