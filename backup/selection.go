package backup

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

// keeper knows which files a filtered backup is about. Names are those of the
// moment at which it is asked: what a table is called under BLOCK_DDL decides. A
// nil keeper keeps everything.
type keeper struct {
	filter *filter.Filter
	tables innodbTables
}

// innodbTables is who knows the tables of InnoDB: a running server.
type innodbTables interface {
	InnoDBTables(ctx context.Context) ([]innodb.Table, error)
}

// newKeeper makes the keeper of a filter, nil if there is none. fold is for servers that take
// names which differ in case for the same.
func newKeeper(spec filter.Spec, fold bool, tables innodbTables) (*keeper, error) {
	f, err := filter.New(spec, fold)
	if f == nil {
		return nil, err
	}
	return &keeper{f, tables}, err
}

// mayHold reports whether a database directory has to be looked into.
func (k *keeper) mayHold(dir string) bool { return k == nil || k.filter.MayHold(filename.SQL(dir)) }

// keeps reports whether a table is kept, by its names on disk.
func (k *keeper) keeps(dir, table string) bool {
	return k == nil || k.filter.Table(filename.SQL(dir), filename.SQL(table))
}

// narrow takes out of a scan what the filter leaves out.
func (k *keeper) narrow(ctx context.Context, l layout, s *scan) error {
	if k == nil {
		return nil
	}
	parents, err := k.parents(ctx, s.entries)
	if err != nil {
		return err
	}
	holds := map[string]bool{} // directories of which a table is kept
	keep := make([]bool, len(s.entries))
	for i, e := range s.entries {
		keep[i] = e.dir == "" || k.filter.Whole(filename.SQL(e.dir)) || e.table != "" && k.keepsFile(e, parents)
		holds[e.dir] = holds[e.dir] || keep[i] && !filename.Temporary(e.name)
		if !keep[i] && filename.FullText(e.name) {
			s.left = append(s.left, e.path())
		}
	}
	for i, e := range s.entries {
		if keep[i] || e.table != "" {
			continue
		}
		// Files of a database, or of one trigger.
		if keep[i] = holds[e.dir] || k.filter.Database(filename.SQL(e.dir)); keep[i] && path.Ext(e.name) == ".TRN" {
			if keep[i], err = k.keepsTrigger(l, e); err != nil {
				return err
			}
		}
	}
	kept := s.entries[:0]
	for i, e := range s.entries {
		if keep[i] {
			kept = append(kept, e)
		}
	}
	s.entries = kept
	s.unread = slices.DeleteFunc(s.unread, func(u unread) bool {
		return u.entry.dir != "" && (!k.mayHold(u.entry.dir) || u.entry.table != "" && !k.keepsFile(u.entry, parents))
	})
	gone := func(name string) bool { // of what is no file of a table
		dir := path.Dir(name)
		return dir != "." && !holds[dir] && !k.filter.Database(filename.SQL(dir))
	}
	s.strays, s.unnamable = slices.DeleteFunc(s.strays, gone), slices.DeleteFunc(s.unnamable, gone)
	s.broken = slices.DeleteFunc(s.broken, func(b brokenLink) bool { return !k.keepsFile(b.entry, parents) })
	s.databases = slices.DeleteFunc(s.databases, func(dir string) bool {
		gone := !holds[dir] && !k.filter.Database(filename.SQL(dir))
		if gone {
			s.leftDatabases = append(s.leftDatabases, filename.SQL(dir))
		}
		return gone
	})
	return nil
}

// keepsFile reports whether a file of some table is kept. Those of a running ALTER are:
// what they will be called shows when it ends, and recovery drops them before.
func (k *keeper) keepsFile(e entry, parents map[uint64]string) bool {
	if filename.Temporary(e.name) {
		return true
	}
	if id, ok := filename.FullTextParent(e.name); ok {
		parent, known := parents[id]
		dir, table := path.Split(parent)
		return !known || filename.Temporary(table) || k.keeps(path.Clean(dir), filename.Base(table))
	}
	return k.keeps(e.dir, e.table)
}

// keepsTrigger reports whether the table is kept to whose trigger a .TRN file leads.
func (k *keeper) keepsTrigger(l layout, e entry) (bool, error) {
	b, err := l.files.ReadFile(l.file(e), largestFrm)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	table, ok := filename.TriggerTable(b)
	return !ok || k.filter.Table(filename.SQL(e.dir), table), nil
}

// parents are the tables of InnoDB by their numbers, as far as files of full-text
// indexes need them to be judged.
func (k *keeper) parents(ctx context.Context, entries []entry) (map[uint64]string, error) {
	if !slices.ContainsFunc(entries, func(e entry) bool {
		return filename.FullText(e.name) && !k.filter.Whole(filename.SQL(e.dir))
	}) {
		return nil, nil
	}
	tables, err := k.tables.InnoDBTables(ctx)
	if err != nil {
		return nil, err
	}
	names := make(map[uint64]string, len(tables))
	for _, t := range tables {
		names[t.ID] = t.Name
	}
	return names, nil
}

// leavesOut reports whether a tablespace that is not among the files, by its last name
// in the redo log, belongs to what the filter left out. left are the files of
// full-text indexes that were left out.
func (k *keeper) leavesOut(name string, left map[string]bool) bool {
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
	return !k.keeps(dir, tableOf(file))
}
