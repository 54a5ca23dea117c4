package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"mbk/internal/datadir/filename"
	"mbk/internal/repo"
	"mbk/internal/ui/printable"
	"mbk/stage"
)

// listing is what the server lists: all databases and tables that have files.
type listing struct {
	databases []string
	tables    []qualified
}

// list asks for both.
func list(ctx context.Context, server *stage.Server) (l listing, err error) {
	names, err := server.TableNames(ctx)
	if err != nil {
		return listing{}, err
	}
	l.tables = make([]qualified, 0, len(names))
	for _, n := range names {
		l.tables = append(l.tables, qualified{n.Database, n.Name})
	}
	l.databases, err = server.Databases(ctx)
	return l, err
}

// reconciler compares what the server lists with what was found on the disk.
type reconciler struct {
	folds     bool     // with lower_case_table_names the server lists names in lower case, of some releases
	unnamable []string // paths on disk
}

func (l layout) reconciler(s scan) reconciler {
	return reconciler{folds: l.folds(), unnamable: s.unnamable}
}

// folds reports whether the server takes names that differ in case for the same.
func (l layout) folds() bool {
	mode := l.vars["lower_case_table_names"]
	return mode != "" && mode != "0"
}

// key is by what a table is compared.
func (r reconciler) key(q qualified) qualified {
	if r.folds {
		return qualified{strings.ToLower(q.database), strings.ToLower(q.name)}
	}
	return q
}

// passed reports whether the server lists a file that was passed over because of its
// name. It writes "?" for what is not UTF-8.
func (r reconciler) passed(q qualified) bool {
	return slices.ContainsFunc(r.unnamable, func(name string) bool {
		dir, file := path.Split(name)
		if dir == "" {
			return legible(filename.SQL(name)) == legible(q.database)
		}
		return path.Ext(file) == ".frm" && legible(filename.SQL(path.Clean(dir))) == legible(q.database) &&
			legible(filename.SQL(strings.TrimSuffix(file, ".frm"))) == legible(q.name)
	})
}

// legible is what can be compared of a name that is not text.
func legible(name string) string {
	return strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f || r == '?' {
			return -1
		}
		return r
	}, name)
}

// difference is by how much the data directory and the server's lists differ.
type difference struct {
	missing   []qualified // tables that the server lists and we have not
	surplus   []qualified // tables that we have and the server does not list
	databases []string    // that the server lists and we have not, quoted
}

func (d difference) empty() bool { return len(d.missing)+len(d.surplus)+len(d.databases) == 0 }

// and keeps what is in both.
func (d difference) and(other difference) difference {
	return difference{inBoth(d.missing, other.missing), inBoth(d.surplus, other.surplus), inBoth(d.databases, other.databases)}
}

func inBoth[T comparable](a, b []T) []T {
	there := make(map[T]bool, len(b))
	for _, v := range b {
		there[v] = true
	}
	return slices.DeleteFunc(a, func(v T) bool { return !there[v] })
}

// tables compares our tables with those that the server lists.
func (r reconciler) tables(ours, server []qualified) (d difference) {
	byKey := make(map[qualified]qualified, len(ours))
	for _, q := range ours {
		byKey[r.key(q)] = q
	}
	listed := make(map[qualified]bool, len(server))
	for _, q := range server {
		key := r.key(q)
		listed[key] = true
		if _, known := byKey[key]; !known && !r.passed(q) {
			d.missing = append(d.missing, q)
		}
	}
	for key, q := range byKey {
		if !listed[key] {
			d.surplus = append(d.surplus, q)
		}
	}
	slices.SortFunc(d.surplus, func(a, b qualified) int { return strings.Compare(a.String(), b.String()) })
	return d
}

// databases are those that the server lists and that are not among ours, by their
// names on disk, although their directories hold files of a database.
func (r reconciler) databases(l layout, ours []string, server []string) []string {
	known := make(map[string]bool, len(ours))
	for _, name := range ours {
		known[r.key(qualified{database: name}).database] = true
	}
	var found []string
	for _, name := range server {
		q := qualified{database: name}
		if !known[r.key(q).database] && !r.passed(q) && l.holdsTables(filename.Encode(name)) {
			found = append(found, printable.Name(name))
		}
	}
	return found
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
		return errors.New(withoutDirectory + shortList(missing))
	}
	return nil
}

const (
	withoutFiles     = "the server has tables whose files were not found in the data directory: "
	withoutDirectory = "the server has databases whose directories were not found in the data directory: "
	unlistedText     = "not listed by the server"
)

// shortNames is shortList for tables.
func shortNames(tables []qualified) string {
	names := make([]string, len(tables))
	for i, q := range tables {
		names[i] = q.String()
	}
	return shortList(names)
}

// checkListed compares what the server lists with what the scan has found. A DDL that is
// at work looks like a difference, so one must be there for a while.
func (p *Preflight) checkListed(ctx context.Context, o Options) error {
	const tries, pause = 4, 200 * time.Millisecond
	var lasting difference
	for i := range tries {
		if i > 0 {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(pause):
			}
		}
		listed, err := list(ctx, o.Server)
		if err != nil {
			return err
		}
		if i > 0 {
			if p.first, err = p.layout.scanDatadir(ctx); err != nil {
				return err
			}
		}
		found := p.compare(listed)
		if i == 0 {
			lasting = found
		}
		if lasting = lasting.and(found); lasting.empty() {
			return nil
		}
	}
	if len(lasting.databases) > 0 {
		p.add(checkTables, GradeError, withoutDirectory+shortList(lasting.databases))
	}
	if p.unlisted = lasting.surplus; len(p.unlisted) > 0 {
		p.note(checkTables, GradeWarning, "the server does not list these tables and cannot open them: "+shortNames(p.unlisted), "they are in the backup as they are; drop their files if nobody needs them")
	}
	return p.addMissing(ctx, o, lasting.missing)
}

// compare compares a scan with what the server lists.
func (p *Preflight) compare(listed listing) difference {
	var ours []qualified
	for _, e := range p.first.entries {
		if e.frm() || e.discovered() {
			ours = append(ours, qualified{filename.SQL(e.dir), filename.SQL(e.table)})
		}
	}
	compare := p.layout.reconciler(p.first)
	d := compare.tables(ours, listed.tables)
	d.missing = slices.DeleteFunc(d.missing, func(q qualified) bool {
		return p.layout.keep != nil && !p.layout.keep.filter.Table(q.database, q.name) || slices.Contains(p.first.closed, filename.Encode(q.database))
	})
	databases := slices.Clone(p.first.leftDatabases)
	for _, dir := range p.first.databases {
		databases = append(databases, filename.SQL(dir))
	}
	d.databases = compare.databases(p.layout, databases, listed.databases)
	return d
}

// addMissing says what of tables without files. Those of an engine that keeps
// everything elsewhere, S3 for one, are left out as others of such engines are. Those
// of which the server cannot read the definition either have a problem.
func (p *Preflight) addMissing(ctx context.Context, o Options, tables []qualified) error {
	var lost, broken []qualified
	var problems []string
	for _, q := range tables {
		why, special := p.layout.lackingDefinition(q)
		if special {
			continue // checkUnread names it. The server must not be asked: it would wait for a FIFO, too
		}
		info, err := o.Server.TableInfo(ctx, q.database, q.name)
		gone := errors.Is(err, stage.ErrNoTable)
		switch {
		case err != nil && !gone:
			return err
		case why != "" && (gone || info.Problem != ""):
			frm := frmOf(q).path()
			p.layout.unknown[frm] = unreadDefinition(frm, why)
			broken, problems = append(broken, q), append(problems, p.layout.unknown[frm])
		case info.Engine == "" || supported(info.Engine):
			lost = append(lost, q)
		default:
			p.fileless = append(p.fileless, repo.LeftOut{Database: q.database, Name: q.name, Engine: info.Engine, Reason: outsideReason})
		}
	}
	p.noteProblemTexts(problemTexts(broken, problems))
	if len(lost) > 0 {
		p.add(checkTables, GradeError, withoutFiles+shortNames(lost))
	}
	return nil
}

// frmOf is the place of a table's definition.
func frmOf(q qualified) entry {
	table := filename.Encode(q.name)
	return entry{dir: filename.Encode(q.database), name: table + ".frm", table: table}
}

// lackingDefinition says why the definition of a table cannot be read, "" if it can be
// or is not there at all. special tells that it is a FIFO, device or the like.
func (l layout) lackingDefinition(q qualified) (why string, special bool) {
	frm := frmOf(q)
	file := l.file(frm)
	if _, err := l.files.Statx(file, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_TYPE); err != nil {
		return "", false
	}
	if s, err := l.stat(file); err == nil {
		special = !s.regular() && !s.directory()
	}
	why, err := l.reach(frm)
	if errors.Is(err, fs.ErrNotExist) {
		to, err := l.files.Readlink(file)
		if err != nil {
			return "", false
		}
		why = "a link to " + printable.Text(to) + ", which is not there"
	}
	return why, special
}

// unreadDefinition is the problem of a table whose definition cannot be read.
func unreadDefinition(frm, why string) string {
	return fmt.Sprintf("its definition %s cannot be read (%s)", frm, why)
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
