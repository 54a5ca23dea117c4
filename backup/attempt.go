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
	"mbk/internal/datadir"
	"mbk/internal/datadir/filename"
	"mbk/internal/hint"
	"mbk/internal/input/limit"
	"mbk/internal/repo"
	"mbk/internal/ui/printable"
	"mbk/stage"
)

// attempt is one try of a backup: its steps, and the members that they work with. All
// of it belongs to one goroutine, except where a member says otherwise.
type attempt struct {
	opts     Options
	found    *preflight.Report
	journal  *journal     // what it tells of itself when it is over
	failures failures     // what ends it at once
	server   *connections // to the server
	session  *session     // of this process, and its priority
	guard    *guard       // until the server is locked
	copies   *copies      // which file was copied, and which copy still holds
	aria     *ariaLogs
	redo     *redoCopy
	imports  *imports // what the redo does not tell
	final    *finalState
}

// failures ends an attempt when a part of it fails that the attempt does not wait for.
type failures struct {
	cancel   context.CancelCauseFunc // ends the attempt with its true cause
	watchers sync.WaitGroup
}

// watch ends the attempt with why when the channel is closed.
func (f *failures) watch(ctx context.Context, failed <-chan struct{}, why func() error) {
	f.watchers.Go(func() {
		select {
		case <-failed:
			f.cancel(why())
		case <-ctx.Done():
		}
	})
}

// stop waits until nothing is watched any more.
func (f *failures) stop() {
	f.cancel(nil)
	f.watchers.Wait()
}

// step is a part of a backup. Its name is shown as progress.
type step struct {
	name string
	do   func(context.Context) error
}

func runAttempt(ctx context.Context, o Options, found *preflight.Report, try int) (m *repo.Manifest, err error) {
	now := time.Now().UTC()
	id, err := o.Repository.FreshID(ctx, now, repo.KindFull)
	if err != nil {
		return nil, err
	}
	r := &attempt{
		opts: o, found: found, server: &connections{opts: o}, session: &session{log: o.Logger}, guard: newGuard(o),
		journal: &journal{id: id, started: now, try: try, onStep: o.Progress.Step},
	}
	outer := ctx
	ctx, r.failures.cancel = context.WithCancelCause(ctx)
	defer r.failures.stop()
	defer func() { err = r.close(outer, m, err) }()
	steps := []step{
		// The three connections live until the end: the server drops stages and
		// locks with the connection that holds them.
		{"connecting", r.connect},
		// From START on the server keeps Aria's logs and writes down all DDL. It
		// blocks only other backups.
		{"waiting for BACKUP STAGE START", r.start},
		// Every table is opened under its own short lock, and copied without
		// any. The redo is followed from a checkpoint read in between.
		{"copying", r.copyAll},
		// What DDL has made meanwhile is copied while nothing is locked.
		{"copying what is new", r.catchUp},
		// FLUSH closes idle tables, and lets running writes to tables without
		// transactions end.
		{"waiting for BACKUP STAGE FLUSH", r.flush},
		// Only what comes now stops others, and only what changed is copied in it.
		{"waiting for BACKUP STAGE BLOCK_DDL", r.locked},
		// The server is released. Packs end, and what was copied is proven complete.
		{"finishing", r.finish},
	}
	for _, s := range steps {
		r.journal.begin(s.name)
		if err := s.do(ctx); err != nil {
			return nil, nameTable(trueCause(ctx, err))
		}
	}
	m, err = r.manifest(ctx)
	if err != nil {
		return nil, err
	}
	// From here on the backup exists.
	if err := r.draft().Commit(ctx, m); err != nil {
		return nil, err
	}
	return m, nil
}

// draft is the backup that the attempt writes.
func (r *attempt) draft() *repo.Draft { return r.opts.Repository.Draft(r.journal.id) }

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
func (r *attempt) retreat(ctx context.Context) error {
	return r.server.withinBudget(ctx, r.aria.completeOlder)
}

// connect begins to watch what a backup must not do, and opens the connections.
func (r *attempt) connect(ctx context.Context) error {
	if err := r.guard.start(ctx, r.failures.cancel); err != nil {
		return err
	}
	if err := r.server.connect(ctx, r.retreat); err != nil {
		return err
	}
	r.failures.watch(ctx, r.server.stages.Lost(), r.server.stages.Check)
	return nil
}

// start begins the backup on the server, and the copier.
func (r *attempt) start(ctx context.Context) error {
	l := r.found.Layout
	before, err := l.Stat(ddlLog(l))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := r.server.stages.Advance(ctx, stage.Start); err != nil {
		return err
	}
	if err := proveDatadir(l, before, r.found.Facts.Version); err != nil {
		return err
	}
	control, err := l.ReadAriaControl()
	if err != nil {
		return err
	}
	c, err := copier.New(ctx, r.draft(), r.copierOptions())
	if err != nil {
		return err
	}
	if r.copies, err = newCopies(l, c, int64(r.found.Descriptors)); err != nil {
		c.Abort(err)
		return err
	}
	r.aria = newAriaLogs(r.copies.feeder, control, func(ctx context.Context) error {
		_, err := r.opts.Server.FlushEngineLogs(ctx)
		return err
	})
	r.failures.watch(ctx, c.Failed(), c.Err)
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
	case err == nil && !before.Changed.Equal(after.Changed):
		return nil
	}
	err = fmt.Errorf("%s %w: BACKUP STAGE START did not touch its ddl.log", l.Dir, preflight.ErrOtherServer)
	return hint.Wrap(err, preflight.OtherServerHint())
}

func (r *attempt) copierOptions() copier.Options {
	return copier.Options{
		Workers: r.opts.Workers, Codec: r.opts.Codec, Level: r.opts.Level, BytesPerSecond: r.opts.BytesPerSecond,
		DamagedOK:     r.opts.AllowDamagedPages,
		PreserveCache: true, Priority: r.opts.Priority,
		OnProgress: func(read, stored int64) {
			r.journal.read.Add(read)
			r.journal.stored.Add(stored)
			r.opts.Progress.Bytes(read, stored, r.found.Bytes)
		},
	}
}

// scan is a scan of the data directory, which fails if a table's file cannot be read.
func (r *attempt) scan(ctx context.Context) (datadir.Scan, error) {
	s, err := r.found.Layout.Scan(ctx)
	if err != nil {
		return datadir.Scan{}, err
	}
	needed, _ := r.found.Layout.SplitUnreadable(s.Unreadable)
	if needed != "" {
		err := fmt.Errorf("tables have files that cannot be read: %s", needed)
		return datadir.Scan{}, hint.Wrap(err, preflight.UnreadHint)
	}
	return s, nil
}

// copyAll opens all tables and copies them, the system tablespace and the logs.
func (r *attempt) copyAll(ctx context.Context) error {
	s, err := r.scan(ctx)
	if err != nil {
		return err
	}
	locks, closeMore, err := r.server.tableLocks(ctx, len(s.Entries))
	if err != nil {
		return err
	}
	defer closeMore()
	begin := func(ctx context.Context) error {
		closeMore()
		return r.beginCopying(ctx, s)
	}
	o := &opener{copies: r.copies, locks: locks, begin: begin, log: r.opts.Logger}
	if err := o.open(ctx, s.Entries); err != nil {
		return err
	}
	r.copies.baseline = r.copies.noteTables(s)
	if err := r.aria.advance(ctx); err != nil {
		return err
	}
	return r.copies.wait(ctx)
}

// beginCopying is called when the descriptors are open and no page is read: the
// checkpoint must be newer than the first and older than the second.
func (r *attempt) beginCopying(ctx context.Context, s datadir.Scan) error {
	if err := r.startRedo(ctx, s); err != nil {
		return err
	}
	r.session.lower(r.opts.Priority.Nice, r.found.Facts.PeerPID)
	return r.copies.copySystem(ctx)
}

// startRedo reads the newest checkpoint and begins to copy the log after it. It
// returns when everything that was durable by then is copied.
func (r *attempt) startRedo(ctx context.Context, s datadir.Scan) error {
	r.redo = newRedoCopy(r.found.Layout, r.opts.SpoolDir, r.copies.nextNumber())
	r.guard.redo.Store(r.redo)
	if err := r.redo.open(r.server.watch, r.session.mindLag, r.opts.Logger); err != nil {
		return err
	}
	r.imports = newImports(r.opts, r.server.watch, r.redo.tail)
	if err := r.imports.beforeCheckpoint(ctx, r.journal.try); err != nil {
		return err
	}
	if err := r.redo.start(ctx, r.opts, r.draft(), r.failures.cancel); err != nil {
		return err
	}
	lsns, err := r.server.watch.LSNs(ctx)
	if err != nil {
		return err
	}
	if err := r.redo.tail.CatchUp(ctx, lsns.Flushed); err != nil {
		return err
	}
	if err := r.copies.foreign.lookForDiscarded(ctx, r.opts.Server); err != nil {
		return err
	}
	// Not before: to read the dictionary makes a server with encryption threads work,
	// and some make no checkpoint then.
	if err := r.copies.foreign.lookForLeftOver(ctx, r.opts.Server, s); err != nil {
		return err
	}
	return r.imports.afterCheckpoint(r.redo.checkpoint)
}

// Bounds of the passes over what is new, before anything is locked.
const (
	maxPasses = 5
	fewBytes  = 16 << 20 // not worth another pass
)

// catchUp copies tables that were made, rebuilt, renamed or changed since they
// were opened, until there is little left for the locked part. A table that is
// being written to has to wait for that.
func (r *attempt) catchUp(ctx context.Context) error {
	for range maxPasses {
		if err := r.aria.advance(ctx); err != nil {
			return err
		}
		s, err := r.scan(ctx)
		if err != nil {
			return err
		}
		if err := r.copies.foreign.lookForLeftOver(ctx, r.opts.Server, s); err != nil {
			return err
		}
		fresh, size, err := r.copies.missing(s.Entries, r.found.Layout.StatAll(s.Entries))
		if err != nil {
			return err
		}
		if size < fewBytes {
			return r.aria.wait(ctx)
		}
		o := &opener{copies: r.copies, locks: []tableLock{r.server.locker}, log: r.opts.Logger}
		if err := o.open(ctx, fresh); err != nil {
			return err
		}
		if err := r.copies.wait(ctx); err != nil {
			return err
		}
	}
	return r.aria.wait(ctx)
}

// flush gets the stage that makes tables without transactions stand still. From here
// on others may wait for what is copied.
func (r *attempt) flush(ctx context.Context) error {
	r.session.raise()
	r.copies.copier.MakeUrgent()
	if err := r.server.stages.Advance(ctx, stage.Flush); err != nil {
		return err
	}
	// Writes to tables without transactions already wait for us, and this may hang.
	return r.server.withinBudget(ctx, r.aria.advance)
}

// finish ends the packs and proves that what was copied is complete.
func (r *attempt) finish(ctx context.Context) error {
	if err := r.copies.closeLogTables(ctx, r.final); err != nil {
		return err
	}
	if err := r.copies.close(ctx); err != nil {
		return err
	}
	if err := r.redo.wait(ctx); err != nil {
		return err
	}
	l, spaces := r.found.Layout, r.redo.tail.Journal().Spaces()
	r.final.leftOut = r.final.leaveOut()
	if len(r.final.leftOut) > 0 && !r.opts.SkipUnsupported {
		t := r.final.leftOut[0]
		return createdMeanwhile(fmt.Sprintf("%s has engine %s, which cannot be backed up; it was made during the backup",
			printable.Table(t.Database, t.Name), t.Engine), preflight.SkipHint())
	}
	r.final.leftOut = append(r.final.leftOut, leftByFilter(l, r.final.listed)...)
	r.final.leftOut = append(r.final.leftOut, leftWithoutFiles(r.found.Fileless, r.final.listed)...)
	if err := addRecreated(r.final, spaces, l, r.copies.nextNumber); err != nil {
		return err
	}
	if err := reconcileSpaces(r.final, spaces, l); err != nil {
		return err
	}
	return r.imports.inPages(r.final)
}

// endTime bounds what is done after a backup has failed, to clean up the repository.
const endTime = 30 * time.Second

// close releases the server, ends what still runs, and rolls a failed attempt
// back. The history gets its entry in every case.
func (r *attempt) close(ctx context.Context, m *repo.Manifest, err error) error {
	ctx = context.WithoutCancel(ctx)
	r.guard.stop()
	errs := []error{err, r.server.release(ctx, err)}
	r.session.raise() // it may take a moment
	if r.redo != nil {
		errs = append(errs, r.redo.close())
	}
	r.session.wait()
	r.server.close()
	if err != nil && r.copies != nil {
		r.copies.copier.Abort(err)
	}
	// The time that an unresponsive server takes does not count here.
	ctx, cancel := context.WithTimeout(ctx, endTime)
	defer cancel()
	if err != nil && !r.opts.KeepFailed {
		errs = append(errs, limit.Explain(r.draft().Discard(ctx), endTime))
	}
	errs = append(errs, limit.Explain(r.record(ctx, m, err), endTime))
	return errors.Join(errs...)
}

// record puts the attempt into the history.
func (r *attempt) record(ctx context.Context, m *repo.Manifest, failed error) error {
	if failed == nil {
		return putAttempt(ctx, r.opts, repo.AttemptOf(m))
	}
	return putAttempt(ctx, r.opts, r.failure(failed))
}

// failure is the record of this attempt, as far as it has come.
func (r *attempt) failure(cause error) repo.Attempt {
	a := failure(r.opts, r.journal.id, r.journal.started, cause)
	a.Kind = r.draft().Kind()
	describe(&a, r.found.Facts)
	r.journal.describe(&a)
	a.Stages = r.server.stageTimes()
	if r.aria != nil {
		a.DataUUID = r.aria.control.UUID.String()
	}
	if r.redo != nil && r.redo.started() {
		a.RedoCapacity, a.LowestHeadroom = r.redo.capacity, r.redo.tail.Progress().LowestHeadroom
	}
	a.Warn(r.found.Warnings()...)
	return a
}
