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

// Selection knows which files a filtered backup holds. It judges names as they are when
// it is asked: what a table is called under BLOCK_DDL decides. A
// nil Selection keeps everything.
type Selection struct {
	Filter *filter.Filter
	server TableLister
}

// TableLister knows the tables of InnoDB, as a running server does.
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

// mayHold reports whether a database directory has to be scanned.
func (sel *Selection) mayHold(dir string) bool {
	return sel == nil || sel.Filter.MayHold(filename.SQL(dir))
}

// Keeps reports whether a table is kept, by its names on disk.
func (sel *Selection) Keeps(dir, table string) bool {
	return sel == nil || sel.Filter.Table(filename.SQL(dir), filename.SQL(table))
}

// apply takes out of a scan what the filter leaves out.
func (sel *Selection) apply(ctx context.Context, l Layout, s *Scan) error {
	if sel == nil {
		return nil
	}
	parents, err := sel.parents(ctx, s.Entries)
	if err != nil {
		return err
	}
	a := application{Selection: sel, parents: parents, holds: map[string]bool{}}
	if err := a.dropEntries(l, s); err != nil {
		return err
	}
	a.dropRest(s)
	return nil
}

// application is a selection that is applied to one scan.
type application struct {
	*Selection
	parents map[uint64]string // tables by their numbers, as Selection.parents returns them
	holds   map[string]bool   // database directories of which a table is kept
}

// dropEntries drops the files that are not kept. Those of tables come first, because they
// decide which databases are kept.
func (a application) dropEntries(l Layout, s *Scan) (err error) {
	keep := make([]bool, len(s.Entries))
	for i, e := range s.Entries {
		keep[i] = e.Dir == "" || a.Filter.Whole(filename.SQL(e.Dir)) || e.Table != "" && a.keepsFile(e, a.parents)
		a.holds[e.Dir] = a.holds[e.Dir] || keep[i] && !filename.Temporary(e.Name)
		if !keep[i] && filename.FullText(e.Name) {
			s.ExcludedFullText = append(s.ExcludedFullText, e.Path())
		}
	}
	kept := s.Entries[:0]
	for i, e := range s.Entries {
		if !keep[i] && e.Table == "" {
			if keep[i], err = a.keepsOwn(l, e); err != nil {
				return err
			}
		}
		if keep[i] {
			kept = append(kept, e)
		}
	}
	s.Entries = kept
	return nil
}

// keepsOwn reports whether a file is kept that belongs to a database or to one trigger.
func (a application) keepsOwn(l Layout, e Entry) (bool, error) {
	if !a.keepsDatabase(e.Dir) {
		return false, nil
	}
	if path.Ext(e.Name) == ".TRN" {
		return a.keepsTrigger(l, e)
	}
	return true, nil
}

// keepsDatabase reports whether a database is kept, by its directory.
func (a application) keepsDatabase(dir string) bool {
	return a.holds[dir] || a.Filter.Database(filename.SQL(dir))
}

// dropRest drops what is not kept of what a scan holds beside the entries.
func (a application) dropRest(s *Scan) {
	s.Unreadable = slices.DeleteFunc(s.Unreadable, func(u Unreadable) bool {
		e := u.Entry
		return e.Dir != "" && (!a.mayHold(e.Dir) || e.Table != "" && !a.keepsFile(e, a.parents))
	})
	s.Broken = slices.DeleteFunc(s.Broken, func(b BrokenLink) bool { return !a.keepsFile(b.Entry, a.parents) })
	excluded := func(name string) bool { // of what is no file of a table
		dir := path.Dir(name)
		return dir != "." && !a.keepsDatabase(dir)
	}
	s.Strays, s.Unnamable = slices.DeleteFunc(s.Strays, excluded), slices.DeleteFunc(s.Unnamable, excluded)
	s.Databases = slices.DeleteFunc(s.Databases, func(dir string) bool {
		if a.keepsDatabase(dir) {
			return false
		}
		s.ExcludedDatabases = append(s.ExcludedDatabases, filename.SQL(dir))
		return true
	})
}

// keepsFile reports whether a file of a table is kept. Files of a running ALTER are: which
// table they become shows when it ends, and otherwise recovery drops them.
func (sel *Selection) keepsFile(e Entry, parents map[uint64]string) bool {
	if filename.Temporary(e.Name) {
		return true
	}
	if id, ok := filename.FullTextParent(e.Name); ok {
		parent, known := parents[id]
		dir, table := path.Split(parent)
		return !known || filename.Temporary(table) || sel.Keeps(path.Clean(dir), filename.Base(table))
	}
	return sel.Keeps(e.Dir, e.Table)
}

// keepsTrigger reports whether the filter keeps the table of a .TRN file's trigger.
func (sel *Selection) keepsTrigger(l Layout, e Entry) (bool, error) {
	b, err := l.Files.ReadFile(l.File(e), MaxDefinition)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	table, ok := filename.TriggerTable(b)
	return !ok || sel.Filter.Table(filename.SQL(e.Dir), table), nil
}

// parents returns the tables of InnoDB by their numbers, or nothing if no file of a
// full-text index needs them to be judged.
func (sel *Selection) parents(ctx context.Context, entries []Entry) (map[uint64]string, error) {
	if !slices.ContainsFunc(entries, func(e Entry) bool {
		return filename.FullText(e.Name) && !sel.Filter.Whole(filename.SQL(e.Dir))
	}) {
		return nil, nil
	}
	tables, err := sel.server.InnoDBTables(ctx)
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
// in the redo log, belongs to what the filter excludes. excluded are the files of
// full-text indexes that it excluded.
func (sel *Selection) Excludes(name string, excluded map[string]bool) bool {
	if sel == nil {
		return false
	}
	dir, file := path.Split(name)
	dir = path.Base(dir)
	switch {
	case !sel.mayHold(dir):
		return true
	case filename.FullText(file):
		return excluded[dir+"/"+file]
	case filename.Temporary(file):
		return false
	}
	return !sel.Keeps(dir, TableOf(file))
}
