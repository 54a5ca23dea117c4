package backup

import (
	"slices"
	"sort"

	"mbk/internal/datadir/filename"
	"mbk/internal/repo"
)

// leaveOut takes the tables of engines that cannot be backed up out of the
// final state and returns them. Which they are is decided by the definitions
// that were copied, so that a table made during the backup is seen too.
func (f *finalState) leaveOut() []repo.LeftOut {
	gone := map[tableFiles]bool{}
	var found []repo.LeftOut
	for _, p := range f.files {
		d := p.copy.facts.define
		if d == nil || d.kind == kindView || supported(d.engine) {
			continue
		}
		gone[tableFiles{p.entry.dir, p.entry.table}] = true
		found = append(found, leftOut(p.entry, *d))
	}
	for path, p := range f.files {
		if gone[tableFiles{p.entry.dir, p.entry.table}] {
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
	byTable := map[tableFiles]*repo.Table{}
	files := map[tableFiles][]int{}
	for path, p := range f.files {
		key := tableFiles{p.entry.dir, p.entry.table}
		if p.entry.table == "" {
			continue
		}
		files[key] = append(files[key], index[path])
		if t := p.table(); t != nil && (byTable[key] == nil || p.entry.frm()) {
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
	e, d := p.entry, p.copy.facts.define
	t := &repo.Table{Database: filename.SQL(e.dir), Name: filename.SQL(e.table), Type: kindTable}
	switch {
	case d != nil && (e.frm() || e.discovered()):
		t.Engine, t.Type = d.engine, d.kind
	case !e.frm():
		return nil
	}
	return t
}
