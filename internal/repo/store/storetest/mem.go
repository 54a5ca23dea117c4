// Package storetest has what tests of stores and of their users need: the
// conformance suite that every store must pass, a store in memory, a store that
// fails at a chosen operation, and a way to damage an object.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"time"

	"mbk/internal/repo/store"
	"mbk/internal/repo/store/memory"
)

// Mem is a store in memory.
type Mem = memory.Store

// NewMem returns an empty one.
func NewMem() *Mem { return memory.New() }

// Retaining is a Mem that retains objects.
type Retaining struct {
	*Mem
	of func(name string) bool

	mu       sync.Mutex
	retain   time.Duration // RetainFor
	retained map[string]time.Time
}

// NewRetaining makes a store retain the objects of names that a function accepts, as an
// object store with Object Lock does: a removed one is only hidden there.
func NewRetaining(m *Mem, d time.Duration, of func(name string) bool) *Retaining {
	return &Retaining{Mem: m, of: of, retain: d, retained: map[string]time.Time{}}
}

// Put retains the object.
func (r *Retaining) Put(ctx context.Context, name string, write func(io.Writer) error) error {
	if err := r.Mem.Put(ctx, name, write); err != nil || !r.of(name) {
		return err
	}
	return r.Retain(ctx, name, time.Now().Add(r.retain))
}

// RetainFor is the time that was given.
func (r *Retaining) RetainFor() time.Duration { return r.retain }

// Retain notes it.
func (r *Retaining) Retain(ctx context.Context, name string, until time.Time) error {
	there, err := r.List(ctx, name)
	if err != nil {
		return err
	}
	if len(there) == 0 || there[0].Name != name {
		return fmt.Errorf("retain %s: %w", name, fs.ErrNotExist)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.retained[name].Before(until) {
		r.retained[name] = until
	}
	return ctx.Err()
}

// RetainedUntil returns what was noted.
func (r *Retaining) RetainedUntil(ctx context.Context, name string) (time.Time, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.retained[name], ctx.Err()
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
