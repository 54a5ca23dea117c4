package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"mbk/copier"
	"mbk/copier/pack"
	"mbk/internal/aria"
	"mbk/internal/datadir"
	"mbk/internal/innodb"
	"mbk/internal/repo"
)

// copies is the book of what has been copied: every file once for each of its
// generations, found by identity. It belongs to one goroutine.
type copies struct {
	*feeder
	newest   map[datadir.Identity]*fileCopy
	stems    map[string]aria.Index // of Aria tables whose index file was read, by path without extension
	foreign  foreignFiles
	system   []*fileCopy                 // of the system tablespace and the undo tablespaces
	baseline *baseline                   // the tables when the copying began
	later    map[string]datadir.Identity // files that were opened and left to a later pass, by path
	packs    []pack.Pack                 // when it is closed
	page     []byte                      // for page 0 of a tablespace, innodb_page_size long
}

func newCopies(l datadir.Layout, c *copier.Copier, b *bases, descriptors int64) (*copies, error) {
	size, err := l.PageSize()
	if err != nil {
		return nil, err
	}
	return &copies{
		feeder: newFeeder(l, c, b, descriptors), foreign: foreignFiles{layout: l},
		newest: map[datadir.Identity]*fileCopy{}, later: map[string]datadir.Identity{}, stems: map[string]aria.Index{},
		page: make([]byte, size),
	}, nil
}

// submit hands an opened file to the copier. It may wait for room in the
// copier's queue, so no table's lock may be held. A file that is not the server's
// is not copied, one that was idle and is so no more has to be opened again, and one that
// may wait does so if its copy would be in vain; nil is returned for them.
func (c *copies) submit(ctx context.Context, opened openFile) (*fileCopy, error) {
	if c.foreign.has(opened.entry) {
		c.release(opened)
		return nil, nil
	}
	fc := &fileCopy{
		entry: opened.entry, number: c.nextNumber(), class: repo.ClassPlain, stat: opened.stat, origin: opened.origin,
		size: opened.stat.Size,
	}
	if opened.entry.HoldsLogRows() {
		fc.rows = &logRows{tail: opened.tail}
	}
	source := copier.Source{Size: fc.size, PadShort: true}
	var err error
	switch {
	case opened.idle:
		if !c.stillIdle(fc) {
			c.later[opened.entry.Path()] = opened.stat.ID
			return nil, nil
		}
	case opened.file == nil:
		err = c.describeSmall(fc, opened, &source)
	default:
		source.File, source.Cached = fc.counted(opened.file), opened.cached
		source.Done = func() { c.release(opened) }
		err = c.describe(fc, opened, &source)
	}
	if err != nil {
		c.release(opened)
		return nil, err
	}
	if opened.mayWait && fc.inVain() {
		c.release(opened)
		c.later[opened.entry.Path()] = fc.stat.ID
		return nil, nil
	}
	if fc.below().unread {
		c.release(opened)
	} else if err := c.add(ctx, fc, source); err != nil {
		return nil, err
	}
	if was := c.newest[fc.stat.ID]; was != nil && was.entry.Path() != fc.entry.Path() {
		fc.twin = was
	}
	c.newest[fc.stat.ID] = fc
	return fc, nil
}

// stillIdle decides about an idle file, now that there is a checkpoint.
func (c *copies) stillIdle(fc *fileCopy) bool {
	now, err := c.layout.Stat(c.layout.File(fc.entry))
	if err != nil || now.ID != fc.stat.ID {
		return false // it is gone; a later scan shows what has become of it
	}
	to, ok := c.bases.unchanged(now, repo.ClassInnoDB)
	if ok {
		fc.class = repo.ClassInnoDB
		fc.refer(to, now)
	}
	return ok
}

// describeSmall finds out what a file says that was read whole.
func (c *copies) describeSmall(fc *fileCopy, opened openFile, source *copier.Source) (err error) {
	if fc.rows != nil {
		opened.bytes = opened.bytes[:bytes.LastIndexByte(opened.bytes, '\n')+1]
		fc.rows.lines.Add(int64(bytes.Count(opened.bytes, []byte{'\n'})))
	}
	source.File = bytes.NewReader(opened.bytes)
	fc.size = int64(len(opened.bytes))
	source.Size = fc.size
	if fc.facts, err = datadir.Inspect(opened.entry, bytes.NewReader(opened.bytes), fc.size); err != nil {
		return fmt.Errorf("read %s: %w", opened.entry.Path(), err)
	}
	c.referPlain(fc)
	return nil
}

// referPlain lets the copy of an earlier pass stand for a file of no kind that is known,
// if it has not been changed since.
func (c *copies) referPlain(fc *fileCopy) {
	mapped := c.layout.On("myisam_use_mmap") && strings.HasPrefix(filepath.Ext(fc.entry.Name), ".MY")
	if mapped || fc.entry.OfLogTable() {
		return // its times do not tell of all changes, or the copy is not as the file
	}
	if to, ok := c.bases.unchanged(fc.stat, repo.ClassPlain); ok {
		fc.refer(to, fc.stat)
	}
}

// describe finds out how a file of InnoDB or Aria is made up.
func (c *copies) describe(fc *fileCopy, opened openFile, source *copier.Source) (err error) {
	if fc.facts, err = datadir.Inspect(opened.entry, opened.file, fc.size); err != nil {
		return fmt.Errorf("read %s: %w", opened.entry.Path(), err)
	}
	switch {
	case opened.entry.IsInnoDB():
		fc.class = repo.ClassInnoDB
		return c.describeSpace(fc, opened, source)
	case opened.entry.IsAria():
		index, err := c.ariaIndex(opened)
		if err != nil {
			return err
		}
		if !index.OnlineSafe() {
			c.referPlain(fc)
			return nil
		}
		// A bulk insert may have come between the opening of the file and the
		// reading of the header. What it added is not in the log, so the size
		// counts from the header on.
		now, err := datadir.StatFile(opened.file)
		if err != nil {
			return err
		}
		fc.class, fc.index = repo.ClassAria, &index
		if to, ok := c.bases.unchanged(now, repo.ClassAria); ok {
			fc.refer(to, now)
			return nil
		}
		source.Pages = ariaBlocks{index: index, data: strings.HasSuffix(opened.entry.Name, aria.DataExt)}
		fc.size = now.Size / int64(index.BlockSize) * int64(index.BlockSize)
		source.Size = fc.size
	case opened.entry.HoldsLogRows():
		var err error
		fc.size, err = opened.entry.WholeLines(opened.file, fc.size)
		source.Size = fc.size
		return err
	default:
		c.referPlain(fc)
	}
	return nil
}

// describeSpace reads page 0 of a tablespace. A file without one, that was
// created just now, is copied as it is: the redo holds all of it.
//
// The file may have grown since it was opened. What it grew by before the
// checkpoint was read is not in the redo, so its size counts from now on only.
func (c *copies) describeSpace(fc *fileCopy, opened openFile, source *copier.Source) error {
	now, err := datadir.StatFile(opened.file)
	if err != nil {
		return err
	}
	if to, ok := c.bases.unchanged(now, repo.ClassInnoDB); ok {
		fc.refer(to, now)
		return nil
	}
	fc.stat, fc.size, source.Size = now, now.Size, now.Size
	space, err := datadir.ReadSpace(opened.file, opened.entry.Path(), c.page)
	if errors.Is(err, innodb.ErrNoSpace) {
		return nil
	}
	if err != nil {
		return err
	}
	fc.space, fc.id = &space, &space.ID
	fc.size = fc.size / int64(space.PageSize) * int64(space.PageSize)
	c.examine(fc, source)
	return nil
}

// examine makes the source one of pages of InnoDB, of which only those are stored that
// earlier passes do not have.
func (c *copies) examine(fc *fileCopy, source *copier.Source) {
	fc.pages = newInnodbPages(*fc.space, fc.first, fc.size)
	if c.bases != nil {
		fc.layers = new(c.bases.pages(fc.stat, *fc.space, fc.size))
	}
	fc.pages.compareWith(fc.below().lsns)
	source.Size, source.Pages, source.Bases = fc.size, fc.pages, fc.below().ranges
	source.FirstPageLast = fc.first == 0
}

// ariaIndex is what the index file of a table says of it. The index file
// comes before the data file in every scan, so that its header has been read
// before the first block of either is.
func (c *copies) ariaIndex(opened openFile) (aria.Index, error) {
	stem := strings.TrimSuffix(opened.entry.Path(), filepath.Ext(opened.entry.Name))
	if strings.HasSuffix(opened.entry.Name, aria.DataExt) {
		return c.stems[stem], nil
	}
	index, err := readIndex(opened.file, opened.entry.Path())
	if errors.Is(err, aria.ErrFormat) {
		err = nil // not a table that Aria could open, so it is copied as any other file
	}
	c.stems[stem] = index
	return index, err
}

// readIndex reads the header of an Aria table's index file.
func readIndex(f *os.File, name string) (aria.Index, error) {
	b := make([]byte, aria.MaxIndexHeader)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return aria.Index{}, fmt.Errorf("read %s: %w", name, err)
	}
	index, err := aria.ParseIndex(b[:n])
	if err != nil {
		return aria.Index{}, fmt.Errorf("read %s: %w", name, err)
	}
	return index, nil
}

// presentIndex reads the header of the index file of e's table as it is now.
func (c *copies) presentIndex(e datadir.Entry) (aria.Index, error) {
	stem := strings.TrimSuffix(e.Path(), filepath.Ext(e.Name))
	f, err := c.layout.Files.Open(filepath.Join(c.layout.Dir, filepath.FromSlash(stem+aria.IndexExt)))
	if err != nil {
		return aria.Index{}, err
	}
	defer f.Close() //nolint:errcheck // only read
	return readIndex(f, stem+aria.IndexExt)
}

// wait waits until all copies are complete, and makes sure that the files which earlier
// passes have read were only written to since.
func (c *copies) wait(ctx context.Context) error {
	return c.each(func(fc *fileCopy) error {
		if err := fc.done(ctx); err != nil {
			return err
		}
		return c.proveHistory(fc)
	})
}

// each calls do for all copies, until there is an error.
func (c *copies) each(do func(fc *fileCopy) error) error {
	for _, fc := range c.system {
		if err := do(fc); err != nil {
			return err
		}
	}
	for _, fc := range c.newest {
		for ; fc != nil; fc = fc.twin {
			if err := do(fc); err != nil {
				return err
			}
		}
	}
	return nil
}

// proveHistory returns an error if an earlier pass has read a file in a state that is not
// one of its past.
func (c *copies) proveHistory(fc *fileCopy) error {
	if fc.pages == nil {
		return nil
	}
	if page, found := fc.pages.otherHistory(); found {
		return c.bases.otherHistory(fc.entry.Path(), page)
	}
	return nil
}

// missing returns those of the entries whose files, as they were found, have no copy that
// holds, and their size in bytes. Files that are being written to are not among them.
func (c *copies) missing(
	entries []datadir.Entry, found []datadir.StatResult,
) (missing []datadir.Entry, size int64, err error) {
	for i, e := range entries {
		now, err := found[i].Stat, found[i].Err
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, 0, err
		}
		copied, holds := c.holds(e, now)
		known := copied != nil || c.waits(e, now)
		if holds || c.foreign.has(e) || known && !now.Quiescent() {
			continue
		}
		missing = append(missing, e)
		size += now.Size
	}
	return missing, size, nil
}

// waits reports whether a file was opened and not copied, because it had changed just before.
func (c *copies) waits(e datadir.Entry, now datadir.FileStat) bool {
	id, left := c.later[e.Path()]
	return left && id == now.ID && !e.IsInnoDB()
}

// close ends the packs, when all copies are complete.
func (c *copies) close(ctx context.Context) (err error) {
	if c.packs, err = c.copier.Close(ctx); err != nil {
		return err
	}
	return c.each(c.proveHistory)
}

// holds returns the copy of the file that is at e's place now, if there is one,
// and whether it still holds: for InnoDB and online-safe Aria the same generation
// of the file, because their logs make up for later changes (unless it lacks its first page); for all others the
// file must also not have been changed since.
//
// What Aria's log does not make up for (TRUNCATE, RENAME, REPAIR, a bulk insert,
// ...) leaves its mark in the header of the table's index file. The server's
// ddl.log is no help there: it lacks TRUNCATE, which keeps both inodes.
func (c *copies) holds(e datadir.Entry, now datadir.FileStat) (*fileCopy, bool) {
	fc, ok := c.newest[now.ID]
	if !ok {
		return nil, false
	}
	for twin := fc.twin; twin != nil; twin = twin.twin {
		if twin.entry.Path() == e.Path() && fc.entry.Path() != e.Path() {
			fc = twin // two names lead to one file
			break
		}
	}
	switch fc.judge(now) {
	case holding:
		return fc, true
	case byFirstPage:
		return fc, !c.lacksFirstPage(fc, e)
	case byIndex:
		present, err := c.presentIndex(e)
		return fc, err == nil && fc.continues(present)
	}
	return fc, false
}

// recreates reports whether recovery creates a file of InnoDB again that has no page 0, out
// of a redo log that holds all of it. From 10.6 on the server writes that page when it
// writes out dirty pages, so that files without are what crashes leave. In 10.5 it
// writes the page before it logs anything of the file, and wants to find it.
func recreates(l datadir.Layout) bool { return l.Since(10, 6) }

// lacksFirstPage reports whether fc is of no use, because the file had no page 0 when it was
// copied, which recovery will want and which is there now.
func (c *copies) lacksFirstPage(fc *fileCopy, e datadir.Entry) bool {
	if fc.id != nil || recreates(c.layout) {
		return false
	}
	f, err := c.layout.Files.Open(c.layout.File(e))
	if err != nil {
		return false // it is gone
	}
	defer f.Close() //nolint:errcheck // only read
	_, err = datadir.ReadSpace(f, e.Path(), c.page)
	return err == nil
}
