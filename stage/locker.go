package stage

import (
	"context"
	"fmt"
	"time"
)

// Locker is the connection for BACKUP LOCK. It holds at most one table's lock,
// which keeps DDL from that table while its files are opened; nothing else is to
// be done under it. Not for use under BLOCK_DDL, where an ALTER that waits for us
// may hold the table. Not for use by two goroutines at once.
type Locker struct {
	server *Server
	own    *session
	wait   time.Duration
}

// Locker opens the connection. wait bounds the wait for one lock; whole seconds,
// rounded up, as the server counts; 0 means 5 s. While it waits nobody waits
// behind it. The caller calls Close.
func (s *Server) Locker(ctx context.Context, wait time.Duration) (*Locker, error) {
	if wait < 0 {
		return nil, fmt.Errorf("wait for table locks: %s: negative", wait)
	}
	if wait == 0 {
		wait = 5 * time.Second
	}
	own, err := open(ctx, s.cfg, wait+watchLimit, false)
	if err != nil {
		return nil, fmt.Errorf("open the connection for table locks: %w", err)
	}
	l := &Locker{server: s, own: own, wait: wait}
	if err := l.exec(ctx, fmt.Sprintf("SET SESSION lock_wait_timeout=%d", (wait+time.Second-1)/time.Second)); err != nil {
		own.close()
		return nil, fmt.Errorf("prepare the connection for table locks: %w", err)
	}
	return l, nil
}

// Close ends the connection and with it the lock. It may be called again.
func (l *Locker) Close() { l.own.close() }

// Lock locks table db.table, whether or not it exists, and releases the lock
// held before. It returns BusyError when it was not granted in time; no lock is
// held then. When ctx ends the connection is closed, and the Locker is of no more
// use: ErrLockLost.
func (l *Locker) Lock(ctx context.Context, db, table string) error {
	text := "BACKUP LOCK " + quoteName(db) + "." + quoteName(table)
	begun := time.Now()
	err := l.exec(ctx, text)
	if err == nil || !withdrawn(err) {
		return wordLock(text, err)
	}
	busy := &BusyError{Wanted: text, Waited: time.Since(begun), Tries: 1}
	look, cancel := context.WithTimeout(ctx, lookLimit)
	defer cancel()
	if who, err := l.server.control.blockers(look, contest{db: db, table: table}); err == nil {
		busy.Blockers = who // else the error stays as true without names
	}
	return busy
}

// Unlock releases the lock. An error means that the lock may not have been held
// up to now.
func (l *Locker) Unlock(ctx context.Context) error {
	return wordLock("BACKUP UNLOCK", l.exec(ctx, "BACKUP UNLOCK"))
}

// exec runs a statement and gives the loss of the connection its type.
func (l *Locker) exec(ctx context.Context, text string) error {
	err := l.own.exec(ctx, text)
	if err != nil && lost(err) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%w: %w", ErrLockLost, err)
	}
	return err
}

// wordLock says which statement failed.
func wordLock(text string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", text, err)
}
