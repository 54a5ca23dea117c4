package archive

import (
	"context"
	"time"

	"mbk/stage"
)

// batchTime bounds how long an acknowledgement waits for what has arrived already, to be stored with it.
const batchTime = 10 * time.Millisecond

// acknowledge stores what sessions of the server wait for, with what else has arrived, and tells
// the server so. The event before was the last one of the dump.
func (f *follower) acknowledge(ctx context.Context, d *stage.Dump) error {
	if d.Waiting() && f.owed.IsZero() {
		f.owed = time.Now()
	}
	if _, open := f.cutter.Begun(); open || f.owed.IsZero() || d.Buffered() && time.Since(f.owed) < batchTime {
		return nil
	}
	if f.reached.File == "" {
		return nil // of a server that does not name its files, which no server does
	}
	if err := f.flush(ctx); err != nil {
		return err
	}
	f.owed = time.Time{}
	return d.Acknowledge(f.reached.File, f.reached.End)
}

// checkSemiSync says whether sessions of the server wait at all, when that has changed.
func (f *follower) checkSemiSync(ctx context.Context) error {
	if !f.o.SemiSync {
		return nil
	}
	on, timeout, err := f.o.Server.SemiSync(ctx)
	if err != nil {
		return err
	}
	switch {
	case !on:
		f.o.Logger.Warn("no commit waits for the archive: semi-sync replication is off at the server " +
			"(SET GLOBAL rpl_semi_sync_master_enabled=ON)")
	case !f.waiting:
		f.o.Logger.Info("commits wait for the archive", "at_most", timeout.String())
	}
	f.waiting = on
	return nil
}
