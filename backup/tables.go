package backup

import (
	"slices"
	"sort"

	"mbk/internal/datadir"
	"mbk/internal/datadir/filename"
	"mbk/internal/repo"
)

// leaveOut takes the tables of engines that cannot be backed up out of the
// final state and returns them. Which they are is decided by the definitions
// that were copied, so that a table made during the backup is seen too.
func (f *finalState) leaveOut() []repo.LeftOut {
	gone := map[datadir.TableKey]bool{}
	var found []repo.LeftOut
	for _, p := range f.files {
		d := p.copy.facts.Definition
		if d == nil || d.Kind == datadir.KindView || datadir.SupportedEngine(d.Engine) {
			continue
		}
		gone[datadir.TableKey{Database: p.entry.Dir, Table: p.entry.Table}] = true
		found = append(found, datadir.UnsupportedTable(p.entry, *d))
	}
	for path, p := range f.files {
		if gone[datadir.TableKey{Database: p.entry.Dir, Table: p.entry.Table}] {
			delete(f.files, path)
		}
	}
	sort.Slice(found, func(i, j int) bool {
		return found[i].Database+"\x00"+found[i].Name < found[j].Database+"\x00"+found[j].Name
	})
	return found
}

// tables lists the tables, views and sequences of the final state, in the
// order of their names; the file indexes are those of index, by path.
func (f *finalState) tables(index map[string]int) []repo.Table {
	byTable := map[datadir.TableKey]*repo.Table{}
	files := map[datadir.TableKey][]int{}
	for path, p := range f.files {
		key := datadir.TableKey{Database: p.entry.Dir, Table: p.entry.Table}
		if p.entry.Table == "" {
			continue
		}
		files[key] = append(files[key], index[path])
		if t := p.table(); t != nil && (byTable[key] == nil || p.entry.IsDefinition()) {
			byTable[key] = t
		}
	}
	tables := make([]repo.Table, 0, len(byTable))
	for key, t := range byTable {
		t.Files = files[key]
		slices.Sort(t.Files)
		tables = append(tables, *t)
	}
	sort.Slice(tables, func(i, j int) bool {
		if tables[i].Database != tables[j].Database {
			return tables[i].Database < tables[j].Database
		}
		return tables[i].Name < tables[j].Name
	})
	return tables
}

// table is the table that a file makes the server know, nil if it is not the
// definition of any. Of a table whose definition cannot be read only the name is known.
func (p *finalFile) table() *repo.Table {
	e, d := p.entry, p.copy.facts.Definition
	t := &repo.Table{Database: filename.SQL(e.Dir), Name: filename.SQL(e.Table), Type: datadir.KindTable}
	switch {
	case d != nil && (e.IsDefinition() || e.Discovered()):
		t.Engine, t.Type = d.Engine, d.Kind
	case !e.IsDefinition():
		return nil
	}
	return t
}
