package backup

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"mbk/backup/preflight"
	"mbk/internal/hint"
	"mbk/internal/sys/disk"
	"mbk/stage"
)

// guardPause is how often the guard looks.
const guardPause = 2 * time.Second

// guard looks after what a backup must not do to its surroundings while it copies:
// fill a disk, or continue where the server has no time for it. For
// Options.AbortIf and Options.MaxLag it has a connection of its own, because SHOW SLAVE
// STATUS may have to wait for replication.
type guard struct {
	opts   Options
	redo   atomic.Pointer[redoCopy] // nil before it is copied
	conn   *stage.Watch             // nil without bounds
	cancel context.CancelFunc       // nil before the start
	ended  sync.WaitGroup
}

func newGuard(o Options) *guard { return &guard{opts: o} }

// start looks once, and from then on until it is stopped. What it finds ends the
// attempt, through abort.
func (g *guard) start(ctx context.Context, abort context.CancelCauseFunc) error {
	if len(g.opts.AbortIf) > 0 || g.opts.MaxLag > 0 {
		var err error
		if g.conn, err = g.opts.Server.Watch(ctx); err != nil {
			return err
		}
	}
	ctx, g.cancel = context.WithCancel(ctx)
	if err := g.look(ctx); err != nil {
		return err
	}
	g.ended.Go(func() { g.run(ctx, abort) })
	return nil
}

// run looks again and again.
func (g *guard) run(ctx context.Context, abort context.CancelCauseFunc) {
	tick := time.NewTicker(guardPause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := g.look(ctx); err != nil && ctx.Err() == nil {
			abort(err)
			return
		}
	}
}

// stop ends the guard and its connection. It may be called more than once.
func (g *guard) stop() {
	if g.cancel != nil {
		g.cancel()
	}
	g.ended.Wait()
	if g.conn != nil {
		g.conn.Close()
	}
}

// look makes all checks. A server that does not answer is found out by others.
func (g *guard) look(ctx context.Context) error {
	if err := g.lookAtRoom(ctx); err != nil || g.conn == nil {
		return err
	}
	if err := g.lookAtLag(ctx); err != nil {
		return err
	}
	return g.lookAtStatus(ctx)
}

// lookAtRoom compares what is left on the disks with the reserve.
func (g *guard) lookAtRoom(ctx context.Context) error {
	space, err := g.opts.Repository.Space(ctx)
	if err != nil {
		return err
	}
	if space.Known {
		if err := g.opts.MinFree.WantRoom(g.opts.Repository.String(), space.Free, space.Total); err != nil {
			return err
		}
	}
	redo := g.redo.Load()
	if redo == nil {
		return nil
	}
	redo.preserveCache()
	if redo.spool.waiting() == 0 {
		return nil
	}
	return g.opts.spoolRoom()
}

// spoolRoom compares what is left on the disk of the spool with the reserve.
func (o Options) spoolRoom() error {
	spool, err := disk.SpaceOf(o.SpoolDir)
	if err != nil {
		return fmt.Errorf("spool folder: %w", err)
	}
	return o.MinFree.WantRoom("spool folder "+o.SpoolDir, spool.Free, spool.Total)
}

// lookAtLag compares how far replication is behind with the bound.
func (g *guard) lookAtLag(ctx context.Context) error {
	if g.opts.MaxLag == 0 {
		return nil
	}
	lags, err := g.conn.Lags(ctx)
	if err != nil {
		return g.unanswered(err)
	}
	for _, l := range lags {
		if l.Behind > g.opts.MaxLag {
			return hint.Wrap(&BoundError{
				What: "the lag of replication " + l.Name(), Value: l.Behind.String(), Bound: g.opts.MaxLag.String(),
			}, boundHint)
		}
	}
	return nil
}

// boundHint is the advice after a bound was passed.
const boundHint = "nothing is locked and nothing is left behind: try again at a quieter time"

// lookAtStatus compares status variables with their bounds.
func (g *guard) lookAtStatus(ctx context.Context) error {
	if len(g.opts.AbortIf) == 0 {
		return nil
	}
	names := make([]string, len(g.opts.AbortIf))
	for i, b := range g.opts.AbortIf {
		names[i] = b.variable
	}
	status, err := g.conn.Status(ctx, names)
	if err != nil {
		return g.unanswered(err)
	}
	for _, b := range g.opts.AbortIf {
		text, known := status[b.variable]
		value, err := strconv.ParseFloat(text, 64)
		switch {
		case !known:
			return wrongBound(fmt.Sprintf("the server has no status variable %q", b.variable))
		case err != nil:
			return wrongBound(fmt.Sprintf("status variable %q is %q, which is not a number", b.variable, text))
		case b.passed(value):
			return hint.Wrap(&BoundError{What: "status variable " + b.variable, Value: text, Bound: b.text}, boundHint)
		}
	}
	return nil
}

// wrongBound is the error for a condition that can never be judged.
func wrongBound(text string) error {
	advice := "SHOW GLOBAL STATUS lists the variables; correct " + hint.Option("abort-if")
	return &preflight.FindingError{Finding: preflight.Finding{
		Check: "bounds", Grade: preflight.GradeError, Text: text, Hints: []hint.Text{advice},
	}}
}

// unanswered passes over a question that the server did not answer.
func (g *guard) unanswered(err error) error {
	g.opts.Logger.Debug("cannot look at the server's load", "error", err)
	return nil
}
