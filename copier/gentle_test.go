package copier

import (
	"bytes"
	"crypto/rand"
	"os"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"mbk/copier/pack/packtest"
	"mbk/internal/repo/store/storetest"
	"mbk/internal/sys/pagecache"
	"mbk/internal/sys/priority"
)

// niceFile notes the niceness of the thread that reads it.
type niceFile struct {
	*bytes.Reader
	nice atomic.Int64
}

func (f *niceFile) ReadAt(p []byte, off int64) (int, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	f.nice.Store(int64(20 - raw))
	if err != nil {
		return 0, err
	}
	return f.Reader.ReadAt(p, off)
}

// Copying has a low priority, but not while the server's locks are held. The worker
// has a pack open and waits for segments when copying becomes urgent.
func TestPriority(t *testing.T) {
	const down = 7
	c := start(t, storetest.NewMem(), Options{Workers: 1, ChunkSize: 64 << 10, SegmentSize: 64 << 10, PackLimit: 1 << 20, Priority: priority.Level{Nice: down}})
	raw, err := unix.Getpriority(unix.PRIO_PROCESS, 0)
	if err != nil {
		t.Fatal(err)
	}
	usual := int64(20 - raw)
	for i, want := range []int64{usual + down, usual + down, usual, usual} {
		if i == 2 {
			c.MakeUrgent()
		}
		f := &niceFile{Reader: bytes.NewReader(packtest.Noise(200<<10, uint64(i)))}
		wait(t, addSource(t, c, Source{Number: uint32(i), Name: "t.ibd", File: f, Size: 200 << 10}))
		if got := f.nice.Load(); got != min(want, priority.Lowest) {
			t.Errorf("source %d was read with niceness %d, want %d", i, got, want)
		}
	}
	closeCopier(t, c)
}

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
		for _, err := range []error{unix.Fsync(fd), unix.Fadvise(fd, 0, 0, unix.FADV_DONTNEED), unix.Fadvise(fd, 0, 0, unix.FADV_RANDOM)} {
			if err != nil {
				t.Fatal(err)
			}
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
