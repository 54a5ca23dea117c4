package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"mbk/internal/datadir/filename"
	"mbk/internal/hint"
	"mbk/internal/repo"
	"mbk/internal/ui/printable"
)

// scan is a scan of the data directory, which fails if a table's file cannot be read.
func (r *attempt) scan(ctx context.Context) (scan, error) {
	s, err := r.layout.scanDatadir(ctx)
	if err != nil {
		return scan{}, err
	}
	needed, loose := r.layout.sortUnread(s.unread)
	r.loose = loose
	if needed != "" {
		return scan{}, hint.Wrap(fmt.Errorf("tables have files that cannot be read: %s", needed), unreadHint)
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
	var ours []qualified
	for _, t := range m.Tables {
		ours = append(ours, qualified{t.Database, t.Name})
	}
	for _, t := range r.left {
		ours = append(ours, qualified{t.Database, t.Name})
	}
	compare := reconciler{folds: r.layout.folds(), unnamable: r.final.unnamable}
	found := compare.tables(ours, r.listed.tables)
	found.missing = slices.DeleteFunc(found.missing, func(q qualified) bool { return r.addUnknown(m, q) })
	if len(found.missing) > 0 {
		return errors.New(withoutFiles + shortNames(found.missing))
	}
	if fresh := slices.DeleteFunc(slices.Clone(found.surplus), func(q qualified) bool { return slices.Contains(r.found.unlisted, q) }); len(fresh) > 0 {
		return fmt.Errorf("the data directory has tables that the server does not list: %s", shortNames(fresh))
	}
	for i := range m.Tables {
		if t := &m.Tables[i]; slices.Contains(found.surplus, qualified{t.Database, t.Name}) {
			t.Problem = unlistedText
		}
	}
	databases := slices.Clone(r.final.leftDatabases)
	for _, d := range m.Directories {
		databases = append(databases, d.Name)
	}
	if missing := compare.databases(r.layout, databases, r.listed.databases); len(missing) > 0 {
		return errors.New(withoutDirectory + printable.List(missing))
	}
	return nil
}

// addUnknown adds a table to the manifest whose definition is not in the backup because
// the server could not read it, before anything was locked. It reports whether it is one.
func (r *attempt) addUnknown(m *repo.Manifest, q qualified) bool {
	frm := frmOf(q)
	problem := r.layout.unknown[frm.path()]
	if problem == "" {
		return false
	}
	t := repo.Table{Database: q.database, Name: q.name, Type: kindTable, Problem: problem, Files: []int{}}
	for i, f := range m.Files {
		if path.Dir(f.Path) == frm.dir && tableOf(path.Base(f.Path)) == frm.table {
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
		return !slices.Contains(r.listed.tables, qualified{t.Database, t.Name})
	})
}

// leftByFilter lists the tables that the filter left out.
func (r *attempt) leftByFilter() []repo.LeftOut {
	k := r.layout.keep
	if k == nil {
		return nil
	}
	var left []repo.LeftOut
	for _, q := range r.listed.tables {
		if !k.filter.Table(q.database, q.name) {
			left = append(left, repo.LeftOut{Database: q.database, Name: q.name, Reason: repo.LeftByFilter})
		}
	}
	return left
}

// describeFilter is the filter in the manifest, nil without one.
func (r *attempt) describeFilter() *repo.Filter {
	if r.layout.keep == nil {
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
	defined := map[qualified]bool{}
	for _, t := range m.Tables {
		defined[qualified{t.Database, t.Name}] = true
	}
	var found []string
	for name, p := range f.files {
		if e := p.entry; e.innodb() && e.dir != "" && !e.moving() && !defined[qualified{filename.SQL(e.dir), filename.SQL(e.table)}] {
			found = append(found, name)
		}
	}
	if len(found) == 0 {
		return nil
	}
	slices.Sort(found)
	return []string{orphansText(found)}
}
