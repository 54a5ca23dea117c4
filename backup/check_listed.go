package backup

import (
	"context"
	"errors"
	"slices"
	"time"

	"mbk/internal/datadir/filename"
	"mbk/internal/repo"
	"mbk/internal/ui/printable"
	"mbk/stage"
)

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
		p.add(checkTables, GradeError, withoutDirectory+printable.List(lasting.databases))
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

const (
	withoutFiles     = "the server has tables whose files were not found in the data directory: "
	withoutDirectory = "the server has databases whose directories were not found in the data directory: "
	unlistedText     = "not listed by the server"
)

// shortNames is printable.List for tables.
func shortNames(tables []qualified) string {
	names := make([]string, len(tables))
	for i, q := range tables {
		names[i] = q.String()
	}
	return printable.List(names)
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
