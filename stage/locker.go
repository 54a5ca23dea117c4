package stage

import (
	"context"
	"fmt"
	"time"

	"mbk/internal/hint"
)

// Locker is the connection for BACKUP LOCK. It holds at most one table's lock,
// which keeps DDL from that table while its files are opened; nothing else is to
// be done under it. Not for use under BLOCK_DDL, where an ALTER that waits for us
// may hold the table. Not for use by two goroutines at once.
type Locker struct {
	server *Server
	own    *session
	idle   *idler
	wait   time.Duration
}

// Locker opens the connection. wait bounds the wait for one lock; whole seconds,
// rounded up, as the server counts; 0 means 5 s. While it waits nobody waits
// behind it. hold bounds how long a table stays locked if this process is frozen:
// the server itself ends the connection four seconds later than that; 0, and
// anything above it, means 60 s. The caller calls Close.
func (s *Server) Locker(ctx context.Context, wait, hold time.Duration) (*Locker, error) {
	if wait < 0 || hold < 0 {
		return nil, fmt.Errorf("wait for table locks: %s, hold them for %s: negative", wait, hold)
	}
	if hold == 0 {
		hold = lockedMost
	}
	if wait == 0 {
		wait = 5 * time.Second
	}
	own, err := open(ctx, s.cfg, wait+watchLimit, false)
	if err != nil {
		return nil, fmt.Errorf("open the connection for table locks: %w", err)
	}
	l := &Locker{server: s, own: own, wait: wait}
	err = own.exec(ctx, fmt.Sprintf("SET SESSION lock_wait_timeout=%d", (wait+time.Second-1)/time.Second))
	if err == nil {
		l.idle, err = newIdler(ctx, own, min(hold, lockedMost)+tableGrace)
	}
	if err != nil {
		own.close()
		return nil, fmt.Errorf("prepare the connection for table locks: %w", err)
	}
	return l, nil
}

// Close ends the connection and with it the lock. It may be called again.
func (l *Locker) Close() {
	l.idle.close()
	l.own.close()
}

// Lock locks table db.table, whether or not it exists, and releases the lock
// held before. It returns BusyError when it was not granted in time; no lock is
// held then. When ctx ends the connection is closed, and the Locker is of no more
// use: ErrLockLost.
func (l *Locker) Lock(ctx context.Context, db, table string) error {
	text := "BACKUP LOCK " + quoteName(db) + "." + quoteName(table)
	begun := time.Now()
	err := l.exec(ctx, text, true)
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

// LockFor is Lock for a table that is to stay locked for up to d, and not only while
// its files are opened. The caller calls Unlock by then. The server keeps such a lock
// as long as this process is alive, and otherwise as the others.
func (l *Locker) LockFor(ctx context.Context, db, table string, d time.Duration) error {
	if err := l.Lock(ctx, db, table); err != nil {
		return err
	}
	l.idle.keep(d)
	return nil
}

// Unlock releases the lock. An error means that the lock may not have been held
// up to now.
func (l *Locker) Unlock(ctx context.Context) error {
	return wordLock("BACKUP UNLOCK", l.exec(ctx, "BACKUP UNLOCK", false))
}

// exec runs a statement, after which a table is locked or none is, and gives the loss
// of the connection its type.
func (l *Locker) exec(ctx context.Context, text string, locks bool) error {
	err := l.idle.exec(ctx, text, locks)
	if err != nil && lost(err) {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return hint.Wrap(fmt.Errorf("%w: %w", ErrLockLost, cause(err)), whatLost(err))
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
