package backup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"mbk/backup/preflight"
	"mbk/internal/datadir"
	"mbk/internal/innodb"
	"mbk/stage"
)

// blockDDL waits for the stage from which on others have to wait.
func (a *attempt) blockDDL(ctx context.Context) (err error) {
	if a.found.Layout.On("log_bin") {
		if a.logged, err = a.opts.Server.Binlog(ctx); err != nil {
			return err
		}
	}
	err = a.server.stages.Advance(ctx, stage.BlockDDL)
	a.held.release() // from here on nobody can import anything
	return err
}

// locked is the part of a backup that stops others. BLOCK_DDL has been granted, and
// everything counts against the lock budget until END.
func (a *attempt) locked(ctx context.Context) error {
	granted := time.Now()
	a.guard.stop() // giving up now would cost more than the rest
	defer func() { a.journal.window = time.Since(granted) }()
	err := a.server.withinBudget(ctx, func(ctx context.Context) error {
		if err := a.underBlockDDL(ctx); err != nil {
			return err
		}
		if err := a.server.stages.Advance(ctx, stage.BlockCommit); err != nil {
			return err
		}
		return a.underBlockCommit(ctx)
	})
	if err != nil {
		return err
	}
	// END may not be cut short; it does not wait for anything.
	if err := a.server.stages.End(context.WithoutCancel(ctx)); err != nil {
		return err
	}
	return a.checkHalfDone(ctx)
}

// underBlockDDL fixes the names: no DDL can end any more, and tables without
// transactions are not written to.
func (a *attempt) underBlockDDL(ctx context.Context) error {
	if err := a.lookForImports(ctx); err != nil {
		return err
	}
	s, err := a.scan(ctx)
	if err != nil {
		return err
	}
	if err := a.copies.foreign.lookForLeftOver(ctx, a.opts.Server, s); err != nil {
		return err
	}
	// The server makes its list while we go through the files.
	var listed datadir.Listing
	asking, both := errgroup.WithContext(ctx)
	asking.Go(func() (err error) {
		listed, err = preflight.ListTables(both, a.opts.Server)
		return err
	})
	a.final = newFinalState(len(s.Entries))
	if err = a.resolver().resolve(both, s); err == nil {
		err = a.aria.advance(both)
	}
	if err := errors.Join(err, asking.Wait()); err != nil {
		return err
	}
	a.final.listed = listed
	return a.copies.foreign.findProblems(ctx, a.opts.Server, a.final)
}

// lookForImports is called under BLOCK_DDL, before it is resolved which copies stand.
// Without a FILE_DELETE in the redo log nothing was discarded.
func (a *attempt) lookForImports(ctx context.Context) error {
	lsns, err := a.server.watch.LSNs(ctx)
	if err != nil {
		return err
	}
	if err := a.redo.tail.CatchUp(ctx, lsns.Flushed); err != nil {
		return err
	}
	deleted := a.redo.tail.Journal().MayDelete()
	if deleted || len(a.copies.foreign.discarded) > 0 {
		if err := a.copies.foreign.lookForDiscarded(ctx, a.opts.Server); err != nil {
			return err
		}
	}
	if !deleted {
		return nil
	}
	return a.imports.inTables(ctx)
}

// resolver works on the final state.
func (a *attempt) resolver() *resolver { return &resolver{a.copies, a.final} }

// underBlockCommit fixes the moment: no transaction can commit. What is read
// here, in this order, is one state of the server.
func (a *attempt) underBlockCommit(ctx context.Context) error {
	lsn, err := a.resolveLast(ctx)
	if err != nil {
		return err
	}
	written, err := a.opts.Server.FlushEngineLogs(ctx)
	if err != nil {
		return err
	}
	if written {
		a.redo.tail.Written(lsn)
	}
	a.final.position, err = readPosition(ctx, a.opts.Server, a.found.Layout.On("log_bin"), a.opts.Logger)
	if err != nil {
		return err
	}
	// Aria's tables are all copied, so its log may end now.
	if err := a.aria.finish(ctx); err != nil {
		return err
	}
	return a.redo.finish(ctx, lsn)
}

// resolveLast resolves what BLOCK_DDL does not fix: the server's own tables, and
// InnoDB's files of an ALTER that goes on. It returns the LSN up to which the redo
// is needed: all pages that were read were logged below it.
//
// An ALTER that had to wait for its table may begin just now. Recovery needs the file
// of every tablespace of which the redo log changes a page. If it can create one again,
// the log tells of which (addRecreated). Else all that are there when that LSN has been
// read must be copied; each ALTER makes its files only once, so that has an end.
func (a *attempt) resolveLast(ctx context.Context) (innodb.LSN, error) {
	const most = 1000 // rounds, of a millisecond at least
	s, err := a.scan(ctx)
	for round := 1; err == nil; round++ {
		if err = a.resolver().update(ctx, s); err != nil {
			break
		}
		if err = a.resolver().confirm(ctx); err != nil {
			break
		}
		var lsns innodb.LSNs
		if lsns, err = a.server.watch.LSNs(ctx); err != nil {
			break
		}
		if recreates(a.found.Layout) && a.redo.tail.Journal().Readable() {
			return lsns.Current, nil
		}
		if s, err = a.scan(ctx); err != nil {
			break
		}
		e, lacking := a.resolver().lacking(s)
		if !lacking {
			return lsns.Current, nil
		}
		if round == most {
			err = fmt.Errorf("%s: no copy of it can be had: %w", e.Path(), ErrMadeLast)
		}
	}
	return 0, err
}
