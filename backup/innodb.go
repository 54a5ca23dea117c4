package backup

import (
	"context"
	"fmt"
	"io"
	"os"

	"mbk/copier"
	"mbk/internal/datadir"
	"mbk/internal/innodb"
	"mbk/internal/repo"
)

// trxSysPage is the page of the system tablespace that says where the
// doublewrite buffer is.
const trxSysPage = 5

// copySystem begins the copies of the system tablespace and of the undo
// tablespaces. They are restored into the data directory itself.
func (c *copies) copySystem(ctx context.Context) error {
	taken := map[string]bool{}
	var space *innodb.Space
	var first innodb.PageNo
	for i, path := range c.layout.System {
		f, fc, err := c.openSystem(path)
		if err != nil {
			return err
		}
		source := copier.Source{Cached: cachedBefore(f, fc.stat.Size)}
		if i == 0 {
			s, err := datadir.ReadSpace(f, path, c.page)
			if err != nil {
				f.Close() //nolint:errcheck // only read
				return err
			}
			space = &s
			if source.Blank, err = doublewrite(f, path, s.PageSize); err != nil {
				f.Close() //nolint:errcheck // only read
				return err
			}
		}
		fc.space, fc.id, fc.first = space, &space.ID, first
		fc.entry.Name = freeName(fc.entry, taken)
		first += innodb.PageNo(fc.stat.Size / int64(space.PageSize))
		if err := c.submitSystem(ctx, f, fc, source); err != nil {
			return err
		}
		c.system = append(c.system, fc)
	}
	undo, err := c.layout.UndoFiles()
	if err != nil {
		return err
	}
	for _, path := range undo {
		f, fc, err := c.openSystem(path)
		if err != nil {
			return err
		}
		cached := cachedBefore(f, fc.stat.Size)
		s, err := datadir.ReadSpace(f, path, c.page)
		if err != nil {
			f.Close() //nolint:errcheck // only read
			return err
		}
		fc.space, fc.id = &s, &s.ID
		// Undo tablespaces are truncated in place.
		if err := c.submitSystem(ctx, f, fc, copier.Source{PadShort: true, Cached: cached}); err != nil {
			return err
		}
		c.system = append(c.system, fc)
	}
	return nil
}

// freeName is the name that a file of the system tablespace is restored under: its
// own, unless one from another folder has that.
func freeName(e datadir.Entry, taken map[string]bool) string {
	name := e.Name
	for n := 2; taken[e.Path()]; n++ {
		e.Name = fmt.Sprintf("%s-%d", name, n)
	}
	taken[e.Path()] = true
	return e.Name
}

// openSystem opens a file of the system tablespace or an undo tablespace.
func (c *copies) openSystem(path string) (*os.File, *fileCopy, error) {
	f, err := c.layout.Files.Open(path)
	if err != nil {
		return nil, nil, err
	}
	s, err := datadir.StatFile(f)
	if err != nil {
		f.Close() //nolint:errcheck // only read
		return nil, nil, err
	}
	e, origin := c.layout.EntryOf(path)
	fc := c.number(e, repo.ClassInnoDB, s)
	fc.origin = origin
	return f, fc, nil
}

// submitSystem hands the file to the copier.
func (c *copies) submitSystem(ctx context.Context, f *os.File, fc *fileCopy, source copier.Source) error {
	fc.size = fc.stat.Size / int64(fc.space.PageSize) * int64(fc.space.PageSize)
	fc.pages = &innodbPages{space: *fc.space, first: fc.first}
	source.Number, source.Name, source.File, source.Size, source.Pages = fc.number, fc.entry.Path(), f, fc.size, fc.pages
	source.Done = func() { f.Close() } //nolint:errcheck // only read
	pending, err := c.copier.Add(ctx, source)
	if err != nil {
		return fmt.Errorf("copy %s: %w", fc.entry.Name, err)
	}
	fc.pending = append(fc.pending, pending)
	return nil
}

// doublewrite finds the two blocks of the doublewrite buffer. They are copied as
// zeros: what they hold belongs to pages as they were on the source, and their
// pages are written without regard to their own place.
func doublewrite(f io.ReaderAt, path string, pageSize int) ([]copier.Range, error) {
	page := make([]byte, pageSize)
	if _, err := f.ReadAt(page, trxSysPage*int64(pageSize)); err != nil {
		return nil, fmt.Errorf("read page %d of %s: %w", trxSysPage, path, err)
	}
	first, second, pages, ok := innodb.Doublewrite(page, pageSize)
	if !ok {
		return nil, nil
	}
	size := int64(pages) * int64(pageSize)
	return []copier.Range{
		{Start: int64(first) * int64(pageSize), Size: size},
		{Start: int64(second) * int64(pageSize), Size: size},
	}, nil
}
