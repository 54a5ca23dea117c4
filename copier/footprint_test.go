package copier

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"mbk/internal/repo/store/storetest"
	"mbk/internal/sys/pagecache"
)

// What was not in the page cache is not there after either, what was is. The kernel
// may take pages at any time, so it gets three chances to leave them alone.
func TestPreserveCache(t *testing.T) {
	const size, warmAt, warm = 40 << 20, 10 << 20, 3 << 20
	b := make([]byte, size)
	rand.Read(b) // never fails
	name := filepath.Join(t.TempDir(), "t.ibd")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // only read
	fd := int(f.Fd())
	for try := 1; ; try++ {
		synced, dropped := unix.Fsync(fd), unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED)
		if err := errors.Join(synced, dropped, unix.Fadvise(fd, 0, 0, unix.FADV_RANDOM)); err != nil {
			t.Fatal(err)
		}
		if _, err := f.ReadAt(make([]byte, warm), warmAt); err != nil {
			t.Fatal(err)
		}
		if got := pagecache.Look(f, 0, size).Resident(); got != warm {
			t.Skipf("this file system keeps %d bytes in the page cache, want %d", got, warm)
		}
		head := pagecache.Look(f, 0, 1<<20)
		if _, err := f.ReadAt(make([]byte, 16<<10), 0); err != nil { // as a backup does to know what it copies
			t.Fatal(err)
		}
		c := start(t, storetest.NewMem(), Options{Workers: 2, SegmentSize: 8 << 20, PreserveCache: true})
		st := c.st.(*storetest.Mem)
		r := wait(t, addSource(t, c, Source{Number: 1, Name: name, File: f, Size: size, Cached: head}))
		closeCopier(t, c)
		wantFile(t, st, 1, r, b)
		kept, all := pagecache.Look(f, warmAt, warm).Resident(), pagecache.Look(f, 0, size).Resident()
		switch {
		case kept == warm && all == warm:
			return
		case try == 3:
			t.Fatalf("of %d bytes that were cached before %d are now, and %d others", warm, kept, all-kept)
		}
	}
}
