package copier

import (
	"bytes"
	"context"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mbk/copier/pack/packtest"
	"mbk/internal/repo/store"
	"mbk/internal/repo/store/storetest"
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
	c := start(t, storetest.NewMem(), Options{
		Workers: 1, ChunkSize: 64 << 10, SegmentSize: 64 << 10, PackLimit: 1 << 20, Priority: priority.Level{Nice: down},
	})
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

func TestUrgentCopyingEndsNoPack(t *testing.T) {
	st := storetest.NewMem()
	c := start(t, st, Options{Workers: 1, ChunkSize: 64 << 10, SegmentSize: 64 << 10, PackLimit: 64 << 10})
	wait(t, add(t, c, 10, packtest.Noise(64<<10, 10))) // and that pack is full
	raw := int64(64 << 10)
	for range 100 {
		if objects, err := st.List(t.Context(), ""); err != nil || len(objects) > 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.MakeUrgent()
	for i := range 5 {
		b := packtest.Noise(100<<10, uint64(i))
		raw += int64(len(b))
		wait(t, add(t, c, uint32(i), b))
	}
	if objects, err := st.List(t.Context(), ""); err != nil || len(objects) != 1 {
		t.Errorf("the store has %v, %v, want the pack that was full before", objects, err)
	}
	packs := closeCopier(t, c)
	wantPacks(t, st, packs, raw)
	if len(packs) != 2 {
		t.Errorf("%d packs, want 2", len(packs))
	}
}

func TestPackGoesOnDuringTheSyncOfTheLast(t *testing.T) {
	st := &slowPut{Store: storetest.NewMem(), release: make(chan struct{})}
	c := start(t, st, Options{Workers: 1, ChunkSize: 64 << 10, SegmentSize: 64 << 10, PackLimit: 1})
	release := sync.OnceFunc(func() { close(st.release) })
	t.Cleanup(release)
	a, b := packtest.Text(100, 1), packtest.Text(100, 2)
	ra := wait(t, add(t, c, 1, a))
	rb := wait(t, add(t, c, 2, b)) // data-0001.pack is not finished yet
	release()
	wantPacks(t, st.Store, closeCopier(t, c), 200)
	wantFile(t, st.Store, 1, ra, a)
	wantFile(t, st.Store, 2, rb, b)
}

// slowPut takes long to make an object durable.
type slowPut struct {
	store.Store
	release chan struct{}
}

func (s *slowPut) Put(ctx context.Context, name string, write func(w io.Writer) error) error {
	err := s.Store.Put(ctx, name, write)
	<-s.release
	return err
}

func TestRateLimit(t *testing.T) {
	c := start(t, storetest.NewMem(), Options{Workers: 2, BytesPerSecond: 4 << 20})
	began := time.Now()
	wait(t, add(t, c, 1, make([]byte, 2<<20))) // of which 1 MiB is free
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("2 MiB took %v at 4 MiB/s", took)
	}
}

func TestUrgencyLiftsTheRateLimit(t *testing.T) {
	c := start(t, storetest.NewMem(), Options{Workers: 2, BytesPerSecond: 1})
	p := add(t, c, 1, packtest.Noise(5<<20, 1))
	time.Sleep(10 * time.Millisecond) // the workers are waiting now
	c.MakeUrgent()
	c.MakeUrgent()
	wait(t, p)
	wait(t, add(t, c, 1, packtest.Noise(3<<20, 1)))
}
