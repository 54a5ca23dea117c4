package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/mariadbd"
	"mbk/internal/repo"
	"mbk/internal/restore"
	"mbk/stage"
)

// bootDepth proves that the real server recovers the backup, and finds its tables right.
type bootDepth struct {
	*verification
	plan  *restore.Plan
	files *restore.Prepared
}

// run prepares the backup as Restore does, starts the server on it, has every table
// checked and compares the list of tables with that of the manifest.
func (d *bootDepth) run(ctx context.Context) (err error) {
	found := d.count()
	d.drill.planned(d.o.Now())
	d.files, err = d.plan.Prepare(ctx)
	if one, _ := damageOf(err); one != nil { // since it was read the first time
		d.add(*one)
		return nil
	}
	if _, ran := errors.AsType[*mariadbd.RunError](err); ran || err == nil {
		d.report.Server = d.plan.Mariadbd.Version
		for _, w := range d.plan.Warnings {
			d.note("%s", w)
		}
	}
	if err != nil {
		return d.weighRun(err)
	}
	defer func() {
		if d.files == nil {
			return
		}
		err = errors.Join(err, d.files.Close(d.o.KeepOnFailure && (err != nil || d.count() > found)))
	}()
	d.report.LSN = d.files.LSN
	d.drill.prepared(d.files.Elapsed())
	d.asKnown(d.files.Known)
	for _, w := range d.files.Warnings {
		d.note("recovery: %s", w)
	}
	d.prove(found, "mariadbd %s recovered the files up to LSN %d", d.report.Server, d.files.LSN)
	if err = d.check(ctx); err == nil && d.plan.Replay != nil && d.count() == found {
		err = d.goOn(ctx)
	}
	return err
}

// goOn has the server go on to the moment of the plan, and checks the tables that it has then. What
// is wrong with the log is no damage of the backup.
func (d *bootDepth) goOn(ctx context.Context) error {
	planned := d.plan.Replay
	r := &repo.Replayed{Moment: planned.Moment, Timeline: planned.Timeline, Files: planned.Files, To: planned.To,
		Last: planned.LastTime, Verdict: repo.Verdict{Outcome: repo.VerdictProven}}
	began := time.Now()
	files, err := d.plan.GoOn(ctx, d.files)
	d.drill.recovered(stepReplay, time.Since(began).Milliseconds())
	if err != nil {
		d.files = nil // closed
	} else {
		d.files, err = files, d.checkMoment(ctx, files)
	}
	_, refused := errors.AsType[*stage.ReplicationError](err)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		with := "the timeline " + r.Timeline
		if r.Files != "" {
			with = "the binary log in " + r.Files
		}
		found := d.count()
		d.prove(found, "the server went on to GTID %s with %s, has exactly that, and CHECK TABLE finds nothing wrong",
			r.To, with)
	case fault.Of(err) == fault.Damage || refused || errors.Is(err, errTables):
		r.Verdict = repo.Verdict{Outcome: repo.VerdictDamaged, Reason: err.Error()}
	default:
		r.Verdict = repo.Verdict{Outcome: repo.VerdictUndone, Reason: err.Error()}
	}
	d.report.Replay = r
	if r.Outcome == repo.VerdictUndone {
		return err
	}
	return nil
}

// errTables is returned by checkMoment for tables that the server finds wrong.
var errTables = errors.New("CHECK TABLE finds something wrong after the replay")

// checkMoment has a server check all tables that there are after the replay.
func (d *bootDepth) checkMoment(ctx context.Context, files *restore.Prepared) error {
	s, err := d.serve(ctx, files, true)
	if err != nil {
		return d.plan.Advise(err)
	}
	defer s.Close()
	tables, err := s.SQL.Tables(ctx)
	if err != nil {
		return s.Blame(err)
	}
	// What is found here must not speak against the backup.
	of := *d.verification
	of.findings = newFindings(d.report.ID, d.report.Depth, d.o.Now())
	checks := &tableChecks{&of, s.SQL, files.Instance(), d.adviceOn}
	end := d.drill.checking(stepTables)
	if err = checks.awaitPurge(ctx); err == nil {
		_, err = checks.checkTables(ctx, tables)
	}
	end()
	if err != nil {
		return s.Blame(err)
	}
	if of.count() > 0 {
		f := of.report.Findings[0]
		return fmt.Errorf("%w: %s: %s", errTables, f.Table, f.Problem)
	}
	checks.findings = d.findings // notes about rows
	if err = checks.countRows(ctx); err != nil {
		return s.Blame(err)
	}
	return s.Stop(ctx)
}

// weighRun makes a finding of a failure of the server that speaks against the backup.
// Every other is one of the verification.
func (d *bootDepth) weighRun(err error) error {
	failed, ok := errors.AsType[*mariadbd.RunError](err)
	if !ok || !failed.Damaged() {
		return err
	}
	d.add(repo.Finding{Problem: failed.Error()})
	return nil
}

// check starts a server for connections and has it check the tables.
func (d *bootDepth) check(ctx context.Context) error {
	found := d.count()
	d.meter.Begin(PhaseCheck, 0)
	// Damage is to be reported, not repaired.
	last := d.plan.Replay == nil
	s, err := d.serve(ctx, d.files, last, "--aria-recover-options=OFF", "--myisam-recover-options=OFF")
	if err == nil {
		defer s.Close()
		tables := &tableChecks{d.verification, s.SQL, d.files.Instance(), d.adviceOn}
		if err = tables.check(ctx); err == nil && last {
			err = tables.countRows(ctx)
		}
		if err != nil {
			err = s.Blame(err)
		} else {
			err = s.Stop(ctx)
		}
	}
	if err != nil && ctx.Err() == nil {
		if s != nil {
			s.Kill() // its log is whole then
			if s.Lacked() {
				d.retract(found)
			}
		}
		return d.weighRun(d.plan.Advise(err))
	}
	if err != nil {
		return err
	}
	if s.Lacked() && (d.count() > found || len(s.Damage()) > 0) {
		d.retract(found)
		failed := s.Failed(errors.New("the server lacked something while it looked at the tables"))
		return hint.Wrap(failed, failed.Advice())
	}
	for _, line := range s.Damage() {
		if d.files.Instance().MayLackKey(line) {
			d.leave(d.adviceOn(mariadbd.CauseKey), "the server's log says: %s", line)
			continue
		}
		d.add(repo.Finding{Problem: "the server's log says: " + line})
	}
	d.asKnown(s.Known())
	d.prove(found, "the server started on the files and shut down cleanly")
	return nil
}

// asKnown notes tables of which the log of a server spoke, and that were so on the source.
func (d *bootDepth) asKnown(names []string) {
	for _, t := range d.problems {
		if label := t.Database + "." + t.Name; slices.Contains(names, label) {
			d.wasSo(label, "%s", t.Problem)
		}
	}
}

// adviceOn is what can be done about a server that lacked something.
func (d *bootDepth) adviceOn(c mariadbd.Cause) hint.Text {
	return d.plan.Advice(&mariadbd.RunError{Cause: c})
}
