package storetest

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"mbk/internal/repo/store"
)

// ErrInjected is the error that a Failing store returns at its chosen point.
var ErrInjected = errors.New("injected failure")

// Failing is a store that fails once, or from one point on forever.
type Failing struct {
	st   store.Store // not embedded: no method is to be forwarded without a point
	once bool        // fails at one point only

	mu    sync.Mutex
	left  int // points until the failure
	fired bool
}

var _ store.Store = (*Failing)(nil)

// FailAt wraps a store so that point n (from 0) fails, and only that one: what
// the caller does then to clean up succeeds. A point is a place where a real
// store can fail: before a method does anything, in the middle of a Put's first
// write, before a Put places the object, in a read of what Open opened, and
// after a Put or a Delete has done its work but before it could confirm it. A
// test runs its scenario for n = 0, 1, 2 ... until Fired returns false.
func FailAt(st store.Store, n int) *Failing {
	return &Failing{st: st, left: n, once: true}
}

// FailFrom is like FailAt, but point n and all after it fail, as if the store
// had gone away.
func FailFrom(st store.Store, n int) *Failing {
	return &Failing{st: st, left: n}
}

// Fired reports whether the failure has happened.
func (f *Failing) Fired() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fired
}

// point is a place where the store can fail.
func (f *Failing) point() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fired {
		if f.once {
			return nil
		}
		return ErrInjected
	}
	if f.left > 0 {
		f.left--
		return nil
	}
	f.fired = true
	return ErrInjected
}

// String names the wrapped store.
func (f *Failing) String() string { return f.st.String() }

// Put can fail before, during and after the write.
func (f *Failing) Put(ctx context.Context, name string, write func(io.Writer) error) error {
	if err := f.point(); err != nil {
		return err
	}
	err := f.st.Put(ctx, name, func(w io.Writer) error {
		fw := &failingWriter{f: f, w: w}
		if err := write(fw); err != nil {
			return err
		}
		if fw.err != nil {
			return fw.err // overlooked by write
		}
		return f.point()
	})
	if err != nil {
		return err
	}
	return f.point()
}

// failingWriter can fail in its first Write, after half of it.
type failingWriter struct {
	f     *Failing
	w     io.Writer
	begun bool
	err   error
}

func (w *failingWriter) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if w.begun {
		return w.w.Write(p)
	}
	w.begun = true
	if w.err = w.f.point(); w.err != nil {
		n, err := w.w.Write(p[:len(p)/2])
		return n, errors.Join(w.err, err)
	}
	return w.w.Write(p)
}

// Open can fail, and so can the first read.
func (f *Failing) Open(ctx context.Context, name string, offset, n int64) (io.ReadCloser, error) {
	if err := f.point(); err != nil {
		return nil, err
	}
	r, err := f.st.Open(ctx, name, offset, n)
	if err != nil {
		return nil, err
	}
	return &failingReader{ReadCloser: r, f: f}, nil
}

type failingReader struct {
	io.ReadCloser
	f     *Failing
	begun bool
}

func (r *failingReader) Read(p []byte) (int, error) {
	if !r.begun {
		r.begun = true
		if err := r.f.point(); err != nil {
			return 0, err
		}
	}
	return r.ReadCloser.Read(p)
}

// List can fail.
func (f *Failing) List(ctx context.Context, prefix string) ([]store.Object, error) {
	if err := f.point(); err != nil {
		return nil, err
	}
	return f.st.List(ctx, prefix)
}

// Delete can fail before and after the object is gone.
func (f *Failing) Delete(ctx context.Context, name string) error {
	if err := f.point(); err != nil {
		return err
	}
	if err := f.st.Delete(ctx, name); err != nil {
		return err
	}
	return f.point()
}

// Lock can fail, and so can Confirm. Releasing cannot: a lock always ends with its process.
func (f *Failing) Lock(ctx context.Context, name, owner string) (store.Lock, error) {
	if err := f.point(); err != nil {
		return nil, err
	}
	lock, err := f.st.Lock(ctx, name, owner)
	if err != nil {
		return nil, err
	}
	return &failingLock{Lock: lock, f: f}, nil
}

type failingLock struct {
	store.Lock
	f *Failing
}

func (l *failingLock) Confirm(ctx context.Context) error {
	if err := l.f.point(); err != nil {
		return err
	}
	return l.Lock.Confirm(ctx)
}

// Holder can fail.
func (f *Failing) Holder(ctx context.Context, name string) (string, error) {
	if err := f.point(); err != nil {
		return "", err
	}
	return f.st.Holder(ctx, name)
}

// Empty can fail.
func (f *Failing) Empty(ctx context.Context) (bool, error) {
	if err := f.point(); err != nil {
		return false, err
	}
	return f.st.Empty(ctx)
}

// Writable can fail.
func (f *Failing) Writable(ctx context.Context) error {
	if err := f.point(); err != nil {
		return err
	}
	return f.st.Writable(ctx)
}

// RetainFor is that of the wrapped store.
func (f *Failing) RetainFor() time.Duration { return f.st.RetainFor() }

// Retain can fail.
func (f *Failing) Retain(ctx context.Context, name string, until time.Time) error {
	if err := f.point(); err != nil {
		return err
	}
	return f.st.Retain(ctx, name, until)
}

// RetainedUntil can fail.
func (f *Failing) RetainedUntil(ctx context.Context, name string) (time.Time, error) {
	if err := f.point(); err != nil {
		return time.Time{}, err
	}
	return f.st.RetainedUntil(ctx, name)
}

// Exposed can fail.
func (f *Failing) Exposed(ctx context.Context) ([]string, error) {
	if err := f.point(); err != nil {
		return nil, err
	}
	return f.st.Exposed(ctx)
}

// SweepTemp can fail before and after it has removed something.
func (f *Failing) SweepTemp(ctx context.Context, prefix string) ([]string, error) {
	if err := f.point(); err != nil {
		return nil, err
	}
	swept, err := f.st.SweepTemp(ctx, prefix)
	return swept, errors.Join(err, f.point())
}

// Dir is that of the wrapped store.
func (f *Failing) Dir() string { return f.st.Dir() }

// Capabilities can fail.
func (f *Failing) Capabilities(ctx context.Context) (store.Capabilities, error) {
	if err := f.point(); err != nil {
		return store.Capabilities{}, err
	}
	return f.st.Capabilities(ctx)
}

// Space can fail.
func (f *Failing) Space(ctx context.Context) (store.Space, error) {
	if err := f.point(); err != nil {
		return store.Space{}, err
	}
	return f.st.Space(ctx)
}
