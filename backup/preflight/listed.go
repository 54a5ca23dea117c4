package preflight

import (
	"context"
	"errors"
	"slices"
	"time"

	"mbk/internal/datadir"
	"mbk/internal/datadir/filename"
	"mbk/internal/repo"
	"mbk/internal/ui/printable"
	"mbk/stage"
)

// checkListed compares what the server lists with what the scan has found. A running
// DDL looks like a difference, so a difference must persist for a while.
func (r *Report) checkListed(ctx context.Context, o Options) error {
	const tries, pause = 4, 200 * time.Millisecond
	var lasting datadir.Difference
	for i := range tries {
		if i > 0 {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(pause):
			}
		}
		listed, err := ListTables(ctx, o.Server)
		if err != nil {
			return err
		}
		if i > 0 {
			if r.first, err = r.Layout.Scan(ctx); err != nil {
				return err
			}
		}
		found := r.compare(listed)
		if i == 0 {
			lasting = found
		}
		if lasting = lasting.Intersect(found); lasting.Empty() {
			return nil
		}
	}
	if len(lasting.Databases) > 0 {
		r.Add(CheckTables, GradeError, WithoutDirectory+printable.List(lasting.Databases))
	}
	if r.Unlisted = lasting.Surplus; len(r.Unlisted) > 0 {
		r.note(CheckTables, GradeWarning, "the server does not list these tables and cannot open them: "+
			datadir.ListNames(r.Unlisted), "they are in the backup as they are; drop their files if nobody needs them")
	}
	return r.addMissing(ctx, o, lasting.Missing)
}

// compare compares a scan with what the server lists.
func (r *Report) compare(listed datadir.Listing) datadir.Difference {
	var ours []datadir.TableName
	for _, e := range r.first.Entries {
		if e.IsDefinition() || e.Discovered() {
			ours = append(ours, e.Key().SQL())
		}
	}
	compare := r.Layout.Reconciler(r.first)
	d := compare.Tables(ours, listed.Tables)
	d.Missing = slices.DeleteFunc(d.Missing, func(q datadir.TableName) bool {
		return r.Layout.Selection != nil && !r.Layout.Selection.Filter.Table(q.Database, q.Name) ||
			slices.Contains(r.first.Closed, filename.Encode(q.Database))
	})
	databases := slices.Clone(r.first.ExcludedDatabases)
	for _, dir := range r.first.Databases {
		databases = append(databases, filename.SQL(dir))
	}
	d.Databases = compare.Databases(r.Layout, databases, listed.Databases)
	return d
}

// addMissing reports tables without files. Those of an engine that keeps everything
// elsewhere, such as S3, are left out like other unsupported ones. Those whose definition
// the server cannot read either have a problem.
func (r *Report) addMissing(ctx context.Context, o Options, tables []datadir.TableName) error {
	var lost []datadir.TableName
	var broken []datadir.TableProblem
	for _, q := range tables {
		why, special := r.Layout.DefinitionProblem(q)
		if special {
			continue // checkUnread names it. The server must not be asked: it would wait for a FIFO, too
		}
		info, err := o.Server.TableInfo(ctx, q.Database, q.Name)
		gone := errors.Is(err, stage.ErrNoTable)
		switch {
		case err != nil && !gone:
			return err
		case why != "" && (gone || info.Problem != ""):
			frm := datadir.DefinitionOf(q).Path()
			r.Layout.BadDefinitions[frm] = datadir.BadDefinition(frm, why)
			broken = append(broken, datadir.TableProblem{Table: q, Problem: r.Layout.BadDefinitions[frm]})
		case info.Engine == "" || datadir.SupportedEngine(info.Engine):
			lost = append(lost, q)
		default:
			r.Fileless = append(r.Fileless, repo.LeftOut{
				Database: q.Database, Name: q.Name, Engine: info.Engine, Reason: datadir.OutsideReason,
			})
		}
	}
	r.noteProblems(broken)
	if len(lost) > 0 {
		r.Add(CheckTables, GradeError, WithoutFiles+datadir.ListNames(lost))
	}
	return nil
}

// What is said of tables and databases that the server lists and the scan has not found.
const (
	WithoutFiles     = "the server has tables whose files were not found in the data directory: "
	WithoutDirectory = "the server has databases whose directories were not found in the data directory: "
)

// ListTables asks the server for its databases and tables.
func ListTables(ctx context.Context, server *stage.Server) (l datadir.Listing, err error) {
	names, err := server.TableNames(ctx)
	if err != nil {
		return datadir.Listing{}, err
	}
	l.Tables = make([]datadir.TableName, 0, len(names))
	for _, n := range names {
		l.Tables = append(l.Tables, datadir.TableName{Database: n.Database, Name: n.Name})
	}
	l.Databases, err = server.Databases(ctx)
	return l, err
}
