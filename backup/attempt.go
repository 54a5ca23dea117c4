package backup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"mbk/copier"
	"mbk/copier/pack"
	"mbk/internal/datadir"
	"mbk/internal/datadir/filename"
	"mbk/internal/hint"
	"mbk/internal/repo"
	"mbk/internal/sys/priority"
	"mbk/internal/ui/printable"
	"mbk/stage"
)

// ErrLockBudget is the cause of a failed backup that would have held BLOCK_DDL
// for longer than Options.LockBudget. The server was given free in time.
var ErrLockBudget = errors.New("lock budget exceeded")

// ErrReplaced is returned by an attempt when the redo says that a tablespace was
// discarded and imported while it ran. A recovery from this attempt's checkpoint
// would lose changes; one from a checkpoint behind the import does not.
var ErrReplaced = errors.New("tablespace discarded or imported during the backup")

// ErrMadeLast is returned by an attempt when the redo says that a file was made after
// the last look at the files, and recovery could not make it anew.
var ErrMadeLast = errors.New("an ALTER TABLE began in the last moment of the backup")

// ErrNoCheckpoint is returned when a backup has to begin behind a checkpoint that
// it cannot force and that the server did not make in time.
var ErrNoCheckpoint = errors.New("no checkpoint")

// Run takes one full backup and returns its manifest, which is in the
// repository by then. On any error the server is left free, and the repository
// without the backup; the history has the attempt in both cases.
func Run(ctx context.Context, o Options) (*repo.Manifest, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.Repository == nil {
		return nil, o.NoRepository
	}
	found, release, err := prepare(ctx, o)
	if err != nil {
		return nil, err
	}
	defer found.close()
	defer release() //nolint:errcheck // the lock ends with the process at the latest
	for try := 1; ; try++ {
		m, err := runAttempt(ctx, o, found, try)
		if !startsOver(err) || try == maxAttempts {
			return m, err
		}
		o.Logger.Warn("starting over from a fresh checkpoint", "reason", err)
		if err := behindFailure(ctx, o, err); err != nil {
			return nil, err
		}
	}
}

// prepare makes all checks and takes the repository's lock. What fails here is an
// attempt too, except Options.Unrecorded says otherwise: the history has it.
func prepare(ctx context.Context, o Options) (found *Preflight, release func() error, err error) {
	const step = "checking the server and the repository"
	began := time.Now()
	defer func() {
		if err == nil || o.Unrecorded(err) {
			return
		}
		found.close()
		a := failure(o, "", began, err)
		a.Steps = []repo.Step{{Name: step, MS: time.Since(began).Milliseconds()}}
		if found != nil {
			describe(&a, found.facts)
			a.Warn(found.warnings()...)
		}
		notBegun(ctx, o, a)
	}()
	o.Progress.Step(step)
	if found, err = preflight(ctx, o, 0); err != nil {
		return found, nil, err
	}
	if err := found.Errors(); err != nil {
		return found, nil, err
	}
	if release, err = o.Repository.Lock(ctx); err != nil {
		return found, nil, err
	}
	swept, err := o.Repository.Sweep(ctx)
	if ctx.Err() != nil {
		return found, nil, errors.Join(err, release())
	}
	if err != nil { // it takes up room, and no backup depends on it
		found.add("repository", GradeWarning, "what an interrupted backup or expiry left cannot be removed: "+strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	for _, name := range swept {
		o.Logger.Info("removed what an interrupted backup left", "object", name)
	}
	return found, release, nil
}

// attempt is one try of a backup.
type attempt struct {
	opts    Options
	found   *Preflight
	layout  datadir.Layout
	id      string
	started time.Time
	try     int // from 1
	log     *slog.Logger

	cancel      context.CancelCauseFunc // ends the attempt with its true cause
	stages      *stage.Stages
	locker      *stage.Locker
	watch       *stage.Watch
	guard       *guard                           // until the server is locked
	lowPriority atomic.Pointer[priority.Session] // until others may wait for us
	lagged      atomic.Bool                      // the redo, by so much that we wait no more for others
	forward     sync.WaitGroup                   // of coming forward because of that

	copier *copier.Copier
	copies *copies
	redo   *redoCopy
	tailed atomic.Pointer[redoCopy] // redo, for the guard
	aria   *ariaLogs
	system []*fileCopy
	final  *finalState
	listed datadir.Listing // of the server, under BLOCK_DDL
	left   []repo.LeftOut
	loose  string // what the last scan could not read, and no table needs
	state  position

	outdated []datadir.TableName // tables that need an upgrade
	packs    []pack.Pack
	window   time.Duration // BLOCK_DDL granted to END

	scanned   datadir.Scan // of the data directory, until the tables are open
	first     *baseline    // the tables when the copying began
	steps     []repo.Step  // that are over
	step      string       // the present one
	stepBegan time.Time
	read      atomic.Int64 // bytes, of files; the redo is not in it
	stored    atomic.Int64
}

// position is what BLOCK_COMMIT pins.
type position struct {
	binlog   *repo.Binlog
	replicas []repo.Source
	galera   *repo.Galera
}

// step is a part of a backup, named for whoever watches.
type step struct {
	name string
	do   func(context.Context) error
}

func runAttempt(ctx context.Context, o Options, found *Preflight, try int) (m *repo.Manifest, err error) {
	now := time.Now().UTC()
	id, err := o.Repository.FreshID(ctx, now, repo.KindFull)
	if err != nil {
		return nil, err
	}
	r := &attempt{
		opts: o, found: found, layout: found.layout, id: id, started: now, try: try,
		log: o.Logger,
	}
	outer := ctx
	ctx, r.cancel = context.WithCancelCause(ctx)
	defer r.cancel(nil)
	defer func() { err = r.close(outer, m, err) }()
	steps := []step{
		// The three connections live until the end: the server drops stages and
		// locks with the connection that holds them.
		{"connecting", r.connect},
		// From START on the server keeps Aria's logs and writes down all DDL. It
		// blocks nobody but another backup.
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
		// The server is free. Packs end, and what was copied is proven complete.
		{"finishing", r.finish},
	}
	for _, s := range steps {
		r.begin(s.name)
		if err := s.do(ctx); err != nil {
			return nil, nameTable(trueCause(ctx, err))
		}
	}
	m, err = r.manifest(ctx)
	if err != nil {
		return nil, err
	}
	// From here on the backup exists.
	if err := o.Repository.Draft(id).Commit(ctx, m); err != nil {
		return nil, err
	}
	return m, nil
}

// begin notes that a step begins and the one before it is over.
func (r *attempt) begin(step string) {
	r.steps = r.stepTimes()
	r.step, r.stepBegan = step, time.Now()
	r.opts.Progress.Step(step)
}

// stepTimes are the steps so far, the present one included.
func (r *attempt) stepTimes() []repo.Step {
	if r.step == "" {
		return nil
	}
	return append(slices.Clone(r.steps), repo.Step{Name: r.step, MS: time.Since(r.stepBegan).Milliseconds()})
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

func (r *attempt) connect(ctx context.Context) error {
	if err := r.startGuard(ctx); err != nil {
		return err
	}
	var err error
	if r.watch, err = r.opts.Server.Watch(ctx); err != nil {
		return err
	}
	if r.locker, err = r.opts.Server.Locker(ctx, lockPatience, r.opts.LockBudget); err != nil {
		return err
	}
	r.stages, err = r.opts.Server.Begin(ctx, stage.StageOptions{
		Slice: r.opts.LockSlice, Patience: r.opts.LockWait, Budget: r.opts.LockBudget, Retreat: r.retreat, Logger: r.log,
	})
	if err != nil {
		return err
	}
	go func() {
		select {
		case <-r.stages.Lost():
			r.cancel(r.stages.Check())
		case <-ctx.Done():
		}
	}()
	return nil
}

// retreat is called before the stages are given back for a moment, because a
// long statement is in the way and others queue behind FLUSH. What DDL does then
// shows in the last scan, as all DDL does; Aria's logs are made safe here.
func (r *attempt) retreat(ctx context.Context) error {
	ctx, cancel := r.budgeted(ctx)
	defer cancel()
	return r.budgetCause(ctx, r.aria.completeOlder(ctx))
}

// lockPatience is how long the lock of one table is waited for. A table that
// stays locked that long is copied in a later pass.
const lockPatience = 3 * time.Second

// start begins the backup on the server, and the copier.
func (r *attempt) start(ctx context.Context) error {
	before, err := r.layout.Stat(r.ddlLog())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := r.stages.Advance(ctx, stage.Start); err != nil {
		return err
	}
	if err := r.proveDatadir(before); err != nil {
		return err
	}
	control, err := r.layout.ReadAriaControl()
	if err != nil {
		return err
	}
	if r.copier, err = copier.New(ctx, r.opts.Repository.Store(), repo.Folder(r.id), r.copierOptions()); err != nil {
		return err
	}
	if r.copies, err = newCopies(r.layout, r.copier, int64(r.found.descriptors)); err != nil {
		return err
	}
	r.aria = newAriaLogs(r.copies, control, func(ctx context.Context) error {
		_, err := r.opts.Server.FlushEngineLogs(ctx)
		return err
	})
	go func() {
		select {
		case <-r.copier.Failed():
			r.cancel(r.copier.Err())
		case <-ctx.Done():
		}
	}()
	return nil
}

// ddlLog is the file in which the server notes the DDL since START.
func (r *attempt) ddlLog() string { return filepath.Join(r.layout.Dir, "ddl.log") }

// proveDatadir is called when START was granted, with the DDL log as it was
// before. The server has just made that anew. That this shows in the data directory
// proves that both belong together, even where the log sequence numbers of two servers
// are equal, as they are when one is a copy of the other. 10.5 has no DDL log.
func (r *attempt) proveDatadir(before datadir.FileStat) error {
	after, err := r.layout.Stat(r.ddlLog())
	switch {
	case errors.Is(err, os.ErrNotExist) && !r.found.facts.Version.AtLeast(10, 6, 0):
		return nil
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return err
	case err == nil && !before.Changed.Equal(after.Changed):
		return nil
	}
	err = fmt.Errorf("%s %w: BACKUP STAGE START did not touch its ddl.log", r.layout.Dir, ErrOtherServer)
	return hint.Wrap(err, otherServerHint())
}

func (r *attempt) copierOptions() copier.Options {
	return copier.Options{
		Workers: r.opts.Workers, Codec: r.opts.Codec, Level: r.opts.Level, BytesPerSecond: r.opts.BytesPerSecond,
		DamagedOK:  r.opts.AllowDamagedPages,
		SpareCache: true, Priority: r.opts.Priority,
		OnProgress: func(read, stored int64) {
			r.read.Add(read)
			r.stored.Add(stored)
			r.opts.Progress.Bytes(read, stored, r.found.bytes)
		},
	}
}

// copyAll opens all tables and copies them, the system tablespace and the logs.
func (r *attempt) copyAll(ctx context.Context) error {
	s, err := r.scan(ctx)
	if err != nil {
		return err
	}
	r.scanned = s
	locks, giveBack, err := r.tableLocks(ctx, len(s.Entries))
	if err != nil {
		return err
	}
	defer giveBack()
	begin := func(ctx context.Context) error {
		giveBack()
		return r.beginCopying(ctx)
	}
	o := &opener{copies: r.copies, locks: locks, begin: begin, log: r.log}
	if err := o.open(ctx, s.Entries); err != nil {
		return err
	}
	r.first, r.scanned = r.copies.noteTables(s), datadir.Scan{}
	if err := r.aria.advance(ctx); err != nil {
		return err
	}
	return r.copies.wait(ctx)
}

// tableLocks returns what so many files are to be opened with. With a single
// connection mbk and the server wait for each other most of the time; where there
// are many files more are opened, which giveBack closes. A server without a free
// connection has none to lend.
func (r *attempt) tableLocks(ctx context.Context, files int) (locks []tableLock, giveBack func(), err error) {
	const many, most = 2000, 4
	var more []*stage.Locker
	giveBack = func() {
		for _, l := range more {
			l.Close()
		}
	}
	locks = []tableLock{r.locker}
	for files >= many && len(locks) < most {
		l, err := r.opts.Server.Locker(ctx, lockPatience, r.opts.LockBudget)
		if errors.Is(err, stage.ErrTooManyConnections) {
			break
		}
		if err != nil {
			giveBack()
			return nil, nil, err
		}
		more, locks = append(more, l), append(locks, l)
	}
	return locks, giveBack, nil
}

// beginCopying is called when the descriptors are open and no page is read: the
// checkpoint must be newer than the first and older than the second.
func (r *attempt) beginCopying(ctx context.Context) error {
	if err := r.startRedo(ctx); err != nil {
		return err
	}
	r.lower()
	var err error
	r.system, err = r.copies.copySystem(ctx)
	return err
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
		if err := r.copies.lookForLeftOver(ctx, r.opts.Server, s); err != nil {
			return err
		}
		var fresh []datadir.Entry
		var size int64
		for i, found := range r.layout.StatAll(s.Entries) {
			e, now := s.Entries[i], found.Stat
			if errors.Is(found.Err, os.ErrNotExist) {
				continue
			}
			if found.Err != nil {
				return found.Err
			}
			copied, holds := r.copies.holds(e, now)
			if holds || r.copies.foreign(e) || copied != nil && !now.Quiescent() {
				continue
			}
			fresh = append(fresh, e)
			size += now.Size
		}
		if size < fewBytes {
			return r.aria.wait(ctx)
		}
		o := &opener{copies: r.copies, locks: []tableLock{r.locker}, log: r.log}
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
	r.raise()
	r.copier.MakeUrgent()
	if err := r.stages.Advance(ctx, stage.Flush); err != nil {
		return err
	}
	// Writes to tables without transactions wait for us already, and this may hang.
	ctx, cancel := r.budgeted(ctx)
	defer cancel()
	return r.budgetCause(ctx, r.aria.advance(ctx))
}
