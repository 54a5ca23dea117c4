package restore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"mbk/copier/pack"
	"mbk/internal/hint"
	"mbk/internal/mariadbd"
	"mbk/internal/repo"
	"mbk/internal/sys/fsuser"
	"mbk/stage"
)

// maxCheckers bounds the connections that check tables at once.
const maxCheckers = 8

// boot restores the backup into a scratch folder as Restore does, starts the
// server on it, has every table checked and compares the list of tables with
// that of the manifest.
func (v *verification) boot(ctx context.Context) (err error) {
	found, p := v.found(), v.plan
	s, err := newScratch(ctx, p.target, v.m.ID, v.o.Now())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.clean(v.o.KeepOnFailure && (err != nil || v.found() > found))) }()
	err = s.extractAll(ctx, v.o, v.m, p.settings.AriaDir, v.meter)
	if _, ok := errors.AsType[*pack.DamageError](err); ok { // since it was read the first time
		var f *repo.Finding
		if f, err = v.finding(ctx, repo.Folder(v.m.ID), err); f != nil {
			v.find(*f)
			return nil
		}
	}
	if err != nil {
		return err
	}
	if err := s.own(); err != nil {
		return err
	}
	e := p.engine(s, v.o)
	e.Known = v.problems.known()
	v.engine = e
	v.report.Server = e.Program.Version
	for _, w := range p.Warnings {
		v.note("%s", w)
	}
	rec, err := s.recover(ctx, e, v.m, v.meter)
	if err != nil {
		return v.recovery(err)
	}
	v.report.LSN = rec.LSN
	v.asKnownTables(rec.Known)
	for _, w := range rec.Warnings {
		v.note("recovery: %s", w)
	}
	v.prove(found, "mariadbd %s recovered the files up to LSN %d", e.Program.Version, rec.LSN)
	return v.check(ctx, e)
}

// retractIf takes findings back that were made since there were n, if something that has
// come to light since makes them doubtful.
func (v *verification) retractIf(doubtful bool, n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !doubtful {
		return
	}
	for _, f := range v.report.Findings[n:] {
		v.undone = append(v.undone, strings.TrimPrefix(f.Table+": "+f.Problem, ": "))
	}
	v.report.Findings = v.report.Findings[:n]
}

// recovery makes a finding of a failure of the server that speaks against the backup.
// Every other is one of the verification.
func (v *verification) recovery(err error) error {
	failed, ok := errors.AsType[*mariadbd.RunError](err)
	if !ok {
		return err
	}
	if advice := v.plan.advice(failed); !failed.Damaged() {
		return hint.Wrap(err, advice)
	}
	v.find(repo.Finding{Problem: failed.Error()})
	return nil
}

// bootPlan plans the restore into the scratch folder. Its target is never made:
// only its scratch folder is.
func (v *verification) bootPlan(ctx context.Context) (*Plan, error) {
	p := newPlan(v.o, v.m)
	path, err := fsuser.Resolve(filepath.Join(v.o.Scratch, "mbk-verify-"+plainID(v.o.Repository.Config().ID)))
	if mariadbd.Lacking(err) {
		return p, err
	}
	if err != nil {
		o := Objection{
			Problem: fmt.Sprintf("scratch folder: %v", err),
			Hint:    "name a folder that is there with " + hint.Option("scratch") + ", on a disk with room for all files",
		}
		if link, ok := errors.AsType[*fsuser.ForeignLinkError](err); ok {
			o.Hint = hint.Text(link.Advice())
		}
		p.object(o)
		return p, v.objections(p)
	}
	p.target = target{path: path, mode: 0o700}
	if err := p.findServer(ctx, v.o); err != nil {
		return p, err
	}
	p.Target = path
	p.settings.LogSize = min(p.settings.LogSize, 96<<20) // nobody will work on it
	var objection *Objection
	if p.target.owner, objection = chooseOwner(v.o, nil); objection != nil {
		p.object(*objection)
		return p, v.objections(p)
	}
	objections := p.target.inspectParent()
	p.object(objections...)
	if len(objections) == 0 {
		p.checkSpace(filepath.Dir(path), true)
	}
	p.checkServers(v.o)
	return p, v.objections(p)
}

// objections are those to starting a server.
func (v *verification) objections(p *Plan) error {
	return asError(fmt.Sprintf("start a server on it in %s", v.o.Scratch), p.Objections)
}

// check starts a server for connections and has it check the tables.
func (v *verification) check(ctx context.Context, e mariadbd.Instance) error {
	found := v.found()
	v.meter.begin(PhaseCheck, 0)
	// Damage is to be reported, not repaired.
	options := append([]string{"--aria-recover-options=OFF", "--myisam-recover-options=OFF"}, enginePlugins(v.m, e.Program)...)
	s, err := e.Serve(ctx, options...)
	if err == nil {
		defer s.Close()
		if err = v.checkServer(ctx, s.SQL); err != nil {
			err = s.Blame(err)
		} else {
			err = s.Stop(ctx)
		}
	}
	if err != nil && ctx.Err() == nil {
		if s != nil {
			s.Kill() // its log is whole then
			v.retractIf(s.Lacked(), found)
		}
		return v.recovery(err)
	}
	if err != nil {
		return err
	}
	if s.Lacked() && (v.found() > found || len(s.Damage()) > 0) {
		v.retractIf(true, found)
		failed := s.Failed(errors.New("the server lacked something while it looked at the tables"))
		return hint.Wrap(failed, failed.Advice())
	}
	for _, line := range s.Damage() {
		if e.MayLackKey(line) {
			v.leave(v.adviceOn(mariadbd.CauseKey), "the server's log says: %s", line)
			continue
		}
		v.find(repo.Finding{Problem: "the server's log says: " + line})
	}
	v.asKnownTables(s.Known())
	v.prove(found, "the server started on the files and shut down cleanly")
	return nil
}

// enginePlugins load the storage engines that the source had as plugins, as far
// as they are installed here.
func enginePlugins(m *repo.Manifest, program mariadbd.Program) []string {
	var options []string
	for _, p := range m.Server.Plugins {
		if p.Type != "STORAGE ENGINE" || !consistsOf(p.Library, pluginChars) {
			continue
		}
		if ok, err := program.HasPlugin(p.Library); ok && err == nil {
			options = append(options, "--plugin-load-add="+p.Library)
		}
	}
	if len(options) > 0 {
		options = append(options, "--plugin-maturity=unknown")
	}
	return slices.Compact(options)
}

// checkServer checks everything on a running server.
func (v *verification) checkServer(ctx context.Context, server *stage.Server) error {
	tables, err := server.Tables(ctx)
	if err != nil {
		return err
	}
	databases, err := server.Databases(ctx)
	if err != nil {
		return err
	}
	found := v.found()
	v.compareDatabases(databases)
	n := v.compare(tables)
	v.prove(found, "it knows all databases of the backup, and %s tables, views and sequences", allOf(n, len(v.m.Tables)))
	if err := v.awaitPurge(ctx, server); err != nil {
		return err
	}
	found = v.found()
	v.report.Tables, err = v.checkTables(ctx, server, tables)
	if err != nil {
		return err
	}
	v.prove(found, "CHECK TABLE finds nothing wrong with %d tables", v.report.Tables)
	return nil
}

// compare compares the server's list of tables with the manifest's, and returns how many
// it has as the manifest says.
func (v *verification) compare(tables []stage.Table) (same int) {
	type name struct{ database, table string }
	have := map[name]stage.Table{}
	for _, t := range tables {
		have[name{t.Database, t.Name}] = t
	}
	for _, want := range v.m.Tables {
		key := name{want.Database, want.Name}
		got, ok := have[key]
		delete(have, key)
		label, known := want.Database+"."+want.Name, want.Problem != ""
		differs := got.Engine != want.Engine || got.Type != want.Type
		switch {
		case known && (!ok || got.Problem != "" || differs):
			v.asKnown(want)
		case !ok:
			v.find(repo.Finding{Table: label, Problem: "the server does not know it"})
		case got.Problem != "":
			v.weigh(got, []string{got.Problem}, nil)
		case differs:
			v.find(repo.Finding{Table: label, Problem: fmt.Sprintf("the server has a %s of engine %q, the backup a %s of engine %q", got.Type, got.Engine, want.Type, want.Engine)})
		default:
			same++
		}
	}
	for key := range have {
		if v.problems.of(key.database, key.table) == "" { // else it has other letters there
			v.find(repo.Finding{Table: key.database + "." + key.table, Problem: "the server knows it, and the manifest does not"})
		}
	}
	return same
}

// asKnown notes a table that was so on the source.
func (v *verification) asKnown(t repo.Table) {
	v.source(t.Database+"."+t.Name, "%s", t.Problem)
}

// asKnownTables notes the tables of which the log of a server spoke.
func (v *verification) asKnownTables(names []string) {
	for _, p := range v.problems {
		if slices.Contains(names, p.table.Database+"."+p.table.Name) {
			v.asKnown(p.table)
		}
	}
}

// allOf is "all 7", or "5 of 7".
func allOf(n, all int) string {
	if n == all {
		return fmt.Sprintf("all %d", n)
	}
	return fmt.Sprintf("%d of %d", n, all)
}

// compareDatabases compares the server's list of databases with the manifest's.
func (v *verification) compareDatabases(have []string) {
	fold := strings.Compare
	if v.m.Server.Variables["lower_case_table_names"] == "1" {
		fold = func(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) }
	}
	same := func(a string) func(b string) bool { return func(b string) bool { return fold(a, b) == 0 } }
	for _, d := range v.m.Directories {
		inMemory, notOne := d.Name == "performance_schema", strings.HasPrefix(d.Path, "#")
		if !inMemory && !notOne && !slices.ContainsFunc(have, same(d.Name)) {
			v.find(repo.Finding{Problem: fmt.Sprintf("the server does not know the database %s", d.Name)})
		}
	}
	for _, name := range have {
		if !slices.ContainsFunc(v.m.Directories, func(d repo.Directory) bool { return same(name)(d.Name) }) {
			v.find(repo.Finding{Problem: fmt.Sprintf("the server knows the database %s, and the manifest does not", name)})
		}
	}
}

// awaitPurge waits until purge has come to rest: before, CHECK TABLE warns of
// records that it has not removed yet. A transaction that was left prepared can
// keep it from ending; then it is enough that it does not move any more.
func (v *verification) awaitPurge(ctx context.Context, server *stage.Server) error {
	const poll, patience = 50 * time.Millisecond, 5 * time.Second
	c, err := server.Checker(ctx)
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
		v.meter.say(fmt.Sprintf("purge has %d transactions to go", n), 0, 0)
		if err := sleep(ctx, poll); err != nil {
			return err
		}
	}
}

// checkable reports whether CHECK TABLE can tell something of a table's own data. It
// does not know sequences. Views depend on other objects, and may have been
// invalid on the source.
func checkable(t stage.Table) bool {
	switch t.Engine {
	case "", "FEDERATED", "MEMORY", "BLACKHOLE", "MRG_MyISAM", "PERFORMANCE_SCHEMA":
		return false
	}
	return t.Type != "VIEW" && t.Type != "SEQUENCE"
}

// checkTables has the tables checked over several connections and returns how
// many the server looked at as a whole.
func (v *verification) checkTables(ctx context.Context, server *stage.Server, tables []stage.Table) (int64, error) {
	var list []stage.Table
	for _, t := range tables {
		if checkable(t) {
			list = append(list, t)
		}
	}
	v.meter.begin(PhaseCheck, int64(len(list)))
	var checked atomic.Int64
	queue := make(chan stage.Table)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		defer close(queue)
		for _, t := range list {
			select {
			case queue <- t:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	for range min(v.o.Workers, maxCheckers) {
		group.Go(func() error {
			c, err := server.Checker(ctx)
			if err != nil {
				return err
			}
			defer c.Close()
			for t := range queue {
				messages, err := c.Check(ctx, t.Database, t.Name, v.o.Extended)
				if err != nil {
					return err
				}
				if v.judge(t, messages) {
					checked.Add(1)
				}
				v.meter.add(1)
			}
			return nil
		})
	}
	err := group.Wait()
	v.meter.end()
	return checked.Load(), err
}

// judge weighs what CHECK TABLE said, and reports whether it looked at the table. A table
// that it calls OK may still have warnings, such as that of a MyISAM table that was open
// when it was copied.
func (v *verification) judge(t stage.Table, messages []stage.CheckMessage) bool {
	label := t.Database + "." + t.Name
	var bad, notes []string
	for _, m := range messages {
		switch kind := strings.ToLower(m.Type); { // "Error" is the server's, "error" the engine's
		case kind == "error" || kind == "status" && m.Text != "OK" && m.Text != "Table is already up to date" || waitsForUpgrade(m.Text):
			bad = append(bad, m.Text)
		case kind != "status":
			notes = append(notes, m.Text)
		}
	}
	if problem := v.problems.of(t.Database, t.Name); problem != "" && len(bad)+len(notes) > 0 {
		v.source(label, "%s", problem)
		return len(bad) == 0
	}
	if len(bad) > 0 {
		v.weigh(t, bad, notes)
		return false
	}
	if len(notes) > 0 {
		v.note("%s: %s", label, strings.Join(notes, "; "))
	}
	return true
}

// weigh makes of what the server has against a table a finding, or something that could
// not be looked at, or that was so on the source. "Corrupt" and the like, with which it
// ends every answer to a table that it could not open, say nothing of their own.
func (v *verification) weigh(t stage.Table, bad, notes []string) {
	label := t.Database + "." + t.Name
	specific := slices.DeleteFunc(slices.Clone(bad), func(text string) bool { return text == "Corrupt" || text == "Operation failed" })
	all := func(is func(string) bool) bool {
		return len(specific) > 0 && !slices.ContainsFunc(specific, func(text string) bool { return !is(text) })
	}
	said := strings.Join(append(slices.Clone(bad), notes...), "; ")
	lacking := mariadbd.CauseUnknown
	for _, text := range specific {
		lacking = cmp.Or(lacking, mariadbd.CauseOf(text))
	}
	if lacking == mariadbd.CauseUnknown && all(mariadbd.SaysUnreadable) && v.engine.EncryptedTable(t.Database, t.Name) {
		lacking = mariadbd.CauseKey
	}
	switch {
	case all(waitsForUpgrade):
		v.source(label, "it was made by an older release; mariadb-upgrade brings it up to date, and its rows can be checked only then (%s)", specific[0])
	case all(isDiscarded) && v.withoutSpace(t):
		v.source(label, "it was without a tablespace on the source")
	case lacking != mariadbd.CauseUnknown:
		v.leave(v.adviceOn(lacking), "table %s: %s", label, said)
	default:
		v.find(repo.Finding{Table: label, Problem: said})
	}
}

// adviceOn is what can be done about a server that lacked something.
func (v *verification) adviceOn(c mariadbd.Cause) hint.Text {
	failed := &mariadbd.RunError{Cause: c}
	if v.plan == nil {
		return failed.Advice()
	}
	return v.plan.advice(failed)
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
func (v *verification) withoutSpace(t stage.Table) bool {
	for _, known := range v.m.Tables {
		if known.Database == t.Database && known.Name == t.Name {
			return !slices.ContainsFunc(known.Files, func(i int) bool { return v.m.Files[i].Class == repo.ClassInnoDB })
		}
	}
	return false
}

// isDiscarded recognises what CHECK TABLE says of a table after ALTER TABLE ...
// DISCARD TABLESPACE.
func isDiscarded(message string) bool {
	return strings.Contains(message, "Tablespace has been discarded")
}
