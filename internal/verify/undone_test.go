package verify

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"mbk/internal/repo"
	"mbk/internal/repo/store"
	"mbk/internal/repo/store/folder"
	"mbk/internal/repo/store/storetest"
	"mbk/internal/test/coldbackup"
)

// brokenStore gives an error for each pack that is opened, or in the middle of it.
type brokenStore struct {
	store.Store
	err  error
	late bool
}

// Open implements store.Store.
func (s brokenStore) Open(ctx context.Context, name string, offset, n int64) (io.ReadCloser, error) {
	if !strings.HasSuffix(name, ".pack") {
		return s.Store.Open(ctx, name, offset, n)
	}
	if !s.late {
		return nil, &fs.PathError{Op: "open", Path: name, Err: s.err}
	}
	r, err := s.Store.Open(ctx, name, offset, n)
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(io.LimitReader(r, 100), failingReader{s.err}), r}, err
}

// failingReader cannot be read.
type failingReader struct{ err error }

// Read implements io.Reader.
func (r failingReader) Read([]byte) (int, error) { return 0, r.err }

// A disk that gives errors does not make the bytes of a backup others than they are. A
// pack that is not there is damage.
func testUnreadableRepository(t *testing.T, f *coldbackup.Fixture, _ string) {
	whole, err := folder.Open(f.Folder)
	if err != nil {
		t.Fatal(err)
	}
	verify := func(st store.Store, depth string) (*Report, error) {
		o := options(f, depth)
		var err error
		if o.Repository, err = repo.Open(t.Context(), st); err != nil {
			return nil, err
		}
		return Verify(t.Context(), o)
	}
	for _, c := range []struct {
		err  error
		late bool
		want repo.Outcome
	}{
		{syscall.EIO, false, repo.VerdictUndone}, {syscall.EIO, true, repo.VerdictUndone}, {syscall.EACCES, false,
			repo.VerdictUndone},
		{syscall.ESTALE, true, repo.VerdictUndone}, {syscall.EMFILE, false, repo.VerdictUndone}, {context.DeadlineExceeded,
			false, repo.VerdictUndone},
		{syscall.ENOENT, false, repo.VerdictDamaged},
	} {
		for _, depth := range []string{repo.DepthStored, repo.DepthPages} {
			r, err := verify(brokenStore{whole, c.err, c.late}, depth)
			undone, ok := errors.AsType[*UndoneError](err)
			if r == nil || r.Outcome != c.want || ok != (c.want == repo.VerdictUndone) || ok && !errors.Is(undone, c.err) {
				t.Errorf("%v at depth %s: %+v, %v, want %s", c.err, depth, r, err, c.want)
			}
		}
	}
	// Wherever it fails, it is never damage, and the proof of before stands.
	if r, err := verify(whole, repo.DepthPages); err != nil || !r.OK {
		t.Fatalf("Verify = %+v, %v", r, err)
	}
	for _, depth := range []string{repo.DepthStored, repo.DepthPages} {
		for n := 0; ; n += 1 + n/4 {
			st := storetest.FailAt(whole, n)
			r, err := verify(st, depth)
			if !st.Fired() {
				break
			}
			if err == nil || r != nil && len(r.Findings) > 0 {
				t.Errorf("point %d: %+v, %v", n, r, err)
			}
			if v, err := f.Repository.Standing(t.Context(), f.Manifest.ID); err != nil || v == nil || !v.Proves() {
				t.Fatalf("point %d: it stands as %+v, %v", n, v, err)
			}
		}
	}
}
