package backup

import (
	"context"
	"errors"
	"os"
	"time"

	"mbk/copier"
	"mbk/copier/pack"
	"mbk/internal/datadir"
	"mbk/internal/innodb"
	"mbk/internal/repo"
	"mbk/internal/sys/pagecache"
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
	pack       pack.Pack
	storeErr   error
	end        innodb.LSN // of what was copied, once it is finished

	cold   *os.File      // the log, if the server writes it past the page cache
	before pagecache.Map // what the cache held of it: nothing

	// Of a log that hides names: the tables of the tablespaces at an LSN.
	tableIDs map[innodb.SpaceID]uint64
	knownAt  innodb.LSN
	covered  bool // the checkpoint lies after all changes of before that LSN
}

// startRedo reads the newest checkpoint and begins to copy the log behind it. It
// returns when everything that was durable by then is copied.
func (r *attempt) startRedo(ctx context.Context) error {
	c := &redoCopy{
		spool:  newSpool(r.opts.SpoolDir, spoolMemory),
		number: r.copies.nextNumber(),
		tailed: make(chan struct{}), stored: make(chan struct{}),
	}
	c.cold, c.before = coldLog(r.layout)
	r.tailed.Store(c)
	sink := func(mtrs []byte, _, _ innodb.LSN) error {
		_, err := c.spool.Write(mtrs)
		r.mindLag(c.tail)
		return err
	}
	var err error
	if c.tail, err = innodb.OpenTailer(r.layout.Redo, r.watch, sink, innodb.TailOptions{Files: r.layout.Files, Logger: r.log}); err != nil {
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

// coldLog opens the redo log if nothing of it is in the page cache, which is so if
// the server writes it past the cache. A log that is in there belongs there: the
// server would have to read a block again before it could add to it.
func coldLog(l datadir.Layout) (*os.File, pagecache.Map) {
	const (
		head = 64 << 10 // what is read of it to know the server by
		most = 4 << 30  // is looked at
	)
	f, err := l.Files.Open(l.Redo)
	if err != nil {
		return nil, pagecache.Map{} // the tail says so
	}
	if info, err := f.Stat(); err == nil {
		if before := pagecache.Look(f, head, min(info.Size(), most)-head); before.Known() && before.Resident() == 0 {
			return f, before
		}
	}
	f.Close() //nolint:errcheck // only read
	return nil, pagecache.Map{}
}

// spareCache drops what the tail has read from the page cache.
func (c *redoCopy) spareCache() {
	if c.cold != nil {
		c.before.DropAll(c.cold)
	}
}

// leaveCache is spareCache for the last time. Without a redoCopy it does nothing.
func (c *redoCopy) leaveCache() {
	if c == nil || c.cold == nil {
		return
	}
	c.spareCache()
	c.cold.Close() //nolint:errcheck // only read
	c.cold = nil
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
func (c *redoCopy) wait(ctx context.Context) (pack.Pack, error) {
	select {
	case <-c.stored:
		return c.pack, c.storeErr
	case <-ctx.Done():
		return pack.Pack{}, context.Cause(ctx)
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
		ExternalNames: c.tail.Journal().ExternalNames(),
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
