package backup

import (
	"context"
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"

	"mbk/internal/datadir"
	"mbk/internal/datadir/filename"
	"mbk/internal/repo"
)

// finalState is the state of the data directory that the backup will restore: which
// copy stands for which path. It is made under BLOCK_DDL, when names no longer
// change, and corrected under BLOCK_COMMIT for what DDL does not protect.
type finalState struct {
	databases []string
	files     map[string]*finalFile // by path below the data directory

	bare      bool     // a table of InnoDB has no file of its own, or a wrong one
	unnamable []string // files that no backup can hold, because of their names

	leftDatabases []string        // that the filter left out, by their SQL names
	left          map[string]bool // files of full-text indexes that it left out
	leftOut       []repo.LeftOut  // tables
	loose         string          // what the last scan could not read, and no table needs

	resolved  datadir.Scan      // that resolve has gone through, until there is another
	unsettled [][]datadir.Entry // the files in it, by name, that due has to be asked about again

	listed   datadir.Listing // of the server, under BLOCK_DDL
	position position
}

func newFinalState(files int) *finalState {
	return &finalState{files: make(map[string]*finalFile, files), left: map[string]bool{}}
}

// finalFile is a copy under its final name.
type finalFile struct {
	entry        datadir.Entry
	copy         *fileCopy
	copiedLocked bool // copied under the lock, so its stat must still be the file's at the end
}

// put puts a copy in its place.
func (f *finalState) put(ff *finalFile) {
	ff.copy.placedAs = ff.entry.Path()
	f.files[ff.copy.placedAs] = ff
}

// standsForOther reports whether a copy stands for another name than e already: links can
// give one file several.
func (f *finalState) standsForOther(fc *fileCopy, e datadir.Entry) bool {
	other := f.files[fc.placedAs]
	return fc.placedAs != e.Path() && other != nil && other.copy == fc
}

// lacksSpace reports whether the files of one name have the definition of a table of
// InnoDB, and there is no file for it or one of its partitions. The files of the
// partitions come before in every scan.
func (f *finalState) lacksSpace(files []datadir.Entry) bool {
	var define *datadir.Definition
	var parts []string
	for _, e := range files {
		ff := f.files[e.Path()]
		switch {
		case ff == nil:
		case e.IsDefinition():
			define = ff.copy.facts.Definition
		case path.Ext(e.Name) == ".par":
			parts = ff.copy.facts.Partitions
		}
	}
	if define == nil || define.Engine != "InnoDB" {
		return false
	}
	stem := strings.TrimSuffix(files[0].Path(), path.Ext(files[0].Name))
	if !define.Partitioned {
		return f.files[stem+".ibd"] == nil
	}
	return slices.ContainsFunc(parts, func(part string) bool { return f.files[stem+"#P#"+part+".ibd"] == nil })
}

// noteLeftOut notes what a scan found that is not copied.
func (f *finalState) noteLeftOut(s datadir.Scan, l datadir.Layout) {
	_, f.loose = l.SplitUnreadable(s.Unreadable)
	for _, path := range s.ExcludedFullText {
		f.left[path] = true
	}
}

// due decides about a file that a scan shows under BLOCK_COMMIT: whether it belongs to
// the final state, and whether it has to be placed again. A file that no stage lets
// anybody make is an error.
func (f *finalState) due(e datadir.Entry) (ours, again bool, err error) {
	ff, placed := f.files[e.Path()]
	switch {
	case placed:
		return true, e.Volatile() || ff.changesUnderLock(), nil
	case !e.Known():
		return false, false, nil // made by somebody else after the names were fixed
	case e.IsDefinition() && f.files[strings.TrimSuffix(e.Path(), ".frm")+datadir.ARZExt] != nil:
		return true, false, nil // somebody has opened an ARCHIVE table for the first time
	case e.Volatile(), e.IsInnoDB(), e.Dir == "mysql":
		return true, true, nil
	}
	return true, false, fmt.Errorf("%s appeared although BACKUP STAGE BLOCK_DDL was held", e.Path())
}

// noteUnsettled keeps the files of one name that resolve has placed if due has to be asked
// about one of them again.
func (f *finalState) noteUnsettled(files []datadir.Entry) {
	if slices.ContainsFunc(files, func(e datadir.Entry) bool {
		_, again, err := f.due(e)
		return again || err != nil
	}) {
		f.unsettled = append(f.unsettled, files)
	}
}

// vanished decides what it means that a file is gone that a scan has just
// listed. An ALTER in its copy phase goes on under BLOCK_DDL and may give up, and
// InnoDB drops full-text tables in the background. No other file of a table may
// vanish.
func vanished(e datadir.Entry) error {
	if filename.Temporary(e.Name) || filename.FullText(e.Name) || !e.Known() {
		return nil
	}
	return fmt.Errorf("%s vanished although BACKUP STAGE BLOCK_DDL was held", e.Path())
}

// waitLocked waits for the copies that were made under the lock.
func (f *finalState) waitLocked(ctx context.Context) error {
	for _, ff := range f.files {
		if !ff.copiedLocked {
			continue
		}
		if err := ff.copy.done(ctx); err != nil {
			return err
		}
	}
	return nil
}

// changesUnderLock reports whether a file may still change under BLOCK_DDL in a way that
// the logs do not make up for: the tables of the server itself, and Aria's, whose
// writes go on until BLOCK_COMMIT.
func (ff *finalFile) changesUnderLock() bool {
	return ff.entry.IsAria() || ff.copy.class == repo.ClassPlain && ff.entry.Dir == "mysql"
}

// exchanged are the files of the final state that are not those of their tables.
func (f *finalState) exchanged(d *datadir.Dictionary) []*finalFile {
	var found []*finalFile
	for _, ff := range f.files {
		if ff.entry.IsInnoDB() && !ff.entry.Volatile() && ff.copy.id != nil && d.Mismatch(ff.entry, *ff.copy.id) != "" {
			found = append(found, ff)
		}
	}
	return found
}

// facts are those of a file that was copied.
func (ff *finalFile) facts() datadir.FileFacts {
	f := datadir.FileFacts{
		Facts: ff.copy.facts, Entry: ff.entry, Size: ff.copy.size, Modified: ff.copy.stat.Modified.Time(),
		Blank: ff.entry.IsInnoDB() && ff.copy.id == nil,
	}
	if ff.copy.id != nil {
		f.Space = *ff.copy.id
	}
	return f
}

// lateCopies counts what was copied under the lock.
func (f *finalState) lateCopies() repo.Late {
	var l repo.Late
	for _, ff := range f.files {
		if ff.copiedLocked && !ff.copy.below().unread {
			l.Files++
			l.Bytes += ff.copy.size
		}
	}
	return l
}

// leaveOut takes the tables of engines that cannot be backed up out of the
// final state and returns them. Which they are is decided by the definitions
// that were copied, so that a table made during the backup is seen too.
func (f *finalState) leaveOut() []repo.LeftOut {
	gone := map[datadir.TableKey]bool{}
	var found []repo.LeftOut
	for _, ff := range f.files {
		d := ff.copy.facts.Definition
		if d == nil || d.Kind == datadir.KindView || datadir.SupportedEngine(d.Engine) {
			continue
		}
		gone[ff.entry.Key()] = true
		found = append(found, datadir.UnsupportedTable(ff.entry, *d))
	}
	for path, ff := range f.files {
		if gone[ff.entry.Key()] {
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
	for path, ff := range f.files {
		key := ff.entry.Key()
		if ff.entry.Table == "" {
			continue
		}
		files[key] = append(files[key], index[path])
		if t := ff.table(); t != nil && (byTable[key] == nil || ff.entry.IsDefinition()) {
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
func (ff *finalFile) table() *repo.Table {
	e, d := ff.entry, ff.copy.facts.Definition
	t := &repo.Table{Database: filename.SQL(e.Dir), Name: filename.SQL(e.Table), Type: datadir.KindTable}
	switch {
	case d != nil && (e.IsDefinition() || e.Discovered()):
		t.Engine, t.Type = d.Engine, d.Kind
	case !e.IsDefinition():
		return nil
	}
	return t
}
