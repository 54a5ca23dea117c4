// Package storetest has what tests of stores and of their users need: the
// conformance suite that every store must pass, a store in memory, a store that
// fails at a chosen operation, and a way to damage an object.
package storetest

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

// Mem is a store in memory.
type Mem struct {
	mu      sync.Mutex
	objects map[string]memObject
	locks   map[string]string // owner by name

	retain   time.Duration // RetainFor
	retained map[string]time.Time
}

// Retaining makes a store retain the objects of names that a function accepts, as an object
// store with Object Lock does: a removed one is only hidden there.
func (m *Mem) Retaining(d time.Duration, of func(name string) bool) *Retaining {
	m.retain, m.retained = d, map[string]time.Time{}
	return &Retaining{m, of}
}

// Retaining is a Mem that retains objects.
type Retaining struct {
	*Mem
	of func(name string) bool
}

// Put retains the object.
func (r *Retaining) Put(ctx context.Context, name string, write func(io.Writer) error) error {
	if err := r.Mem.Put(ctx, name, write); err != nil || !r.of(name) {
		return err
	}
	return r.Retain(ctx, name, time.Now().Add(r.retain))
}

// RetainFor is 0 unless the store is Retaining.
func (m *Mem) RetainFor() time.Duration { return m.retain }

// Retain notes it.
func (m *Mem) Retain(ctx context.Context, name string, until time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, there := m.objects[name]; !there {
		return fmt.Errorf("retain %s: %w", name, fs.ErrNotExist)
	}
	if m.retained[name].Before(until) {
		m.retained[name] = until
	}
	return ctx.Err()
}

// RetainedUntil returns what was noted.
func (m *Mem) RetainedUntil(ctx context.Context, name string) (time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.retained[name], ctx.Err()
}

type memObject struct {
	data     []byte // never changed in place
	modified time.Time
}

var _ store.Store = (*Mem)(nil)

// NewMem returns an empty store.
func NewMem() *Mem {
	return &Mem{objects: map[string]memObject{}, locks: map[string]string{}}
}

// String returns "memory".
func (m *Mem) String() string { return "memory" }

// Put keeps what write writes.
func (m *Mem) Put(ctx context.Context, name string, write func(io.Writer) error) error {
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
	m.objects[name] = memObject{data: b.Bytes(), modified: time.Now().UTC()}
	return nil
}

// Open reads from a snapshot of the object.
func (m *Mem) Open(ctx context.Context, name string, offset, n int64) (io.ReadCloser, error) {
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
	return &memReader{ctx: ctx, r: bytes.NewReader(data)}, nil
}

type memReader struct {
	ctx context.Context
	r   *bytes.Reader
}

func (r *memReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

func (r *memReader) Close() error { return nil }

// List lists the objects.
func (m *Mem) List(ctx context.Context, prefix string) ([]store.Object, error) {
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
func (m *Mem) Delete(ctx context.Context, name string) error {
	if err := errors.Join(ctx.Err(), store.CheckName(name)); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.objects, name)
	return nil
}

// Lock takes a lock among the users of this Mem.
func (m *Mem) Lock(ctx context.Context, name, owner string) (store.Lock, error) {
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
func (m *Mem) Holder(ctx context.Context, name string) (string, error) {
	if err := errors.Join(ctx.Err(), store.CheckLockName(name)); err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.locks[name], nil
}

// Empty reports whether there is no object.
func (m *Mem) Empty(ctx context.Context) (bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.objects) == 0, ctx.Err()
}

// Writable always is.
func (m *Mem) Writable(ctx context.Context) error { return ctx.Err() }

// Exposed is nothing.
func (m *Mem) Exposed(ctx context.Context) ([]string, error) { return nil, ctx.Err() }

// SweepTemp finds nothing: a Put leaves nothing.
func (m *Mem) SweepTemp(ctx context.Context, _ string) ([]string, error) { return nil, ctx.Err() }

// Dir is none.
func (m *Mem) Dir() string { return "" }

// Capabilities has only the lock.
func (m *Mem) Capabilities(ctx context.Context) (store.Capabilities, error) {
	return store.Capabilities{Lock: store.LockProcess}, ctx.Err()
}

// Space is not known.
func (m *Mem) Space(ctx context.Context) (store.Space, error) {
	return store.Space{}, ctx.Err()
}

// Flip inverts the bits of mask in one byte of an object. An offset below zero
// counts from the object's end.
func Flip(ctx context.Context, st store.Objects, name string, offset int64, mask byte) error {
	r, err := st.Open(ctx, name, 0, -1)
	if err != nil {
		return err
	}
	b, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return err
	}
	if offset < 0 {
		offset += int64(len(b))
	}
	if offset < 0 || offset >= int64(len(b)) {
		return fmt.Errorf("flip byte %d of %s: it has %d bytes", offset, name, len(b))
	}
	b[offset] ^= mask
	return store.PutBytes(ctx, st, name, b)
}
