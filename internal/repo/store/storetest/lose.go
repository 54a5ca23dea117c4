package storetest

import (
	"context"
	"io"
	"slices"
	"sync"

	"mbk/internal/repo/store"
)

// Losing is a store that loses its locks, as one does whose locks are leases.
type Losing struct {
	store.Store
	taken func()

	mu    sync.Mutex
	left  int // calls until the loss
	lost  bool
	locks []*losingLock
	late  []string
}

// LoseAt wraps a store so that all locks taken by way of it are lost in call n (from 0) of
// those that read, change or confirm something. Then taken is called, for what another
// process does that takes the lock over, and then the call is carried out: it was on its
// way. A test runs its scenario for n = 0, 1, 2 ... until Lost returns false.
func LoseAt(st store.Store, n int, taken func()) *Losing {
	return &Losing{Store: st, left: n, taken: taken}
}

// Lost reports whether the locks were lost.
func (l *Losing) Lost() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// Late returns what was changed by calls that began after the loss: "put a",
// "delete a".
func (l *Losing) Late() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.late)
}

// call counts a call; change names what it changes, "" if nothing.
func (l *Losing) call(change string) error {
	l.mu.Lock()
	if l.lost {
		defer l.mu.Unlock()
		if change != "" {
			l.late = append(l.late, change)
		}
		return nil
	}
	l.left--
	l.lost = l.left < 0
	lost, locks := l.lost, l.locks
	l.mu.Unlock()
	if !lost {
		return nil
	}
	for _, lock := range locks {
		if err := lock.Lock.Release(); err != nil {
			return err
		}
		close(lock.lost)
	}
	l.taken()
	return nil
}

// Put counts.
func (l *Losing) Put(ctx context.Context, name string, write func(io.Writer) error) error {
	return l.Store.Put(ctx, name, func(w io.Writer) error {
		if err := write(w); err != nil {
			return err
		}
		return l.call("put " + name)
	})
}

// Open counts.
func (l *Losing) Open(ctx context.Context, name string, offset, n int64) (io.ReadCloser, error) {
	if err := l.call(""); err != nil {
		return nil, err
	}
	return l.Store.Open(ctx, name, offset, n)
}

// List counts.
func (l *Losing) List(ctx context.Context, prefix string) ([]store.Object, error) {
	if err := l.call(""); err != nil {
		return nil, err
	}
	return l.Store.List(ctx, prefix)
}

// Delete counts.
func (l *Losing) Delete(ctx context.Context, name string) error {
	if err := l.call("delete " + name); err != nil {
		return err
	}
	return l.Store.Delete(ctx, name)
}

// Lock returns a lock that can be lost.
func (l *Losing) Lock(ctx context.Context, name, owner string) (store.Lock, error) {
	lock, err := l.Store.Lock(ctx, name, owner)
	if err != nil {
		return nil, err
	}
	losing := &losingLock{Lock: lock, name: name, of: l, lost: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.lost {
		l.locks = append(l.locks, losing)
	}
	return losing, nil
}

type losingLock struct {
	store.Lock
	name string
	of   *Losing
	lost chan struct{}
}

func (l *losingLock) Check() error {
	select {
	case <-l.lost:
		return &store.LostError{Name: l.name, Reason: "it was taken over by a test"}
	default:
		return l.Lock.Check()
	}
}

func (l *losingLock) Confirm(ctx context.Context) error {
	if err := l.of.call(""); err != nil {
		return err
	}
	if err := l.Check(); err != nil {
		return err
	}
	return l.Lock.Confirm(ctx)
}

func (l *losingLock) Lost() <-chan struct{} { return l.lost }
