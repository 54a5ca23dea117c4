package backup

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"mbk/internal/datadir/filename"
	"mbk/internal/innodb"
)

// tableParts is what is on the disk of one table.
type tableParts struct {
	facts facts // of the definition
	found bool  // there is a .frm file, or one that stands for it
	parts []string
	par   bool

	denied bool                 // one of the files may not be read
	files  map[string]fileFacts // by name
}

// fileFacts is what is known of one file of a table.
type fileFacts struct {
	facts
	entry entry
	size  int64
	space innodb.SpaceID // 0 if that is not known
	blank bool           // a tablespace without a first page

	modified time.Time

	denied bool // it may not be read, which is an error of its own
}

// partsOf puts the files of tables together.
func partsOf(files func(yield func(entry, fileFacts) bool)) map[tableFiles]*tableParts {
	all := map[tableFiles]*tableParts{}
	for e, f := range files {
		if e.table == "" || filename.Temporary(e.name) || filename.FullText(e.name) || e.ofLog() || !e.known() {
			continue
		}
		key := tableFiles{e.dir, e.table}
		t := all[key]
		if t == nil {
			t = &tableParts{files: map[string]fileFacts{}}
			all[key] = t
		}
		switch {
		case e.frm():
			t.facts, t.found = f.facts, true
		case path.Ext(e.name) == ".par":
			t.parts, t.par = f.parts, true
		case e.discovered() && !t.found:
			t.facts, t.found = f.facts, f.define != nil
		}
		t.denied = t.denied || f.denied
		t.files[e.name] = f
	}
	return all
}

// stems are the names of a table's files without extensions, one for each partition.
func (t *tableParts) stems(table string) []string {
	if !t.facts.define.partitioned {
		return []string{table}
	}
	stems := make([]string, len(t.parts))
	for i, part := range t.parts {
		stems[i] = table + "#P#" + part
	}
	return stems
}

// judge finds out what is wrong with tables on the source already. Whether a table of
// InnoDB must have a file of its own its dictionary tells.
type judge struct {
	layout     layout
	dictionary *dictionary // nil: no table of InnoDB is without a file
	discarded  map[string]bool
	started    time.Time // when the server was
}

// problems names what is wrong with each table, if anything is.
func (j judge) problems(all map[tableFiles]*tableParts) map[tableFiles]string {
	found := map[tableFiles]string{}
	for key, t := range all {
		if text := j.problem(key, t); text != "" {
			found[key] = text
		}
	}
	return found
}

// upperCase is the problem of a table whose files are sound.
const upperCase = "upper-case letters in the name, which the server cannot open with lower_case_table_names=1"

func (j judge) problem(key tableFiles, t *tableParts) string {
	frm := path.Join(key.database, key.table+".frm")
	switch {
	case !t.found, t.denied:
		return "" // of no table that the server lists, or more than a warning
	case j.layout.vars["lower_case_table_names"] == "1" && strings.ToLower(frm) != frm:
		return upperCase
	case t.facts.define == nil:
		return unreadDefinition(frm, t.facts.unread)
	case t.facts.define.partitioned && !t.par:
		return fmt.Sprintf("its list of partitions %s is missing", path.Join(key.database, key.table+".par"))
	}
	exts := dataFiles(t.facts.define.engine)
	for _, stem := range t.stems(key.table) {
		for i, ext := range exts {
			file, there := t.files[stem+ext]
			name := path.Join(key.database, stem+ext)
			switch {
			case !there && ext == ".ibd":
				if text := j.withoutSpace(path.Join(key.database, stem)); text != "" {
					return text
				}
			case !there:
				return fmt.Sprintf("its file %s is missing", name)
			case ext == ".ibd":
				if text := j.otherSpace(path.Join(key.database, stem), file); text != "" {
					return text
				}
			case file.crashed:
				return fmt.Sprintf("%s is marked as crashed", name)
			case file.open && j.untouched(file):
				return fmt.Sprintf("%s was not closed properly when the server ended the last time", name)
			}
			if want := t.files[stem+exts[0]].dataSize; i == len(exts)-1 && (want > file.size || ext == ".MYD" && j.tooLong(file, want)) {
				return fmt.Sprintf("its data file %s has %d bytes, and must have %d", name, file.size, want)
			}
		}
	}
	return ""
}

// withoutSpace is what is wrong with a table or partition of InnoDB that has no file of
// its own. One in the system tablespace needs none, and discarded ones have warnings
// of their own.
func (j judge) withoutSpace(name string) string {
	if j.dictionary == nil || j.discarded[name] {
		return ""
	}
	space, known := j.dictionary.spaces[strings.ToLower(name)]
	switch {
	case !known:
		return "not known to InnoDB"
	case space != 0:
		return fmt.Sprintf("its file %s.ibd is missing", name)
	}
	return ""
}

// otherSpace is what is wrong with the file of a table or partition of InnoDB. One that
// is discarded may have a file that waits for its import.
func (j judge) otherSpace(name string, file fileFacts) string {
	switch {
	case j.discarded[name]:
		return ""
	case file.blank && j.untouched(file):
		return fmt.Sprintf("its file %s.ibd has no first page", name)
	case j.dictionary == nil:
		return ""
	}
	return j.dictionary.other(file.entry, file.space)
}

// untouched reports whether the server that runs now has not written to a file. Before it
// opens a table of MyISAM that was not closed, it repairs it; and a tablespace without a
// first page may be one that it has just made.
func (j judge) untouched(f fileFacts) bool { return f.modified.Before(j.started) }

// tooLong reports whether the rows of a MyISAM table have bytes after their end. Where
// they are packed, a few belong there.
func (j judge) tooLong(f fileFacts, want int64) bool {
	const margin = 7
	return want > 0 && f.size > want+margin && j.untouched(f)
}

// outdated are tables that an earlier release made, and that this one wants rebuilt:
// from 11.5 on time stamps reach further, and with them the rows of system versioning.
func outdated(all map[tableFiles]*tableParts, now serverVersion) []qualified {
	var found []qualified
	for key, t := range all {
		if d := t.facts.define; d != nil && d.kind == kindVersions && t.facts.made < 110500 && now.AtLeast(11, 5, 0) {
			found = append(found, qualified{filename.SQL(key.database), filename.SQL(key.table)})
		}
	}
	slices.SortFunc(found, func(a, b qualified) int { return strings.Compare(a.String(), b.String()) })
	return found
}
