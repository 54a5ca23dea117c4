package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"mbk/copier"
	"mbk/internal/datadir"
	"mbk/internal/repo/store/storetest"
	"mbk/stage"
)

// lockBook is a server that grants table locks, for all of a test's fakeLocks.
type lockBook struct {
	mu     sync.Mutex
	locked map[string]int // times that a table was locked
	held   map[*fakeLock]string
	busy   string
	met    bool
	two    chan struct{} // closed when two tables are locked at once; nil: that is never waited for
}

type fakeLock struct{ book *lockBook }

func (l *fakeLock) Lock(_ context.Context, _, table string) error {
	if !l.book.note(l, table) {
		return &stage.BusyError{Wanted: table}
	}
	if l.book.two == nil {
		return nil
	}
	select {
	case <-l.book.two:
		return nil
	case <-time.After(20 * time.Second):
		return errors.New("nobody else locks a table")
	}
}

// note notes that a table is to be locked, and reports whether that is granted.
func (b *lockBook) note(l *fakeLock, table string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.held, l)
	if table == b.busy {
		return false
	}
	b.locked[table]++
	b.held[l] = table
	if len(b.held) == 2 && !b.met {
		b.met = true
		close(b.two)
	}
	return true
}

func (l *fakeLock) Unlock(context.Context) error {
	l.book.mu.Lock()
	defer l.book.mu.Unlock()
	delete(l.book.held, l)
	return nil
}

// Tables are opened by several locks at once, whether or not there are descriptors
// for all of them. Each is copied once, in the order of the scan, and nothing is
// locked when copying begins or goes on.
func TestOpenWithSeveralLocks(t *testing.T) {
	const tables = 300
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	var entries []datadir.Entry
	for i := range tables {
		table := fmt.Sprintf("t%03d", i)
		for _, ext := range []string{".frm", ".ibd"} {
			contents := []byte("TYPE=VIEW\n")
			if ext == ".ibd" {
				contents = make([]byte, 64<<10) // its first page is not written yet
			}
			if err := os.WriteFile(filepath.Join(dir, "d", table+ext), contents, 0o600); err != nil {
				t.Fatal(err)
			}
			entries = append(entries, datadir.Entry{Dir: "d", Name: table + ext, Table: table})
		}
	}
	time.Sleep(1100 * time.Millisecond) // what changed just now is not copied yet
	for name, c := range map[string]struct {
		locks       int
		descriptors int64
		busy        string
	}{
		"one lock":                            {1, 1000, ""},
		"three locks":                         {3, 1000, ""},
		"three locks and few descriptors":     {3, 40, ""},
		"three locks, a table that is locked": {3, 1000, "t007"},
	} {
		t.Run(name, func(t *testing.T) {
			cp, err := copier.New(t.Context(), storetest.NewMem(), copier.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer cp.Abort(os.ErrClosed)
			book := &lockBook{locked: map[string]int{}, held: map[*fakeLock]string{}, busy: c.busy}
			if c.locks > 1 {
				book.two = make(chan struct{})
			}
			l := datadir.Layout{Dir: dir, Vars: map[string]string{"innodb_page_size": "16384"}}
			copies, err := newCopies(l, cp, nil, c.descriptors)
			if err != nil {
				t.Fatal(err)
			}
			begun := 0
			log := slog.New(slog.NewTextHandler(io.Discard, nil))
			o := &opener{copies: copies, log: log, begin: func(context.Context) error {
				begun++
				if len(book.held) > 0 {
					return errors.New("copying begins while tables are locked")
				}
				return nil
			}}
			for range c.locks {
				o.locks = append(o.locks, &fakeLock{book})
			}
			if err := o.open(t.Context(), entries); err != nil {
				t.Fatal(err)
			}
			if err := copies.wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if begun != 1 || len(book.held) > 0 {
				t.Errorf("begun %d times, %d locks are held", begun, len(book.held))
			}
			var copied []*fileCopy
			for _, fc := range copies.newest {
				copied = append(copied, fc)
			}
			slices.SortFunc(copied, func(a, b *fileCopy) int { return int(a.number) - int(b.number) })
			want := slices.DeleteFunc(slices.Clone(entries), func(e datadir.Entry) bool { return e.Table == c.busy })
			if len(copied) != len(want) {
				t.Fatalf("%d files were copied, want %d", len(copied), len(want))
			}
			for i, fc := range copied {
				if fc.entry != want[i] || book.locked[fc.entry.Table] != 1 {
					t.Fatalf("copy %d is of %s, want %s; its table was locked %d times",
						i, fc.entry.Path(), want[i].Path(), book.locked[fc.entry.Table])
				}
			}
			if err := copies.descriptors.Acquire(t.Context(), c.descriptors); err != nil {
				t.Errorf("descriptors were not given back: %v", err)
			}
		})
	}
}
