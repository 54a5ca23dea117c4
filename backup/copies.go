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
	"sync/atomic"

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
	system   []*fileCopy // of the system tablespace and the undo tablespaces
	baseline *baseline   // the tables when the copying began
	packs    []pack.Pack // when it is closed
	page     []byte      // for page 0 of a tablespace, innodb_page_size long
}

func newCopies(l datadir.Layout, c *copier.Copier, descriptors int64) (*copies, error) {
	size, err := l.PageSize()
	if err != nil {
		return nil, err
	}
	return &copies{
		feeder: newFeeder(l, c, descriptors), foreign: foreignFiles{layout: l},
		newest: map[datadir.Identity]*fileCopy{}, stems: map[string]aria.Index{}, page: make([]byte, size),
	}, nil
}

// submit hands an opened file to the copier. It may wait for room in the
// copier's queue, so no table's lock may be held. A file that is not the server's
// is not copied; nil is returned for it.
func (c *copies) submit(ctx context.Context, g openFile) (*fileCopy, error) {
	if c.foreign.has(g.entry) {
		c.release(g)
		return nil, nil
	}
	h := &fileCopy{
		entry: g.entry, number: c.nextNumber(), class: repo.ClassPlain, stat: g.stat, origin: g.origin,
		size: g.stat.Size, tail: g.tail,
	}
	if g.entry.HoldsLogRows() {
		h.lines = new(atomic.Int64)
	}
	source := copier.Source{Number: h.number, Name: g.entry.Path(), Size: h.size, PadShort: true}
	if g.file == nil {
		if h.lines != nil {
			g.bytes = g.bytes[:bytes.LastIndexByte(g.bytes, '\n')+1]
			h.lines.Add(int64(bytes.Count(g.bytes, []byte{'\n'})))
		}
		source.File = bytes.NewReader(g.bytes)
		h.size = int64(len(g.bytes))
		source.Size = h.size
		var err error
		if h.facts, err = datadir.Inspect(g.entry, bytes.NewReader(g.bytes), h.size); err != nil {
			return nil, fmt.Errorf("read %s: %w", g.entry.Path(), err)
		}
	} else {
		source.File, source.Cached = h.counted(g.file), g.cached
		source.Done = func() { c.release(g) }
		if err := c.describe(h, g, &source); err != nil {
			c.release(g)
			return nil, err
		}
	}
	pending, err := c.copier.Add(ctx, source)
	if err != nil {
		return nil, err
	}
	h.pending = append(h.pending, pending)
	if was := c.newest[h.stat.ID]; was != nil && was.entry.Path() != h.entry.Path() {
		h.twin = was
	}
	c.newest[h.stat.ID] = h
	return h, nil
}

// describe finds out how a file of InnoDB or Aria is made up.
func (c *copies) describe(h *fileCopy, g openFile, source *copier.Source) (err error) {
	if h.facts, err = datadir.Inspect(g.entry, g.file, h.size); err != nil {
		return fmt.Errorf("read %s: %w", g.entry.Path(), err)
	}
	switch {
	case g.entry.IsInnoDB():
		h.class = repo.ClassInnoDB
		return c.describeSpace(h, g, source)
	case g.entry.IsAria():
		index, err := c.ariaIndex(g)
		if err != nil || !index.OnlineSafe() {
			return err
		}
		// A bulk insert may have come between the opening of the file and the
		// reading of the header. What it added is not in the log, so the size
		// counts from the header on.
		now, err := datadir.StatFile(g.file)
		if err != nil {
			return err
		}
		h.class, h.index = repo.ClassAria, index
		source.Pages = ariaBlocks{index: index, data: strings.HasSuffix(g.entry.Name, aria.DataExt)}
		h.size = now.Size / int64(index.BlockSize) * int64(index.BlockSize)
		source.Size = h.size
	case g.entry.HoldsLogRows():
		var err error
		h.size, err = g.entry.WholeLines(g.file, h.size)
		source.Size = h.size
		return err
	}
	return nil
}

// describeSpace reads page 0 of a tablespace. A file without one, that was
// created just now, is copied as it is: the redo holds all of it.
//
// The file may have grown since it was opened. What it grew by before the
// checkpoint was read is not in the redo, so its size counts from now on only.
func (c *copies) describeSpace(h *fileCopy, g openFile, source *copier.Source) error {
	now, err := datadir.StatFile(g.file)
	if err != nil {
		return err
	}
	h.size, source.Size = now.Size, now.Size
	space, err := datadir.ReadSpace(g.file, g.entry.Path(), c.page)
	if errors.Is(err, innodb.ErrNoSpace) {
		return nil
	}
	if err != nil {
		return err
	}
	h.space, h.id = &space, &space.ID
	h.pages = &innodbPages{space: space}
	h.size = h.size / int64(space.PageSize) * int64(space.PageSize)
	source.Size, source.Pages = h.size, h.pages
	return nil
}

// ariaIndex is what the index file of g's table says of it. The index file
// comes before the data file in every scan, so that its header has been read
// before the first block of either is.
func (c *copies) ariaIndex(g openFile) (aria.Index, error) {
	stem := strings.TrimSuffix(g.entry.Path(), filepath.Ext(g.entry.Name))
	if strings.HasSuffix(g.entry.Name, aria.DataExt) {
		return c.stems[stem], nil
	}
	index, err := readIndex(g.file, g.entry.Path())
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

// wait waits until all copies are complete.
func (c *copies) wait(ctx context.Context) error {
	for _, h := range c.newest {
		for ; h != nil; h = h.twin {
			if err := h.done(ctx); err != nil {
				return err
			}
		}
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
		if holds || c.foreign.has(e) || copied != nil && !now.Quiescent() {
			continue
		}
		missing = append(missing, e)
		size += now.Size
	}
	return missing, size, nil
}

// close ends the packs.
func (c *copies) close(ctx context.Context) (err error) {
	c.packs, err = c.copier.Close(ctx)
	return err
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
	h, ok := c.newest[now.ID]
	if !ok {
		return nil, false
	}
	for twin := h.twin; twin != nil; twin = twin.twin {
		if twin.entry.Path() == e.Path() && h.entry.Path() != e.Path() {
			h = twin // two names lead to one file
			break
		}
	}
	switch h.judge(now) {
	case holding:
		return h, true
	case byFirstPage:
		return h, !c.lacksFirstPage(h, e)
	case byIndex:
		present, err := c.presentIndex(e)
		return h, err == nil && h.index.Continues(present)
	}
	return h, false
}

// recreates reports whether recovery creates a file of InnoDB again that has no page 0, out
// of a redo log that holds all of it. From 10.6 on the server writes that page when it
// writes out dirty pages, so that files without are what crashes leave. In 10.5 it
// writes the page before it logs anything of the file, and wants to find it.
func recreates(l datadir.Layout) bool { return l.Since(10, 6) }

// lacksFirstPage reports whether h is of no use, because the file had no page 0 when it was
// copied, which recovery will want and which is there now.
func (c *copies) lacksFirstPage(h *fileCopy, e datadir.Entry) bool {
	if h.id != nil || recreates(c.layout) {
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
