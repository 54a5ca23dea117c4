package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"mbk/internal/repo/store"
)

// Run checks that a store keeps the promises of store.Store. Open returns an
// empty store that only this test uses.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, st store.Store)
	}{
		{"put, read back, whole and in parts", testRanges},
		{"an empty object", testEmptyObject},
		{"a large object in many writes", testLarge},
		{"put replaces an object", testReplace},
		{"a failed put leaves nothing", testFailedPut},
		{"a failed put leaves the object from before", testFailedReplace},
		{"an unfinished put is not listed", testUnfinished},
		{"objects that are not there", testMissing},
		{"names that are not plain are refused", testNames},
		{"list is sorted and honours the prefix", testList},
		{"delete", testDelete},
		{"a cancelled context changes nothing", testCancelled},
		{"cancelled in the middle of a put", testCancelledPut},
		{"cancelled in the middle of a read", testCancelledRead},
		{"lock excludes and names its holder", testLock},
		{"many want the lock at once", testTakers},
		{"many writers, readers and listers at once", testConcurrent},
		{"space", testSpace},
		{"capabilities", testCapabilities},
		{"empty, writable, and who holds the lock", testUpkeep},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

// put makes an object and fails the test if that fails.
func put(t *testing.T, st store.Store, name, content string) {
	t.Helper()
	if err := store.PutBytes(t.Context(), st, name, []byte(content)); err != nil {
		t.Fatalf("Put(%s): %v", name, err)
	}
}

// get reads a part of an object.
func get(t *testing.T, st store.Store, name string, offset, n int64) string {
	t.Helper()
	r, err := st.Open(t.Context(), name, offset, n)
	if err != nil {
		t.Fatalf("Open(%s, %d, %d): %v", name, offset, n, err)
	}
	b, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		t.Fatalf("reading %s: %v", name, err)
	}
	return string(b)
}

func wantNames(t *testing.T, st store.Store, prefix string, want ...string) {
	t.Helper()
	list, err := st.List(t.Context(), prefix)
	if err != nil {
		t.Fatalf("List(%q): %v", prefix, err)
	}
	var got []string
	for _, o := range list {
		got = append(got, o.Name)
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("List(%q) = %q, want %q", prefix, got, want)
	}
}

func wantNotExist(t *testing.T, st store.Store, name string) {
	t.Helper()
	r, err := st.Open(t.Context(), name, 0, -1)
	if err == nil {
		r.Close()
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open(%s) = %v, want fs.ErrNotExist", name, err)
	}
}

func testRanges(t *testing.T, st store.Store) {
	put(t, st, "a/b/c.pack", "0123456789")
	for _, c := range []struct {
		offset, n int64
		want      string
	}{
		{0, -1, "0123456789"}, {0, 10, "0123456789"}, {0, 3, "012"}, {4, 2, "45"}, {4, -1, "456789"},
		{0, 0, ""}, {5, 0, ""}, {8, 100, "89"}, {10, -1, ""}, {11, -1, ""}, {1 << 40, 5, ""},
	} {
		if got := get(t, st, "a/b/c.pack", c.offset, c.n); got != c.want {
			t.Errorf("Open(%d, %d) reads %q, want %q", c.offset, c.n, got, c.want)
		}
	}
	if r, err := st.Open(t.Context(), "a/b/c.pack", -1, 5); err == nil {
		r.Close()
		t.Error("Open at a negative offset succeeded")
	}
}

func testEmptyObject(t *testing.T, st store.Store) {
	err := st.Put(t.Context(), "empty", func(io.Writer) error { return nil })
	if err != nil {
		t.Fatalf("Put: %v", err)
	}
	if got := get(t, st, "empty", 0, -1); got != "" {
		t.Errorf("read %q, want nothing", got)
	}
	wantNames(t, st, "", "empty")
}

func testLarge(t *testing.T, st store.Store) {
	const pieces, piece = 12, 256 << 10
	err := st.Put(t.Context(), "large", func(w io.Writer) error {
		b := make([]byte, piece)
		for i := range pieces {
			copy(b, fmt.Sprintf("piece %d", i))
			if n, err := w.Write(b); err != nil || n != len(b) {
				return fmt.Errorf("wrote %d: %w", n, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("Put: %v", err)
	}
	list, err := st.List(t.Context(), "large")
	if err != nil || len(list) != 1 || list[0].Size != pieces*piece {
		t.Fatalf("List = %v, %v, want one object of %d bytes", list, err, pieces*piece)
	}
	if got := get(t, st, "large", 11*piece, 8); got != "piece 11" {
		t.Errorf("last piece begins with %q", got)
	}
}

func testReplace(t *testing.T, st store.Store) {
	put(t, st, "x/y", "a longer first version")
	r, err := st.Open(t.Context(), "x/y", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	put(t, st, "x/y", "second")
	b, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil || string(b) != "a longer first version" {
		t.Errorf("a reader from before the replacement reads %q, %v", b, err)
	}
	if got := get(t, st, "x/y", 0, -1); got != "second" {
		t.Errorf("read %q, want %q", got, "second")
	}
	wantNames(t, st, "", "x/y")
}

func testFailedPut(t *testing.T, st store.Store) {
	errMine := errors.New("mine")
	err := st.Put(t.Context(), "p/q", func(w io.Writer) error {
		if _, err := w.Write([]byte("half")); err != nil {
			return err
		}
		return errMine
	})
	if !errors.Is(err, errMine) {
		t.Errorf("Put = %v, want the callback's error", err)
	}
	wantNotExist(t, st, "p/q")
	wantNames(t, st, "")
	put(t, st, "p/q", "whole")
	wantNames(t, st, "", "p/q")
}

func testFailedReplace(t *testing.T, st store.Store) {
	put(t, st, "p/q", "before")
	errMine := errors.New("mine")
	err := st.Put(t.Context(), "p/q", func(w io.Writer) error {
		_, err := w.Write([]byte("after"))
		return errors.Join(err, errMine)
	})
	if !errors.Is(err, errMine) {
		t.Errorf("Put = %v, want the callback's error", err)
	}
	if got := get(t, st, "p/q", 0, -1); got != "before" {
		t.Errorf("read %q, want %q", got, "before")
	}
}

func testUnfinished(t *testing.T, st store.Store) {
	put(t, st, "d/other", "x")
	err := st.Put(t.Context(), "d/new", func(w io.Writer) error {
		if _, err := w.Write([]byte("half")); err != nil {
			return err
		}
		wantNames(t, st, "", "d/other")
		wantNames(t, st, "d/n")
		wantNotExist(t, st, "d/new")
		if swept, err := st.SweepTemp(t.Context(), ""); err != nil || len(swept) > 0 {
			t.Errorf("SweepTemp during a Put = %v, %v; want nothing", swept, err)
		}
		_, err := w.Write([]byte(" and half"))
		return err
	})
	if err != nil {
		t.Fatalf("Put: %v", err)
	}
	if got := get(t, st, "d/new", 0, -1); got != "half and half" {
		t.Errorf("read %q", got)
	}
}

func testMissing(t *testing.T, st store.Store) {
	wantNotExist(t, st, "nothing")
	wantNotExist(t, st, "no/such/thing")
	put(t, st, "file", "x")
	wantNotExist(t, st, "file/below")
	put(t, st, "folder/file", "x")
	wantNotExist(t, st, "folder")
	wantNames(t, st, "none/")
}

func testNames(t *testing.T, st store.Store) {
	for _, name := range []string{
		"", "/", "/abs", "a/", "a//b", ".", "..", "a/..", "../a", "a/../b", ".hidden", "a/.hidden", "-option", "a/-b",
		"a b", "a\x00b", "a\nb", `a\b`, "ä", "a*", "a%", "a:b", strings.Repeat("x", 201), strings.Repeat("x/", 600) + "x",
	} {
		if err := store.PutBytes(t.Context(), st, name, nil); !errors.Is(err, store.ErrName) {
			t.Errorf("Put(%q) = %v, want ErrName", name, err)
		}
		if r, err := st.Open(t.Context(), name, 0, -1); !errors.Is(err, store.ErrName) {
			if err == nil {
				r.Close()
			}
			t.Errorf("Open(%q) = %v, want ErrName", name, err)
		}
		if err := st.Delete(t.Context(), name); !errors.Is(err, store.ErrName) {
			t.Errorf("Delete(%q) = %v, want ErrName", name, err)
		}
	}
	for _, name := range []string{"a", "A-1_b.c", "20261121T201806Z-full/data-0001.pack", strings.Repeat("x", 200)} {
		put(t, st, name, "x")
	}
}

func testList(t *testing.T, st store.Store) {
	wantNames(t, st, "")
	for _, name := range []string{"b/z", "b/a", "b.c", "b-c", "a", "c/1/2", "c/10", "bb"} {
		put(t, st, name, "12345")
	}
	wantNames(t, st, "", "a", "b-c", "b.c", "b/a", "b/z", "bb", "c/1/2", "c/10")
	wantNames(t, st, "b", "b-c", "b.c", "b/a", "b/z", "bb")
	wantNames(t, st, "b/", "b/a", "b/z")
	wantNames(t, st, "b/z", "b/z")
	wantNames(t, st, "c/1", "c/1/2", "c/10")
	wantNames(t, st, "d")
	list, err := st.List(t.Context(), "a")
	if err != nil || len(list) != 1 || list[0].Size != 5 || list[0].Modified.IsZero() {
		t.Errorf("List(a) = %+v, %v, want size 5 and a time", list, err)
	}
}

func testDelete(t *testing.T, st store.Store) {
	put(t, st, "a/b/1", "x")
	put(t, st, "a/b/2", "x")
	put(t, st, "a/c", "x")
	for range 2 { // the second time it is not there
		if err := st.Delete(t.Context(), "a/b/1"); err != nil {
			t.Fatalf("Delete: %v", err)
		}
		wantNotExist(t, st, "a/b/1")
		wantNames(t, st, "", "a/b/2", "a/c")
	}
	for _, name := range []string{"a/b/2", "a/c", "never/was", "a/b/2/below"} {
		if err := st.Delete(t.Context(), name); err != nil {
			t.Fatalf("Delete(%s): %v", name, err)
		}
	}
	wantNames(t, st, "")
	put(t, st, "a/b/1", "again")
	wantNames(t, st, "", "a/b/1")
}

func testCancelled(t *testing.T, st store.Store) {
	put(t, st, "kept", "x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	called := false
	err := st.Put(ctx, "new", func(io.Writer) error { called = true; return nil })
	if !errors.Is(err, context.Canceled) || called {
		t.Errorf("Put = %v (callback called: %v), want context.Canceled at once", err, called)
	}
	if err := st.Delete(ctx, "kept"); !errors.Is(err, context.Canceled) {
		t.Errorf("Delete = %v, want context.Canceled", err)
	}
	if r, err := st.Open(ctx, "kept", 0, -1); !errors.Is(err, context.Canceled) {
		if err == nil {
			r.Close()
		}
		t.Errorf("Open = %v, want context.Canceled", err)
	}
	if _, err := st.List(ctx, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("List = %v, want context.Canceled", err)
	}
	for name, err := range upkeep(ctx, st) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s = %v, want context.Canceled", name, err)
		}
	}
	if lock, err := st.Lock(ctx, "l", "me"); !errors.Is(err, context.Canceled) {
		if err == nil {
			lock.Release()
		}
		t.Errorf("Lock = %v, want context.Canceled", err)
	}
	wantNames(t, st, "", "kept")
}

func testCancelledPut(t *testing.T, st store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	err := st.Put(ctx, "half", func(w io.Writer) error {
		if _, err := w.Write([]byte("x")); err != nil {
			return err
		}
		cancel()
		return nil // did not notice
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Put = %v, want context.Canceled", err)
	}
	wantNames(t, st, "")
}

func testCancelledRead(t *testing.T, st store.Store) {
	put(t, st, "x", strings.Repeat("x", 1000))
	ctx, cancel := context.WithCancel(t.Context())
	r, err := st.Open(ctx, "x", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.ReadFull(r, make([]byte, 10)); err != nil {
		t.Errorf("read before the cancel: %v", err)
	}
	cancel()
	if _, err := io.ReadAll(r); !errors.Is(err, context.Canceled) {
		t.Errorf("read after the cancel: %v, want context.Canceled", err)
	}
}

func testLock(t *testing.T, st store.Store) {
	lock, err := st.Lock(t.Context(), "repository", "db1 pid 812")
	if err != nil {
		t.Fatalf("Lock: %v", err)
	}
	_, err = st.Lock(t.Context(), "repository", "db2 pid 1")
	var locked *store.LockedError
	if !errors.As(err, &locked) || locked.Name != "repository" || !strings.HasPrefix(locked.Owner, "db1 pid 812") {
		t.Errorf("second Lock = %v, want *LockedError with the holder's text", err)
	}
	other, err := st.Lock(t.Context(), "other", "x")
	if err != nil {
		t.Errorf("Lock of another name: %v", err)
	} else if err := other.Release(); err != nil {
		t.Errorf("Release: %v", err)
	}
	wantNames(t, st, "") // a lock is no object
	if err := errors.Join(lock.Check(), lock.Confirm(t.Context())); err != nil {
		t.Errorf("a lock that is held: %v", err)
	}
	select {
	case <-lock.Lost():
		t.Error("a lock that is held is lost")
	default:
	}
	for range 2 { // the second release does nothing
		if err := lock.Release(); err != nil {
			t.Errorf("Release: %v", err)
		}
	}
	lock, err = st.Lock(t.Context(), "repository", "db2 pid 1")
	if err != nil {
		t.Fatalf("Lock after Release: %v", err)
	}
	if err := lock.Release(); err != nil {
		t.Errorf("Release: %v", err)
	}
}

// Of many who want a lock at the same time one gets it, and the next one when that one
// gives it back.
func testTakers(t *testing.T, st store.Store) {
	for range 3 {
		const takers = 16
		var wg sync.WaitGroup
		won, begin := make(chan store.Lock, takers), make(chan struct{})
		for i := range takers {
			wg.Go(func() {
				<-begin
				lock, err := st.Lock(t.Context(), "repository", fmt.Sprintf("taker %d", i))
				var locked *store.LockedError
				switch {
				case err == nil:
					won <- lock
				case !errors.As(err, &locked):
					t.Errorf("Lock = %v, want a lock or *LockedError", err)
				}
			})
		}
		close(begin)
		wg.Wait()
		if len(won) != 1 {
			t.Fatalf("%d of %d got the lock", len(won), takers)
		}
		lock := <-won
		if err := errors.Join(lock.Confirm(t.Context()), lock.Release()); err != nil {
			t.Error(err)
		}
	}
}

func testConcurrent(t *testing.T, st store.Store) {
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 20 {
				// Workers share folders that come and go.
				name := fmt.Sprintf("w/%d/%d.pack", i%3, worker)
				content := bytes.Repeat([]byte{byte(worker)}, 1000+i)
				if err := store.PutBytes(t.Context(), st, name, content); err != nil {
					t.Errorf("Put: %v", err)
					return
				}
				if got, err := store.ReadAll(t.Context(), st, name, 10000); err != nil || !bytes.Equal(got, content) {
					t.Errorf("ReadAll(%s): %d bytes, %v; want %d", name, len(got), err, len(content))
				}
				if _, err := st.List(t.Context(), "w/"); err != nil {
					t.Errorf("List: %v", err)
				}
				if err := st.Delete(t.Context(), name); err != nil {
					t.Errorf("Delete: %v", err)
				}
			}
		})
	}
	wg.Wait()
	wantNames(t, st, "")
}

func testSpace(t *testing.T, st store.Store) {
	s, err := st.Space(t.Context())
	if err != nil {
		t.Fatalf("Space: %v", err)
	}
	if s.Known && (s.Free < 0 || s.Free > s.Total) {
		t.Errorf("Space = %+v, want 0 <= Free <= Total", s)
	}
	if st.String() == "" {
		t.Error("String is empty")
	}
}

// What a store says that it can do is what it does.
func testCapabilities(t *testing.T, st store.Store) {
	c, err := st.Capabilities(t.Context())
	if err != nil {
		t.Fatalf("Capabilities: %v", err)
	}
	if c.Lock != store.LockFlock && c.Lock != store.LockLease && c.Lock != store.LockProcess {
		t.Errorf("Capabilities = %+v: no known way to keep writers apart", c)
	}
	if space, err := st.Space(t.Context()); err != nil || space.Known != c.FreeSpace {
		t.Errorf("Capabilities = %+v, but Space = %+v, %v", c, space, err)
	}
	put(t, st, "a", "first")
	put(t, st, "a", "second") // Put has no way to ask for less
	if got := get(t, st, "a", 0, -1); got != "second" {
		t.Errorf("the object is %q after it was replaced", got)
	}
	if err := st.Delete(t.Context(), "a"); err != nil || c.Retention {
		t.Errorf("Capabilities = %+v, but Delete = %v", c, err)
	}
}

// upkeep calls what has no more to tell than an error when the context is cancelled.
func upkeep(ctx context.Context, st store.Store) map[string]error {
	_, space := st.Space(ctx)
	_, empty := st.Empty(ctx)
	_, exposed := st.Exposed(ctx)
	_, swept := st.SweepTemp(ctx, "")
	_, holder := st.Holder(ctx, "repository")
	_, can := st.Capabilities(ctx)
	return map[string]error{
		"Space": space, "Empty": empty, "Exposed": exposed, "SweepTemp": swept, "Holder": holder,
		"Writable": st.Writable(ctx), "Capabilities": can,
	}
}

func testUpkeep(t *testing.T, st store.Store) {
	wantEmpty := func(want bool) {
		t.Helper()
		if got, err := st.Empty(t.Context()); got != want || err != nil {
			t.Errorf("Empty = %v, %v, want %v", got, err, want)
		}
	}
	wantEmpty(true)
	put(t, st, "a/b", "x")
	wantEmpty(false)
	if err := st.Delete(t.Context(), "a/b"); err != nil {
		t.Fatal(err)
	}
	wantEmpty(true)
	for name, err := range upkeep(t.Context(), st) {
		if err != nil {
			t.Errorf("%s = %v", name, err)
		}
	}
	lock, err := st.Lock(t.Context(), "repository", "db1 pid 812")
	if err != nil {
		t.Fatal(err)
	}
	wantEmpty(true) // a lock is no object
	if holder, err := st.Holder(t.Context(), "repository"); !strings.HasPrefix(holder, "db1 pid 812") || err != nil {
		t.Errorf("Holder = %q, %v", holder, err)
	}
	if err := lock.Release(); err != nil {
		t.Error(err)
	}
	if holder, err := st.Holder(t.Context(), "repository"); holder != "" || err != nil {
		t.Errorf("Holder after release = %q, %v", holder, err)
	}
	if _, err := st.Holder(t.Context(), "../x"); !errors.Is(err, store.ErrName) {
		t.Errorf("Holder of ../x = %v, want ErrName", err)
	}
	if dir := st.Dir(); dir != "" && !filepath.IsAbs(dir) {
		t.Errorf("Dir = %q", dir)
	}
}
