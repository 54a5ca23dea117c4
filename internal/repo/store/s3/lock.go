package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"mbk/internal/repo/store"
	"mbk/internal/repo/store/lease"
	"mbk/internal/sys/pause"
)

// probePrefix begins the names of objects that are written to find out what the store
// can do. No object of a repository has such a name.
const probePrefix = ".probe/"

// Lock takes a lease.
func (s *Store) Lock(ctx context.Context, name, owner string) (store.Lock, error) {
	return lease.New(&leases{s}, s.limits.lease).Lock(ctx, name, owner)
}

// Holder names the holder of a lease.
func (s *Store) Holder(ctx context.Context, name string) (string, error) {
	return lease.New(&leases{s}, s.limits.lease).Holder(ctx, name)
}

// leases are the objects in which leases are kept.
type leases struct{ s *Store }

var _ lease.Objects = (*leases)(nil)

// Create makes an object if there is none. A store without conditional writes is asked
// before and some seconds after: that a second mbk does the same at the same time is
// noticed unless its write takes longer than this pause.
func (l *leases) Create(ctx context.Context, name string, content []byte) error {
	conditional, err := l.s.probe(ctx)
	if err != nil {
		return l.s.explain("create "+name, err)
	}
	if conditional {
		return l.s.explain("create "+name, l.s.create(ctx, l.s.key(name), content))
	}
	if _, err := l.s.stat(ctx, l.s.key(name)); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = fs.ErrExist
		}
		return fmt.Errorf("create %s: %w", name, err)
	}
	if err := l.Write(ctx, name, content); err != nil {
		return err
	}
	if err := pause.For(ctx, l.s.limits.lookAgain); err != nil {
		return err
	}
	there, err := l.Read(ctx, name, int64(len(content)))
	if err == nil && !bytes.Equal(there, content) {
		err = fmt.Errorf("create %s: %w", name, fs.ErrExist)
	}
	return err
}

// Write replaces an object.
func (l *leases) Write(ctx context.Context, name string, content []byte) error {
	return l.s.explain("write "+name, l.s.putSmall(ctx, l.s.key(name), bytesPart(content), nil))
}

// Read reads an object.
func (l *leases) Read(ctx context.Context, name string, limit int64) ([]byte, error) {
	r, err := l.s.read(ctx, name, 0, limit)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(io.LimitReader(r, limit))
	return b, errors.Join(err, r.Close())
}

// List lists objects with a prefix.
func (l *leases) List(ctx context.Context, prefix string) (names []string, err error) {
	return l.s.keys(ctx, prefix)
}

// Delete removes an object.
func (l *leases) Delete(ctx context.Context, name string) error {
	return l.s.explain("delete "+name, l.s.remove(ctx, l.s.key(name)))
}

// probe finds out whether the store refuses to make an object that is there already, if
// it is asked to. Many stores ignore that, and some answer that they cannot.
func (s *Store) probe(ctx context.Context) (bool, error) {
	s.probing.Lock()
	defer s.probing.Unlock()
	s.mu.Lock()
	known := s.conditional
	s.mu.Unlock()
	if known != nil {
		return *known, ctx.Err()
	}
	key := s.key(probePrefix + rand.Text())
	honoured := false
	switch err := s.create(ctx, key, nil); {
	case errors.Is(err, fs.ErrExist), err == nil: // there already: by a try whose answer was lost
		if err = s.create(ctx, key, nil); err != nil && !errors.Is(err, fs.ErrExist) {
			return false, errors.Join(err, s.remove(ctx, key))
		}
		honoured = err != nil
		if err := s.remove(ctx, key); err != nil {
			return false, err
		}
	case !unsupported(err):
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conditional = &honoured
	return honoured, nil
}

// unsupported reports whether the store refused a request because it does not know it.
func unsupported(err error) bool {
	answer, ok := answerOf(err)
	return ok && (answer.Code == "NotImplemented" || answer.StatusCode == 501 || answer.StatusCode == 400)
}
