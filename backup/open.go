package backup

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"golang.org/x/sync/errgroup"

	"mbk/internal/datadir"
	"mbk/internal/datadir/filename"
	"mbk/stage"
)

// tableLock is BACKUP LOCK: one table at a time, a new one instead of the former.
type tableLock interface {
	Lock(ctx context.Context, database, table string) error
	Unlock(ctx context.Context) error
}

// maxBacklog bounds the small files that wait in memory until copying begins.
const maxBacklog = 64 << 20

// opener opens the files of one table after another, each table under its
// BACKUP LOCK. The descriptors stay open until their copy is done and pin one
// generation of the table. Nothing is copied before begin was called, which
// happens when all tables are open or no more descriptors are to be had. Until
// then several tables are opened at a time, one by each lock.
type opener struct {
	copies *copies
	locks  []tableLock                     // at least one
	begin  func(ctx context.Context) error // called once, before the first page is copied; nil: copying has begun
	log    *slog.Logger
	before [][]openFile // by table
	bytes  int64        // of the small files in before
}

// open opens and submits all entries, sorted by table.
func (o *opener) open(ctx context.Context, entries []datadir.Entry) error {
	var err error
	if o.begin != nil {
		if entries, err = o.openAhead(ctx, entries); err != nil {
			return err
		}
	}
	lock := o.locks[0]
	for len(entries) > 0 {
		n := o.tableRun(entries)
		if err := o.openTable(ctx, lock, entries[:n]); err != nil {
			return err
		}
		entries = entries[n:]
	}
	if err := lock.Unlock(ctx); err != nil {
		return err
	}
	return o.start(ctx)
}

// openAhead opens tables while nothing is copied yet, until descriptors or memory
// are spent, and returns the entries that are left.
func (o *opener) openAhead(ctx context.Context, entries []datadir.Entry) ([]datadir.Entry, error) {
	var mu sync.Mutex // guards entries and o
	next := func() (table int, files []datadir.Entry) {
		mu.Lock()
		defer mu.Unlock()
		if len(entries) == 0 || o.bytes >= maxBacklog {
			return 0, nil
		}
		n := o.tableRun(entries)
		if !o.copies.descriptors.TryAcquire(int64(n)) {
			return 0, nil
		}
		files, entries = entries[:n], entries[n:]
		o.before = append(o.before, nil) // copied in the order of the scan
		return len(o.before) - 1, files
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, lock := range o.locks {
		group.Go(func() error {
			for table, files := next(); len(files) > 0; table, files = next() {
				found, err := o.openLocked(ctx, lock, files)
				mu.Lock()
				o.before[table] = found
				o.bytes += bytesOf(found)
				mu.Unlock()
				if err != nil {
					return err
				}
			}
			return lock.Unlock(ctx)
		})
	}
	return entries, group.Wait()
}

// maxRun bounds how many files are opened under one lock; a table of thousands
// of partitions takes several.
const maxRun = 1000

// tableRun is how many of the first entries belong to one table and are opened at
// once.
func (o *opener) tableRun(entries []datadir.Entry) int {
	n, most := 1, min(maxRun, o.copies.budget/2)
	for n < len(entries) && int64(n) < most && entries[n].Dir == entries[0].Dir &&
		entries[n].Table == entries[0].Table && entries[0].Table != "" {
		n++
	}
	return n
}

// openTable opens the files of one table, and submits them if copying has begun.
func (o *opener) openTable(ctx context.Context, lock tableLock, files []datadir.Entry) error {
	if !o.copies.descriptors.TryAcquire(int64(len(files))) {
		// A table's lock is never held while we wait for anything else.
		if err := lock.Unlock(ctx); err != nil {
			return err
		}
		if err := o.start(ctx); err != nil {
			return err
		}
		if err := o.copies.descriptors.Acquire(ctx, int64(len(files))); err != nil {
			return err
		}
	}
	found, err := o.openLocked(ctx, lock, files)
	o.before = append(o.before, found)
	if err != nil {
		return err
	}
	if err := lock.Unlock(ctx); err != nil {
		return err
	}
	return o.start(ctx)
}

// openLocked opens the files of one table under its lock, for which descriptors
// have been acquired. It returns what it has opened after an error, too.
func (o *opener) openLocked(ctx context.Context, lock tableLock, files []datadir.Entry) ([]openFile, error) {
	var busy *stage.BusyError
	if err := lockTable(ctx, lock, files[0]); errors.As(err, &busy) {
		// A DDL is at it. The table is copied by a later pass.
		o.copies.descriptors.Release(int64(len(files)))
		o.log.Info("table is locked, copied later", "reason", busy)
		return nil, nil
	} else if err != nil {
		o.copies.descriptors.Release(int64(len(files)))
		return nil, err
	}
	found, tried := make([]openFile, 0, len(files)), 0
	err := o.copies.layout.Do(func(l datadir.Layout) error {
		for _, e := range files {
			tried++
			opened, ok, err := o.copies.openUnlessIdle(l, e)
			if err != nil {
				return err
			}
			if ok {
				found = append(found, opened)
			}
		}
		return nil
	})
	o.copies.descriptors.Release(int64(len(files) - tried))
	return found, err
}

// bytesOf is how many bytes of small files have been read.
func bytesOf(files []openFile) int64 {
	var sum int64
	for _, opened := range files {
		sum += int64(len(opened.bytes))
	}
	return sum
}

// lockTable takes the BACKUP LOCK of the table of a file. Files that belong to
// no table that SQL can name are opened without.
func lockTable(ctx context.Context, lock tableLock, e datadir.Entry) error {
	database, plainDir := filename.Decode(e.Dir)
	table, plainTable := filename.Decode(e.Table)
	if !plainDir || !plainTable || filename.FullText(e.Name) {
		return nil
	}
	return lock.Lock(ctx, database, table)
}

// start begins copying if that has not happened and submits what is open.
func (o *opener) start(ctx context.Context) error {
	if o.begin != nil {
		begin := o.begin
		o.begin = nil
		if err := begin(ctx); err != nil {
			return err
		}
	}
	for len(o.before) > 0 {
		for len(o.before[0]) > 0 {
			opened := o.before[0][0]
			o.before[0] = o.before[0][1:]
			opened.mayWait = true
			if _, err := o.copies.submit(ctx, opened); err != nil {
				o.drop()
				return err
			}
		}
		o.before = o.before[1:]
	}
	o.bytes = 0
	return nil
}

// drop closes files that will not be copied after all.
func (o *opener) drop() {
	for _, files := range o.before {
		for _, opened := range files {
			o.copies.release(opened)
		}
	}
	o.before = nil
}
