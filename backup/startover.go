package backup

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"mbk/innodb"
	"mbk/internal/hint"
	"mbk/stage"
)

// This file is what lies between an attempt that could not be and the next one.

// maxAttempts bounds how often a backup starts over.
const maxAttempts = 3

// startsOver says whether another attempt, from a checkpoint behind what failed the
// last one, may do: after an import, after an ALTER that began too late, and after a change of the redo log's size that
// could not be followed. (A server whose new, smaller log is full before it is in
// use may set sequence bits in it wrongly, and can read that part no more itself.
// Seen with 10.11.19.) A disk that fails, or stages that are lost, are no such matter.
func startsOver(failed error) bool {
	for _, grave := range []error{syscall.EIO, stage.ErrStageLost, stage.ErrLockLost} {
		if errors.Is(failed, grave) {
			return false
		}
	}
	return errors.Is(failed, ErrReplaced) || errors.Is(failed, ErrMadeLast) || errors.Is(failed, innodb.ErrRedoReplaced)
}

// behindFailure waits until the server has made a checkpoint behind what failed an
// attempt: at once where the account may force it, else when the server makes one
// by itself. An ALTER is at work still, and needs none.
func behindFailure(ctx context.Context, o Options, failed error) error {
	if errors.Is(failed, ErrMadeLast) {
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
	behind := lsns.Current
	advice := "grant SUPER to the account, so that mbk can make that checkpoint, or try again later"
	err = o.Server.Checkpoint(ctx)
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		advice = makeCheckpoints
	case err == nil:
		return nil
	case !errors.Is(err, stage.ErrPrivilege):
		return because(err)
	}
	made, err := await(ctx, func() (bool, error) {
		lsns, err := watch.LSNs(ctx)
		return innodb.Checkpoint{LSN: lsns.Checkpoint, End: lsns.Checkpoint}.Covers(behind), err
	})
	if err == nil && !made {
		err = fmt.Errorf("%w; the server made no checkpoint behind that within %s", failed, checkpointPatience)
		err = hint.Wrap(err, advice)
	}
	return err
}

// makeCheckpoints is the advice for a server that cannot be told to make one.
const makeCheckpoints = "try when the server has little to do; or SET GLOBAL innodb_max_dirty_pages_pct=0 before the backup, which makes it write its dirty pages and so a checkpoint, and set it back afterwards"

// checkpointPatience is how long a checkpoint of the server's own making is
// waited for.
const checkpointPatience = 30 * time.Second

// await asks for a checkpoint until it is there or the patience is over.
func await(ctx context.Context, there func() (bool, error)) (bool, error) {
	deadline := time.Now().Add(checkpointPatience)
	for {
		made, err := there()
		if made || err != nil || time.Now().After(deadline) {
			return made, err
		}
		select {
		case <-ctx.Done():
			return false, context.Cause(ctx)
		case <-time.After(200 * time.Millisecond):
		}
	}
}
