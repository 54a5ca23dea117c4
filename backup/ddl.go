package backup

import (
	"cmp"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"mbk/internal/datadir"
	"mbk/internal/datadir/filename"
	"mbk/internal/innodb"
	"mbk/internal/repo"
)

// tableState is which files stood for a table at one moment.
type tableState struct {
	frm  datadir.Identity
	data []dataFile // of rows and keys, in the order of their names
}

// dataFile is a file of rows or keys. There may be a million: no maps here.
type dataFile struct {
	name string
	id   datadir.Identity
}

// baseline is what the data directory held when the copying began, to tell at the
// end what DDL has done since. Of a table that could not be opened then only the
// name is known.
type baseline struct {
	databases map[string]bool
	tables    map[datadir.TableKey]tableState
	names     map[datadir.Identity]datadir.TableKey // of the definitions
}

// noteTables keeps what the first pass has opened.
func (c *copies) noteTables(s datadir.Scan) *baseline {
	opened := make(map[string]datadir.Identity, len(c.newest))
	for id, fc := range c.newest {
		for ; fc != nil; fc = fc.twin {
			opened[fc.entry.Path()] = id
		}
	}
	maps.Copy(opened, c.later)
	b := &baseline{databases: map[string]bool{}, names: map[datadir.Identity]datadir.TableKey{}}
	for _, dir := range s.Databases {
		b.databases[dir] = true
	}
	identities := func(yield func(datadir.Entry, datadir.Identity) bool) {
		for _, e := range s.Entries {
			if !yield(e, opened[e.Path()]) {
				return
			}
		}
	}
	b.tables = tableStates(identities)
	linked := map[datadir.Identity]bool{} // definitions with several names
	for key, t := range b.tables {
		if _, twice := b.names[t.frm]; twice {
			linked[t.frm] = true
		}
		if t.frm != (datadir.Identity{}) {
			b.names[t.frm] = key
		}
	}
	for id := range linked {
		delete(b.names, id)
	}
	return b
}

// tableStates puts the files of tables together. What has no definition is none.
func tableStates(files func(yield func(datadir.Entry, datadir.Identity) bool)) map[datadir.TableKey]tableState {
	all := map[datadir.TableKey]tableState{}
	for e, id := range files {
		if e.Table == "" || filename.Temporary(e.Name) || filename.FullText(e.Name) {
			continue
		}
		key := e.Key()
		t := all[key]
		switch {
		case e.IsDefinition():
			t.frm = id
		case e.HoldsData():
			t.data = append(t.data, dataFile{e.Name, id})
		}
		all[key] = t
	}
	for _, t := range all {
		slices.SortFunc(t.data, func(a, b dataFile) int { return cmp.Compare(a.name, b.name) })
	}
	return all
}

// ddlEvents is what DDL did during a backup.
type ddlEvents []repo.DDLEvent

func (all *ddlEvents) add(kind string, t datadir.TableKey, from string) {
	e := repo.DDLEvent{Kind: kind, Database: filename.SQL(t.Database), From: from}
	if t.Table != "" {
		e.Name = filename.SQL(t.Table)
	}
	*all = append(*all, e)
}

// ddl compares what there was at the beginning with the final state. Of tables
// that came and went in between the redo tells, if they were InnoDB's.
func (b *baseline) ddl(f *finalState, journal []innodb.SpaceHistory) repo.DDL {
	now := tableStates(func(yield func(datadir.Entry, datadir.Identity) bool) {
		for _, ff := range f.files {
			if !yield(ff.entry, ff.copy.stat.ID) {
				return
			}
		}
	})
	var events ddlEvents
	b.compareTables(now, &events)
	for key := range transient(journal) {
		_, was := b.tables[key]
		_, is := now[key]
		if !was && !is {
			events.add(repo.DDLTransient, key, "")
		}
	}
	b.compareDatabases(f.databases, &events)
	return repo.NewDDL(events)
}

// compareTables adds which tables were created, changed, renamed and dropped.
func (b *baseline) compareTables(now map[datadir.TableKey]tableState, events *ddlEvents) {
	renamed := map[datadir.TableKey]bool{} // their former names
	for key, t := range now {
		was, known := b.tables[key]
		former, moved := b.names[t.frm]
		switch {
		case moved && former != key:
			events.add(repo.DDLRenamed, key, filename.SQL(former.Database)+"."+filename.SQL(former.Table))
			renamed[former] = true
		case !known:
			events.add(repo.DDLCreated, key, "")
		default:
			if kind := was.changed(t); kind != "" {
				events.add(kind, key, "")
			}
		}
	}
	for key := range b.tables {
		if _, there := now[key]; !there && !renamed[key] {
			events.add(repo.DDLDropped, key, "")
		}
	}
}

// compareDatabases adds which databases were created and dropped.
func (b *baseline) compareDatabases(now []string, events *ddlEvents) {
	there := map[string]bool{}
	for _, dir := range now {
		there[dir] = true
		if !b.databases[dir] {
			events.add(repo.DDLCreated, datadir.TableKey{Database: dir}, "")
		}
	}
	for dir := range b.databases {
		if !there[dir] {
			events.add(repo.DDLDropped, datadir.TableKey{Database: dir}, "")
		}
	}
}

// changed says what happened to a table that kept its name, "" if nothing did.
func (t tableState) changed(now tableState) string {
	if t.frm == (datadir.Identity{}) {
		return "" // it could not be opened at first, so nothing is known of it
	}
	kept := 0
	for was, is := t.data, now.data; len(was) > 0 && len(is) > 0; {
		switch order := cmp.Compare(was[0].name, is[0].name); {
		case order < 0:
			was = was[1:]
			continue
		case order > 0:
			is = is[1:]
			continue
		case was[0].id != is[0].id:
			return repo.DDLRebuilt
		}
		kept++
		was, is = was[1:], is[1:]
	}
	switch {
	case kept == 0 && len(now.data) > 0 && len(t.data) > 0:
		return repo.DDLRebuilt // by another engine
	case t.frm != now.frm || kept != len(now.data) || kept != len(t.data):
		return repo.DDLAltered
	}
	return ""
}

// transient lists the tables that the redo creates and deletes.
func transient(journal []innodb.SpaceHistory) map[datadir.TableKey]bool {
	all := map[datadir.TableKey]bool{}
	for _, s := range journal {
		name := path.Base(s.Name)
		if s.Created == 0 || s.Deleted == 0 || filepath.IsAbs(s.Name) || filename.Temporary(name) || filename.FullText(name) {
			continue
		}
		key := datadir.TableKey{Database: path.Base(path.Dir(s.Name)), Table: datadir.TableOf(name)}
		if key.Table != "" && strings.Contains(strings.TrimPrefix(s.Name, "./"), "/") {
			all[key] = true
		}
	}
	return all
}
