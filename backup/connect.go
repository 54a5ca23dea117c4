package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/sys/unix"

	"mbk/internal/input/limit"
	"mbk/internal/repo"
	"mbk/stage"
)

// connections are those of an attempt to the server. Stages has two, one of them to
// withdraw a wait; up to four lockers open tables (tableLocks); the guard has its own. They
// belong to the attempt's goroutine, except watch: it follows the redo log, too.
type connections struct {
	opts   Options
	watch  *stage.Watch
	locker *stage.Locker
	stages *stage.Stages
}

// lockPatience is how long the lock of one table is waited for. A table that
// stays locked that long is copied in a later pass.
const lockPatience = 3 * time.Second

// connect opens those that live until the end. After an error those that are open are still to be closed.
func (c *connections) connect(ctx context.Context, retreat func(context.Context) error) error {
	var err error
	if c.watch, err = c.opts.Server.Watch(ctx); err != nil {
		return err
	}
	if c.locker, err = c.opts.Server.Locker(ctx, lockPatience, c.opts.LockBudget); err != nil {
		return err
	}
	c.stages, err = c.opts.Server.Begin(ctx, stage.StageOptions{
		Slice: c.opts.LockSlice, Patience: c.opts.LockWait, Budget: c.opts.LockBudget,
		Retreat: retreat, Logger: c.opts.Logger,
	})
	return err
}

// tableLocks returns the locks to open that many files with. With a single
// connection mbk and the server wait for each other most of the time; where there
// are many files more are opened, which closeMore closes. There are no more of them
// than the server has free connections.
func (c *connections) tableLocks(ctx context.Context, files int) (locks []tableLock, closeMore func(), err error) {
	const many, most = 2000, 4
	var more []*stage.Locker
	closeMore = func() {
		for _, l := range more {
			l.Close()
		}
	}
	locks = []tableLock{c.locker}
	for files >= many && len(locks) < most {
		l, err := c.opts.Server.Locker(ctx, lockPatience, c.opts.LockBudget)
		if errors.Is(err, stage.ErrTooManyConnections) {
			break
		}
		if err != nil {
			closeMore()
			return nil, nil, err
		}
		more, locks = append(more, l), append(locks, l)
	}
	return locks, closeMore, nil
}

// withinBudget calls do with a context for what is done while others may wait for
// us. If the budget is why it fails, the error says so. A budget that is over
// because we stood still shows in the stages.
func (c *connections) withinBudget(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.opts.LockBudget, fmt.Errorf("%w: %s", ErrLockBudget, c.opts.LockBudget))
	defer cancel()
	err := do(ctx)
	if err == nil || ctx.Err() == nil {
		return err
	}
	if lost := c.stages.End(context.WithoutCancel(ctx)); errors.Is(lost, stage.ErrStoodStill) {
		return lost
	}
	return fmt.Errorf("%w (%w)", context.Cause(ctx), err)
}

// stageTimes are the stages as they were held.
func (c *connections) stageTimes() []repo.Stage {
	if c.stages == nil {
		return nil
	}
	var times []repo.Stage
	for _, t := range c.stages.Times() {
		times = append(times, repo.Stage{
			Name: t.Stage.String(), Granted: t.Granted.UTC(), Tries: t.Tries,
			WaitMS: t.Wait.Milliseconds(), HeldMS: t.Held.Milliseconds(),
		})
	}
	return times
}

// confirmTime bounds how long it may take to make sure that a server which has lost
// us holds nothing any more.
const confirmTime = 20 * time.Second

// release gives up the stages and the locks. Of a lost connection it makes sure that
// the server has given the stages up too. failed is why the attempt ends.
func (c *connections) release(ctx context.Context, failed error) error {
	if c.locker != nil {
		defer c.locker.Close()
	}
	if c.stages == nil {
		return nil
	}
	err := c.stages.Close()
	if !errors.Is(err, stage.ErrStageLost) {
		return err
	}
	if errors.Is(failed, stage.ErrStageLost) || errors.Is(failed, stage.ErrUnreachable) {
		err = nil // said already
	}
	ctx, cancel := context.WithTimeout(ctx, confirmTime)
	defer cancel()
	confirmed := c.stages.ConfirmReleased(ctx)
	if errors.Is(confirmed, unix.ECONNREFUSED) || errors.Is(confirmed, fs.ErrNotExist) {
		confirmed = nil // a server that has ended, and removed its socket perhaps, holds nothing
	}
	return errors.Join(err, limit.Explain(confirmed, confirmTime))
}

// close closes the connection that is left after release.
func (c *connections) close() {
	if c.watch != nil {
		c.watch.Close()
	}
}
