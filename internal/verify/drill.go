package verify

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"mbk/internal/binlog"
	"mbk/internal/hint"
	"mbk/internal/mariadbd"
	"mbk/internal/repo"
	"mbk/internal/restore"
	"mbk/stage"
)

// Steps of a drill, in repo.Drill.Recovery and Checks.
const (
	stepPlan    = "plan"    // the manifest is read, and the restore planned
	stepExtract = "extract" // the files are laid down
	stepRecover = "recover" // the server applies the redo log
	stepReplay  = "replay"  // and goes on with the archive
	stepSync    = "sync"    // all that reaches the disk
	stepStart   = "start"   // the server starts and answers
	stepTables  = "check tables"
	stepRows    = "count rows"
)

// compareWorkers is the number of connections that count rows on the running server, which
// has other work to do.
const compareWorkers = 2

// drill measures a drill. Nothing is measured with a nil one.
type drill struct {
	began   time.Time
	compare *stage.Server      // nil: none
	running *stage.Binlog      // where that was when the drill began; nil if it writes no binary log
	last    *repo.Verification // the previous drill, nil if there was none
	done    repo.Drill
}

// newDrill begins a drill, if one is wanted.
func newDrill(ctx context.Context, o Options) (*drill, error) {
	if !o.Drill {
		return nil, nil
	}
	d := &drill{began: o.Now().UTC(), compare: o.Compare, done: repo.Drill{Checks: []repo.Step{}}}
	var err error
	if d.compare == nil {
		d.last, err = o.Repository.LastDrill(ctx, d.began)
		return d, err
	}
	may, err := d.compare.MaySelect(ctx)
	if err != nil {
		return nil, err
	}
	if !may {
		return nil, hint.Wrap(fmt.Errorf("count the rows of the running server: %w", stage.ErrPrivilege),
			"the account needs SELECT ON *.* for that; without the comparison it is not needed")
	}
	d.running, err = d.compare.Binlog(ctx)
	return d, err
}

// recovered adds a step that a restore has to wait for.
func (d *drill) recovered(name string, ms int64) {
	if d != nil {
		d.done.Recovery = append(d.done.Recovery, repo.Step{Name: name, MS: ms})
		d.done.RecoveryMS += ms
	}
}

// checking measures a step that comes after that. Equal steps are added up.
func (d *drill) checking(name string) (end func()) {
	if d == nil {
		return func() {}
	}
	began := time.Now()
	return func() {
		took := time.Since(began).Milliseconds()
		if i := slices.IndexFunc(d.done.Checks, func(s repo.Step) bool { return s.Name == name }); i >= 0 {
			d.done.Checks[i].MS += took
			return
		}
		d.done.Checks = append(d.done.Checks, repo.Step{Name: name, MS: took})
	}
}

// planned is called when the restore begins.
func (d *drill) planned(now time.Time) {
	if d != nil {
		d.recovered(stepPlan, now.Sub(d.began).Milliseconds())
	}
}

// prepared is called when the files were extracted and recovered.
func (d *drill) prepared(took restore.Elapsed) {
	d.recovered(stepExtract, took.Extract)
	d.recovered(stepRecover, took.Recover)
}

// serve starts the server on the files. If it is that of the moment to which the drill was to
// come, the server is back when it answers.
func (d *bootDepth) serve(
	ctx context.Context, files *restore.Prepared, last bool, options ...string,
) (*mariadbd.Server, error) {
	if d.drill == nil || !last {
		return files.Serve(ctx, options...)
	}
	began := time.Now()
	if err := files.Sync(); err != nil {
		return nil, err
	}
	d.drill.recovered(stepSync, time.Since(began).Milliseconds())
	began = time.Now()
	s, err := files.Serve(ctx, options...)
	if err != nil {
		return nil, err
	}
	d.drill.recovered(stepStart, time.Since(began).Milliseconds())
	d.drill.done.Point, err = d.reached()
	if err != nil {
		s.Close()
		return nil, err
	}
	d.report.Drill = &d.drill.done
	return s, nil
}

// reached is the moment to which the drill has come.
func (d *bootDepth) reached() (repo.Reached, error) {
	p := repo.Reached{LSN: uint64(d.report.LSN), Time: d.m.Finished}
	for _, s := range d.m.Stages {
		if s.Name == stage.BlockCommit.String() { // from then on nothing was committed
			p.Time = s.Granted
		}
	}
	if d.m.Binlog != nil {
		p.GTID = d.m.Binlog.GTID
	}
	if r := d.plan.Replay; r != nil {
		p.GTID = r.To
		if !r.LastTime.IsZero() {
			p.Time = r.LastTime
		}
	}
	p.AgeMS = max(d.drill.began.Sub(p.Time).Milliseconds(), 0)
	if d.drill.running == nil || d.drill.running.GTID == "" || p.GTID == "" {
		return p, nil
	}
	there, err := binlog.ParsePosition(d.drill.running.GTID)
	if err != nil {
		return p, err
	}
	here, err := binlog.ParsePosition(p.GTID)
	if err != nil {
		return p, err
	}
	var lost int64
	for domain, g := range there {
		if at := here[domain].Sequence; g.Sequence > at {
			lost += int64(g.Sequence - at)
		}
	}
	p.Lost = &lost
	return p, nil
}

// countRows counts the rows of the restored server, and compares them with those of the running
// one or of the previous drill. They differ whenever people work; so no verdict comes of it.
func (d *tableChecks) countRows(ctx context.Context) error {
	if d.drill == nil {
		return nil
	}
	defer d.drill.checking(stepRows)()
	here, err := d.rowsOf(ctx, d.server, min(d.o.Workers, maxCheckers), "the restored server")
	if err != nil {
		return err
	}
	r := newRows(here)
	switch last := d.drill.last; {
	case d.drill.compare != nil:
		there, err := d.rowsOf(ctx, d.drill.compare, compareWorkers, "the running server")
		if err != nil {
			return err
		}
		r.With = repo.ComparedServer
		d.compareRows(r, here, there, true)
	case last != nil && last.Drill.Rows != nil:
		r.With = last.ID
		there := map[string]int64{}
		for _, t := range last.Drill.Rows.Counts {
			there[t.Table] = t.Rows
		}
		d.compareRows(r, here, there, int64(len(there)) == last.Drill.Rows.Tables)
	}
	d.drill.done.Rows = r
	return nil
}

// rowsOf counts the rows of all tables of users on a server, whose part in the drill where says.
func (d *tableChecks) rowsOf(
	ctx context.Context, s *stage.Server, workers int, where string,
) (map[string]int64, error) {
	tables, err := s.Tables(ctx)
	if err != nil {
		return nil, err
	}
	tables = slices.DeleteFunc(tables, func(t stage.Table) bool {
		return !t.Checkable() || t.Problem != "" || t.Database == "mysql" || t.Database == "sys"
	})
	d.meter.Begin(PhaseRows, int64(len(tables)))
	defer d.meter.End()
	counted, mu := map[string]int64{}, sync.Mutex{}
	err = onConnections(ctx, s, tables, workers, func(ctx context.Context, c *stage.Checker, t stage.Table) error {
		defer d.meter.Add(1)
		n, err := c.Rows(ctx, t.Database, t.Name)
		if err != nil && ctx.Err() == nil && s.Ping(ctx) == nil {
			d.note("rows of %s.%s on %s: %v", t.Database, t.Name, where, err)
			return nil
		}
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		counted[t.Database+"."+t.Name] = n
		return nil
	})
	return counted, err
}

// newRows describes the rows that were counted.
func newRows(here map[string]int64) *repo.Rows {
	r := &repo.Rows{Tables: int64(len(here)), Counts: []repo.TableRows{}, Differences: []repo.RowsInTables{}}
	for name, n := range here {
		r.Rows += n
		r.Counts = append(r.Counts, repo.TableRows{Table: name, Rows: n})
	}
	slices.SortFunc(r.Counts, func(a, b repo.TableRows) int {
		return cmp.Or(cmp.Compare(b.Rows, a.Rows), cmp.Compare(a.Table, b.Table))
	})
	r.Counts = r.Counts[:min(len(r.Counts), repo.MaxRowCounts)]
	return r
}

// compareRows compares rows. all says that there has every table that was there.
func (d *tableChecks) compareRows(r *repo.Rows, here, there map[string]int64, all bool) {
	for name, was := range there {
		n, ok := here[name]
		switch {
		case ok && n == was:
			r.Same++
			continue
		case !ok:
			r.Differences = append(r.Differences, repo.RowsInTables{Table: name, There: &was})
		default:
			r.Differences = append(r.Differences, repo.RowsInTables{Table: name, Here: &n, There: &was})
		}
		if n == 0 && was > 0 {
			d.note("%s has no rows; it had %d %s", name, was, otherPlace(r.With))
		}
	}
	for name, n := range here {
		if _, ok := there[name]; !ok && all {
			r.Differences = append(r.Differences, repo.RowsInTables{Table: name, Here: &n})
		}
	}
	r.Differ = int64(len(r.Differences))
	slices.SortFunc(r.Differences, func(a, b repo.RowsInTables) int {
		return cmp.Or(cmp.Compare(apart(b), apart(a)), cmp.Compare(a.Table, b.Table))
	})
	r.Differences = r.Differences[:min(len(r.Differences), repo.MaxRowDifferences)]
}

// otherPlace is what rows were compared with, in words.
func otherPlace(with string) string {
	if with == repo.ComparedServer {
		return "on the running server"
	}
	return "in the drill of " + with
}

// apart is by how many rows two tables differ.
func apart(t repo.RowsInTables) int64 {
	var n int64
	if t.Here != nil {
		n = *t.Here
	}
	if t.There != nil {
		n -= *t.There
	}
	return max(n, -n)
}
