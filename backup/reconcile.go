package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"mbk/internal/datadir"
	"mbk/internal/datadir/filename"
	"mbk/internal/hint"
	"mbk/internal/repo"
	"mbk/internal/ui/printable"
)

// scan is a scan of the data directory, which fails if a table's file cannot be read.
func (r *attempt) scan(ctx context.Context) (datadir.Scan, error) {
	s, err := r.layout.Scan(ctx)
	if err != nil {
		return datadir.Scan{}, err
	}
	needed, loose := r.layout.SplitUnreadable(s.Unreadable)
	r.loose = loose
	if needed != "" {
		return datadir.Scan{}, hint.Wrap(fmt.Errorf("tables have files that cannot be read: %s", needed), unreadHint)
	}
	return s, nil
}

// warnUnread is the warning of what the last scan could not read, unless the checks
// have said the same.
func (r *attempt) warnUnread() []string {
	if r.loose == "" || slices.Contains(r.found.warnings(), unreadText(r.loose)) {
		return nil
	}
	return []string{unreadText(r.loose)}
}

// reconcile compares the manifest with what the server listed under BLOCK_DDL: what
// the server has and the backup has not must never go unnoticed. Tables that it did not
// list before the backup either are marked: there are directories of which the server
// opens nothing.
func (r *attempt) reconcile(m *repo.Manifest) error {
	var ours []datadir.TableName
	for _, t := range m.Tables {
		ours = append(ours, datadir.TableName{Database: t.Database, Name: t.Name})
	}
	for _, t := range r.left {
		ours = append(ours, datadir.TableName{Database: t.Database, Name: t.Name})
	}
	compare := datadir.Reconciler{Folds: r.layout.FoldsNames(), Unnamable: r.final.unnamable}
	found := compare.Tables(ours, r.listed.Tables)
	found.Missing = slices.DeleteFunc(found.Missing, func(q datadir.TableName) bool { return r.addUnknown(m, q) })
	if len(found.Missing) > 0 {
		return errors.New(withoutFiles + shortNames(found.Missing))
	}
	if fresh := slices.DeleteFunc(slices.Clone(found.Surplus), func(q datadir.TableName) bool { return slices.Contains(r.found.unlisted, q) }); len(fresh) > 0 {
		return fmt.Errorf("the data directory has tables that the server does not list: %s", shortNames(fresh))
	}
	for i := range m.Tables {
		if t := &m.Tables[i]; slices.Contains(found.Surplus, datadir.TableName{Database: t.Database, Name: t.Name}) {
			t.Problem = unlistedText
		}
	}
	databases := slices.Clone(r.final.leftDatabases)
	for _, d := range m.Directories {
		databases = append(databases, d.Name)
	}
	if missing := compare.Databases(r.layout, databases, r.listed.Databases); len(missing) > 0 {
		return errors.New(withoutDirectory + printable.List(missing))
	}
	return nil
}

// addUnknown adds a table to the manifest whose definition is not in the backup because
// the server could not read it, before anything was locked. It reports whether it is one.
func (r *attempt) addUnknown(m *repo.Manifest, q datadir.TableName) bool {
	frm := datadir.DefinitionOf(q)
	problem := r.layout.BadDefinitions[frm.Path()]
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
func (r *attempt) leftWithoutFiles() []repo.LeftOut {
	return slices.DeleteFunc(slices.Clone(r.found.fileless), func(t repo.LeftOut) bool {
		return !slices.Contains(r.listed.Tables, datadir.TableName{Database: t.Database, Name: t.Name})
	})
}

// leftByFilter lists the tables that the filter left out.
func (r *attempt) leftByFilter() []repo.LeftOut {
	k := r.layout.Selection
	if k == nil {
		return nil
	}
	var left []repo.LeftOut
	for _, q := range r.listed.Tables {
		if !k.Filter.Table(q.Database, q.Name) {
			left = append(left, repo.LeftOut{Database: q.Database, Name: q.Name, Reason: repo.LeftByFilter})
		}
	}
	return left
}

// describeFilter is the filter in the manifest, nil without one.
func (r *attempt) describeFilter() *repo.Filter {
	if r.layout.Selection == nil {
		return nil
	}
	s := r.opts.Filter
	return &repo.Filter{
		Databases: s.Databases, ExcludeDatabases: s.ExcludeDatabases, Tables: s.Tables, ExcludeTables: s.ExcludeTables,
		LeftOut: r.final.leftDatabases,
	}
}

// warnUndefined are the warnings of such files of InnoDB's tables that a backup ends with.
func (f *finalState) warnUndefined(m *repo.Manifest) []string {
	defined := map[datadir.TableName]bool{}
	for _, t := range m.Tables {
		defined[datadir.TableName{Database: t.Database, Name: t.Name}] = true
	}
	var found []string
	for name, p := range f.files {
		if e := p.entry; e.IsInnoDB() && e.Dir != "" && !e.Volatile() && !defined[datadir.TableName{Database: filename.SQL(e.Dir), Name: filename.SQL(e.Table)}] {
			found = append(found, name)
		}
	}
	if len(found) == 0 {
		return nil
	}
	slices.Sort(found)
	return []string{orphansText(found)}
}
