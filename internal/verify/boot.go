package verify

import (
	"context"
	"errors"
	"slices"

	"mbk/internal/hint"
	"mbk/internal/mariadbd"
	"mbk/internal/repo"
	"mbk/internal/restore"
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
		err = errors.Join(err, d.files.Close(d.o.KeepOnFailure && (err != nil || d.count() > found)))
	}()
	d.report.LSN = d.files.LSN
	d.asKnown(d.files.Known)
	for _, w := range d.files.Warnings {
		d.note("recovery: %s", w)
	}
	d.prove(found, "mariadbd %s recovered the files up to LSN %d", d.report.Server, d.files.LSN)
	return d.check(ctx)
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
	s, err := d.files.Serve(ctx, "--aria-recover-options=OFF", "--myisam-recover-options=OFF")
	if err == nil {
		defer s.Close()
		tables := &tableChecks{d.verification, s.SQL, d.files.Instance(), d.adviceOn}
		if err = tables.check(ctx); err != nil {
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
