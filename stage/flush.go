package stage

import (
	"context"
	"errors"
	"fmt"
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

// Checkpoint makes InnoDB write all changed pages and a checkpoint, and waits
// for it, however long that takes; cancelling ctx ends the wait but not the
// server's work. It needs SUPER, which a backup otherwise does not: ErrPrivilege
// without it, errors.ErrUnsupported from a server that has no such command (10.5, 10.6).
// It uses a connection of its own.
func (s *Server) Checkpoint(ctx context.Context) error {
	own, err := open(ctx, s.cfg, 0, false)
	if err != nil {
		return fmt.Errorf("force a checkpoint: %w", err)
	}
	defer own.close()
	err = own.exec(ctx, "SET GLOBAL innodb_log_checkpoint_now=ON")
	if number(err) == erUnknownSystemVar {
		err = fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	if err != nil {
		return fmt.Errorf("force a checkpoint: %w", err)
	}
	return nil
}
