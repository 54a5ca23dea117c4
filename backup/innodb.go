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
	var system *innodb.Space
	var first innodb.PageNo
	for _, path := range c.layout.System {
		f, fc, err := c.openSystem(path)
		if err != nil {
			return err
		}
		fc.entry.Name = freeName(fc.entry, taken)
		fc.space, fc.first = system, first
		if err := c.copySpace(ctx, f, fc, copier.Source{}); err != nil {
			return err
		}
		system = fc.space
		first += innodb.PageNo(fc.stat.Size / int64(system.PageSize))
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
		// Undo tablespaces are truncated in place.
		if err := c.copySpace(ctx, f, fc, copier.Source{PadShort: true}); err != nil {
			return err
		}
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
	c.bases.learn(s.ID.Dev, f)
	e, origin := c.layout.EntryOf(path)
	fc := c.number(e, repo.ClassInnoDB, s)
	fc.origin = origin
	return f, fc, nil
}

// copySpace begins the copy of such a file. It may stand for what earlier passes hold of
// it. Else the first page is read, unless the file belongs to a tablespace that is known.
func (c *copies) copySpace(ctx context.Context, f *os.File, fc *fileCopy, source copier.Source) error {
	c.system = append(c.system, fc)
	if to, ok := c.bases.unchanged(fc.stat, repo.ClassInnoDB); ok {
		fc.refer(to, fc.stat)
		c.progress.note(fc)
		return f.Close()
	}
	source.Cached = cachedBefore(f, fc.stat.Size)
	err := c.describeSystem(f, fc, &source)
	if err == nil {
		source.File, source.Done = f, func() { f.Close() } //nolint:errcheck // only read
		err = c.add(ctx, fc, source)
	}
	if err != nil {
		f.Close() //nolint:errcheck // only read
		return fmt.Errorf("copy %s: %w", fc.entry.Name, err)
	}
	return nil
}

// describeSystem completes the copy and the source of such a file.
func (c *copies) describeSystem(f *os.File, fc *fileCopy, source *copier.Source) error {
	if fc.space == nil {
		space, err := datadir.ReadSpace(f, fc.entry.Path(), c.page)
		if err != nil {
			return err
		}
		fc.space = &space
	}
	if fc.id = &fc.space.ID; *fc.id == 0 && fc.first == 0 {
		var err error
		if source.Blank, err = doublewrite(f, fc.entry.Path(), fc.space.PageSize); err != nil {
			return err
		}
	}
	fc.size = fc.stat.Size / int64(fc.space.PageSize) * int64(fc.space.PageSize)
	c.examine(fc, source)
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
