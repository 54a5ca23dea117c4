package stage

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"mbk/internal/innodb"
)

// FlushEngineLogs writes the storage engines' logs out. Written reports whether
// InnoDB's log file then holds everything up to the LSN that was current before;
// with innodb_flush_log_at_trx_commit=0 the statement does nothing, and a
// background thread writes the log within innodb_flush_log_at_timeout.
func (s *Server) FlushEngineLogs(ctx context.Context) (written bool, err error) {
	const mode = "SELECT @@GLOBAL.innodb_flush_log_at_trx_commit"
	before, err := s.control.values(ctx, mode)
	if err == nil {
		err = s.control.exec(ctx, "FLUSH NO_WRITE_TO_BINLOG ENGINE LOGS")
	}
	if err != nil {
		return false, fmt.Errorf("flush the engines' logs: %w", err)
	}
	after, err := s.control.values(ctx, mode)
	if err != nil {
		return false, fmt.Errorf("flush the engines' logs: %w", err)
	}
	return before.at(0) != "0" && after.at(0) != "0", nil
}

// checkpointPoll is the time between two looks whether there is a checkpoint, and killTime how
// long it may take to kill the statement.
const (
	checkpointPoll = 100 * time.Millisecond
	killTime       = 5 * time.Second
)

// Checkpoint makes InnoDB write all changed pages and a checkpoint at or after lsn, which the
// log has reached, and waits for that, however long it takes. It needs SUPER, which a backup otherwise does not:
// ErrPrivilege without it, errors.ErrUnsupported from a server that has no such command
// (10.5, 10.6). It uses a connection of its own.
//
// The server's statement ends when nobody has written while it looked (buf_flush_sync in
// storage/innobase/buf/buf0flu.cc): at once if there is nothing to write, and on a busy server
// perhaps never. So it is killed when there is a checkpoint, or ctx is done; some releases end
// it a little later.
func (s *Server) Checkpoint(ctx context.Context, watch *Watch, lsn innodb.LSN) error {
	own, err := open(ctx, s.cfg, 0, false)
	if err != nil {
		return fmt.Errorf("force a checkpoint: %w", err)
	}
	var statement sync.WaitGroup
	defer statement.Wait()
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	ended, id := make(chan error, 1), own.link.id
	statement.Go(func() {
		defer own.close()
		ended <- own.exec(running, "SET GLOBAL innodb_log_checkpoint_now=ON")
	})
	kill := func() {
		within, stop := context.WithTimeout(running, killTime)
		defer stop()
		_ = watch.KillQuery(within, id) // if that fails, it goes on for a while
	}
	look := time.NewTicker(checkpointPoll)
	defer look.Stop()
	for {
		select {
		case err := <-ended:
			if number(err) == erUnknownSystemVar {
				err = fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
			}
			if err != nil {
				return fmt.Errorf("force a checkpoint: %w", err)
			}
			return nil
		case <-look.C:
			now, err := watch.LSNs(ctx)
			if err != nil {
				kill()
				return fmt.Errorf("force a checkpoint: %w", err)
			}
			if now.Checkpoint >= lsn {
				kill()
				return nil
			}
		}
	}
}
