package backup

import (
	"context"
	"errors"
	"log/slog"

	"mbk/internal/filename"
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
// happens when all tables are open or no more descriptors are to be had.
type opener struct {
	copies *copies
	lock   tableLock
	begin  func(ctx context.Context) error // called once, before the first page is copied; nil: copying goes on already
	log    *slog.Logger
	before []grabbed
	bytes  int64 // of the small files in before
}

// open opens and submits all entries, sorted by table.
func (o *opener) open(ctx context.Context, entries []entry) error {
	for len(entries) > 0 {
		n := tableRun(entries, min(maxRun, o.copies.budget/2))
		if err := o.openTable(ctx, entries[:n]); err != nil {
			return err
		}
		entries = entries[n:]
	}
	if err := o.lock.Unlock(ctx); err != nil {
		return err
	}
	return o.start(ctx)
}

// maxRun bounds how many files are opened under one lock; a table of thousands
// of partitions takes several.
const maxRun = 1000

// tableRun is how many of the first entries belong to one table, at most so many.
func tableRun(entries []entry, most int64) int {
	n := 1
	for n < len(entries) && int64(n) < most && entries[n].dir == entries[0].dir &&
		entries[n].table == entries[0].table && entries[0].table != "" {
		n++
	}
	return n
}

// openTable opens the files of one table.
func (o *opener) openTable(ctx context.Context, files []entry) error {
	if !o.copies.descriptors.TryAcquire(int64(len(files))) {
		// A table's lock is never held while we wait for anything else.
		if err := o.lock.Unlock(ctx); err != nil {
			return err
		}
		if err := o.start(ctx); err != nil {
			return err
		}
		if err := o.copies.descriptors.Acquire(ctx, int64(len(files))); err != nil {
			return err
		}
	}
	var busy *stage.BusyError
	if err := o.lockTable(ctx, files[0]); errors.As(err, &busy) {
		// A DDL is at it. The table is copied by a later pass.
		o.copies.descriptors.Release(int64(len(files)))
		o.log.Info("table is locked, copied later", "reason", busy)
		return nil
	} else if err != nil {
		o.copies.descriptors.Release(int64(len(files)))
		return err
	}
	for i, e := range files {
		g, found, err := o.copies.grab(e)
		if err != nil {
			o.copies.descriptors.Release(int64(len(files) - i - 1))
			return err
		}
		if found {
			o.before = append(o.before, g)
			o.bytes += int64(len(g.bytes))
		}
	}
	if o.begin != nil && o.bytes < maxBacklog {
		return nil
	}
	if err := o.lock.Unlock(ctx); err != nil {
		return err
	}
	return o.start(ctx)
}

// lockTable takes the BACKUP LOCK of the table of a file. Files that belong to
// no table that SQL can name are opened without.
func (o *opener) lockTable(ctx context.Context, e entry) error {
	database, plainDir := filename.Decode(e.dir)
	table, plainTable := filename.Decode(e.table)
	if !plainDir || !plainTable || filename.FullText(e.name) {
		return nil
	}
	return o.lock.Lock(ctx, database, table)
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
	for i, g := range o.before {
		if _, err := o.copies.submit(ctx, g); err != nil {
			o.drop(o.before[i+1:])
			return err
		}
	}
	o.before, o.bytes = o.before[:0], 0
	return nil
}

// drop closes files that will not be copied after all.
func (o *opener) drop(files []grabbed) {
	for _, g := range files {
		o.copies.release(g)
	}
	o.before = nil
}
