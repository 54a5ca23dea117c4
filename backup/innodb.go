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

// systemFile is an open file of the system tablespace, or an undo tablespace.
type systemFile struct {
	*os.File
	fc     *fileCopy
	source copier.Source
}

// copySystem begins the copies of the system tablespace and of the undo
// tablespaces. They are restored into the data directory itself.
func (c *copies) copySystem(ctx context.Context) error {
	if err := c.copyTablespace(ctx, c.layout.System, copier.Source{}); err != nil {
		return err
	}
	undo, err := c.layout.UndoFiles()
	if err != nil {
		return err
	}
	for _, path := range undo {
		// Undo tablespaces are truncated in place.
		if err := c.copyTablespace(ctx, []string{path}, copier.Source{PadShort: true}); err != nil {
			return err
		}
	}
	return nil
}

// copyTablespace begins the copies of the files of one tablespace. What earlier passes hold
// of them stands for them if it does for all. Its first page is read last of all pages,
// because it says how they are encrypted.
func (c *copies) copyTablespace(ctx context.Context, paths []string, as copier.Source) error {
	files, err := c.openTablespace(paths, as)
	defer func() {
		for _, f := range files {
			f.Close() //nolint:errcheck // only read
		}
	}()
	if err != nil || c.standFor(files) {
		return err
	}
	if err := c.describeTablespace(files); err != nil {
		return err
	}
	var others []*copier.Pending
	for n := len(files) - 1; n >= 0; n-- {
		f := files[n]
		f.source.File, f.source.Done = f.File, func() { f.Close() } //nolint:errcheck // only read
		f.source.After = others
		if err := c.add(ctx, f.fc, f.source); err != nil {
			return fmt.Errorf("copy %s: %w", f.fc.entry.Name, err)
		}
		files, others = files[:n], append(others, f.fc.pending...)
	}
	return nil
}

// openTablespace opens the files of a tablespace. Those that are open are returned with an
// error, too.
func (c *copies) openTablespace(paths []string, as copier.Source) (files []systemFile, err error) {
	taken := map[string]bool{}
	for _, path := range paths {
		f, fc, err := c.openSystem(path)
		if err != nil {
			return files, err
		}
		fc.entry.Name = freeName(fc.entry, taken)
		as.Cached = cachedBefore(f, fc.stat.Size)
		files = append(files, systemFile{File: f, fc: fc, source: as})
		c.system = append(c.system, fc)
	}
	return files, nil
}

// standFor lets what earlier passes hold of the files of a tablespace stand for them, if it
// is all of each.
func (c *copies) standFor(files []systemFile) bool {
	held := make([]below, len(files))
	for n, f := range files {
		var ok bool
		if held[n], ok = c.bases.unchanged(f.fc.stat, repo.ClassInnoDB); !ok {
			return false
		}
	}
	for n, f := range files {
		f.fc.refer(held[n], f.fc.stat)
		c.progress.note(f.fc)
	}
	return true
}

// describeTablespace completes the copies and the sources of the files of a tablespace.
func (c *copies) describeTablespace(files []systemFile) error {
	var space *innodb.Space
	var first innodb.PageNo
	for n := range files {
		f := &files[n]
		f.fc.space, f.fc.first = space, first
		if err := c.describeSystem(f.File, f.fc, &f.source); err != nil {
			return fmt.Errorf("copy %s: %w", f.fc.entry.Name, err)
		}
		space = f.fc.space
		first += innodb.PageNo(f.fc.size / int64(space.PageSize))
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
