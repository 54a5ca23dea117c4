// Package memory is a store of which nothing outlives the process. The small objects of a
// stream of backups are kept in one, and tests use it.
package memory

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"mbk/internal/repo/store"
)

// Store is a store in memory. Its locks keep the users of this Store apart.
type Store struct {
	store.Removable

	name    string
	mu      sync.Mutex
	objects map[string]object
	locks   map[string]string // owner by name
}

type object struct {
	data     []byte // never changed in place
	modified time.Time
}

var _ store.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store { return Named("memory") }

// Named returns an empty store of a name for messages.
func Named(name string) *Store {
	return &Store{name: name, objects: map[string]object{}, locks: map[string]string{}}
}

// String returns the store's name.
func (m *Store) String() string { return m.name }

// Put keeps what write writes.
func (m *Store) Put(ctx context.Context, name string, write func(io.Writer) error) error {
	if err := errors.Join(ctx.Err(), store.CheckName(name)); err != nil {
		return err
	}
	var b bytes.Buffer
	if err := write(&b); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.objects[name] = object{data: b.Bytes(), modified: time.Now().UTC()}
	return nil
}

// Open reads from a snapshot of the object.
func (m *Store) Open(ctx context.Context, name string, offset, n int64) (io.ReadCloser, error) {
	if err := errors.Join(ctx.Err(), store.CheckName(name)); err != nil {
		return nil, err
	}
	if offset < 0 {
		return nil, fmt.Errorf("open %s: negative offset %d", name, offset)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.objects[name]
	if !ok {
		return nil, fmt.Errorf("open %s: %w", name, fs.ErrNotExist)
	}
	data := o.data[min(offset, int64(len(o.data))):]
	if n >= 0 {
		data = data[:min(n, int64(len(data)))]
	}
	return &reader{ctx: ctx, r: bytes.NewReader(data)}, nil
}

type reader struct {
	ctx context.Context
	r   *bytes.Reader
}

func (r *reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

func (r *reader) Close() error { return nil }

// List lists the objects.
func (m *Store) List(ctx context.Context, prefix string) ([]store.Object, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var list []store.Object
	for name, o := range m.objects {
		if strings.HasPrefix(name, prefix) {
			list = append(list, store.Object{Name: name, Size: int64(len(o.data)), Modified: o.modified})
		}
	}
	slices.SortFunc(list, func(a, b store.Object) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

// Delete forgets an object.
func (m *Store) Delete(ctx context.Context, name string) error {
	if err := errors.Join(ctx.Err(), store.CheckName(name)); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.objects, name)
	return nil
}

// Lock takes a lock among the users of this Store.
func (m *Store) Lock(ctx context.Context, name, owner string) (store.Lock, error) {
	if err := errors.Join(ctx.Err(), store.CheckLockName(name)); err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if holder, held := m.locks[name]; held {
		return nil, &store.LockedError{Name: name, Owner: holder}
	}
	m.locks[name] = owner
	return store.UntilReleased(func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.locks, name)
		return nil
	}), nil
}

// Holder returns the owner's text of a lock.
func (m *Store) Holder(ctx context.Context, name string) (string, error) {
	if err := errors.Join(ctx.Err(), store.CheckLockName(name)); err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.locks[name], nil
}

// Empty reports whether there is no object.
func (m *Store) Empty(ctx context.Context) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.objects) == 0, ctx.Err()
}

// Writable always is.
func (m *Store) Writable(ctx context.Context) error { return ctx.Err() }

// Exposed is nothing.
func (m *Store) Exposed(ctx context.Context) ([]string, error) { return nil, ctx.Err() }

// SweepTemp finds nothing: a Put leaves nothing.
func (m *Store) SweepTemp(ctx context.Context, _ string) ([]string, error) { return nil, ctx.Err() }

// Dir is none.
func (m *Store) Dir() string { return "" }

// Capabilities has only the lock.
func (m *Store) Capabilities(ctx context.Context) (store.Capabilities, error) {
	return store.Capabilities{Lock: store.LockProcess}, ctx.Err()
}

// Space is not known.
func (m *Store) Space(ctx context.Context) (store.Space, error) {
	return store.Space{}, ctx.Err()
}
