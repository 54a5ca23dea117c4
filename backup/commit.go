package backup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"mbk/internal/innodb"
	"mbk/internal/repo"
	"mbk/stage"
)

// locked is the part of a backup that stops others: it waits for BLOCK_DDL, and
// from then on everything counts against the lock budget until END.
func (r *attempt) locked(ctx context.Context) error {
	if err := r.stages.Advance(ctx, stage.BlockDDL); err != nil {
		return err
	}
	r.begin("locked")
	granted := time.Now()
	r.guard.stop() // giving up now would cost more than the rest
	defer func() { r.window = time.Since(granted) }()
	ctx, cancel := r.budgeted(ctx)
	defer cancel()
	if err := r.underBlockDDL(ctx); err != nil {
		return r.budgetCause(ctx, err)
	}
	if err := r.stages.Advance(ctx, stage.BlockCommit); err != nil {
		return r.budgetCause(ctx, err)
	}
	if err := r.underBlockCommit(ctx); err != nil {
		return r.budgetCause(ctx, err)
	}
	// END may not be cut short; it does not wait for anything.
	return r.stages.End(context.WithoutCancel(ctx))
}

// budgeted is a context for what is done while others may wait for us.
func (r *attempt) budgeted(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, r.opts.LockBudget, fmt.Errorf("%w: %s", ErrLockBudget, r.opts.LockBudget))
}

// budgetCause names the budget if it is why err happened. A budget that is over
// because we stood still shows in the stages.
func (r *attempt) budgetCause(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	if lost := r.stages.End(context.WithoutCancel(ctx)); errors.Is(lost, stage.ErrStoodStill) {
		return lost
	}
	return fmt.Errorf("%w (%w)", context.Cause(ctx), err)
}

// underBlockDDL fixes the names: no DDL can end any more, and tables without
// transactions are not written to.
func (r *attempt) underBlockDDL(ctx context.Context) error {
	if err := r.lookForImports(ctx); err != nil {
		return err
	}
	s, err := r.scan(ctx)
	if err != nil {
		return err
	}
	if err := r.copies.lookForLeftOver(ctx, r.opts.Server, s); err != nil {
		return err
	}
	// The server makes its list while we go through the files.
	listing, both := errgroup.WithContext(ctx)
	listing.Go(func() (err error) {
		r.listed, err = list(both, r.opts.Server)
		return err
	})
	if r.final, err = r.copies.resolve(both, s); err == nil {
		err = r.aria.advance(both)
	}
	if err := errors.Join(err, listing.Wait()); err != nil {
		return err
	}
	return r.findProblems(ctx)
}

// underBlockCommit fixes the moment: no transaction can commit. What is read
// here, in this order, is one state of the server.
func (r *attempt) underBlockCommit(ctx context.Context) error {
	lsn, err := r.resolveLast(ctx)
	if err != nil {
		return err
	}
	written, err := r.opts.Server.FlushEngineLogs(ctx)
	if err != nil {
		return err
	}
	if written {
		r.redo.tail.Written(lsn)
	}
	if err := r.readPosition(ctx); err != nil {
		return err
	}
	// Aria's tables are all copied, so its log may end now.
	if err := r.aria.finish(ctx); err != nil {
		return err
	}
	return r.redo.finish(ctx, lsn)
}

// resolveLast resolves what BLOCK_DDL does not fix: the server's own tables, and
// InnoDB's files of an ALTER that goes on. It returns the LSN up to which the redo
// is needed: all pages that were read were logged below it.
//
// An ALTER that had to wait for its table may begin just now. Recovery needs the file
// of every tablespace of which the redo log changes a page. If it can make one anew,
// the log tells of which (addRecreated). Else all that are there when that LSN has been
// read must be copied; each ALTER makes its files only once, so that has an end.
func (r *attempt) resolveLast(ctx context.Context) (innodb.LSN, error) {
	const most = 1000 // rounds, of a millisecond at least
	s, err := r.scan(ctx)
	for round := 1; err == nil; round++ {
		if err = r.copies.update(ctx, r.final, s); err != nil {
			break
		}
		if err = r.copies.confirm(ctx, r.final); err != nil {
			break
		}
		var lsns innodb.LSNs
		if lsns, err = r.watch.LSNs(ctx); err != nil {
			break
		}
		if r.copies.recreates() && r.redo.tail.Journal().Readable() {
			return lsns.Current, nil
		}
		if s, err = r.layout.Rescan(ctx, s); err != nil {
			break
		}
		e, lacking := r.copies.lacking(r.final, s)
		if !lacking {
			return lsns.Current, nil
		}
		if round == most {
			err = fmt.Errorf("%s: no copy of it can be had: %w", e.Path(), ErrMadeLast)
		}
	}
	return 0, err
}

// commitWait bounds the wait for statements that write the binary log.
const commitWait = 2 * time.Second

// waitForCommits waits until what has committed is in the binary log.
func (r *attempt) waitForCommits(ctx context.Context) error {
	if !on(r.layout.Vars["log_bin"]) {
		return nil
	}
	for begun := time.Now(); ; {
		n, err := r.opts.Server.Committing(ctx)
		if err != nil || n == 0 {
			return err
		}
		if time.Since(begun) > commitWait {
			r.log.Warn("statements do not get on with writing the binary log; the position may be before them", "statements", n)
			return nil
		}
		if err := pause(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}

// readPosition reads how far the binary log, replication and the cluster are.
func (r *attempt) readPosition(ctx context.Context) error {
	if err := r.waitForCommits(ctx); err != nil {
		return err
	}
	binlog, err := r.opts.Server.Binlog(ctx)
	if err != nil {
		return err
	}
	if binlog != nil {
		r.state.binlog = &repo.Binlog{File: binlog.File, Position: binlog.Position, GTID: binlog.GTID, State: binlog.State}
	}
	replicas, err := r.opts.Server.Replicas(ctx)
	if err != nil {
		return err
	}
	for _, s := range replicas {
		r.state.replicas = append(r.state.replicas, repo.Source{
			Connection: s.Connection, Host: s.Host, Port: s.Port, File: s.File, Position: s.Position, GTID: s.GTID, UsingGTID: s.UsingGTID,
		})
	}
	galera, err := r.opts.Server.Galera(ctx)
	if err != nil || galera == nil {
		return err
	}
	r.state.galera = &repo.Galera{UUID: galera.UUID, SeqNo: galera.SeqNo}
	return nil
}
