package backup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"sync"
	"time"

	"mbk/backup/preflight"
	"mbk/copier"
	"mbk/copier/pack"
	"mbk/internal/datadir"
	"mbk/internal/datadir/filename"
	"mbk/internal/hint"
	"mbk/internal/input/limit"
	"mbk/internal/repo"
	"mbk/internal/repo/store"
	"mbk/internal/ui/printable"
	"mbk/stage"
)

// attempt is one try of a backup: its steps, and the members that they work with. All
// of it belongs to one goroutine, except where a member says otherwise.
type attempt struct {
	opts    Options
	found   *preflight.Report
	draft   *repo.Draft  // what it writes
	journal *journal     // what it tells of itself when it is over
	sampler *sampler     // and how that came about
	aborter aborter      // ends it at once
	server  *connections // to the server
	session *session     // of this process, and its priority
	guard   *guard       // until the server is locked
	scanned datadir.Scan // the last one
	copies  *copies      // which file was copied, and which copy still holds
	aria    *ariaLogs
	redo    *redoCopy
	imports *imports // what the redo does not tell
	held    *heldTables
	lineage *ancestry
	resume  *resume   // what it goes on with
	written *progress // what the next one can go on with
	final   *finalState
	logged  *stage.Binlog // where the binary log was just before BLOCK_DDL; nil: there is none
}

// aborter ends an attempt when a part of it fails that the attempt does not wait for.
type aborter struct {
	cancel   context.CancelCauseFunc // ends the attempt with its true cause
	watchers sync.WaitGroup
}

// watch ends the attempt with why when the channel is closed.
func (b *aborter) watch(ctx context.Context, failed <-chan struct{}, why func() error) {
	b.watchers.Go(func() {
		select {
		case <-failed:
			b.cancel(why())
		case <-ctx.Done():
		}
	})
}

// stop waits until nothing is watched any more.
func (b *aborter) stop() {
	b.cancel(nil)
	b.watchers.Wait()
}

// step is a part of a backup. Its name is shown as progress.
type step struct {
	name string
	do   func(context.Context) error
}

func runAttempt(
	ctx context.Context, o Options, found *preflight.Report, from *resume, held *heldTables, try int,
) (m *repo.Manifest, err error) {
	now := time.Now().UTC()
	kind := repo.KindFull
	if found.Parent != nil {
		kind = repo.KindIncremental
	}
	id, err := o.Repository.FreshID(ctx, now, kind)
	if err != nil {
		return nil, err
	}
	a := &attempt{
		opts: o, found: found, draft: o.Repository.Draft(id), server: &connections{opts: o},
		session: &session{log: o.Logger}, guard: newGuard(o),
		held: held, journal: &journal{id: id, started: now, try: try, onStep: o.Progress.Step},
		lineage: newAncestry(found.Layout, found.Parent, from), resume: from,
	}
	a.sampler = newSampler(a.journal)
	from.adopt(a.draft)
	a.written = newProgress(a.draft, o.AllowDamagedPages)
	outer := ctx
	ctx, a.aborter.cancel = context.WithCancelCause(ctx)
	defer a.aborter.stop()
	defer func() { err = a.close(outer, m, err) }()
	a.aborter.watch(ctx, o.Repository.LockLost(), o.Repository.CheckLock)
	steps := []step{
		// The connections for the stages, for table locks and for polling live until the
		// end: the server drops stages and locks with the connection that holds them.
		{"connecting", a.connect},
		// From START on the server keeps Aria's logs and writes down all DDL. It
		// blocks only other backups.
		{"waiting for BACKUP STAGE START", a.start},
		// Every table is opened under its own short lock, and copied without
		// any. The redo is followed from a checkpoint read in between.
		{"copying", a.copyAll},
		// What DDL has made meanwhile is copied while nothing is locked.
		{"copying what is new", a.catchUp},
		// FLUSH closes idle tables, and lets running writes to tables without
		// transactions end.
		{"waiting for BACKUP STAGE FLUSH", a.flush},
		// Only what comes now stops others, and only what changed is copied in it.
		{"waiting for BACKUP STAGE BLOCK_DDL", a.blockDDL},
		{"locked", a.locked},
		// The server is released. Packs end, and what was copied is proven complete.
		{"finishing", a.finish},
	}
	for _, s := range steps {
		a.journal.begin(s.name)
		if err := s.do(ctx); err != nil {
			return nil, nameTable(trueCause(ctx, err))
		}
	}
	m, err = a.manifest(ctx)
	if err != nil {
		return nil, err
	}
	if a.opts.Card != nil {
		if err := a.draft.PutCard(ctx, a.opts.Card(ctx, m)); err != nil {
			return nil, err
		}
	}
	// From here on the backup exists.
	if err := a.draft.Commit(ctx, m, a.lineageOf(m)); err != nil {
		return nil, err
	}
	return m, nil
}

// trueCause is why the context of an attempt has ended, if it has: a signal, a
// lost stage connection or redo log shows elsewhere only as a cancelled wait, for
// whatever file that was.
func trueCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// nameTable adds the table to an error about a page of one of its files.
func nameTable(err error) error {
	var bad *copier.PageError
	if !errors.As(err, &bad) {
		return err
	}
	dir, name := path.Split(bad.File)
	table := datadir.TableOf(name)
	if dir == "" || table == "" {
		return err
	}
	return fmt.Errorf("table %s: %w", printable.Table(filename.SQL(path.Clean(dir)), filename.SQL(table)), err)
}

// retreat is called before the stages are given back for a moment, because a
// long statement blocks FLUSH and others queue after it. What DDL does then
// shows in the last scan, as all DDL does; Aria's logs are made safe here.
func (a *attempt) retreat(ctx context.Context) error {
	return a.server.withinBudget(ctx, a.aria.completeOlder)
}

// connect begins to watch what a backup must not do, and opens the connections.
func (a *attempt) connect(ctx context.Context) error {
	if err := a.guard.start(ctx, a.aborter.cancel); err != nil {
		return err
	}
	if err := a.server.connect(ctx, a.retreat); err != nil {
		return err
	}
	a.aborter.watch(ctx, a.server.stages.Lost(), a.server.stages.Check)
	return a.lineage.look(ctx, a.server.watch)
}

// start begins the backup on the server, and the copier.
func (a *attempt) start(ctx context.Context) error {
	l := a.found.Layout
	before, err := l.Stat(ddlLog(l))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := a.server.stages.Advance(ctx, stage.Start); err != nil {
		return err
	}
	if err := proveDatadir(l, before, a.found.Facts.Version); err != nil {
		return err
	}
	control, err := l.ReadAriaControl()
	if err != nil {
		return err
	}
	c, err := copier.New(ctx, a.draft, a.copierOptions())
	if err != nil {
		return err
	}
	if a.copies, err = newCopies(l, c, a.lineage.bases(a.opts.Increment.ReadAll), int64(a.found.Descriptors)); err != nil {
		c.Abort(err)
		return err
	}
	a.copies.progress = a.written
	a.aria = newAriaLogs(a.copies.feeder, control, func(ctx context.Context) error {
		_, err := a.opts.Server.FlushEngineLogs(ctx)
		return err
	})
	a.aborter.watch(ctx, c.Failed(), c.Err)
	return nil
}

// ddlLog is the file in which the server notes the DDL since START.
func ddlLog(l datadir.Layout) string { return filepath.Join(l.Dir, "ddl.log") }

// proveDatadir is called when START was granted, with the DDL log as it was
// before. The server has just created that again. That this shows in the data directory
// proves that both belong together, even where the log sequence numbers of two servers
// are equal, as they are when one is a copy of the other. 10.5 has no DDL log.
func proveDatadir(l datadir.Layout, before datadir.FileStat, version stage.Version) error {
	after, err := l.Stat(ddlLog(l))
	switch {
	case errors.Is(err, os.ErrNotExist) && !version.AtLeast(10, 6, 0):
		return nil
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return err
	case err == nil && before.Changed != after.Changed:
		return nil
	}
	err = fmt.Errorf("%s %w: BACKUP STAGE START did not touch its ddl.log", l.Dir, preflight.ErrOtherServer)
	return hint.Wrap(err, preflight.OtherServerHint())
}

func (a *attempt) copierOptions() copier.Options {
	return copier.Options{
		Workers: a.opts.Workers, Codec: a.opts.Codec, Level: a.opts.Level, BytesPerSecond: a.opts.BytesPerSecond,
		DamagedOK: a.opts.AllowDamagedPages,
		PackTime:  packTime, PackLimit: a.opts.PackLimit, OnPack: a.onPack(),
		PreserveCache: true, Priority: a.opts.Priority,
		OnProgress: func(read, stored int64) {
			a.journal.read.Add(read)
			a.journal.stored.Add(stored)
			a.opts.Progress.Bytes(read, stored, a.found.Bytes)
		},
	}
}

// packTime is how much of the work is lost if the process dies.
const packTime = time.Minute

// onPack is what is to be done with each pack, nil if nobody will go on with this attempt.
func (a *attempt) onPack() func(context.Context, pack.Pack, []copier.Part) error {
	if a.opts.ResumeWithin == 0 {
		return nil
	}
	return a.written.packed
}

// scan is a scan of the data directory, which fails if a table's file cannot be read. Under
// the lock most servers are as they were just before.
func (a *attempt) scan(ctx context.Context) (datadir.Scan, error) {
	s, err := a.found.Layout.Rescan(ctx, a.scanned)
	if err != nil {
		return datadir.Scan{}, err
	}
	a.scanned = s
	needed, _ := a.found.Layout.SplitUnreadable(s.Unreadable)
	if needed != "" {
		err := fmt.Errorf("tables have files that cannot be read: %s", needed)
		return datadir.Scan{}, hint.Wrap(err, preflight.UnreadHint)
	}
	return s, nil
}

// copyAll opens all tables and copies them, the system tablespace and the logs.
func (a *attempt) copyAll(ctx context.Context) error {
	s, err := a.scan(ctx)
	if err != nil {
		return err
	}
	locks, closeMore, err := a.server.tableLocks(ctx, len(s.Entries))
	if err != nil {
		return err
	}
	defer closeMore()
	begin := func(ctx context.Context) error {
		closeMore()
		return a.beginCopying(ctx, s)
	}
	o := &opener{copies: a.copies, locks: locks, begin: begin, log: a.opts.Logger}
	if err := o.open(ctx, s.Entries); err != nil {
		return err
	}
	a.copies.baseline = a.copies.noteTables(s)
	if err := a.aria.advance(ctx); err != nil {
		return err
	}
	return a.copies.wait(ctx)
}

// beginCopying is called when the descriptors are open and no page is read: the
// checkpoint must be newer than the first and older than the second.
func (a *attempt) beginCopying(ctx context.Context, s datadir.Scan) error {
	if err := a.startRedo(ctx, s); err != nil {
		return err
	}
	if err := a.lineage.prove(ctx, a.server.watch, a.aria.control.UUID); err != nil {
		return err
	}
	a.written.begin(a.lineage.progress(a.draft, a.found, a.redo.checkpoint, a.aria.control.UUID, len(a.copies.page)),
		a.arrived())
	a.session.lower(a.opts.Priority.Nice, a.found.Facts.PeerPID)
	return a.copies.copySystem(ctx)
}

// arrived is a moment before which no write was on its way to a file that was copied.
func (a *attempt) arrived() time.Time {
	return a.lineage.arrived(a.redo.checkpoint, a.redo.tail.Journal())
}

// startRedo reads the newest checkpoint and begins to copy the log after it. It
// returns when everything that was durable by then is copied.
func (a *attempt) startRedo(ctx context.Context, s datadir.Scan) error {
	a.redo = newRedoCopy(a.found.Layout, a.opts, a.copies.nextNumber())
	a.guard.redo.Store(a.redo)
	if err := a.redo.open(a.server.watch, a.session.mindLag, a.opts.Logger); err != nil {
		return err
	}
	a.imports = newImports(a.opts, a.server.watch, a.redo.tail)
	if err := a.imports.beforeCheckpoint(ctx, a.journal.try); err != nil {
		return err
	}
	if err := a.redo.start(ctx, a.opts, a.draft, a.aborter.cancel); err != nil {
		return err
	}
	a.sampler.follow(a.redo.tail)
	lsns, err := a.server.watch.LSNs(ctx)
	if err != nil {
		return err
	}
	if err := a.redo.tail.CatchUp(ctx, lsns.Flushed); err != nil {
		return err
	}
	if err := a.copies.foreign.lookForDiscarded(ctx, a.opts.Server); err != nil {
		return err
	}
	// Not before: to read the dictionary makes a server with encryption threads work,
	// and some make no checkpoint then.
	if err := a.copies.foreign.lookForLeftOver(ctx, a.opts.Server, s); err != nil {
		return err
	}
	return a.imports.afterCheckpoint(a.redo.checkpoint)
}

// Bounds of the passes over what is new, before anything is locked.
const (
	maxPasses = 5
	fewBytes  = 16 << 20 // not worth another pass
)

// catchUp copies tables that were made, rebuilt, renamed or changed since they
// were opened, until there is little left for the locked part. A table that is
// being written to has to wait for that.
func (a *attempt) catchUp(ctx context.Context) error {
	for range maxPasses {
		if err := a.aria.advance(ctx); err != nil {
			return err
		}
		s, err := a.scan(ctx)
		if err != nil {
			return err
		}
		if err := a.copies.foreign.lookForLeftOver(ctx, a.opts.Server, s); err != nil {
			return err
		}
		fresh, size, err := a.copies.missing(s.Entries, a.found.Layout.StatAll(s.Entries))
		if err != nil {
			return err
		}
		if size < fewBytes {
			return a.aria.wait(ctx)
		}
		o := &opener{copies: a.copies, locks: []tableLock{a.server.locker}, log: a.opts.Logger}
		if err := o.open(ctx, fresh); err != nil {
			return err
		}
		if err := a.copies.wait(ctx); err != nil {
			return err
		}
	}
	return a.aria.wait(ctx)
}

// flush gets the stage that makes tables without transactions stand still. From here
// on others may wait for what is copied.
func (a *attempt) flush(ctx context.Context) error {
	a.session.raise()
	a.copies.copier.MakeUrgent()
	if err := a.server.stages.Advance(ctx, stage.Flush); err != nil {
		return err
	}
	// Writes to tables without transactions already wait for us, and this may hang.
	return a.server.withinBudget(ctx, a.aria.advance)
}

// finish ends the packs and proves that what was copied is complete.
func (a *attempt) finish(ctx context.Context) error {
	a.scanned = datadir.Scan{} // what comes now needs room
	if err := a.copies.closeLogTables(ctx, a.final); err != nil {
		return err
	}
	if err := a.copies.close(ctx); err != nil {
		return err
	}
	if err := a.redo.wait(ctx); err != nil {
		return err
	}
	l, spaces := a.found.Layout, a.redo.tail.Journal().Spaces()
	a.final.leftOut = a.final.leaveOut()
	if len(a.final.leftOut) > 0 && !a.opts.SkipUnsupported {
		t := a.final.leftOut[0]
		return createdMeanwhile(fmt.Sprintf("%s has engine %s, which cannot be backed up; it was made during the backup",
			printable.Table(t.Database, t.Name), t.Engine), preflight.SkipHint())
	}
	a.final.leftOut = append(a.final.leftOut, leftByFilter(l, a.final.listed)...)
	a.final.leftOut = append(a.final.leftOut, leftWithoutFiles(a.found.Fileless, a.final.listed)...)
	if err := addRecreated(a.final, spaces, l, a.copies.nextNumber); err != nil {
		return err
	}
	if err := reconcileSpaces(a.final, spaces, l); err != nil {
		return err
	}
	return a.imports.inPages(a.final)
}

// endTime bounds what is done after a backup has failed, to clean up the repository.
const endTime = 30 * time.Second

// close releases the server, ends what still runs, and rolls a failed attempt
// back. The history gets its entry in every case.
func (a *attempt) close(ctx context.Context, m *repo.Manifest, err error) error {
	ctx = context.WithoutCancel(ctx)
	a.guard.stop()
	samples := a.sampler.stop()
	errs := []error{err, a.server.release(ctx, err)}
	a.session.raise() // it may take a moment
	if a.redo != nil {
		errs = append(errs, a.redo.close(err))
	}
	a.session.wait()
	a.server.close()
	keep := a.end(ctx, err)
	if keep {
		err = a.tellKept(err)
		errs[0] = err
	}
	// The time that an unresponsive server takes does not count here.
	ctx, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	switch _, lost := errors.AsType[*store.LostError](err); {
	case lost: // cleaning up is the matter of whoever has the lock now
	case keep:
		errs = append(errs, limit.Explain(a.draft.Suspend(ctx), endTime))
	case err != nil:
		errs = append(errs, limit.Explain(a.draft.Discard(ctx), endTime))
	}
	errs = append(errs, limit.Explain(a.record(ctx, m, err, keep, samples), endTime))
	return errors.Join(errs...)
}

// end ends the copying of a failed attempt, and reports whether the next one can go on
// with what was stored.
func (a *attempt) end(ctx context.Context, failed error) (keep bool) {
	if failed == nil || a.copies == nil {
		return false
	}
	if a.opts.ResumeWithin == 0 || errors.Is(failed, errInconsistent) {
		a.copies.copier.Abort(failed)
		return false
	}
	a.copies.copier.Stop(failed)
	if _, lost := errors.AsType[*store.LostError](failed); !lost {
		within, cancel := context.WithTimeout(ctx, endTime)
		defer cancel()
		a.written.again(within)
	}
	return a.written.stored() > 0
}

// tellKept adds to an error about a lack of room how to get that back which is kept.
func (a *attempt) tellKept(failed error) error {
	_, full := errors.AsType[*store.NoSpaceError](failed)
	_, little := errors.AsType[*preflight.SpaceError](failed)
	if !full && !little {
		return failed
	}
	return hint.Wrap(failed, hint.Textf(`what is stored is kept for the next backup to continue on: "mbk remove %s" `+
		"gives that room back", a.journal.id))
}

// record puts the attempt into the history.
func (a *attempt) record(
	ctx context.Context, m *repo.Manifest, failed error, kept bool, samples *repo.Samples,
) error {
	if failed == nil {
		record := repo.AttemptOf(m)
		record.Label, record.Samples = a.draft.Label().Hash, samples
		return putAttempt(ctx, a.opts, record)
	}
	record := a.failureRecord(failed)
	record.Samples = samples
	if kept {
		until := time.Now().Add(a.opts.ResumeWithin).UTC()
		record.Resumable = &repo.Resumable{Bytes: a.written.stored(), Until: until}
		record.Resumed = a.resume.resumed(nil)
		a.opts.Logger.Info("what was stored is kept, and the next backup continues on it", "attempt", a.journal.id,
			"bytes", a.written.stored(), "until", until.Format(time.RFC3339))
	}
	return putAttempt(ctx, a.opts, record)
}

// failureRecord is the record of this attempt, as far as it has come.
func (a *attempt) failureRecord(cause error) repo.Attempt {
	record := newFailure(a.opts, a.journal.id, a.journal.started, cause)
	record.Kind = a.draft.Kind()
	describe(&record, a.found.Facts)
	a.journal.describe(&record)
	record.Stages = a.server.stageTimes()
	if a.aria != nil {
		record.DataUUID = a.aria.control.UUID.String()
	}
	if a.redo != nil && a.redo.started() {
		record.RedoCapacity, record.LowestHeadroom = a.redo.capacity, a.redo.tail.Progress().LowestHeadroom
	}
	record.Warn(a.found.Warnings()...)
	return record
}
