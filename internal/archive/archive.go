// Package archive follows the binary log of a server into a repository: all transactions, in
// their order, as they are, and none twice. It reads the log by GTID, as a replica does, so that
// the server itself refuses to leave a gap; what it refuses begins a new timeline, which says
// what may be missing. Restoring from the archive is a matter of package restore.
package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"mbk/internal/binlog"
	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/repo"
	"mbk/internal/repo/store"
	"mbk/stage"
)

// Options say what is followed, and how. The zero value of every field but Repository and Server
// is useful.
type Options struct {
	Repository *repo.Repository
	Server     *stage.Server

	// From is where the archive begins if there is none; nil: at the beginning of the oldest file of
	// its binary log that the server has.
	From  binlog.Position
	Every time.Duration // a transaction is stored at most so long after it was committed; 0: a minute
	Size  int64         // bytes of the log in a segment, without the transaction that passes it; 0: 16 MiB
	Once  bool          // end where the log ends now
	// SemiSync makes it a semi-sync replica: what a session of the server waits for is stored at once, and
	// acknowledged when that is done. It does not go with Once.
	SemiSync bool
	// Gap is told of each gap, once and when it is found, with the context of Run and in a goroutine that
	// Run waits for; nil: nobody.
	Gap func(ctx context.Context, timeline string, err *GapError)

	Tool   string // "mbk 0.1.0"
	Logger *slog.Logger
}

// Bounds of Options.
const (
	DefaultEvery = time.Minute
	MinEvery     = time.Second
	MaxEvery     = 24 * time.Hour
	DefaultSize  = 16 << 20
)

// Validate checks what can be checked before anything is done.
func (o Options) Validate() error {
	switch {
	case o.Repository == nil || o.Server == nil:
		return errors.New("archive: no repository, or no server")
	case o.Every != 0 && (o.Every < MinEvery || o.Every > MaxEvery):
		return fmt.Errorf("archive: every %s: want %s to %s", o.Every, MinEvery, MaxEvery)
	case o.SemiSync && o.Once:
		return errors.New("archive: semi-sync, and to the end of the log only")
	case o.Size < 0:
		return fmt.Errorf("archive: segments of %d bytes", o.Size)
	}
	return nil
}

// Result is what a run has archived.
type Result struct {
	Timeline     string   `json:"timeline"` // the newest one; "" if there is none yet
	Position     string   `json:"position"` // the GTIDs up to which all is archived
	Segments     int      `json:"segments"` // that were stored by this run
	Transactions int64    `json:"transactions"`
	Bytes        int64    `json:"bytes"`    // of these segments, as they are stored
	Gaps         []string `json:"gaps"`     // what may be missing before timelines that this run began
	Warnings     []string `json:"warnings"` // what of the changes to the data is not in the server's binary log
}

// GapError is returned by Run, beside the result, if a timeline was begun that does not go on
// where the one before ends.
type GapError struct{ Missing string }

// Error says what may be missing.
func (e *GapError) Error() string { return "a gap in the archive: " + e.Missing }

// Hints says what to do.
func (e *GapError) Hints() []hint.Text {
	return []hint.Text{"the archive goes on after the gap; take a backup now: it can be restored to moments after that"}
}

// Run follows the log until ctx ends, or with Options.Once to its end. What was received whole is
// stored before Run returns, whatever ends it. If the connection is lost, or the repository
// cannot be written, it tries again until it can, unless Once is set. The error is that of ctx;
// *GapError with Once; a *store.LostError if another process may archive now; ErrNoBinlog, ErrPrivilege and
// ErrNoSocket of package stage, repo.ErrArchived and repo.ErrDamaged.
func Run(ctx context.Context, o Options) (*Result, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	if o.Every == 0 {
		o.Every = DefaultEvery
	}
	if o.Size == 0 {
		o.Size = DefaultSize
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	f, err := newFollower(ctx, o)
	if err != nil {
		return nil, err
	}
	err = f.run(ctx)
	// What is whole is worth to be kept, whatever happened.
	flushing, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
	defer cancel()
	err = errors.Join(err, f.flush(flushing), f.archive.Close())
	f.alarms.Wait()
	return f.outcome(err)
}

// outcome returns what Run returns.
func (f *follower) outcome(err error) (*Result, error) {
	if n := len(f.result.Gaps); err == nil && n > 0 {
		err = &GapError{Missing: f.result.Gaps[n-1]}
	}
	return f.finish(), err
}

// flushTime bounds how long the last segment may take after an interruption.
const flushTime = 20 * time.Second

// Waits between tries after something has failed.
const (
	firstWait = time.Second
	longWait  = time.Minute
)

// run follows the log over connections that are lost.
func (f *follower) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if lost := f.archive.Lost(); lost != nil {
		go func() {
			select {
			case <-lost:
				cancel(errLost)
			case <-ctx.Done():
			}
		}()
	}
	wait := firstWait
	for {
		before := f.received
		err := f.connection(ctx)
		again, begin := f.again(err)
		switch {
		case err == io.EOF:
			return nil
		case context.Cause(ctx) == errLost:
			return errLost
		case ctx.Err() != nil:
			return ctx.Err()
		case again && !begin:
			continue
		case begin:
			if err = f.newTimeline(ctx, err); err == nil {
				continue
			}
		}
		if f.o.Once || final(err) {
			return err
		}
		if f.received > before {
			wait = firstWait
		}
		f.o.Logger.Warn("the archive waits and tries again", "error", err, "wait", wait.String())
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
		wait = min(2*wait, longWait)
	}
}

// errLost ends a run whose lock is lost.
var errLost = fault.New(fault.Busy, "the lock of the archive was lost: another process may archive now")

// final reports whether another try would fail, too.
func final(err error) bool {
	if _, lost := errors.AsType[*store.LostError](err); lost {
		return true
	}
	kind := fault.Of(err)
	return kind == fault.Config || kind == fault.Damage
}

// finish completes the result.
func (f *follower) finish() *Result {
	t, s := f.archive.End()
	if t != nil {
		f.result.Timeline, f.result.Position = t.ID, t.Start
	}
	if s != nil {
		f.result.Position = s.After
	}
	return f.result
}
