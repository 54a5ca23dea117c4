package backup

import (
	"path"
	"strings"

	"mbk/internal/aria"
	"mbk/internal/datadir/filename"
	"mbk/internal/repo"
)

// entry is a file that belongs into a backup, found in a scan of the data
// directory. Names are as on disk.
type entry struct {
	dir   string // of the database, "" in the data directory itself
	name  string
	table string // the part of the name that its table's files share, "" for a file of no table
	link  link   // where the file lies, if not in its place
}

// path is the entry's place below the data directory, with "/".
func (e entry) path() string { return path.Join(e.dir, e.name) }

func (e entry) innodb() bool { return path.Ext(e.name) == ".ibd" }

func (e entry) frm() bool { return path.Ext(e.name) == ".frm" }

// aria reports whether the file is one of the two of an Aria table.
func (e entry) aria() bool {
	return path.Ext(e.name) == aria.IndexExt || path.Ext(e.name) == aria.DataExt
}

// ofLog reports whether this is a file of mysql.general_log or slow_log, which the
// server writes to at any time, whatever is locked.
func (e entry) ofLog() bool {
	return e.dir == "mysql" && (e.table == "general_log" || e.table == "slow_log")
}

// logTable reports whether this is the data of such a table as a CSV file, to which
// the server only appends.
func (e entry) logTable() bool { return e.ofLog() && path.Ext(e.name) == ".CSV" }

// known reports whether the server makes such files for tables and databases, and
// keeps to its own locks with them. Others may come and go at any time.
func (e entry) known() bool {
	switch path.Ext(e.name) {
	case ".frm", ".ibd", aria.IndexExt, aria.DataExt, ".MYI", ".MYD", ".MRG", ".CSV", ".CSM", arzExt, ".ARM", ".TRG", ".TRN", ".opt", ".par":
		return e.dir != ""
	}
	return false
}

// data reports whether the file holds rows or keys of a table.
func (e entry) data() bool {
	switch path.Ext(e.name) {
	case ".frm", ".TRG", ".par":
		return false
	}
	return e.known()
}

// moving reports whether the server may make, rename or drop a file at any time, under
// a lock too: those of running statements and of full-text indexes.
func (e entry) moving() bool { return filename.Temporary(e.name) || filename.FullText(e.name) }

// discovered reports whether the file alone makes the server know a table.
func (e entry) discovered() bool { return path.Ext(e.name) == arzExt && e.stem() == e.table }

// stem is the name without the extension: of a table or of one of its partitions.
func (e entry) stem() string { return strings.TrimSuffix(e.name, path.Ext(e.name)) }

// dictionaryName is what the dictionary calls the table of an InnoDB file.
func (e entry) dictionaryName() string {
	return strings.ToLower(strings.TrimSuffix(e.path(), path.Ext(e.name)))
}

// spaceName is what the redo log calls an InnoDB file.
func (e entry) spaceName() string {
	if e.link.kind == repo.LinkISL {
		return e.link.to
	}
	return e.path()
}

// indexFirst puts the index file of an Aria table before its data file, because
// it tells how the data file is made up.
func indexFirst(sorted []entry) {
	for i := 1; i < len(sorted); i++ {
		stem, isIndex := strings.CutSuffix(sorted[i].name, aria.IndexExt)
		if isIndex && sorted[i-1].name == stem+aria.DataExt {
			sorted[i-1], sorted[i] = sorted[i], sorted[i-1]
		}
	}
}

// wanted reports whether a file of a database directory belongs into a backup.
// InnoDB's temporary tables do, because recovery rolls their creation back;
// those of other engines and the definitions of temporary tables do not.
func wanted(name string) bool {
	ext := path.Ext(name)
	switch ext {
	case ".ibd", islExt:
		return true
	case ".TMD", ".TMM", ".cfg", ".frm~", ".sock", ".pid":
		return false
	}
	return !filename.Temporary(name)
}

// tableOf is the part of a file name that all files of one table share, and ""
// for a file that belongs to a database or to a single trigger.
func tableOf(name string) string {
	switch ext := path.Ext(name); ext {
	case ".opt", ".TRN":
		return ""
	default:
		return filename.Base(strings.TrimSuffix(name, ext))
	}
}

// qualified is a table as the server names it.
type qualified struct{ database, name string }

func (q qualified) String() string { return "`" + q.database + "`.`" + q.name + "`" }

// tableFiles are the files of one table, by its names on disk.
type tableFiles struct{ database, table string }

// frmOf is the place of a table's definition.
func frmOf(q qualified) entry {
	table := filename.Encode(q.name)
	return entry{dir: filename.Encode(q.database), name: table + ".frm", table: table}
}
