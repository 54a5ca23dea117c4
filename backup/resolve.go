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

// resolver decides which copy stands for which path, and copies what has none that holds.
type resolver struct {
	copies *copies
	final  *finalState
}

// resolve finds the copy that stands for every file of a scan and copies what
// has none. It waits until these copies are complete.
func (r *resolver) resolve(ctx context.Context, s datadir.Scan) error {
	for _, b := range s.Broken {
		if !filename.Temporary(b.Entry.Name) && !filename.FullText(b.Entry.Name) {
			return errors.New(b.Text)
		}
	}
	f := r.final
	f.databases, f.leftDatabases, f.unnamable = s.Databases, s.ExcludedDatabases, s.Unnamable
	f.noteLeftOut(s, r.copies.layout)
	f.resolved = s
	found := r.copies.layout.StatAll(s.Entries)
	for rest := s.Entries; len(rest) > 0; {
		files := tableFiles(rest)
		rest = rest[len(files):]
		stale := r.stale(files)
		for i, e := range files {
			if err := r.place(ctx, e, found[i], stale); err != nil {
				return err
			}
		}
		f.bare = f.bare || f.lacksSpace(files)
		f.noteUnsettled(files)
		found = found[len(files):]
	}
	return f.waitLocked(ctx)
}

// tableFiles returns the first of the entries and those after it that have the same name
// except for the extension: the definition, the rows and the keys of a table or partition.
func tableFiles(entries []datadir.Entry) []datadir.Entry {
	n := 1
	for n < len(entries) && entries[n].SameStem(entries[0]) {
		n++
	}
	return entries[:n]
}

// stale reports whether the copy of a table's rows must be taken for stale because
// that of its keys is. A server with myisam_use_mmap writes to the rows without
// moving the time of their file, and only the file of the keys tells. (Without it
// each file speaks for itself: closing a table touches the keys only.)
func (r *resolver) stale(files []datadir.Entry) bool {
	if !r.copies.layout.On("myisam_use_mmap") {
		return false
	}
	for _, e := range files {
		if !e.HoldsData() || e.IsInnoDB() || e.HoldsLogRows() {
			continue
		}
		now, err := r.statEntry(e)
		if err != nil {
			return true
		}
		if _, ok := r.copies.holds(e, now); !ok {
			return true
		}
	}
	return false
}

// statEntry is the present state of an entry's file.
func (r *resolver) statEntry(e datadir.Entry) (datadir.FileStat, error) {
	return r.copies.layout.Stat(r.copies.layout.File(e))
}

// place puts one file of a scan, as it was found, into the final state. stale says
// that no copy of its rows and keys holds.
func (r *resolver) place(ctx context.Context, e datadir.Entry, found datadir.StatResult, stale bool) error {
	if r.copies.foreign.has(e) {
		return nil
	}
	if errors.Is(found.Err, fs.ErrNotExist) {
		return vanished(e)
	}
	if found.Err != nil {
		return found.Err
	}
	fc, holds := r.copies.holds(e, found.Stat)
	if fc != nil && r.final.standsForOther(fc, e) {
		fc, holds = nil, false // for another name of the same file, which gets its own copy
	}
	switch choose(e, fc, holds, stale, found.Stat.Size, r.onlyGrown) {
	case keepCopy:
		r.final.put(&finalFile{entry: e, copy: fc})
		return nil
	case extendCopy:
		r.final.put(&finalFile{entry: e, copy: fc, copiedLocked: true})
		return r.extend(ctx, fc, found.Stat.Size)
	}
	return r.copyAgain(ctx, e)
}

// choice is what is done about a file of a scan that has a copy, or none.
type choice int

const (
	copyAgain  choice = iota // there is no copy that holds
	keepCopy                 // the copy holds
	extendCopy               // the copy of a log table lacks what came since
)

// choose decides what to do about a file with the copy fc, nil for none. holds tells
// whether that holds by itself, and stale whether it is doubted because of the table's
// other files. size is that of the file now, and onlyGrown looks whether a log table
// still begins with what was copied.
func choose(e datadir.Entry, fc *fileCopy, holds, stale bool, size int64, onlyGrown func(*fileCopy) bool) choice {
	doubted := stale && e.HoldsData() && !e.IsInnoDB() && !e.HoldsLogRows()
	switch {
	case holds && !doubted:
		return keepCopy
	case fc != nil && e.HoldsLogRows() && size >= fc.size && onlyGrown(fc):
		return extendCopy
	}
	return copyAgain
}

// copyAgain copies a file under the lock.
func (r *resolver) copyAgain(ctx context.Context, e datadir.Entry) error {
	if err := r.copies.descriptors.Acquire(ctx, 1); err != nil {
		return err
	}
	opened, there, err := r.copies.open(r.copies.layout, e)
	if err != nil {
		return err
	}
	if !there {
		return vanished(e)
	}
	fc, err := r.copies.submit(ctx, opened)
	if err != nil {
		return err
	}
	r.final.put(&finalFile{entry: e, copy: fc, copiedLocked: true})
	return nil
}

// placeNow is place for a file as it is now.
func (r *resolver) placeNow(ctx context.Context, e datadir.Entry, stale bool) error {
	now, err := r.statEntry(e)
	return r.place(ctx, e, datadir.StatResult{Stat: now, Err: err}, stale)
}

// onlyGrown reports whether a log table still has what was copied of it. TRUNCATE
// keeps the file, and what is written after it may be longer than what was there.
func (r *resolver) onlyGrown(fc *fileCopy) bool {
	if fc.rows == nil {
		return false // it was copied as the file of another table
	}
	f, err := r.copies.layout.Files.Open(filepath.Join(r.copies.layout.Dir, filepath.FromSlash(fc.entry.Path())))
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // only read
	now, err := fc.entry.ReadTail(f, fc.stat.Size)
	return err == nil && bytes.Equal(now, fc.rows.tail)
}

// extend copies what a log table has grown by since it was copied, however large
// it is, in whole lines: the server only ever appends to it.
func (r *resolver) extend(ctx context.Context, fc *fileCopy, size int64) error {
	path := filepath.Join(r.copies.layout.Dir, filepath.FromSlash(fc.entry.Path()))
	f, err := r.copies.layout.Files.Open(path)
	if err != nil {
		return err
	}
	size, err = fc.entry.WholeLines(f, size)
	f.Close() //nolint:errcheck // only read
	if err != nil {
		return fmt.Errorf("read %s: %w", fc.entry.Path(), err)
	}
	if size <= fc.size {
		return nil
	}
	if err := r.copies.copyRange(ctx, fc, path, fc.size, size, nil); err != nil {
		return err
	}
	fc.size = size
	return nil
}

// update brings the final state up to date under BLOCK_COMMIT: InnoDB files of
// an ALTER that runs on, and tables that only BLOCK_COMMIT protects.
func (r *resolver) update(ctx context.Context, s datadir.Scan) error {
	r.final.noteLeftOut(s, r.copies.layout)
	if s.Same(r.final.resolved) {
		return r.updateUnsettled(ctx)
	}
	r.final.resolved = datadir.Scan{}
	seen := make(map[string]bool, len(s.Entries))
	for rest := s.Entries; len(rest) > 0; {
		files := tableFiles(rest)
		rest = rest[len(files):]
		if err := r.updateTable(ctx, files, seen); err != nil {
			return err
		}
	}
	for path, ff := range r.final.files {
		if seen[path] {
			continue
		}
		if err := vanished(ff.entry); err != nil {
			return err
		}
		delete(r.final.files, path)
	}
	return r.final.waitLocked(ctx)
}

// updateUnsettled is update when no file has come or gone since resolve.
func (r *resolver) updateUnsettled(ctx context.Context) error {
	for _, files := range r.final.unsettled {
		if err := r.updateTable(ctx, files, map[string]bool{}); err != nil {
			return err
		}
	}
	return r.final.waitLocked(ctx)
}

// lacking returns a file of InnoDB that a later scan shows and the final state does not
// have, or not as recovery wants it, if there is one.
func (r *resolver) lacking(s datadir.Scan) (datadir.Entry, bool) {
	for _, e := range s.Entries {
		if !e.IsInnoDB() || r.copies.foreign.has(e) {
			continue
		}
		if ff, ok := r.final.files[e.Path()]; !ok || r.copies.lacksFirstPage(ff.copy, e) {
			return e, true
		}
	}
	return datadir.Entry{}, false
}

// updateTable is update for the files of one name, which it marks as seen.
func (r *resolver) updateTable(ctx context.Context, files []datadir.Entry, seen map[string]bool) error {
	stale, known := false, false
	for _, e := range files {
		ours, again, err := r.final.due(e)
		if err != nil {
			return err
		}
		if ours {
			seen[e.Path()] = true
		}
		if !again {
			continue
		}
		if !known {
			stale, known = r.stale(files), true
		}
		delete(r.final.files, e.Path())
		if err := r.placeNow(ctx, e, stale); err != nil {
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
func (r *resolver) confirm(ctx context.Context) error {
	for range maxConfirms {
		changed, err := r.changed()
		if err != nil || len(changed) == 0 {
			return err
		}
		for _, e := range changed {
			if err := r.placeNow(ctx, e, r.stale([]datadir.Entry{e})); err != nil {
				return err
			}
		}
		if err := r.final.waitLocked(ctx); err != nil {
			return err
		}
	}
	changed, err := r.changed()
	if err == nil && len(changed) > 0 {
		err = fmt.Errorf("%s changes all the time, although BACKUP STAGE BLOCK_COMMIT is held", changed[0].Path())
	}
	return err
}

// changed lists the files that changed after they were copied under the lock. A
// file that is of no table is taken as it is.
func (r *resolver) changed() ([]datadir.Entry, error) {
	var found []datadir.Entry
	for path, ff := range r.final.files {
		if !ff.copiedLocked || ff.copy.class != repo.ClassPlain || ff.entry.OfLogTable() || !ff.entry.Known() {
			continue
		}
		now, err := r.statEntry(ff.entry)
		if err != nil {
			return nil, fmt.Errorf("check %s at the end: %w", path, err)
		}
		was := ff.copy.stat
		if now.ID != was.ID || now.Size != was.Size || now.Modified != was.Modified {
			found = append(found, ff.entry)
		}
	}
	emptied, err := r.emptied()
	return append(found, emptied...), err
}

// emptied lists the files of Aria's tables of which one file was copied under the lock
// and that do not hold now, index files first. The two files are looked at one after
// the other. The server, which marks the header and cuts both off then, may have come
// in between: the index file was kept without the mark, and the rows were read when
// they were gone. Recovery may fail over two such files.
func (r *resolver) emptied() ([]datadir.Entry, error) {
	var index, data []datadir.Entry
	for path, ff := range r.final.files {
		if ff.copy.class != repo.ClassAria || !strings.HasSuffix(path, aria.IndexExt) {
			continue
		}
		rows := r.final.files[strings.TrimSuffix(path, aria.IndexExt)+aria.DataExt]
		if !ff.copiedLocked && (rows == nil || !rows.copiedLocked) {
			continue
		}
		present, err := r.copies.presentIndex(ff.entry)
		if errors.Is(err, fs.ErrNotExist) && vanished(ff.entry) == nil {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("check %s at the end: %w", path, err)
		}
		if !ff.copy.continues(present) {
			index = append(index, ff.entry)
		}
		if rows != nil && !rows.copy.continues(present) {
			data = append(data, rows.entry)
		}
	}
	return append(index, data...), nil
}
