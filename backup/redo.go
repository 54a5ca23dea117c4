package backup

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"mbk/copier"
	"mbk/copier/pack"
	"mbk/internal/datadir"
	"mbk/internal/innodb"
	"mbk/internal/repo"
	"mbk/internal/sys/pagecache"
	"mbk/stage"
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
	layout     datadir.Layout
	tail       *innodb.Tailer // nil before open
	spool      *spool
	cancel     context.CancelFunc // nil before start
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
}

// newRedoCopy makes the copy of a redo log, whose file has that number.
func newRedoCopy(l datadir.Layout, o Options, number uint32) *redoCopy {
	rc := &redoCopy{
		layout: l, spool: newSpool(o.SpoolDir, spoolMemory, o.spoolRoom), number: number,
		tailed: make(chan struct{}), stored: make(chan struct{}),
	}
	rc.cold, rc.before = coldLog(l)
	return rc
}

// open begins to follow the log, of which nothing is kept yet. each is called for each
// part of it.
func (rc *redoCopy) open(watch *stage.Watch, each func(*innodb.Tailer), log *slog.Logger) (err error) {
	sink := func(mtrs []byte, _, _ innodb.LSN) error {
		_, err := rc.spool.Write(mtrs)
		each(rc.tail)
		return err
	}
	rc.tail, err = innodb.OpenTailer(rc.layout.Redo, watch, sink, innodb.TailOptions{Files: rc.layout.Files, Logger: log})
	return err
}

// start reads the newest checkpoint and begins to copy what follows it. abort is called
// with the error that ends the copying early.
func (rc *redoCopy) start(ctx context.Context, o Options, to copier.Putter, abort context.CancelCauseFunc) (err error) {
	if rc.checkpoint, err = rc.tail.Checkpoint(ctx); err != nil {
		return err
	}
	rc.capacity = rc.tail.Ring().Capacity
	ctx, rc.cancel = context.WithCancel(ctx)
	go rc.follow(ctx, abort)
	go rc.store(ctx, o, to, abort)
	return nil
}

// started reports whether the log is being copied, or was.
func (rc *redoCopy) started() bool { return rc.cancel != nil }

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

// preserveCache drops what the tail has read from the page cache.
func (rc *redoCopy) preserveCache() {
	if rc.cold != nil {
		rc.before.DropAll(rc.cold)
	}
}

// leaveCache is preserveCache for the last time.
func (rc *redoCopy) leaveCache() {
	if rc.cold == nil {
		return
	}
	rc.preserveCache()
	rc.cold.Close() //nolint:errcheck // only read
	rc.cold = nil
}

// follow tails the log until finish has what it wants. A log that is lost ends
// the attempt at once.
func (rc *redoCopy) follow(ctx context.Context, cancel context.CancelCauseFunc) {
	defer close(rc.tailed)
	if rc.tailErr = rc.tail.Run(ctx); rc.tailErr != nil {
		rc.spool.fail(rc.tailErr)
		cancel(rc.tailErr)
		return
	}
	rc.spool.finish()
}

// store writes what the tail yields to the repository.
func (rc *redoCopy) store(ctx context.Context, o Options, to copier.Putter, abort context.CancelCauseFunc) {
	defer close(rc.stored)
	start := innodb.DataOffset(rc.tail.Header().Format)
	opts := copier.Options{Codec: o.Codec, Level: o.Level}
	rc.result, rc.pack, rc.storeErr = copier.StoreStream(ctx, to, redoPack, rc.number, start, rc.spool, opts)
	if rc.storeErr != nil {
		rc.spool.fail(rc.storeErr)
		abort(rc.storeErr)
	}
}

// finish copies the log to the first end of a mini-transaction at or above lsn.
func (rc *redoCopy) finish(ctx context.Context, lsn innodb.LSN) error {
	var err error
	if rc.end, err = rc.tail.Finish(ctx, lsn); err != nil {
		return err
	}
	<-rc.tailed
	return rc.tailErr
}

// wait returns when the redo is stored.
func (rc *redoCopy) wait(ctx context.Context) error {
	select {
	case <-rc.stored:
		return rc.storeErr
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// close ends both goroutines and closes what they used. Nobody else may use the copy
// any more. Of an attempt that has failed it stores no more.
func (rc *redoCopy) close(failed error) error {
	defer rc.leaveCache()
	if rc.tail == nil {
		return nil
	}
	if rc.started() {
		rc.cancel()
		<-rc.tailed
		if failed != nil {
			rc.spool.fail(failed)
		}
		rc.spool.finish()
		<-rc.stored
	}
	return errors.Join(rc.tail.Close(), rc.spool.Close())
}

// describe is the redo in the manifest.
func (rc *redoCopy) describe() repo.Redo {
	header, progress, counts := rc.tail.Header(), rc.tail.Progress(), rc.tail.Journal().Counts()
	return repo.Redo{
		Format: header.Format, Creator: header.Creator, Crypt: header.Crypt,
		Checkpoint: rc.checkpoint, End: rc.end, Capacity: rc.capacity,
		LowestHeadroom: progress.LowestHeadroom, Parts: progress.MTRs,
		FileCreates: counts.Creates, FileDeletes: counts.Deletes, FileRenames: counts.Renames,
		ExternalNames: rc.tail.Journal().ExternalNames(),
	}
}

// file is the log as a file of the manifest. A restore puts a header before the
// extents, which begin where the header ends.
func (rc *redoCopy) file() repo.File {
	format := rc.tail.Header().Format
	from, to := innodb.StoredRedo(format, rc.checkpoint, rc.end)
	f := repo.File{
		Number: rc.number, Path: redoLogName, Class: repo.ClassRedo, Mode: 0o660, Modified: time.Now().UTC(),
		Size: innodb.DataOffset(format) + int64(to-from), Extents: rc.result.Extents,
	}
	if filepath.Dir(rc.layout.Redo) != rc.layout.Dir {
		f.Origin = rc.layout.Redo // it is restored into the data directory itself
	}
	return f
}
