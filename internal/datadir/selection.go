package datadir

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"slices"

	"mbk/internal/datadir/filename"
	"mbk/internal/datadir/filter"
	"mbk/internal/innodb"
)

// Selection knows which files a filtered backup is about. Names are those of the
// moment at which it is asked: what a table is called under BLOCK_DDL decides. A
// nil Selection keeps everything.
type Selection struct {
	Filter *filter.Filter
	server TableLister
}

// TableLister is who knows the tables of InnoDB: a running server.
type TableLister interface {
	InnoDBTables(ctx context.Context) ([]innodb.Table, error)
}

// NewSelection makes the selection of a filter, nil without one. With fold names that
// differ only in case are the same.
func NewSelection(spec filter.Spec, fold bool, tables TableLister) (*Selection, error) {
	f, err := filter.New(spec, fold)
	if f == nil {
		return nil, err
	}
	return &Selection{f, tables}, err
}

// mayHold reports whether a database directory has to be looked into.
func (k *Selection) mayHold(dir string) bool { return k == nil || k.Filter.MayHold(filename.SQL(dir)) }

// Keeps reports whether a table is kept, by its names on disk.
func (k *Selection) Keeps(dir, table string) bool {
	return k == nil || k.Filter.Table(filename.SQL(dir), filename.SQL(table))
}

// apply takes out of a scan what the filter leaves out.
func (k *Selection) apply(ctx context.Context, l Layout, s *Scan) error {
	if k == nil {
		return nil
	}
	parents, err := k.parents(ctx, s.Entries)
	if err != nil {
		return err
	}
	holds := map[string]bool{} // directories of which a table is kept
	keep := make([]bool, len(s.Entries))
	for i, e := range s.Entries {
		keep[i] = e.Dir == "" || k.Filter.Whole(filename.SQL(e.Dir)) || e.Table != "" && k.keepsFile(e, parents)
		holds[e.Dir] = holds[e.Dir] || keep[i] && !filename.Temporary(e.Name)
		if !keep[i] && filename.FullText(e.Name) {
			s.ExcludedFullText = append(s.ExcludedFullText, e.Path())
		}
	}
	for i, e := range s.Entries {
		if keep[i] || e.Table != "" {
			continue
		}
		// Files of a database, or of one trigger.
		if keep[i] = holds[e.Dir] || k.Filter.Database(filename.SQL(e.Dir)); keep[i] && path.Ext(e.Name) == ".TRN" {
			if keep[i], err = k.keepsTrigger(l, e); err != nil {
				return err
			}
		}
	}
	kept := s.Entries[:0]
	for i, e := range s.Entries {
		if keep[i] {
			kept = append(kept, e)
		}
	}
	s.Entries = kept
	s.Unreadable = slices.DeleteFunc(s.Unreadable, func(u Unreadable) bool {
		return u.Entry.Dir != "" && (!k.mayHold(u.Entry.Dir) || u.Entry.Table != "" && !k.keepsFile(u.Entry, parents))
	})
	gone := func(name string) bool { // of what is no file of a table
		dir := path.Dir(name)
		return dir != "." && !holds[dir] && !k.Filter.Database(filename.SQL(dir))
	}
	s.Strays, s.Unnamable = slices.DeleteFunc(s.Strays, gone), slices.DeleteFunc(s.Unnamable, gone)
	s.Broken = slices.DeleteFunc(s.Broken, func(b BrokenLink) bool { return !k.keepsFile(b.Entry, parents) })
	s.Databases = slices.DeleteFunc(s.Databases, func(dir string) bool {
		gone := !holds[dir] && !k.Filter.Database(filename.SQL(dir))
		if gone {
			s.ExcludedDatabases = append(s.ExcludedDatabases, filename.SQL(dir))
		}
		return gone
	})
	return nil
}

// keepsFile reports whether a file of some table is kept. Those of a running ALTER are:
// what they will be called shows when it ends, and recovery drops them before.
func (k *Selection) keepsFile(e Entry, parents map[uint64]string) bool {
	if filename.Temporary(e.Name) {
		return true
	}
	if id, ok := filename.FullTextParent(e.Name); ok {
		parent, known := parents[id]
		dir, table := path.Split(parent)
		return !known || filename.Temporary(table) || k.Keeps(path.Clean(dir), filename.Base(table))
	}
	return k.Keeps(e.Dir, e.Table)
}

// keepsTrigger reports whether the table is kept to whose trigger a .TRN file leads.
func (k *Selection) keepsTrigger(l Layout, e Entry) (bool, error) {
	b, err := l.Files.ReadFile(l.File(e), MaxDefinition)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	table, ok := filename.TriggerTable(b)
	return !ok || k.Filter.Table(filename.SQL(e.Dir), table), nil
}

// parents are the tables of InnoDB by their numbers, as far as files of full-text
// indexes need them to be judged.
func (k *Selection) parents(ctx context.Context, entries []Entry) (map[uint64]string, error) {
	if !slices.ContainsFunc(entries, func(e Entry) bool {
		return filename.FullText(e.Name) && !k.Filter.Whole(filename.SQL(e.Dir))
	}) {
		return nil, nil
	}
	tables, err := k.server.InnoDBTables(ctx)
	if err != nil {
		return nil, err
	}
	names := make(map[uint64]string, len(tables))
	for _, t := range tables {
		names[t.ID] = t.Name
	}
	return names, nil
}

// Excludes reports whether a tablespace that is not among the files, by its last name
// in the redo log, belongs to what the filter left out. left are the files of
// full-text indexes that were left out.
func (k *Selection) Excludes(name string, left map[string]bool) bool {
	if k == nil {
		return false
	}
	dir, file := path.Split(name)
	dir = path.Base(dir)
	switch {
	case !k.mayHold(dir):
		return true
	case filename.FullText(file):
		return left[dir+"/"+file]
	case filename.Temporary(file):
		return false
	}
	return !k.Keeps(dir, TableOf(file))
}
