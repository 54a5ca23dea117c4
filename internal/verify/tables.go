package verify

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"mbk/internal/hint"
	"mbk/internal/mariadbd"
	"mbk/internal/repo"
	"mbk/stage"
)

// maxCheckers bounds the connections that check tables at once.
const maxCheckers = 8

// tableChecks compares what a server on the recovered files has with the manifest, and has
// it check every table.
type tableChecks struct {
	*verification
	server   *stage.Server
	instance mariadbd.Instance              // of the server
	advice   func(mariadbd.Cause) hint.Text // what can be done about a server that lacked something
}

// check checks everything on a running server.
func (d *tableChecks) check(ctx context.Context) error {
	defer d.drill.checking(stepTables)()
	tables, err := d.server.Tables(ctx)
	if err != nil {
		return err
	}
	databases, err := d.server.Databases(ctx)
	if err != nil {
		return err
	}
	found := d.count()
	d.compareDatabases(databases)
	n := d.compare(tables)
	d.prove(found, "it knows all databases of the backup, and %s tables, views and sequences", allOf(n, len(d.m.Tables)))
	if err := d.awaitPurge(ctx); err != nil {
		return err
	}
	found = d.count()
	d.report.Tables, err = d.checkTables(ctx, tables)
	if err != nil {
		return err
	}
	d.prove(found, "CHECK TABLE finds nothing wrong with %d tables", d.report.Tables)
	return nil
}

// compare compares the server's list of tables with the manifest's, and returns how many
// it has as the manifest says.
func (d *tableChecks) compare(tables []stage.Table) (same int) {
	type name struct{ database, table string }
	have := map[name]stage.Table{}
	for _, t := range tables {
		have[name{t.Database, t.Name}] = t
	}
	for _, want := range d.m.Tables {
		key := name{want.Database, want.Name}
		got, ok := have[key]
		delete(have, key)
		label, known := want.Database+"."+want.Name, want.Problem != ""
		differs := got.Engine != want.Engine || got.Type != want.Type
		switch {
		case known && (!ok || got.Problem != "" || differs):
			d.wasSo(label, "%s", want.Problem)
		case !ok:
			d.add(repo.Finding{Table: label, Problem: "the server does not know it"})
		case got.Problem != "":
			d.weigh(got, []string{got.Problem}, nil)
		case differs:
			d.add(repo.Finding{Table: label,
				Problem: fmt.Sprintf("the server has a %s of engine %q, the backup a %s of engine %q", got.Type, got.Engine,
					want.Type, want.Engine)})
		default:
			same++
		}
	}
	for key := range have {
		if d.problems.Of(key.database, key.table) == "" { // else it has other letters there
			d.add(repo.Finding{Table: key.database + "." + key.table, Problem: "the server knows it, and the manifest does not"})
		}
	}
	return same
}

// allOf is "all 7", or "5 of 7".
func allOf(n, all int) string {
	if n == all {
		return fmt.Sprintf("all %d", n)
	}
	return fmt.Sprintf("%d of %d", n, all)
}

// compareDatabases compares the server's list of databases with the manifest's.
func (d *tableChecks) compareDatabases(have []string) {
	fold := strings.Compare
	if d.m.Server.Variables["lower_case_table_names"] == "1" {
		fold = func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) }
	}
	same := func(a string) func(b string) bool { return func(b string) bool { return fold(a, b) == 0 } }
	for _, dir := range d.m.Directories {
		inMemory, notOne := dir.Name == "performance_schema", strings.HasPrefix(dir.Path, "#")
		if !inMemory && !notOne && !slices.ContainsFunc(have, same(dir.Name)) {
			d.add(repo.Finding{Problem: fmt.Sprintf("the server does not know the database %s", dir.Name)})
		}
	}
	for _, name := range have {
		if !slices.ContainsFunc(d.m.Directories, func(dir repo.Directory) bool { return same(name)(dir.Name) }) {
			d.add(repo.Finding{Problem: fmt.Sprintf("the server knows the database %s, and the manifest does not", name)})
		}
	}
}

// awaitPurge waits until purge is done: before that, CHECK TABLE warns of records that it
// has not removed yet. A transaction that was left prepared can keep purge from ending;
// then it is enough that it makes no more progress.
func (d *tableChecks) awaitPurge(ctx context.Context) error {
	const poll, patience = 50 * time.Millisecond, 5 * time.Second
	c, err := d.server.Checker(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	last, moved := int64(-1), time.Now()
	for {
		n, err := c.History(ctx)
		if err != nil {
			return err
		}
		if n != last {
			last, moved = n, time.Now()
		}
		if n == 0 || time.Since(moved) > patience {
			return nil
		}
		d.meter.Say(fmt.Sprintf("purge has %d transactions to go", n), 0, 0)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(poll):
		}
	}
}

// checkTables has the tables checked over several connections and returns how
// many the server looked at as a whole.
func (d *tableChecks) checkTables(ctx context.Context, tables []stage.Table) (int64, error) {
	var list []stage.Table
	for _, t := range tables {
		if t.Checkable() {
			list = append(list, t)
		}
	}
	d.meter.Begin(PhaseCheck, int64(len(list)))
	var checked atomic.Int64
	err := onConnections(ctx, d.server, list, min(d.o.Workers, maxCheckers),
		func(ctx context.Context, c *stage.Checker, t stage.Table) error {
			messages, err := c.Check(ctx, t.Database, t.Name, d.o.Extended)
			if err != nil {
				return err
			}
			if d.judge(t, messages) {
				checked.Add(1)
			}
			d.meter.Add(1)
			return nil
		})
	d.meter.End()
	return checked.Load(), err
}

// onConnections calls do for every table, over several connections to a server, until one fails.
func onConnections(
	ctx context.Context, server *stage.Server, tables []stage.Table, connections int,
	do func(context.Context, *stage.Checker, stage.Table) error,
) error {
	queue := make(chan stage.Table)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(queue)
		for _, t := range tables {
			select {
			case queue <- t:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for range connections {
		group.Go(func() error {
			c, err := server.Checker(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			for t := range queue {
				if err := do(ctx, c, t); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// judge weighs what CHECK TABLE said, and reports whether it looked at the table. A table
// that it calls OK may still have warnings, such as that of a MyISAM table that was open
// when it was copied.
func (d *tableChecks) judge(t stage.Table, messages []stage.CheckMessage) bool {
	label := t.Database + "." + t.Name
	var bad, notes []string
	for _, m := range messages {
		switch kind := strings.ToLower(m.Type); { // "Error" is the server's, "error" the engine's
		case kind == "error" || kind == "status" && m.Text != "OK" && m.Text != "Table is already up to date" ||
			waitsForUpgrade(m.Text):
			bad = append(bad, m.Text)
		case kind != "status":
			notes = append(notes, m.Text)
		}
	}
	if problem := d.problems.Of(t.Database, t.Name); problem != "" && len(bad)+len(notes) > 0 {
		d.wasSo(label, "%s", problem)
		return len(bad) == 0
	}
	if len(bad) > 0 {
		d.weigh(t, bad, notes)
		return false
	}
	if len(notes) > 0 {
		d.note("%s: %s", label, strings.Join(notes, "; "))
	}
	return true
}

// weigh turns what the server says against a table into a finding, something that could
// not be checked, or something that was so on the source. "Corrupt" and the like end
// every answer about a table that could not be opened, and say nothing by themselves.
func (d *tableChecks) weigh(t stage.Table, bad, notes []string) {
	label := t.Database + "." + t.Name
	specific := slices.DeleteFunc(slices.Clone(bad),
		func(text string) bool { return text == "Corrupt" || text == "Operation failed" })
	all := func(is func(string) bool) bool {
		return len(specific) > 0 && !slices.ContainsFunc(specific, func(text string) bool { return !is(text) })
	}
	said := strings.Join(append(slices.Clone(bad), notes...), "; ")
	lacking := mariadbd.CauseUnknown
	for _, text := range specific {
		lacking = cmp.Or(lacking, mariadbd.CauseOf(text))
	}
	if lacking == mariadbd.CauseUnknown && all(mariadbd.SaysUnreadable) && d.instance.EncryptedTable(t.Database, t.Name) {
		lacking = mariadbd.CauseKey
	}
	switch {
	case all(waitsForUpgrade):
		d.wasSo(label, "it was made by an older release; mariadb-upgrade brings it up to date, and its rows can be checked "+
			"only then (%s)", specific[0])
	case all(isDiscarded) && d.withoutSpace(t):
		d.wasSo(label, "it was without a tablespace on the source")
	case lacking != mariadbd.CauseUnknown:
		d.leave(d.advice(lacking), "table %s: %s", label, said)
	default:
		d.add(repo.Finding{Table: label, Problem: said})
	}
}

// waitsForUpgrade recognises what a server says of a table that an older one made in a
// form which mariadb-upgrade changes.
func waitsForUpgrade(message string) bool {
	for _, text := range []string{
		"Table rebuild required", "Table upgrade required", "Upgrade required", "Partitioning upgrade required",
		"please do \"REPAIR TABLE", "Please do \"REPAIR TABLE", "Please do \"ALTER TABLE", "dump/reload to fix it",
		"needs to be upgraded", "Unknown data type: 'MYSQL_JSON'",
	} {
		if strings.Contains(message, text) {
			return true
		}
	}
	return false
}

// withoutSpace reports whether the backup holds no tablespace of a table.
func (d *tableChecks) withoutSpace(t stage.Table) bool {
	for _, known := range d.m.Tables {
		if known.Database == t.Database && known.Name == t.Name {
			return !slices.ContainsFunc(known.Files, func(i int) bool { return d.m.Files[i].Class == repo.ClassInnoDB })
		}
	}
	return false
}

// isDiscarded recognises what CHECK TABLE says of a table after ALTER TABLE ...
// DISCARD TABLESPACE.
func isDiscarded(message string) bool {
	return strings.Contains(message, "Tablespace has been discarded")
}
