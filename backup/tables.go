package backup

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"sync"

	"mbk/internal/datadir/filename"
	"mbk/internal/repo"
)

// supported reports whether a table of an engine is whole when the files of the
// data directory are restored. The rows of FEDERATED tables live elsewhere and
// those of MEMORY and BLACKHOLE nowhere; their definitions are all there is.
func supported(engine string) bool {
	switch engineName(engine) {
	case "InnoDB", "Aria", "MyISAM", "MRG_MyISAM", "CSV", "ARCHIVE", "MEMORY", "BLACKHOLE", "FEDERATED":
		return true
	}
	return false
}

// engineName is the name of an engine as the server writes it. Old definitions have
// others, which the server compares without case.
func engineName(name string) string {
	for _, known := range [...]string{"InnoDB", "Aria", "MyISAM", "MRG_MyISAM", "CSV", "ARCHIVE", "MEMORY", "BLACKHOLE", "FEDERATED", "partition"} {
		if strings.EqualFold(known, name) {
			return known
		}
	}
	return name
}

// outsideReason is why a table of an unsupported engine is left out.
const outsideReason = "its engine keeps rows outside of what a copy of its files holds"

// unsupportedTables lists the tables of a scan that cannot be backed up. Broken
// definitions are named by the backup itself; here they are passed over.
func unsupportedTables(l layout, s scan) []repo.LeftOut {
	var mu sync.Mutex
	found := map[int][]repo.LeftOut{} // by the first entry of a part
	inParts(len(s.entries), func(from, to int) {
		var part []repo.LeftOut
		_ = l.as(func(l layout) error { // what fails is seen again
			part = unsupportedIn(l, s.entries[from:to])
			return nil
		})
		mu.Lock()
		defer mu.Unlock()
		found[from] = part
	})
	var all []repo.LeftOut
	for _, from := range slices.Sorted(maps.Keys(found)) {
		all = append(all, found[from]...)
	}
	return all
}

// unsupportedIn is unsupportedTables for some entries.
func unsupportedIn(l layout, entries []entry) []repo.LeftOut {
	var found []repo.LeftOut
	buf := make([]byte, 16<<10) // more than most definitions have
	for _, e := range entries {
		if !e.frm() {
			continue
		}
		b, err := l.readFile(l.file(e), buf)
		if err != nil {
			continue
		}
		if d, err := parseDefinition(b); err == nil && d.kind != kindView && !supported(d.engine) {
			found = append(found, leftOut(e, d))
		}
	}
	return found
}

// readFile reads a file, into buf if it is smaller than that.
func (l layout) readFile(path string, buf []byte) ([]byte, error) {
	f, err := l.files.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	n, err := f.Read(buf)
	if err != nil || n < len(buf) {
		return buf[:n], err
	}
	return l.files.ReadFile(path, largestFrm)
}

func leftOut(e entry, d definition) repo.LeftOut {
	return repo.LeftOut{
		Database: filename.SQL(e.dir), Name: filename.SQL(e.table), Engine: d.engine,
		Reason: outsideReason,
	}
}

// leaveOut takes the tables of engines that cannot be backed up out of the
// final state and returns them. Which they are is decided by the definitions
// that were copied, so that a table made during the backup is seen too.
func (f *final) leaveOut() []repo.LeftOut {
	gone := map[tableFiles]bool{}
	var found []repo.LeftOut
	for _, p := range f.files {
		d := p.held.facts.define
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

// tableFiles are the files of one table, by its names on disk.
type tableFiles struct{ database, table string }

// tables lists the tables, views and sequences of the final state, in the
// order of their names; the file indexes are those of index, by path.
func (f *final) tables(index map[string]int) []repo.Table {
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
func (p *placed) table() *repo.Table {
	e, d := p.entry, p.held.facts.define
	t := &repo.Table{Database: filename.SQL(e.dir), Name: filename.SQL(e.table), Type: kindTable}
	switch {
	case d != nil && (e.frm() || e.discovered()):
		t.Engine, t.Type = d.engine, d.kind
	case !e.frm():
		return nil
	}
	return t
}

// qualified is a table as the server names it.
type qualified struct{ database, name string }

func (q qualified) String() string { return "`" + q.database + "`.`" + q.name + "`" }

// shortList joins names for a message.
func shortList(names []string) string { return listUpTo(5, names) }

// listUpTo is shortList with so many names.
func listUpTo(most int, names []string) string {
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}
