package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"mbk/internal/aria"
	"mbk/internal/datadir"
	"mbk/internal/datadir/filename"
	"mbk/internal/repo"
)

// resolve finds the copy that stands for every file of a scan and copies what
// has none. It waits until these copies are complete.
func (c *copies) resolve(ctx context.Context, s datadir.Scan) (*finalState, error) {
	for _, b := range s.Broken {
		if !filename.Temporary(b.Entry.Name) && !filename.FullText(b.Entry.Name) {
			return nil, errors.New(b.Text)
		}
	}
	f := &finalState{
		databases: s.Databases, files: make(map[string]*finalFile, len(s.Entries)), unnamable: s.Unnamable,
		leftDatabases: s.ExcludedDatabases, left: map[string]bool{},
	}
	f.noteLeftOut(s, c.layout)
	found := c.layout.StatAll(s.Entries)
	for rest := s.Entries; len(rest) > 0; {
		pair := rest[:samePair(rest)]
		rest = rest[len(pair):]
		stale := c.stale(pair)
		for i, e := range pair {
			if err := c.place(ctx, f, e, found[i], stale); err != nil {
				return nil, err
			}
		}
		f.bare = f.bare || f.lacksSpace(pair)
		found = found[len(pair):]
	}
	return f, f.waitLocked(ctx)
}

// samePair is how many of the first entries have the same name but for the
// extension: the definition, the rows and the keys of a table or partition.
func samePair(entries []datadir.Entry) int {
	stem := func(e datadir.Entry) string { return strings.TrimSuffix(e.Path(), filepath.Ext(e.Name)) }
	n := 1
	for n < len(entries) && stem(entries[n]) == stem(entries[0]) {
		n++
	}
	return n
}

// stale reports whether the copy of a table's rows must be taken for stale because
// that of its keys is. A server with myisam_use_mmap writes to the rows without
// moving the time of their file, and only the file of the keys tells. (Without it
// each file speaks for itself: closing a table touches the keys only.)
func (c *copies) stale(pair []datadir.Entry) bool {
	if !on(c.layout.Vars["myisam_use_mmap"]) {
		return false
	}
	for _, e := range pair {
		if !e.HoldsData() || e.IsInnoDB() || e.HoldsLogRows() {
			continue
		}
		now, err := c.statEntry(e)
		if err != nil {
			return true
		}
		if _, ok := c.holds(e, now); !ok {
			return true
		}
	}
	return false
}

// statEntry is the present state of an entry's file.
func (c *copies) statEntry(e datadir.Entry) (datadir.FileStat, error) {
	return c.layout.Stat(c.layout.File(e))
}

// place puts one file of a scan, as it was found, into the final state. stale says
// that no copy of its rows and keys holds.
func (c *copies) place(ctx context.Context, f *finalState, e datadir.Entry, found datadir.StatResult, stale bool) error {
	if c.foreign.has(e) {
		return nil
	}
	if errors.Is(found.Err, fs.ErrNotExist) {
		return vanished(e)
	}
	if found.Err != nil {
		return found.Err
	}
	now := found.Stat
	h, ok := c.holds(e, now)
	if h != nil && f.standsForOther(h, e) {
		h, ok = nil, false // for another name of the same file, which gets a copy of its own
	}
	if ok && (!stale || !e.HoldsData() || e.IsInnoDB() || e.HoldsLogRows()) {
		f.put(&finalFile{entry: e, copy: h})
		return nil
	}
	if h != nil && e.HoldsLogRows() && now.Size >= h.size && c.onlyGrown(h) {
		f.put(&finalFile{entry: e, copy: h, copiedLocked: true})
		return c.extend(ctx, h, now.Size)
	}
	if err := c.descriptors.Acquire(ctx, 1); err != nil {
		return err
	}
	g, there, err := c.open(c.layout, e)
	if err != nil {
		return err
	}
	if !there {
		return vanished(e)
	}
	if h, err = c.submit(ctx, g); err != nil {
		return err
	}
	f.put(&finalFile{entry: e, copy: h, copiedLocked: true})
	return nil
}

// placeNow is place for a file as it is now.
func (c *copies) placeNow(ctx context.Context, f *finalState, e datadir.Entry, stale bool) error {
	now, err := c.statEntry(e)
	return c.place(ctx, f, e, datadir.StatResult{Stat: now, Err: err}, stale)
}

// onlyGrown reports whether a log table still has what was copied of it. TRUNCATE
// keeps the file, and what comes behind it may be longer than what was there.
func (c *copies) onlyGrown(h *fileCopy) bool {
	f, err := c.layout.Files.Open(filepath.Join(c.layout.Dir, filepath.FromSlash(h.entry.Path())))
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // only read
	now, err := h.entry.ReadTail(f, h.stat.Size)
	return err == nil && bytes.Equal(now, h.tail)
}

// extend copies what a log table has grown by since it was copied, however large
// it is, in whole lines: the server only ever appends to it.
func (c *copies) extend(ctx context.Context, h *fileCopy, size int64) error {
	path := filepath.Join(c.layout.Dir, filepath.FromSlash(h.entry.Path()))
	f, err := c.layout.Files.Open(path)
	if err != nil {
		return err
	}
	size, err = h.entry.WholeLines(f, size)
	f.Close() //nolint:errcheck // only read
	if err != nil {
		return fmt.Errorf("read %s: %w", h.entry.Path(), err)
	}
	if size <= h.size {
		return nil
	}
	if err := c.copyRange(ctx, h, path, h.size, size, nil); err != nil {
		return err
	}
	h.size = size
	return nil
}

// update brings the final state up to date under BLOCK_COMMIT: InnoDB files of
// an ALTER that runs on, and tables that only BLOCK_COMMIT protects.
func (c *copies) update(ctx context.Context, f *finalState, s datadir.Scan) error {
	f.noteLeftOut(s, c.layout)
	seen := make(map[string]bool, len(s.Entries))
	for rest := s.Entries; len(rest) > 0; {
		pair := rest[:samePair(rest)]
		rest = rest[len(pair):]
		if err := c.updatePair(ctx, f, pair, seen); err != nil {
			return err
		}
	}
	for path, p := range f.files {
		if seen[path] {
			continue
		}
		if err := vanished(p.entry); err != nil {
			return err
		}
		delete(f.files, path)
	}
	return f.waitLocked(ctx)
}

// lacking returns a file of InnoDB that a later scan shows and the final state does not
// have, or not as recovery wants it, if there is one.
func (c *copies) lacking(f *finalState, s datadir.Scan) (datadir.Entry, bool) {
	for _, e := range s.Entries {
		if !e.IsInnoDB() || c.foreign.has(e) {
			continue
		}
		if p, ok := f.files[e.Path()]; !ok || c.lacksFirstPage(p.copy, e) {
			return e, true
		}
	}
	return datadir.Entry{}, false
}

// updatePair is update for the files of one name, which it marks as seen.
func (c *copies) updatePair(ctx context.Context, f *finalState, pair []datadir.Entry, seen map[string]bool) error {
	stale, known := false, false
	for _, e := range pair {
		path := e.Path()
		p, placed := f.files[path]
		moving := filename.Temporary(e.Name) || filename.FullText(e.Name)
		if !placed && !e.Known() {
			continue // made by somebody else after the names were fixed
		}
		seen[path] = true
		if placed && !moving && !p.changesUnderLock() {
			continue
		}
		if !placed && e.IsDefinition() && f.files[strings.TrimSuffix(path, ".frm")+datadir.ARZExt] != nil {
			continue // somebody has opened an ARCHIVE table for the first time
		}
		if !placed && !moving && !e.IsInnoDB() && e.Dir != "mysql" {
			return fmt.Errorf("%s appeared although BACKUP STAGE BLOCK_DDL was held", path)
		}
		if !known {
			stale, known = c.stale(pair), true
		}
		delete(f.files, path)
		if err := c.placeNow(ctx, f, e, stale); err != nil {
			return err
		}
	}
	return nil
}

// maxConfirms bounds how often a file is copied again that changes under the lock.
const maxConfirms = 5

// confirm makes sure that what was copied under the lock did not change
// meanwhile. CHECK TABLE, which no stage holds up, writes into the header of a
// table's keys: such a file is copied again. So are both files of a table of Aria that
// the server began to empty: it holds up only the commit of that.
func (c *copies) confirm(ctx context.Context, f *finalState) error {
	for range maxConfirms {
		changed, err := f.changed(c)
		if err != nil || len(changed) == 0 {
			return err
		}
		for _, e := range changed {
			if err := c.placeNow(ctx, f, e, c.stale([]datadir.Entry{e})); err != nil {
				return err
			}
		}
		if err := f.waitLocked(ctx); err != nil {
			return err
		}
	}
	changed, err := f.changed(c)
	if err == nil && len(changed) > 0 {
		err = fmt.Errorf("%s changes all the time, although BACKUP STAGE BLOCK_COMMIT is held", changed[0].Path())
	}
	return err
}

// changed lists the files that changed after they were copied under the lock. A
// file that is of no table is taken as it is.
func (f *finalState) changed(c *copies) ([]datadir.Entry, error) {
	var found []datadir.Entry
	for path, p := range f.files {
		if !p.copiedLocked || p.copy.class != repo.ClassPlain || p.entry.OfLogTable() || !p.entry.Known() {
			continue
		}
		now, err := c.statEntry(p.entry)
		if err != nil {
			return nil, fmt.Errorf("check %s at the end: %w", path, err)
		}
		was := p.copy.stat
		if now.ID != was.ID || now.Size != was.Size || !now.Modified.Equal(was.Modified) {
			found = append(found, p.entry)
		}
	}
	emptied, err := f.emptied(c)
	return append(found, emptied...), err
}

// emptied lists the files of Aria's tables of which one file was copied under the lock
// and that do not hold now, index files first. The two files are looked at one after
// the other. The server, which marks the header and cuts both off then, may have come
// in between: the index file was kept without the mark, and the rows were read when
// they were gone. Recovery may fail over such a pair.
func (f *finalState) emptied(c *copies) ([]datadir.Entry, error) {
	var index, data []datadir.Entry
	for path, p := range f.files {
		if p.copy.class != repo.ClassAria || !strings.HasSuffix(path, aria.IndexExt) {
			continue
		}
		rows := f.files[strings.TrimSuffix(path, aria.IndexExt)+aria.DataExt]
		if !p.copiedLocked && (rows == nil || !rows.copiedLocked) {
			continue
		}
		present, err := c.presentIndex(p.entry)
		if errors.Is(err, fs.ErrNotExist) && vanished(p.entry) == nil {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("check %s at the end: %w", path, err)
		}
		if !p.copy.index.Continues(present) {
			index = append(index, p.entry)
		}
		if rows != nil && !rows.copy.index.Continues(present) {
			data = append(data, rows.entry)
		}
	}
	return append(index, data...), nil
}
