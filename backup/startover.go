package backup

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"mbk/internal/hint"
	"mbk/internal/innodb"
	"mbk/stage"
)

// This file decides whether a failed attempt is followed by another one, and when.

// maxAttempts bounds how often a backup starts over.
const maxAttempts = 3

// startsOver reports whether a new attempt from a later checkpoint could succeed: after
// an import, after an ALTER that began too late, and after a change of the redo log's
// size that could not be followed. (A server whose new, smaller log is full before it is
// in use may set sequence bits in it wrongly, and cannot read that part itself any more.
// Seen with 10.11.19.) A failing disk or lost stages are not among them.
func startsOver(failed error) bool {
	for _, grave := range []error{syscall.EIO, stage.ErrStageLost, stage.ErrLockLost} {
		if errors.Is(failed, grave) {
			return false
		}
	}
	return errors.Is(failed, ErrReplaced) || errors.Is(failed, ErrMadeLast) || errors.Is(failed, errHalfDone) ||
		errors.Is(failed, innodb.ErrRedoReplaced)
}

// waitForCheckpoint waits until the server has made a checkpoint after what failed an
// attempt: at once where the account may force it, else when the server makes one
// by itself. After an ALTER that still runs, and a statement that was not committed, none is
// needed.
func waitForCheckpoint(ctx context.Context, o Options, failed error) error {
	if errors.Is(failed, ErrMadeLast) || errors.Is(failed, errHalfDone) {
		return nil
	}
	because := func(err error) error { return fmt.Errorf("%w (wanted to start over: %v)", err, failed) }
	watch, err := o.Server.Watch(ctx)
	if err != nil {
		return because(err)
	}
	defer watch.Close()
	lsns, err := watch.LSNs(ctx)
	if err != nil {
		return because(err)
	}
	after := lsns.Current
	advice := hint.Text("grant SUPER to the account, so that mbk can make that checkpoint, or try again later")
	err = o.Server.Checkpoint(ctx, watch, after)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		advice = makeCheckpoints
	case err == nil:
		return nil
	case !errors.Is(err, stage.ErrPrivilege):
		return because(err)
	}
	made, err := awaitCheckpoint(ctx, watch, after)
	if err == nil && !made {
		err = fmt.Errorf("%w; the server made no checkpoint after that within %s", failed, checkpointPatience)
		err = hint.Wrap(err, advice)
	}
	return err
}

// makeCheckpoints is the advice for a server that cannot be told to make one.
const makeCheckpoints = "try when the server has little to do; " +
	"or SET GLOBAL innodb_max_dirty_pages_pct=0 before the backup, which makes it write its dirty pages " +
	"and so a checkpoint, and set it back afterwards"

// checkpointPatience is how long a checkpoint of the server's own making is waited for,
// and longestPatience how long if the server makes checkpoints, but none yet that lies far
// enough: a busy one writes its oldest changes first.
const (
	checkpointPatience = 30 * time.Second
	longestPatience    = 5 * time.Minute
)

// awaitCheckpoint waits until the server has made a checkpoint after lsn, or has nothing
// left to make one of, or the patience is over.
func awaitCheckpoint(ctx context.Context, watch *stage.Watch, lsn innodb.LSN) (bool, error) {
	var q quiet
	var last innodb.LSN
	began := time.Now()
	deadline := began.Add(checkpointPatience)
	for {
		lsns, err := watch.LSNs(ctx)
		if err != nil {
			return false, err
		}
		dirty, err := watch.DirtyPages(ctx)
		if err != nil {
			return false, err
		}
		idle := q.lasts(time.Now(), lsns, dirty)
		made := idle || innodb.Checkpoint{LSN: lsns.Checkpoint, End: lsns.Checkpoint}.Covers(lsn)
		if lsns.Checkpoint > last {
			last, deadline = lsns.Checkpoint, time.Now().Add(checkpointPatience)
		}
		if now := time.Now(); made || now.After(deadline) || now.Sub(began) > longestPatience {
			return made, nil
		}
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// quiet recognises a server that has written all dirty pages, made its checkpoint and
// become idle. Its log does not end at that checkpoint: it is followed by the names of all
// files that were changed since the one before, as many bytes as these take, and then
// nothing until somebody changes something. (A checkpoint writes its own records before
// anybody else can write to the log.) In an encrypted log these records cannot be told
// from others. But the thread that writes pages looks at least every second whether any
// is left, and makes a checkpoint if not, so that after a while without dirty pages and
// without a byte of log there is nothing but them.
type quiet struct {
	since time.Time
	lsns  innodb.LSNs
}

// quietTime is how long a server has to be without work, some rounds of the thread that
// makes checkpoints.
const quietTime = 4 * time.Second

// lasts takes in what the server says now, and reports whether it has said the same for
// long enough.
func (q *quiet) lasts(now time.Time, lsns innodb.LSNs, dirty int64) bool {
	if dirty > 0 || lsns.Flushed != lsns.Current {
		*q = quiet{}
		return false
	}
	if lsns != q.lsns {
		*q = quiet{since: now, lsns: lsns}
	}
	return now.Sub(q.since) >= quietTime
}
