package preflight

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"mbk/internal/datadir"
	"mbk/internal/datadir/filename"
	"mbk/internal/datadir/filter"
	"mbk/internal/hint"
	"mbk/internal/ui/printable"
	"mbk/stage"
)

// checkFilter makes the filter and checks that each part of it matches something that
// exists. It warns of what depends on something that is left out.
func (r *Report) checkFilter(ctx context.Context, o Options) error {
	k, err := datadir.NewSelection(o.Filter, r.Facts.Variables["lower_case_table_names"] != "0", o.Server)
	if err != nil {
		r.Add("filter", GradeError, err.Error(), filterHint)
		return nil
	}
	if k == nil {
		return nil
	}
	r.Layout.Selection = k
	databases, err := o.Server.Databases(ctx)
	if err != nil {
		return err
	}
	names, err := o.Server.TableNames(ctx)
	if err != nil {
		return err
	}
	tables := make([]filter.Name, len(names))
	kept := 0
	for i, n := range names {
		tables[i] = filter.Name{Database: n.Database, Table: n.Name}
		if k.Filter.Table(n.Database, n.Name) {
			kept++
		}
	}
	// These two have no directories, but excluding them is legitimate.
	errs := k.Filter.Check(append(databases, "information_schema", "performance_schema"), tables)
	for _, err := range errs {
		advice := hint.Text(filterHint)
		if unmatched, ok := errors.AsType[*filter.UnmatchedError](err); ok {
			advice = hint.Text(unmatched.Advice())
		}
		r.Add("filter", GradeError, err.Error(), advice)
	}
	if len(errs) > 0 {
		return nil
	}
	if err := r.checkFilterLog(); err != nil {
		return err
	}
	r.Add("filter", GradeOK, fmt.Sprintf("it keeps %d of %d tables", kept, len(tables)))
	return r.checkForeignKeys(ctx, o.Server)
}

const filterHint = "includes narrow and excludes win; tables are named as database.table, and a name with a dot, * " +
	"or ? is written in backquotes"

// checkFilterLog makes sure that the redo log shows which tablespaces it is about:
// only then can a restore tell the server which ones are gone.
func (r *Report) checkFilterLog() error {
	_, header, err := r.Layout.ReadLogHead()
	if err != nil {
		return fmt.Errorf("redo log %s: %w", r.Layout.Redo, err)
	}
	if !header.Readable() {
		r.Add("filter", GradeError, "the redo log is encrypted and hides which tables it is about: a backup without some "+
			"of them could not be restored",
			"back up everything, and filter at the restore: mbk restore takes the same options")
	}
	return nil
}

// checkForeignKeys warns of tables that refer to others which are left out.
func (r *Report) checkForeignKeys(ctx context.Context, server *stage.Server) error {
	keys, err := server.ForeignKeys(ctx)
	if err != nil {
		return err
	}
	var dangling []string
	for _, key := range keys {
		if r.keepsInnoDB(key.Child) && !r.keepsInnoDB(key.Parent) {
			dangling = append(dangling, sqlName(key.Child)+" to "+sqlName(key.Parent))
		}
	}
	if len(dangling) > 0 {
		slices.Sort(dangling)
		r.Add("filter", GradeWarning, "foreign keys lead to tables that are left out: "+
			printable.List(slices.Compact(dangling)),
			"a restored server refuses new rows there until the other table exists again, or foreign_key_checks=0")
	}
	return nil
}

// keepsInnoDB reports whether a table is kept, by InnoDB's name: "database/table".
func (r *Report) keepsInnoDB(name string) bool {
	dir, table := path.Split(name)
	return r.Layout.Selection.Keeps(path.Clean(dir), filename.Base(table))
}

// sqlName writes InnoDB's name of a table as SQL does.
func sqlName(name string) string {
	dir, table := path.Split(name)
	return datadir.TableName{Database: filename.SQL(path.Clean(dir)), Name: filename.SQL(filename.Base(table))}.String()
}

// eachKept calls fn with the contents of the kept files of a filtered backup that have
// an extension. One that cannot be read is reported when it is copied.
func (r *Report) eachKept(ext string, fn func(e datadir.Entry, contents []byte)) {
	if r.Layout.Selection == nil {
		return
	}
	for _, e := range r.first.Entries {
		if path.Ext(e.Name) != ext {
			continue
		}
		if b, err := r.Layout.Files.ReadFile(r.Layout.File(e), datadir.MaxDefinition); err == nil {
			fn(e, b)
		}
	}
}

// checkViews warns of views over tables that are left out.
func (r *Report) checkViews() {
	var dangling []string
	r.eachKept(".frm", func(e datadir.Entry, b []byte) {
		for _, table := range datadir.ViewTables(b) {
			dir, name := filename.Encode(table.Database), filename.Encode(table.Name)
			if r.Layout.Selection.Keeps(dir, name) {
				continue
			}
			if _, err := r.Layout.Stat(filepath.Join(r.Layout.Dir, dir, name+".frm")); err == nil {
				dangling = append(dangling, sqlName(e.Dir+"/"+e.Table)+" of "+table.String())
			}
		}
	})
	if len(dangling) > 0 {
		r.Add("filter", GradeWarning, "views show tables that are left out: "+printable.List(dangling),
			"such a view cannot be used before the other table exists again")
	}
}

// checkMerged warns of MERGE tables over tables that are left out.
func (r *Report) checkMerged() {
	var dangling []string
	r.eachKept(".MRG", func(e datadir.Entry, b []byte) {
		for line := range strings.Lines(string(b)) {
			child := strings.TrimSpace(line)
			if child == "" || strings.HasPrefix(child, "#") {
				continue
			}
			// A path without extension, or the name of a table in the same database.
			dir, table := path.Split(path.Join("/", e.Dir, child))
			if strings.Contains(child, "/") {
				dir, table = path.Split(path.Join("/", child))
			}
			if dir = path.Base(dir); !r.Layout.Selection.Keeps(dir, table) {
				dangling = append(dangling, sqlName(e.Dir+"/"+e.Table)+" over "+sqlName(dir+"/"+table))
			}
		}
	})
	if len(dangling) > 0 {
		r.Add("filter", GradeWarning, "MERGE tables lead to tables that are left out: "+printable.List(dangling),
			"such a table cannot be read before the other one exists again")
	}
}
