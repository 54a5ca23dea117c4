package backup

import (
	"context"
	"errors"
	"time"

	"mbk/copier"
	"mbk/innodb"
	"mbk/repo"
)

// redoPack is the object of the redo inside a backup's folder, and redoLogName
// the file that it holds.
const (
	redoPack    = "redo.pack"
	redoLogName = "ib_logfile0"
)

// spoolMemory is how much redo waits in memory for the repository.
const spoolMemory = 64 << 20

// redoCopy follows the server's redo log from the checkpoint that was the
// newest when all files were open. One goroutine tails the log into a spool,
// another stores the spool, and neither waits for the other.
type redoCopy struct {
	tail       *innodb.Tailer
	spool      *spool
	cancel     context.CancelFunc
	checkpoint innodb.Checkpoint
	capacity   int64
	number     uint32
	tailed     chan struct{} // closed when the tail has ended, with tailErr
	tailErr    error
	stored     chan struct{} // closed when the spool is stored, with the rest
	result     copier.Result
	pack       copier.Pack
	storeErr   error
	end        innodb.LSN // of what was copied, once it is finished

	// Of a log that hides names: the tables of the tablespaces at an LSN.
	tableIDs map[innodb.SpaceID]uint64
	knownAt  innodb.LSN
}

// startRedo reads the newest checkpoint and begins to copy the log behind it. It
// returns when everything that was durable by then is copied.
func (r *attempt) startRedo(ctx context.Context) error {
	c := &redoCopy{
		spool:  newSpool(r.opts.SpoolDir, spoolMemory),
		number: r.copies.nextNumber(),
		tailed: make(chan struct{}), stored: make(chan struct{}),
	}
	r.spool.Store(c.spool)
	sink := func(mtrs []byte, _, _ innodb.LSN) error {
		_, err := c.spool.Write(mtrs)
		return err
	}
	var err error
	if c.tail, err = innodb.OpenTailer(r.layout.redo, r.watch, sink, innodb.TailOptions{Logger: r.log}); err != nil {
		return err
	}
	if err := r.beforeCheckpoint(ctx, c); err != nil {
		return errors.Join(err, c.tail.Close())
	}
	if c.checkpoint, err = c.tail.Checkpoint(ctx); err != nil {
		return errors.Join(err, c.tail.Close())
	}
	c.capacity = c.tail.Ring().Capacity
	ctx, c.cancel = context.WithCancel(ctx)
	go c.follow(ctx, r.cancel)
	go c.store(ctx, r)
	r.redo = c
	lsns, err := r.watch.LSNs(ctx)
	if err != nil {
		return err
	}
	if err := c.tail.CatchUp(ctx, lsns.Flushed); err != nil {
		return err
	}
	return r.afterCheckpoint(ctx)
}

// follow tails the log until finish has what it wants. A log that is lost ends
// the attempt at once.
func (c *redoCopy) follow(ctx context.Context, cancel context.CancelCauseFunc) {
	defer close(c.tailed)
	if c.tailErr = c.tail.Run(ctx); c.tailErr != nil {
		c.spool.fail(c.tailErr)
		cancel(c.tailErr)
		return
	}
	c.spool.finish()
}

// store writes what the tail yields to the repository.
func (c *redoCopy) store(ctx context.Context, r *attempt) {
	defer close(c.stored)
	c.result, c.pack, c.storeErr = copier.StoreStream(ctx, r.opts.Repository.Store(), repo.Folder(r.id), redoPack,
		c.number, innodb.DataOffset(c.tail.Header().Format), c.spool, copier.Options{Codec: r.opts.Codec, Level: r.opts.Level})
	if c.storeErr != nil {
		c.spool.fail(c.storeErr)
		r.cancel(c.storeErr)
	}
}

// finish copies the log to the first end of a mini-transaction at or above lsn.
func (c *redoCopy) finish(ctx context.Context, lsn innodb.LSN) error {
	var err error
	if c.end, err = c.tail.Finish(ctx, lsn); err != nil {
		return err
	}
	<-c.tailed
	return c.tailErr
}

// wait returns when the redo is stored.
func (c *redoCopy) wait(ctx context.Context) (copier.Pack, error) {
	select {
	case <-c.stored:
		return c.pack, c.storeErr
	case <-ctx.Done():
		return copier.Pack{}, context.Cause(ctx)
	}
}

// close ends both goroutines and gives back what they used.
func (c *redoCopy) close() error {
	c.cancel()
	<-c.tailed
	c.spool.finish()
	<-c.stored
	return errors.Join(c.tail.Close(), c.spool.Close())
}

// describe is the redo in the manifest.
func (c *redoCopy) describe() repo.Redo {
	header, progress, counts := c.tail.Header(), c.tail.Progress(), c.tail.Journal().Counts()
	return repo.Redo{
		Format: header.Format, Creator: header.Creator, Crypt: header.Crypt,
		Checkpoint: c.checkpoint, End: c.end, Capacity: c.capacity,
		LowestMargin: progress.LowestHeadroom, Parts: progress.MTRs,
		FileCreates: counts.Creates, FileDeletes: counts.Deletes, FileRenames: counts.Renames,
		FarNames: c.tail.Journal().FarNames(),
	}
}

// file is the log as a file of the manifest. A restore puts a header before the
// extents, which begin where the header ends.
func (c *redoCopy) file() repo.File {
	format := c.tail.Header().Format
	from, to := innodb.StoredRedo(format, c.checkpoint, c.end)
	return repo.File{
		Number: c.number, Path: redoLogName, Class: repo.ClassRedo, Mode: 0o660, Modified: time.Now().UTC(),
		Size: innodb.DataOffset(format) + int64(to-from), Extents: c.result.Extents,
	}
}
