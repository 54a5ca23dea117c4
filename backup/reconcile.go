package backup

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"mbk/backup/preflight"
	"mbk/internal/datadir"
	"mbk/internal/datadir/filename"
	"mbk/internal/hint"
	"mbk/internal/innodb"
	"mbk/internal/repo"
	"mbk/internal/ui/printable"
)

// createdMeanwhile is the error for a table that a check before the backup would have
// refused.
func createdMeanwhile(text string, advice hint.Text) error {
	return &preflight.FindingError{Finding: preflight.Finding{
		Check: preflight.CheckTables, Grade: preflight.GradeError, Text: text, Hints: []hint.Text{advice},
	}}
}

// addRecreated adds empty files for the tablespaces that an ALTER has made and no scan
// showed, because it began under BLOCK_COMMIT: recovery creates them again.
func addRecreated(f *finalState, spaces []innodb.SpaceHistory, l datadir.Layout, nextNumber func() uint32) error {
	names, ids := map[string]bool{}, map[innodb.SpaceID]bool{}
	for _, ff := range f.files {
		if ff.entry.IsInnoDB() {
			names[ff.entry.SpaceName()] = true
		}
		if ff.copy.id != nil {
			ids[*ff.copy.id] = true
		}
	}
	for _, s := range spaces {
		e := spaceEntry(s)
		if !madeByAlter(s) || names[e.SpaceName()] || ids[s.Space] || l.Selection.Excludes(s.Name, f.left) {
			continue
		}
		if !recreates(l) {
			return fmt.Errorf("tablespace %d, %s: %w", s.Space, s.Name, ErrMadeLast)
		}
		fc := &fileCopy{entry: e, number: nextNumber(), class: repo.ClassInnoDB}
		fc.stat = datadir.FileStat{Mode: unix.S_IFREG | 0o660, Modified: datadir.TimestampOf(time.Now())}
		f.files[e.Path()] = &finalFile{entry: e, copy: fc}
	}
	return nil
}

// madeByAlter reports whether the redo makes a file such as only an ALTER makes when no
// other DDL goes on. That of a CREATE TABLE may be missing because it could not be made.
func madeByAlter(s innodb.SpaceHistory) bool {
	name := path.Base(s.Name)
	return s.Created != 0 && s.Renamed == 0 && s.Deleted == 0 && (filename.Temporary(name) || filename.FullText(name))
}

// spaceEntry is the file of a tablespace that the redo names.
func spaceEntry(s innodb.SpaceHistory) datadir.Entry {
	dir, name := path.Split(s.Name)
	e := datadir.Entry{Dir: path.Base(dir), Name: name, Table: datadir.TableOf(name)}
	if s.External {
		e.Link = datadir.Link{Kind: repo.LinkISL, To: s.Name}
	}
	return e
}

// reconcileSpaces compares the tablespaces that the redo names with those that
// were copied. What a recovery could not do fails the backup.
func reconcileSpaces(f *finalState, spaces []innodb.SpaceHistory, l datadir.Layout) error {
	created := map[string]innodb.SpaceID{} // by the last name in the redo
	for _, s := range spaces {
		if s.Deleted == 0 && s.External && !l.Pathless() && l.Selection != nil {
			return createdMeanwhile(s.Name+" was made with DATA DIRECTORY during the backup: "+preflight.ExternalFiltered,
				preflight.ExternalFilteredHint)
		}
		if s.Deleted == 0 {
			created[strings.TrimPrefix(s.Name, "./")] = s.Space
		}
	}
	files, err := f.spaceFiles(created)
	if err != nil {
		return err
	}
	names := make(map[innodb.SpaceID]string, len(files))
	for id, ff := range files {
		names[id] = ff.entry.SpaceName()
	}
	var replaced replacedError
	for _, problem := range innodb.Reconcile(spaces, names) {
		ff := files[problem.History.Space]
		switch {
		case problem.Kind == innodb.ProblemMissing && l.Selection.Excludes(problem.History.Name, f.left):
		case problem.Kind == innodb.ProblemDeleted && ff.entry.Volatile():
			delete(f.files, ff.entry.Path()) // an ALTER gave up after its files were listed
		case problem.Kind == innodb.ProblemDeleted:
			replaced.add(problem.String(), ff.entry.Key().SQL())
		default:
			return inconsistent(fmt.Errorf("the copied files and the redo log do not fit together: %s", problem))
		}
	}
	return replaced.orNil()
}

// spaceFiles are the files of InnoDB by the numbers of their tablespaces. A file without
// a first page has the number with which the redo creates it, by its name.
func (f *finalState) spaceFiles(created map[string]innodb.SpaceID) (map[innodb.SpaceID]*finalFile, error) {
	files := map[innodb.SpaceID]*finalFile{}
	for path, ff := range f.files {
		if !ff.entry.IsInnoDB() {
			continue
		}
		if id, ok := created[ff.entry.SpaceName()]; ok && ff.copy.id == nil {
			ff.copy.id = &id // the redo holds all of the file, its page 0 too
		}
		if ff.copy.id == nil {
			continue
		}
		id := *ff.copy.id
		if other, twice := files[id]; twice {
			return nil, hint.Wrap(inTwoFiles(id, other.entry.Path(), path), twoFilesHint)
		}
		files[id] = ff
	}
	return files, nil
}

// warnUnread is the warning of what the last scan could not read, unless the checks
// have said the same.
func (f *finalState) warnUnread(said []string) []string {
	if f.loose == "" || slices.Contains(said, preflight.UnreadText(f.loose)) {
		return nil
	}
	return []string{preflight.UnreadText(f.loose)}
}

// unlistedText is the problem of a table that the server does not list.
const unlistedText = "not listed by the server"

// reconcileTables compares the manifest with what the server listed under BLOCK_DDL: what
// the server has and the backup has not must never go unnoticed. Tables that it did not
// list before the backup either are marked: there are directories of which the server
// opens nothing.
func reconcileTables(m *repo.Manifest, f *finalState, l datadir.Layout, unlisted []datadir.TableName) error {
	var ours []datadir.TableName
	for _, t := range m.Tables {
		ours = append(ours, datadir.TableName{Database: t.Database, Name: t.Name})
	}
	for _, t := range f.leftOut {
		ours = append(ours, datadir.TableName{Database: t.Database, Name: t.Name})
	}
	compare := datadir.Reconciler{Folds: l.FoldsNames(), Unnamable: f.unnamable}
	found := compare.Tables(ours, f.listed.Tables)
	found.Missing = slices.DeleteFunc(found.Missing, func(q datadir.TableName) bool { return addUnknown(m, l, q) })
	if len(found.Missing) > 0 {
		return errors.New(preflight.WithoutFiles + datadir.ListNames(found.Missing))
	}
	known := func(q datadir.TableName) bool { return slices.Contains(unlisted, q) }
	fresh := slices.DeleteFunc(slices.Clone(found.Surplus), known)
	if len(fresh) > 0 {
		return fmt.Errorf("the data directory has tables that the server does not list: %s", datadir.ListNames(fresh))
	}
	for i := range m.Tables {
		if t := &m.Tables[i]; slices.Contains(found.Surplus, datadir.TableName{Database: t.Database, Name: t.Name}) {
			t.Problem = unlistedText
		}
	}
	databases := slices.Clone(f.leftDatabases)
	for _, d := range m.Directories {
		databases = append(databases, d.Name)
	}
	if missing := compare.Databases(l, databases, f.listed.Databases); len(missing) > 0 {
		return errors.New(preflight.WithoutDirectory + printable.List(missing))
	}
	return nil
}

// addUnknown adds a table to the manifest whose definition is not in the backup because
// the server could not read it, before anything was locked. It reports whether it is one.
func addUnknown(m *repo.Manifest, l datadir.Layout, q datadir.TableName) bool {
	frm := datadir.DefinitionOf(q)
	problem := l.BadDefinitions[frm.Path()].Text
	if problem == "" {
		return false
	}
	t := repo.Table{Database: q.Database, Name: q.Name, Type: datadir.KindTable, Problem: problem, Files: []int{}}
	for i, f := range m.Files {
		if path.Dir(f.Path) == frm.Dir && datadir.TableOf(path.Base(f.Path)) == frm.Table {
			t.Files = append(t.Files, i)
		}
	}
	m.Tables = append(m.Tables, t)
	slices.SortFunc(m.Tables, func(a, b repo.Table) int {
		return cmp.Or(strings.Compare(a.Database, b.Database), strings.Compare(a.Name, b.Name))
	})
	return true
}

// leftWithoutFiles are the tables without a file of their own that are still there.
func leftWithoutFiles(fileless []repo.LeftOut, listed datadir.Listing) []repo.LeftOut {
	return slices.DeleteFunc(slices.Clone(fileless), func(t repo.LeftOut) bool {
		return !slices.Contains(listed.Tables, datadir.TableName{Database: t.Database, Name: t.Name})
	})
}

// leftByFilter lists the tables that the filter left out.
func leftByFilter(l datadir.Layout, listed datadir.Listing) []repo.LeftOut {
	k := l.Selection
	if k == nil {
		return nil
	}
	var left []repo.LeftOut
	for _, q := range listed.Tables {
		if !k.Filter.Table(q.Database, q.Name) {
			left = append(left, repo.LeftOut{Database: q.Database, Name: q.Name, Reason: repo.LeftByFilter})
		}
	}
	return left
}

// warnUndefined are the warnings of such files of InnoDB's tables that a backup ends with.
func (f *finalState) warnUndefined(m *repo.Manifest) []string {
	defined := map[datadir.TableName]bool{}
	for _, t := range m.Tables {
		defined[datadir.TableName{Database: t.Database, Name: t.Name}] = true
	}
	var found []string
	for name, ff := range f.files {
		if e := ff.entry; e.IsInnoDB() && e.Dir != "" && !e.Volatile() && !defined[e.Key().SQL()] {
			found = append(found, name)
		}
	}
	if len(found) == 0 {
		return nil
	}
	slices.Sort(found)
	return []string{preflight.OrphansText(found)}
}

const twoFilesHint = "one of them is a copy: look which of the tables the server can open, " +
	"before you move the file of the other out of the data directory"

// inTwoFiles is the error for two files of one tablespace.
func inTwoFiles(id innodb.SpaceID, one, other string) error {
	return fmt.Errorf("tablespace %d is in two files, %s and %s", id, one, other)
}

// warnProblems are the warnings of tables with a problem.
func warnProblems(m *repo.Manifest) []string {
	var all []datadir.TableProblem
	for _, t := range m.Tables {
		if t.Problem != "" {
			table := datadir.TableName{Database: t.Database, Name: t.Name}
			all = append(all, datadir.TableProblem{Table: table, Problem: datadir.Problem{Text: t.Problem}})
		}
	}
	var warnings []string
	for _, group := range datadir.GroupProblems(all) {
		warnings = append(warnings, group.String())
	}
	return warnings
}
