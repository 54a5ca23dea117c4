package datadir

import (
	"path"
	"strings"

	"mbk/internal/aria"
	"mbk/internal/datadir/filename"
	"mbk/internal/repo"
	"mbk/internal/ui/printable"
)

// Entry is a file that belongs in a backup, found by a scan of the data directory. Names
// are as on disk.
type Entry struct {
	Dir   string // of the database, "" in the data directory itself
	Name  string
	Table string // the part of the name that its table's files share, "" for a file of no table
	Link  Link   // where the file lies, if not in its place
}

// Path is the entry's place below the data directory, with "/".
func (e Entry) Path() string {
	if e.Dir == "" || e.Name == "" {
		return e.Dir + e.Name
	}
	return e.Dir + "/" + e.Name // both are clean
}

// SameStem reports whether the names of two files differ in their extensions at most, as
// those of the definition, the rows and the keys of a table do.
func (e Entry) SameStem(other Entry) bool { return e.Dir == other.Dir && e.stem() == other.stem() }

// IsInnoDB reports whether the file is a tablespace of InnoDB.
func (e Entry) IsInnoDB() bool { return path.Ext(e.Name) == ".ibd" }

// IsDefinition reports whether the file is the definition of a table or view.
func (e Entry) IsDefinition() bool { return path.Ext(e.Name) == ".frm" }

// Key is the table that the file belongs to.
func (e Entry) Key() TableKey { return TableKey{e.Dir, e.Table} }

// IsAria reports whether the file is one of the two of an Aria table.
func (e Entry) IsAria() bool {
	return path.Ext(e.Name) == aria.IndexExt || path.Ext(e.Name) == aria.DataExt
}

// OfLogTable reports whether this is a file of mysql.general_log or slow_log, which the
// server writes to at any time, whatever is locked.
func (e Entry) OfLogTable() bool {
	return e.Dir == "mysql" && (e.Table == "general_log" || e.Table == "slow_log")
}

// HoldsLogRows reports whether this is the CSV file with the rows of a log table, to which
// the server only appends.
func (e Entry) HoldsLogRows() bool { return e.OfLogTable() && path.Ext(e.Name) == ".CSV" }

// Known reports whether the file is of a kind that the server creates for tables and
// databases, under its own locks. Others may come and go at any time.
func (e Entry) Known() bool {
	switch path.Ext(e.Name) {
	case ".frm", ".ibd", aria.IndexExt, aria.DataExt, ".MYI", ".MYD", ".MRG", ".CSV", ".CSM", ARZExt, ".ARM", ".TRG",
		".TRN", ".opt", ".par":
		return e.Dir != ""
	}
	return false
}

// HoldsData reports whether the file holds rows or keys of a table.
func (e Entry) HoldsData() bool {
	switch path.Ext(e.Name) {
	case ".frm", ".TRG", ".par":
		return false
	}
	return e.Known()
}

// Volatile reports whether the server may create, rename or drop the file at any time, even
// under a lock: files of running statements and of full-text indexes.
func (e Entry) Volatile() bool { return filename.Temporary(e.Name) || filename.FullText(e.Name) }

// Discovered reports whether the server finds a table by this file alone.
func (e Entry) Discovered() bool { return path.Ext(e.Name) == ARZExt && e.stem() == e.Table }

// stem is the name without the extension: of a table or of one of its partitions.
func (e Entry) stem() string { return strings.TrimSuffix(e.Name, path.Ext(e.Name)) }

// DictionaryName is SpaceTable in lower case, the key of Dictionary.Spaces.
func (e Entry) DictionaryName() string {
	return strings.ToLower(e.SpaceTable())
}

// SpaceTable is the table or partition of an InnoDB file as InnoDB's dictionary names it:
// "shop/t#P#p0".
func (e Entry) SpaceTable() string { return path.Join(e.Dir, e.stem()) }

// SpaceName is what the redo log calls an InnoDB file.
func (e Entry) SpaceName() string {
	if e.Link.Kind == repo.LinkISL {
		return e.Link.To
	}
	return e.Path()
}

// indexFirst puts the index file of an Aria table before its data file, because it
// describes the data file.
func indexFirst(sorted []Entry) {
	for i := 1; i < len(sorted); i++ {
		stem, isIndex := strings.CutSuffix(sorted[i].Name, aria.IndexExt)
		if isIndex && sorted[i-1].Name == stem+aria.DataExt {
			sorted[i-1], sorted[i] = sorted[i], sorted[i-1]
		}
	}
}

// wanted reports whether a file of a database directory belongs in a backup.
// InnoDB's temporary tables do, because recovery rolls their creation back;
// those of other engines and the definitions of temporary tables do not.
func wanted(name string) bool {
	ext := path.Ext(name)
	switch ext {
	case ".ibd", ISLExt:
		return true
	case ".TMD", ".TMM", ".cfg", ".frm~", ".sock", ".pid":
		return false
	}
	return !filename.Temporary(name)
}

// TableOf returns the part of a file name that all files of one table share, "" for a
// file of a database or of a single trigger.
func TableOf(name string) string {
	switch ext := path.Ext(name); ext {
	case ".opt", ".TRN":
		return ""
	default:
		return filename.Base(strings.TrimSuffix(name, ext))
	}
}

// TableName is a table as the server names it.
type TableName struct{ Database, Name string }

// String is the name as SQL quotes it.
func (q TableName) String() string { return "`" + q.Database + "`.`" + q.Name + "`" }

// Key is the table by its names on disk.
func (q TableName) Key() TableKey {
	return TableKey{filename.Encode(q.Database), filename.Encode(q.Name)}
}

// ListNames joins names of tables for a message.
func ListNames(tables []TableName) string {
	names := make([]string, len(tables))
	for i, q := range tables {
		names[i] = q.String()
	}
	return printable.List(names)
}

// TableKey is a table by its names on disk, which its files share.
type TableKey struct{ Database, Table string }

// SQL is the table as the server names it.
func (k TableKey) SQL() TableName { return TableName{filename.SQL(k.Database), filename.SQL(k.Table)} }

// DefinitionOf is the place of a table's definition.
func DefinitionOf(q TableName) Entry {
	key := q.Key()
	return Entry{Dir: key.Database, Name: key.Table + ".frm", Table: key.Table}
}
