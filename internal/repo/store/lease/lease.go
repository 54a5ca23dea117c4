// Package lease locks a store that has no lock of a kernel: one behind a network, whose
// holder can die, freeze or be cut off without the store noticing.
//
// A lock is a row of small objects, ".locks/NAME.000000000017", of which the one with the
// highest number counts: its record says who holds the lock, or that it was released. To
// take a lock that is free is to create the next number, which only one of several can
// do. The holder renews its record, and nobody else ever writes to it. So no store has to
// replace or remove an object on a condition: creating one only if it is absent is enough.
//
// A holder counts on its lock for Times.Hold after the start of its last renewal, by a
// clock that runs on while its machine sleeps. After that the lock is lost for good, even
// if the next renewal succeeds. Somebody else takes the lock over when it has seen the same
// record for Times.Dead, which is longer, by a clock of its own. No clocks of two machines
// are compared. Whoever has created a number looks whether it is the highest, and whether
// the record before it is still the one that it saw; whoever has renewed one looks whether
// it still is the highest. So of a holder that renews in the last moment and one that takes
// over at least one notices the other, whatever the clocks say.
//
// What is left: a request that the holder sent in time can reach the store late, after
// a takeover, if the network delivers it only then. And a machine whose clocks all stood
// still, such as a virtual one that was paused, does not know that it has lost a lock
// before it asks the store: Confirm does. Whoever removes the objects of a lock that is held
// breaks it; its holder notices at the next renewal or Confirm.
package lease

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"mbk/internal/repo/store"
	"mbk/internal/sys/pause"
)

// Objects is what a lease needs of a store. Its methods are called from several
// goroutines, and return within a time of their own, or when ctx ends. A read that
// begins after a write has returned sees what was written, and so does List: every object
// that is there all the time is in it.
type Objects interface {
	// Create makes an object only if there is none of that name; else the error is
	// fs.ErrExist (by errors.Is). Folders that lead to it are made. Another error leaves
	// open whether the object was made. Readers may see an object without its content
	// for a moment.
	Create(ctx context.Context, name string, content []byte) error

	// Write replaces the content of an object by one of the same length. If there is
	// none of that name, it makes it or returns fs.ErrNotExist.
	Write(ctx context.Context, name string, content []byte) error

	// Read returns up to limit bytes of an object, or fs.ErrNotExist.
	Read(ctx context.Context, name string, limit int64) ([]byte, error)

	// List returns the names of all objects that begin with prefix, in any order. None is
	// no error.
	List(ctx context.Context, prefix string) ([]string, error)

	// Delete removes an object. It is not an error if there is none.
	Delete(ctx context.Context, name string) error
}

// Prefix begins the names of the objects of all locks. A store neither lists them nor
// counts them when it says whether it is empty.
const Prefix = ".locks/"

// Times of a lock. The zero value of a field means its default.
type Times struct {
	Renew time.Duration // from one renewal to the next; default 15 s
	Hold  time.Duration // how long a holder counts on its lock after a renewal; default 90 s
	Dead  time.Duration // how long a record does not change until its holder is dead; default 2 min
	Poll  time.Duration // from one look at somebody else's lock to the next; default 1 s
}

func (t Times) withDefaults() Times {
	for _, one := range []struct {
		value *time.Duration
		or    time.Duration
	}{{&t.Renew, 15 * time.Second}, {&t.Hold, 90 * time.Second}, {&t.Dead, 2 * time.Minute}, {&t.Poll, time.Second}} {
		if *one.value == 0 {
			*one.value = one.or
		}
	}
	return t
}

// Locker is a store.Locker for any Objects. It may be used from several goroutines.
type Locker struct {
	objects Objects
	times   Times
	alive   func() time.Duration // since some moment, by the clock of a holder
	watched func() time.Duration // since some moment, by the clock of who watches a holder
}

var _ store.Locker = (*Locker)(nil)

// New returns a Locker whose locks are kept in o. All programs that use the same store
// must have the same times.
func New(o Objects, t Times) *Locker {
	began := time.Now()
	return &Locker{
		objects: o, times: t.withDefaults(), alive: sinceBoot,
		watched: func() time.Duration { return time.Since(began) },
	}
}

// maxTries bounds how often Lock begins again because somebody was faster and is done
// already.
const maxTries = 10

// Lock takes a lock. A lock that is held it watches until its holder gives a sign of life,
// which makes a *store.LockedError after at most Times.Renew and what a renewal takes, or
// until it is dead.
func (l *Locker) Lock(ctx context.Context, name, owner string) (store.Lock, error) {
	if err := errors.Join(ctx.Err(), store.CheckLockName(name)); err != nil {
		return nil, err
	}
	var locked *store.LockedError
	for range maxTries {
		last, err := l.await(ctx, name)
		h := l.newHolding(name, owner, last.number+1)
		if err == nil {
			err = h.claim(ctx, last)
		}
		if err == nil {
			h.begin()
			return h, nil
		}
		if !errors.As(err, &locked) {
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		if locked.Owner != "" { // else it was released meanwhile
			break
		}
	}
	return nil, locked
}

// Holder returns the text of the holder and its last sign of life. It does not watch, and
// so the holder may be dead.
func (l *Locker) Holder(ctx context.Context, name string) (string, error) {
	if err := errors.Join(ctx.Err(), store.CheckLockName(name)); err != nil {
		return "", err
	}
	last, err := l.newest(ctx, name)
	if err != nil {
		return "", fmt.Errorf("look at lock %s: %w", name, err)
	}
	if last.free() {
		return "", nil
	}
	return last.record.holder(), nil
}

// seen is what was seen of a lock: its highest number, and the content of that object.
type seen struct {
	number  uint64 // 0 if the lock was never taken
	content []byte
	record  record // the zero value if the content is none
}

// free reports whether the next number may be created at once.
func (s *seen) free() bool { return s.number == 0 || s.record.Released }

// locked is the error for a lock that somebody else has taken; without an owner if that one
// has released it.
func (l *Locker) locked(name string, s *seen) *store.LockedError {
	err := &store.LockedError{Name: name, Lease: l.times.Dead}
	if !s.free() {
		err.Owner = s.record.holder()
	}
	return err
}

// newest reads the highest number of a lock.
func (l *Locker) newest(ctx context.Context, name string) (seen, error) {
	for range maxTries {
		numbers, err := l.numbers(ctx, name)
		if err != nil || len(numbers) == 0 {
			return seen{}, err
		}
		s := seen{number: numbers[len(numbers)-1]}
		s.content, err = l.objects.Read(ctx, objectName(name, s.number), maxRecord)
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed after it was listed
		}
		if err != nil {
			return seen{}, err
		}
		s.record = decode(s.content)
		return s, nil
	}
	return seen{}, errors.New("its objects vanish while they are read")
}

// await waits until a lock can be taken, because it is free or its holder is dead, and
// returns what it saw of it last. The error is a *store.LockedError if the holder lives.
func (l *Locker) await(ctx context.Context, name string) (seen, error) {
	first, err := l.newest(ctx, name)
	if err != nil || first.free() {
		return first, err
	}
	began := l.watched()
	for {
		if err := pause.For(ctx, l.times.Poll); err != nil {
			return seen{}, err
		}
		now, err := l.newest(ctx, name)
		switch {
		case err != nil || now.free():
			return now, err
		case now.number != first.number || !bytes.Equal(now.content, first.content):
			return seen{}, l.locked(name, &now)
		case l.watched()-began > l.times.Dead:
			return now, nil
		}
	}
}

// newToken returns what tells one holding of a lock from all others.
func newToken() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
