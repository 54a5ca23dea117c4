package tablerestore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mbk/internal/hint"
)

// An imported tablespace is not safe from a crash of the server until the next checkpoint:
// the redo log has the pages of the empty tablespace that was there before, and knows
// nothing of the import. Recovery would make those pages again, and apply later changes to
// them; the imported rows would be gone, without an error. So the checkpoint is made before
// the tables get their names.

// checkpointTime is how long a checkpoint is waited for on a server that cannot be told to make
// one.
const checkpointTime = 10 * time.Minute

// checkpoint makes the server make a checkpoint, if a table was imported.
func (g *target) checkpoint(ctx context.Context, tables []*table) error {
	imported := false
	for _, t := range tables {
		imported = imported || t.way == WayFiles
	}
	if !imported {
		return nil
	}
	watch, err := g.plan.o.Server.Watch(ctx)
	if err != nil {
		return err
	}
	defer watch.Close()
	before, err := watch.LSNs(ctx)
	if err != nil {
		return err
	}
	err = g.plan.o.Server.Checkpoint(ctx, watch, before.Current)
	if errors.Is(err, errors.ErrUnsupported) {
		return g.writePages(ctx, func(ctx context.Context) (bool, error) {
			now, err := watch.LSNs(ctx)
			return now.Checkpoint >= before.Current, err
		})
	}
	return err
}

// writePages makes a server before 10.8 write its changed pages, and so make a checkpoint,
// until done says that there was one.
func (g *target) writePages(ctx context.Context, done func(context.Context) (bool, error)) (err error) {
	const low = "innodb_max_dirty_pages_pct_lwm"
	const high = "innodb_max_dirty_pages_pct"
	set := func(ctx context.Context, lowValue, highValue string) error {
		return g.client.Exec(ctx, "SET GLOBAL "+low+"="+lowValue+", "+high+"="+highValue)
	}
	if err := set(ctx, "0", "0"); err != nil {
		return err
	}
	defer func() {
		final, cancel := context.WithTimeout(context.WithoutCancel(ctx), finalTime)
		defer cancel()
		v := g.plan.server.Variables
		err = errors.Join(err, g.client.Exec(final, "SET GLOBAL "+high+"="+v[high]+", "+low+"="+v[low]))
	}()
	for deadline := time.Now().Add(checkpointTime); ; {
		if ok, err := done(ctx); ok || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return hint.Wrap(fmt.Errorf("the server made no checkpoint within %s", checkpointTime),
				"try when the server has less to do")
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
