package backup

import (
	"context"
	"errors"
	"path"
	"slices"
	"sync"
	"time"

	"mbk/internal/datadir"
	"mbk/internal/datadir/filename"
	"mbk/internal/ui/printable"
	"mbk/stage"
)

// heldTables are the tables that were imported in an attempt. Their BACKUP LOCK is held
// while the next one runs, until nobody can import them anyway: imports that never stop
// would end each attempt. ALTER TABLE ... DISCARD and IMPORT TABLESPACE wait for that
// lock before they take any of those for which BACKUP STAGE BLOCK_DDL waits; all else may
// be done with the tables. Methods may be called from several goroutines.
type heldTables struct {
	opts   Options
	tables []datadir.TableName // the last ones first

	mu      sync.Mutex
	lockers []*stage.Locker
	expiry  *time.Timer
}

// maxHeld bounds for how many tables connections are opened.
const maxHeld = 4

// freezeLimit is how long the server waits for this process while a table is held: others
// wait for it longer than while its files are opened.
const freezeLimit = 10 * time.Second

// note notes which tables ended an attempt.
func (h *heldTables) note(failed error) {
	replaced, ok := errors.AsType[*replacedError](failed)
	if !ok {
		return
	}
	all := append(slices.Clone(replaced.tables), h.tables...)
	h.tables = nil
	for _, t := range all {
		if len(h.tables) < maxHeld && !slices.Contains(h.tables, t) {
			h.tables = append(h.tables, t)
		}
	}
}

// hold locks the tables, until release is called or the lock budget is over. One that
// cannot be locked is left as it is, and the next attempt may fail for the same reason.
func (h *heldTables) hold(ctx context.Context) error {
	begun := time.Now()
	for _, t := range h.tables {
		if err := h.lock(ctx, t); err != nil {
			if ctx.Err() != nil {
				h.release()
				return context.Cause(ctx)
			}
			h.opts.Logger.Warn("cannot keep a table from being imported again", "table",
				printable.Table(t.Database, t.Name), "reason", err)
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.lockers) > 0 {
		h.expiry = time.AfterFunc(time.Until(begun.Add(h.opts.LockBudget)), func() {
			if h.release() {
				h.opts.Logger.Warn("tables that were imported are not locked any more: the lock budget is over",
					"budget", h.opts.LockBudget)
			}
		})
	}
	return nil
}

// lock locks one table, when it has a tablespace if possible: otherwise the backup would
// hold nothing but its definition.
func (h *heldTables) lock(ctx context.Context, t datadir.TableName) error {
	locker, err := h.opts.Server.Locker(ctx, lockPatience, freezeLimit)
	if err != nil {
		return err
	}
	if err := h.lockWhole(ctx, locker, t); err != nil {
		locker.Close()
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lockers = append(h.lockers, locker)
	h.opts.Logger.Info("table cannot be imported for the time being", "table", printable.Table(t.Database, t.Name))
	return nil
}

// lockWhole locks a table, and waits for a moment at which it has a tablespace. If there
// is none in half a minute it is locked without.
func (h *heldTables) lockWhole(ctx context.Context, locker *stage.Locker, t datadir.TableName) error {
	deadline := time.Now().Add(checkpointPatience)
	for {
		late := time.Now().After(deadline)
		err := locker.LockFor(ctx, t.Database, t.Name, h.opts.LockBudget)
		if _, busy := errors.AsType[*stage.BusyError](err); err != nil && (!busy || late) {
			return err
		}
		if err == nil {
			discarded, err := h.discarded(ctx, t)
			if err != nil || !discarded || late {
				return err
			}
			if err := locker.Unlock(ctx); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// discarded reports whether a table, or one of its partitions, is without its tablespace.
func (h *heldTables) discarded(ctx context.Context, t datadir.TableName) (bool, error) {
	names, err := h.opts.Server.Discarded(ctx)
	return slices.ContainsFunc(names, func(name string) bool { return tableOfSpace(name) == t }), err
}

// tableOfSpace is the table to which InnoDB's name of a table or partition belongs:
// "database/table#P#p0" on disk.
func tableOfSpace(name string) datadir.TableName {
	dir, file := path.Split(name)
	return datadir.TableKey{Database: path.Clean(dir), Table: filename.Base(file)}.SQL()
}

// release unlocks the tables and reports whether any was locked. It may be called again.
func (h *heldTables) release() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.expiry != nil {
		h.expiry.Stop()
		h.expiry = nil
	}
	held := len(h.lockers) > 0
	for _, locker := range h.lockers {
		locker.Close() // and with it the lock
	}
	h.lockers = nil
	return held
}
