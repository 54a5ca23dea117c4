package restore

import (
	"cmp"
	"context"
	"errors"
	"path/filepath"
	"slices"

	"mbk/internal/hint"
	"mbk/internal/mariadbd"
	"mbk/internal/sys/fsuser"
	"mbk/internal/ui/meter"
)

// Prepared is a backup that was extracted into a scratch folder and recovered there: it is
// as the source was when the backup ended, and nothing of it is in its place yet. The
// caller closes it.
type Prepared struct {
	mariadbd.Recovery // of a raw restore, empty

	Notes []hint.Text // about the replay

	plan     *Plan
	scratch  *scratch
	instance mariadbd.Instance // the server that recovered the files
	meter    *meter.Meter
	elapsed  Elapsed
}

// Prepare extracts and recovers the backup. After an error nothing is left, unless
// KeepOnFailure is set.
//
// Errors: *BusyError, *pack.DamageError and repo.ErrDamaged for damage in the
// repository, *mariadbd.RunError.
func (p *Plan) Prepare(ctx context.Context) (_ *Prepared, err error) {
	s, err := newScratch(ctx, p.target, p.ID, p.opts.Now())
	if err != nil {
		return nil, err
	}
	b := &Prepared{plan: p, scratch: s, meter: meter.New(p.opts.OnProgress)}
	if p.Mariadbd != nil {
		b.instance = p.instance(s)
	}
	err = inOrder(ctx, []step{
		// Every byte is checked on the way, so damage shows before anything is placed.
		{&b.elapsed.Extract, b.extract},
		// A copy of a server that was at work is made consistent by the real server, or,
		// with Raw, by the first that is started on it.
		{&b.elapsed.Recover, b.recover},
	})
	if err != nil {
		return nil, errors.Join(err, b.Close(p.opts.KeepOnFailure))
	}
	return b, nil
}

// extract lays the files down, and reads what else the packs hold.
func (b *Prepared) extract(ctx context.Context) error {
	p := b.plan
	if err := b.scratch.outside.open(p.outside); err != nil {
		return err
	}
	if err := b.scratch.extractAll(ctx, p.opts.Preparation, p.chain, p.manifest, p.settings.AriaDir,
		b.meter); err != nil {
		return err
	}
	if !p.whole {
		return nil
	}
	return checkUnreferenced(ctx, p.chain.Backup(), p.opts.Workers)
}

// recover has the real server recover the files.
func (b *Prepared) recover(ctx context.Context) error {
	if b.plan.Raw {
		return nil
	}
	if err := b.scratch.own(); err != nil {
		return err
	}
	return b.plan.Advise(b.recoverFiles(ctx))
}

// recoverFiles has the server make the extracted files consistent. Of a filtered backup
// the server leaves out what is not wanted.
func (b *Prepared) recoverFiles(ctx context.Context) (err error) {
	m, i, data := b.plan.manifest, b.instance, b.scratch.tree
	left := partial{data, m}
	if m.Filter != nil {
		if m, err = fsuser.Value(data.as, left.prepare); err != nil {
			return err
		}
		left.m = m
	}
	i.Partial, i.EncryptedRedo = m.Filter != nil, len(m.Redo.Crypt) > 0
	b.meter.Begin(PhaseRecover, 0)
	if b.Recovery, err = i.Recover(ctx, m.LSN.End, len(m.Damaged) > 0, b.meter.Say); err != nil {
		return err
	}
	b.meter.End()
	if err := data.as.Do(func() error { return closeAria(data.path, m) }); err != nil {
		return err
	}
	if err := data.as.Do(external{data, &b.scratch.outside, m}.forgetDataDirs); err != nil {
		return err
	}
	if m.Filter != nil {
		if err := data.as.Do(left.removeSurplus); err != nil {
			return err
		}
	}
	o := orphans{instance: i, m: m}
	warnings, err := o.drop(ctx, b.meter)
	b.Warnings = append(slices.Clone(b.Warnings), warnings...)
	return err
}

// Elapsed is how long the phases took so far.
func (b *Prepared) Elapsed() Elapsed { return b.elapsed }

// Sync waits until all files are on stable storage, as a restore does before it puts them in
// place.
func (b *Prepared) Sync() error { return b.scratch.sync() }

// Instance is the server that recovered the files.
func (b *Prepared) Instance() mariadbd.Instance { return b.instance }

// Serve starts the server on the files, with the storage engines that the source had as
// plugins, as far as they are installed here. If it does not come up the error is a
// *mariadbd.RunError. The caller closes the server before the backup.
func (b *Prepared) Serve(ctx context.Context, options ...string) (*mariadbd.Server, error) {
	return b.instance.Serve(ctx, append(options, enginePlugins(b.plan.manifest, b.instance.Program)...)...)
}

// upgrade has a newer server bring the files to its series, if the plan says so.
func (b *Prepared) upgrade(ctx context.Context, r *Result) error {
	u := b.plan.Upgrade
	if u == nil {
		return nil
	}
	warnings, err := upgrade(ctx, b.plan.upgradeInstance(b.scratch), u.Tool, b.plan.manifest, b.meter)
	if failed, ok := errors.AsType[*mariadbd.RunError](err); ok {
		if failed.Damaged() { // of files that were recovered without any
			failed.Cause = mariadbd.CauseUnknown
		}
		return hint.Wrap(err, failed.Advice())
	}
	if err != nil {
		return err
	}
	r.UpgradedTo = u.Mariadbd.Version
	r.Warnings = append(r.Warnings, warnings...)
	return nil
}

// joinCluster makes the data those of a node of its Galera cluster, if that is wanted.
func (b *Prepared) joinCluster() error {
	if !b.plan.opts.GaleraNode {
		return nil
	}
	data := b.scratch.tree
	return data.as.Do(func() error { return data.writeGrastate(b.plan.manifest.Galera) })
}

// place puts the files where they belong.
func (b *Prepared) place(ctx context.Context, r *Result) error {
	b.meter.Begin(PhasePlace, 0)
	if err := b.scratch.place(firstEntry(b.plan.manifest)); err != nil {
		return err
	}
	if w := b.plan.target.relabel(ctx, seLinux); w != "" {
		r.Warnings = append(r.Warnings, w)
	}
	b.meter.End()
	return nil
}

// Close removes what is left in the scratch folder, or leaves it for a look.
func (b *Prepared) Close(keep bool) error { return b.scratch.clean(keep) }

// instance is the server that recovers the files in the scratch folder.
func (p *Plan) instance(s *scratch) mariadbd.Instance {
	redo := int64(p.manifest.LSN.End - p.manifest.LSN.Checkpoint)
	return mariadbd.Instance{
		Program: *p.Mariadbd, Settings: p.settingsFor(*p.Mariadbd), Owner: p.target.owner.user(), Writer: p.target.writer,
		Data: s.data(), Temp: s.tmp(), Log: filepath.Join(s.dir, serverLog),
		Buffer: cmp.Or(p.opts.Memory, mariadbd.BufferSize(redo)), Options: p.opts.MariadbdArgs,
		Known: knownTables(p.manifest),
	}
}
