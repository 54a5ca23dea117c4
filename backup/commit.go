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

// locked is the part of a backup that stops others: it waits for BLOCK_DDL, and
// from then on everything counts against the lock budget until END.
func (r *attempt) locked(ctx context.Context) error {
	if err := r.server.stages.Advance(ctx, stage.BlockDDL); err != nil {
		return err
	}
	r.journal.begin("locked")
	granted := time.Now()
	r.guard.stop() // giving up now would cost more than the rest
	defer func() { r.journal.window = time.Since(granted) }()
	err := r.server.withinBudget(ctx, func(ctx context.Context) error {
		if err := r.underBlockDDL(ctx); err != nil {
			return err
		}
		if err := r.server.stages.Advance(ctx, stage.BlockCommit); err != nil {
			return err
		}
		return r.underBlockCommit(ctx)
	})
	if err != nil {
		return err
	}
	// END may not be cut short; it does not wait for anything.
	return r.server.stages.End(context.WithoutCancel(ctx))
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
	if err := r.copies.foreign.lookForLeftOver(ctx, r.opts.Server, s); err != nil {
		return err
	}
	// The server makes its list while we go through the files.
	var listed datadir.Listing
	asking, both := errgroup.WithContext(ctx)
	asking.Go(func() (err error) {
		listed, err = preflight.ListTables(both, r.opts.Server)
		return err
	})
	r.final = newFinalState()
	if err = r.resolver().resolve(both, s); err == nil {
		err = r.aria.advance(both)
	}
	if err := errors.Join(err, asking.Wait()); err != nil {
		return err
	}
	r.final.listed = listed
	return r.copies.foreign.findProblems(ctx, r.opts.Server, r.final)
}

// lookForImports is called under BLOCK_DDL, before it is resolved which copies stand.
// Without a FILE_DELETE in the redo log nothing was discarded.
func (r *attempt) lookForImports(ctx context.Context) error {
	lsns, err := r.server.watch.LSNs(ctx)
	if err != nil {
		return err
	}
	if err := r.redo.tail.CatchUp(ctx, lsns.Flushed); err != nil {
		return err
	}
	deleted := r.redo.tail.Journal().MayDelete()
	if deleted || len(r.copies.foreign.discarded) > 0 {
		if err := r.copies.foreign.lookForDiscarded(ctx, r.opts.Server); err != nil {
			return err
		}
	}
	if !deleted {
		return nil
	}
	return r.imports.inTables(ctx)
}

// resolver works on the final state.
func (r *attempt) resolver() *resolver { return &resolver{r.copies, r.final} }

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
	r.final.position, err = readPosition(ctx, r.opts.Server, r.found.Layout.On("log_bin"), r.opts.Logger)
	if err != nil {
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
// of every tablespace of which the redo log changes a page. If it can create one again,
// the log tells of which (addRecreated). Else all that are there when that LSN has been
// read must be copied; each ALTER makes its files only once, so that has an end.
func (r *attempt) resolveLast(ctx context.Context) (innodb.LSN, error) {
	const most = 1000 // rounds, of a millisecond at least
	s, err := r.scan(ctx)
	for round := 1; err == nil; round++ {
		if err = r.resolver().update(ctx, s); err != nil {
			break
		}
		if err = r.resolver().confirm(ctx); err != nil {
			break
		}
		var lsns innodb.LSNs
		if lsns, err = r.server.watch.LSNs(ctx); err != nil {
			break
		}
		if recreates(r.found.Layout) && r.redo.tail.Journal().Readable() {
			return lsns.Current, nil
		}
		if s, err = r.found.Layout.Rescan(ctx, s); err != nil {
			break
		}
		e, lacking := r.resolver().lacking(s)
		if !lacking {
			return lsns.Current, nil
		}
		if round == most {
			err = fmt.Errorf("%s: no copy of it can be had: %w", e.Path(), ErrMadeLast)
		}
	}
	return 0, err
}
