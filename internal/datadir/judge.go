package datadir

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"mbk/internal/datadir/filename"
	"mbk/internal/innodb"
)

// Table is what is on the disk of one table.
type Table struct {
	Facts Facts // of the definition
	Found bool  // there is a .frm file, or one that stands for it
	parts []string
	par   bool

	denied bool                 // one of the files may not be read
	Files  map[string]FileFacts // by name
}

// FileFacts is what is known of one file of a table.
type FileFacts struct {
	Facts
	Entry Entry
	Size  int64
	Space innodb.SpaceID // 0 if that is not known
	Blank bool           // a tablespace without a first page

	Modified time.Time

	Denied bool // it may not be read, which is reported as an error elsewhere
}

// TablesOf groups files by their tables.
func TablesOf(files func(yield func(Entry, FileFacts) bool)) map[TableKey]*Table {
	all := map[TableKey]*Table{}
	for e, f := range files {
		if e.Table == "" || filename.Temporary(e.Name) || filename.FullText(e.Name) || e.OfLogTable() || !e.Known() {
			continue
		}
		key := e.Key()
		t := all[key]
		if t == nil {
			t = &Table{Files: map[string]FileFacts{}}
			all[key] = t
		}
		switch {
		case e.IsDefinition():
			t.Facts, t.Found = f.Facts, true
		case path.Ext(e.Name) == ".par":
			t.parts, t.par = f.Partitions, true
		case e.Discovered() && !t.Found:
			t.Facts, t.Found = f.Facts, f.Definition != nil
		}
		t.denied = t.denied || f.Denied
		t.Files[e.Name] = f
	}
	return all
}

// stems are the names of a table's files without extensions, one for each partition.
func (t *Table) stems(table string) []string {
	if !t.Facts.Definition.Partitioned {
		return []string{table}
	}
	stems := make([]string, len(t.parts))
	for i, part := range t.parts {
		stems[i] = table + "#P#" + part
	}
	return stems
}

// Judge finds what is already wrong with tables on the source. InnoDB's dictionary tells
// whether a table of InnoDB must have its own file.
type Judge struct {
	Layout     Layout
	Dictionary *Dictionary // nil: no table of InnoDB is without a file
	Discarded  map[string]bool
	Started    time.Time // when the server was
}

// Problems returns what is wrong with each table that has a problem.
func (j Judge) Problems(all map[TableKey]*Table) map[TableKey]Problem {
	found := map[TableKey]Problem{}
	for key, t := range all {
		if problem := j.Problem(key, t); problem != (Problem{}) {
			found[key] = problem
		}
	}
	return found
}

// Problem returns what is wrong with one table.
func (j Judge) Problem(key TableKey, t *Table) Problem {
	name := path.Join(key.Database, key.Table)
	switch {
	case !t.Found, t.denied: // of no table that the server lists, or more than a warning
		return Problem{}
	case j.Layout.Vars["lower_case_table_names"] == "1" && strings.ToLower(name) != name:
		return upperCase
	}
	return Problem{Text: j.wrongFiles(key, t)}
}

// wrongFiles returns what is wrong with the files of a table, "" if nothing is.
func (j Judge) wrongFiles(key TableKey, t *Table) string {
	switch frm := path.Join(key.Database, key.Table+".frm"); {
	case t.Facts.Definition == nil:
		return badDefinition(frm, t.Facts.BadDefinition)
	case t.Facts.Definition.Partitioned && !t.par:
		return fmt.Sprintf("its list of partitions %s is missing", path.Join(key.Database, key.Table+".par"))
	}
	exts := dataFiles(t.Facts.Definition.Engine)
	for _, stem := range t.stems(key.Table) {
		for i, ext := range exts {
			file, there := t.Files[stem+ext]
			name := path.Join(key.Database, stem+ext)
			switch {
			case !there && ext == ".ibd":
				if text := j.withoutSpace(path.Join(key.Database, stem)); text != "" {
					return text
				}
			case !there:
				return fmt.Sprintf("its file %s is missing", name)
			case ext == ".ibd":
				if text := j.otherSpace(path.Join(key.Database, stem), file); text != "" {
					return text
				}
			case file.crashed:
				return fmt.Sprintf("%s is marked as crashed", name)
			case file.Open && j.untouched(file):
				return fmt.Sprintf("%s was not closed properly when the server ended the last time", name)
			}
			if want := t.Files[stem+exts[0]].DataSize; i == len(exts)-1 &&
				(want > file.Size || ext == ".MYD" && j.tooLong(file, want)) {
				return fmt.Sprintf("its data file %s has %d bytes, and must have %d", name, file.Size, want)
			}
		}
	}
	return ""
}

// withoutSpace is what is wrong with a table or partition of InnoDB that has no file. One
// in the system tablespace needs none, and there are other warnings for discarded ones.
func (j Judge) withoutSpace(name string) string {
	if j.Dictionary == nil || j.Discarded[name] {
		return ""
	}
	space, known := j.Dictionary.Spaces[strings.ToLower(name)]
	switch {
	case !known:
		return "not known to InnoDB"
	case space != 0:
		return fmt.Sprintf("its file %s.ibd is missing", name)
	}
	return ""
}

// otherSpace is what is wrong with the file of a table or partition of InnoDB. If it is
// discarded, the file may be waiting for its import.
func (j Judge) otherSpace(name string, file FileFacts) string {
	switch {
	case j.Discarded[name]:
		return ""
	case file.Blank && j.untouched(file):
		return fmt.Sprintf("its file %s.ibd has no first page", name)
	case j.Dictionary == nil:
		return ""
	}
	return j.Dictionary.Mismatch(file.Entry, file.Space)
}

// untouched reports whether the running server has not written to a file. It repairs a
// MyISAM table that was not closed before it opens it, and a tablespace without a first
// page may be one that it has just created.
func (j Judge) untouched(f FileFacts) bool { return f.Modified.Before(j.Started) }

// tooLong reports whether the data file of a MyISAM table has bytes after its last row. A
// few belong there if the table is packed.
func (j Judge) tooLong(f FileFacts, want int64) bool {
	const margin = 7
	return want > 0 && f.Size > want+margin && j.untouched(f)
}

// Outdated returns tables that were created by an earlier release and that this one wants
// to be rebuilt: from 11.5 on timestamps have a larger range, which changes the rows of
// system-versioned tables.
func Outdated(all map[TableKey]*Table, now Version) []TableName {
	var found []TableName
	for key, t := range all {
		if d := t.Facts.Definition; d != nil && d.Kind == kindVersions && t.Facts.release < 110500 && now.AtLeast(11, 5, 0) {
			found = append(found, key.SQL())
		}
	}
	slices.SortFunc(found, func(a, b TableName) int { return strings.Compare(a.String(), b.String()) })
	return found
}
