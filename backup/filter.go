package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"mbk/internal/datadir/filename"
	"mbk/internal/datadir/filter"
	"mbk/internal/repo"
	"mbk/stage"
)

// keeper knows which files a filtered backup is about. Names are those of the
// moment at which it is asked: what a table is called under BLOCK_DDL decides. A
// nil keeper keeps everything.
type keeper struct {
	filter *filter.Filter
	server *stage.Server
}

// newKeeper makes the keeper of a backup, nil if it has no filter.
func newKeeper(o Options, facts stage.Facts) (*keeper, error) {
	fold := facts.Variables["lower_case_table_names"] != "0"
	f, err := filter.New(o.Filter, fold)
	if f == nil {
		return nil, err
	}
	return &keeper{f, o.Server}, err
}

// mayHold reports whether a database directory has to be looked into.
func (k *keeper) mayHold(dir string) bool { return k == nil || k.filter.MayHold(filename.SQL(dir)) }

// keeps reports whether a table is kept, by its names on disk.
func (k *keeper) keeps(dir, table string) bool {
	return k == nil || k.filter.Table(filename.SQL(dir), filename.SQL(table))
}

// narrow takes out of a scan what the filter leaves out.
func (k *keeper) narrow(ctx context.Context, l layout, s *scan) error {
	if k == nil {
		return nil
	}
	parents, err := k.parents(ctx, s.entries)
	if err != nil {
		return err
	}
	holds := map[string]bool{} // directories of which a table is kept
	keep := make([]bool, len(s.entries))
	for i, e := range s.entries {
		keep[i] = e.dir == "" || k.filter.Whole(filename.SQL(e.dir)) || e.table != "" && k.keepsFile(e, parents)
		holds[e.dir] = holds[e.dir] || keep[i] && !filename.Temporary(e.name)
		if !keep[i] && filename.FullText(e.name) {
			s.left = append(s.left, e.path())
		}
	}
	for i, e := range s.entries {
		if keep[i] || e.table != "" {
			continue
		}
		// Files of a database, or of one trigger.
		if keep[i] = holds[e.dir] || k.filter.Database(filename.SQL(e.dir)); keep[i] && path.Ext(e.name) == ".TRN" {
			if keep[i], err = k.keepsTrigger(l, e); err != nil {
				return err
			}
		}
	}
	kept := s.entries[:0]
	for i, e := range s.entries {
		if keep[i] {
			kept = append(kept, e)
		}
	}
	s.entries = kept
	s.unread = slices.DeleteFunc(s.unread, func(u unread) bool {
		return u.entry.dir != "" && (!k.mayHold(u.entry.dir) || u.entry.table != "" && !k.keepsFile(u.entry, parents))
	})
	gone := func(name string) bool { // of what is no file of a table
		dir := path.Dir(name)
		return dir != "." && !holds[dir] && !k.filter.Database(filename.SQL(dir))
	}
	s.strays, s.unnamable = slices.DeleteFunc(s.strays, gone), slices.DeleteFunc(s.unnamable, gone)
	s.broken = slices.DeleteFunc(s.broken, func(b brokenLink) bool { return !k.keepsFile(b.entry, parents) })
	s.databases = slices.DeleteFunc(s.databases, func(dir string) bool {
		gone := !holds[dir] && !k.filter.Database(filename.SQL(dir))
		if gone {
			s.leftDatabases = append(s.leftDatabases, filename.SQL(dir))
		}
		return gone
	})
	return nil
}

// keepsFile reports whether a file of some table is kept. Those of a running ALTER are:
// what they will be called shows when it ends, and recovery drops them before.
func (k *keeper) keepsFile(e entry, parents map[uint64]string) bool {
	if filename.Temporary(e.name) {
		return true
	}
	if id, ok := filename.FullTextParent(e.name); ok {
		parent, known := parents[id]
		dir, table := path.Split(parent)
		return !known || filename.Temporary(table) || k.keeps(path.Clean(dir), filename.Base(table))
	}
	return k.keeps(e.dir, e.table)
}

// keepsTrigger reports whether the table is kept to whose trigger a .TRN file leads.
func (k *keeper) keepsTrigger(l layout, e entry) (bool, error) {
	b, err := l.files.ReadFile(l.file(e), largestFrm)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	table, ok := filename.TriggerTable(b)
	return !ok || k.filter.Table(filename.SQL(e.dir), table), nil
}

// parents are the tables of InnoDB by their numbers, as far as files of full-text
// indexes need them to be judged.
func (k *keeper) parents(ctx context.Context, entries []entry) (map[uint64]string, error) {
	if !slices.ContainsFunc(entries, func(e entry) bool {
		return filename.FullText(e.name) && !k.filter.Whole(filename.SQL(e.dir))
	}) {
		return nil, nil
	}
	tables, err := k.server.InnoDBTables(ctx)
	if err != nil {
		return nil, err
	}
	names := make(map[uint64]string, len(tables))
	for _, t := range tables {
		names[t.ID] = t.Name
	}
	return names, nil
}

// leavesOut reports whether a tablespace that is not among the files, by its last name
// in the redo log, belongs to what the filter left out. left are the files of
// full-text indexes that were left out.
func (k *keeper) leavesOut(name string, left map[string]bool) bool {
	if k == nil {
		return false
	}
	dir, file := path.Split(name)
	dir = path.Base(dir)
	switch {
	case !k.mayHold(dir):
		return true
	case filename.FullText(file):
		return left[dir+"/"+file]
	case filename.Temporary(file):
		return false
	}
	return !k.keeps(dir, tableOf(file))
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

// checkFilter makes the filter and looks whether each part of it means something
// that exists. What depends on something that is left out is named.
func (p *Preflight) checkFilter(ctx context.Context, o Options) error {
	k, err := newKeeper(o, p.facts)
	if err != nil {
		p.add("filter", GradeError, err.Error(), filterHint)
		return nil
	}
	if k == nil {
		return nil
	}
	p.layout.keep = k
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
		if k.filter.Table(n.Database, n.Name) {
			kept++
		}
	}
	// These two are no folders, but nobody is wrong who excludes them.
	errs := k.filter.Check(append(databases, "information_schema", "performance_schema"), tables)
	for _, err := range errs {
		advice := filterHint
		if unmatched, ok := errors.AsType[*filter.UnmatchedError](err); ok {
			advice = unmatched.Advice()
		}
		p.add("filter", GradeError, err.Error(), advice)
	}
	if len(errs) > 0 {
		return nil
	}
	if err := p.checkFilterLog(); err != nil {
		return err
	}
	p.add("filter", GradeOK, fmt.Sprintf("it keeps %d of %d tables", kept, len(tables)))
	return p.checkForeignKeys(ctx, o.Server)
}

const filterHint = "includes narrow and excludes win; tables are named as database.table, and a name with a dot, * or ? is written in backquotes"

// checkFilterLog makes sure that the redo log shows which tablespaces it is about:
// only then can a restore tell the server which ones are gone.
func (p *Preflight) checkFilterLog() error {
	_, header, err := p.layout.readLogHead()
	if err != nil {
		return fmt.Errorf("redo log %s: %w", p.layout.redo, err)
	}
	if !header.Readable() {
		p.add("filter", GradeError, "the redo log is encrypted and hides which tables it is about: a backup without some of them could not be restored",
			"back up everything, and filter at the restore: mbk restore takes the same options")
	}
	return nil
}

// checkForeignKeys warns of tables that refer to others which are left out.
func (p *Preflight) checkForeignKeys(ctx context.Context, server *stage.Server) error {
	keys, err := server.ForeignKeys(ctx)
	if err != nil {
		return err
	}
	var torn []string
	for _, key := range keys {
		if p.keepsInnoDB(key.Child) && !p.keepsInnoDB(key.Parent) {
			torn = append(torn, sqlName(key.Child)+" to "+sqlName(key.Parent))
		}
	}
	if len(torn) > 0 {
		slices.Sort(torn)
		p.add("filter", GradeWarning, "foreign keys lead to tables that are left out: "+shortList(slices.Compact(torn)),
			"a restored server refuses new rows there until the other table exists again, or foreign_key_checks=0")
	}
	return nil
}

// keepsInnoDB reports whether a table is kept, by InnoDB's name: "database/table".
func (p *Preflight) keepsInnoDB(name string) bool {
	dir, table := path.Split(name)
	return p.layout.keep.keeps(path.Clean(dir), filename.Base(table))
}

// sqlName writes InnoDB's name of a table as SQL does.
func sqlName(name string) string {
	dir, table := path.Split(name)
	return qualified{filename.SQL(path.Clean(dir)), filename.SQL(filename.Base(table))}.String()
}

// eachKept calls fn with the contents of the kept files of a filtered backup that have
// an extension. One that cannot be read is looked at again when it is copied.
func (p *Preflight) eachKept(ext string, fn func(e entry, contents []byte)) {
	if p.layout.keep == nil {
		return
	}
	for _, e := range p.first.entries {
		if path.Ext(e.name) != ext {
			continue
		}
		if b, err := p.layout.files.ReadFile(p.layout.file(e), largestFrm); err == nil {
			fn(e, b)
		}
	}
}

// checkViews warns of views over tables that are left out.
func (p *Preflight) checkViews() {
	var torn []string
	p.eachKept(".frm", func(e entry, b []byte) {
		for _, table := range viewTables(b) {
			dir, name := filename.Encode(table.database), filename.Encode(table.name)
			if p.layout.keep.keeps(dir, name) {
				continue
			}
			if _, err := p.layout.stat(filepath.Join(p.layout.datadir, dir, name+".frm")); err == nil {
				torn = append(torn, sqlName(e.dir+"/"+e.table)+" of "+table.String())
			}
		}
	})
	if len(torn) > 0 {
		p.add("filter", GradeWarning, "views show tables that are left out: "+shortList(torn), "such a view cannot be used before the other table exists again")
	}
}

// checkMerged warns of MERGE tables over tables that are left out.
func (p *Preflight) checkMerged() {
	var torn []string
	p.eachKept(".MRG", func(e entry, b []byte) {
		for line := range strings.Lines(string(b)) {
			child := strings.TrimSpace(line)
			if child == "" || strings.HasPrefix(child, "#") {
				continue
			}
			// A path without extension, or the name of a table in the same database.
			dir, table := path.Split(path.Join("/", e.dir, child))
			if strings.Contains(child, "/") {
				dir, table = path.Split(path.Join("/", child))
			}
			if dir = path.Base(dir); !p.layout.keep.keeps(dir, table) {
				torn = append(torn, sqlName(e.dir+"/"+e.table)+" over "+sqlName(dir+"/"+table))
			}
		}
	})
	if len(torn) > 0 {
		p.add("filter", GradeWarning, "MERGE tables lead to tables that are left out: "+shortList(torn), "such a table cannot be read before the other one exists again")
	}
}
