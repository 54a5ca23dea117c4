package copier

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mbk/copier/pack"
	"mbk/copier/pack/packtest"
	"mbk/internal/repo/store/folder"
	"mbk/internal/repo/store/storetest"
)

var codecs = []pack.Codec{pack.None, pack.Zstd, pack.S2}

func TestRoundTrip(t *testing.T) {
	const chunk = 64 << 10
	for _, codec := range codecs {
		for _, workers := range []int{1, 3} {
			t.Run(fmt.Sprintf("%v by %d", codec, workers), func(t *testing.T) {
				var files [][]byte
				sizes := []int{0, 1, 2, 4095, 4096, 4097, chunk - 1, chunk, chunk + 1, 2 * chunk, 5*chunk + 77, 20 * chunk}
				for i, size := range sizes {
					seed := uint64(i)
					files = append(files,
						packtest.Noise(size, seed), packtest.Text(size, seed), make([]byte, size), sparse(size, seed))
				}
				st := storetest.NewMem()
				c := start(t, st, Options{
					Workers: workers, Codec: codec, ChunkSize: chunk, SegmentSize: 3 * chunk, PackLimit: 10 * chunk,
				})
				var pending []*Pending
				var raw int64
				for i, b := range files {
					pending = append(pending, add(t, c, uint32(i), b))
					raw += int64(len(b))
				}
				var results []Result
				for _, p := range pending {
					results = append(results, wait(t, p))
				}
				packs := closeCopier(t, c)
				wantPacks(t, st, packs, raw)
				var stored int64
				for i, b := range files {
					wantFile(t, st, uint32(i), results[i], b)
					if got := results[i].Read; got != int64(len(b)) {
						t.Errorf("Read = %d, want %d", got, len(b))
					}
					stored += results[i].Stored
				}
				for _, p := range packs {
					stored -= p.Size
				}
				if stored != 0 {
					t.Errorf("results have %d bytes more than the packs", stored)
				}
			})
		}
	}
}

// sparse returns n bytes that are noise, text and zeros by turns.
func sparse(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 3))
	b := make([]byte, 0, n)
	for len(b) < n {
		part := min(r.IntN(200<<10), n-len(b))
		switch r.IntN(3) {
		case 0:
			b = append(b, packtest.Noise(part, r.Uint64())...)
		case 1:
			b = append(b, packtest.Text(part, r.Uint64())...)
		default:
			b = append(b, make([]byte, part)...)
		}
	}
	return b
}

func TestZeros(t *testing.T) {
	const k = 1 << 10
	x := func(n int) []byte { return bytes.Repeat([]byte{7}, n) }
	z := func(n int) []byte { return make([]byte, n) }
	for _, tc := range []struct {
		name  string
		parts [][]byte
		want  int64 // bytes in chunks of zeros
	}{
		{"short file of zeros", [][]byte{z(60 * k)}, 0},
		{"file of zeros", [][]byte{z(300 * k)}, 300 * k},
		{"file of zeros of an odd length", [][]byte{z(300*k + 5)}, 300*k + 5},
		{"short run", [][]byte{x(64 * k), z(60 * k), x(64 * k)}, 0},
		{"long run", [][]byte{x(64 * k), z(64 * k), x(64 * k)}, 64 * k},
		{"long run out of step with the blocks", [][]byte{x(65*k + 1), z(80 * k), x(64 * k)}, 76 * k},
		{"two long runs", [][]byte{x(4 * k), z(64 * k), x(4 * k), z(64 * k), x(4 * k)}, 128 * k},
		{"run over the end of a chunk", [][]byte{x(128 * k), z(256 * k), x(128 * k)}, 256 * k},
		{"long run goes on shortly in the next chunk", [][]byte{x(128 * k), z(132 * k), x(60 * k)}, 132 * k},
		{"short at the end of a chunk, long in the next", [][]byte{x(252 * k), z(68 * k), x(60 * k)}, 64 * k},
		{"short run before a long one", [][]byte{x(60 * k), z(4 * k), x(4 * k), z(64 * k)}, 64 * k},
		{"at the front", [][]byte{z(64 * k), x(10)}, 64 * k},
		{"at the end", [][]byte{x(64 * k), z(64*k + 10)}, 64*k + 10},
		{"over the end of a segment", [][]byte{x(448 * k), z(128 * k), x(128 * k)}, 128 * k},
	} {
		t.Run(tc.name, func(t *testing.T) {
			file := bytes.Join(tc.parts, nil)
			src := Source{Number: 3, Name: "z", File: bytes.NewReader(file), Size: int64(len(file))}
			r, st, err := copyOne(t, Options{Workers: 1, ChunkSize: 256 << 10, SegmentSize: 512 << 10}, src)
			if err != nil {
				t.Fatal(err)
			}
			if got := wantFile(t, st, 3, r, file).Zeroed; got != tc.want {
				t.Errorf("%d bytes in chunks of zeros, want %d", got, tc.want)
			}
			if len(r.Extents) != 1 {
				t.Errorf("%d extents of one worker, want 1", len(r.Extents))
			}
		})
	}
}

func TestSegmentsAreShared(t *testing.T) {
	// Every worker must have read of the file before anyone gets on.
	const workers = 3
	file := bytes.Repeat(packtest.Text(1<<20+7, 1), 16)
	var meet sync.WaitGroup
	meet.Add(workers)
	var reads atomic.Int32
	shared := readerAt(func(p []byte, off int64) (int, error) {
		if reads.Add(1) <= workers {
			meet.Done()
			meet.Wait()
		}
		return bytes.NewReader(file).ReadAt(p, off)
	})
	src := Source{Number: 9, Name: "large", File: shared, Size: int64(len(file))}
	r, st, err := copyOne(t, Options{Workers: workers, Codec: pack.S2, SegmentSize: 1 << 20}, src)
	if err != nil {
		t.Fatal(err)
	}
	packs := map[string]bool{}
	for _, e := range r.Extents {
		packs[e.Pack] = true
	}
	if len(packs) != workers {
		t.Errorf("file is in %d packs, want %d", len(packs), workers)
	}
	wantFile(t, st, 9, r, file)
}

type readerAt func(p []byte, off int64) (int, error)

func (f readerAt) ReadAt(p []byte, off int64) (int, error) { return f(p, off) }

func TestOverlappingAdds(t *testing.T) {
	file := packtest.Text(3<<20, 4)
	st := storetest.NewMem()
	c := start(t, st, Options{Workers: 2, Codec: pack.Zstd})
	ranges := []Range{{0, 2 << 20}, {1 << 20, 1 << 20}, {1<<20 + 5, 2<<20 - 5}, {3 << 20, 0}, {100, 1}}
	results := make([]Result, len(ranges))
	var wg sync.WaitGroup
	for i, r := range ranges {
		wg.Go(func() {
			p, err := c.Add(t.Context(), Source{Number: 5, Name: "f", File: bytes.NewReader(file), Start: r.Start, Size: r.Size})
			if err == nil {
				results[i], err = p.Wait(t.Context())
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	closeCopier(t, c)
	x := pack.NewReader()
	defer x.Close()
	for i, r := range ranges {
		sink := packtest.NewFile(int64(len(file)))
		for _, e := range results[i].Extents {
			if err := x.Extent(t.Context(), st, 5, e, sink); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(sink.Bytes[r.Start:r.Start+r.Size], file[r.Start:r.Start+r.Size]) {
			t.Errorf("range %+v differs", r)
		}
		if len(results[i].Extents) == 0 && r.Size > 0 {
			t.Errorf("range %+v has no extents", r)
		}
	}
}

func TestFailAtEveryPoint(t *testing.T) {
	files := [][]byte{packtest.Text(300<<10, 1), packtest.Noise(200<<10, 2), make([]byte, 100<<10), packtest.Text(10, 3)}
	for n := 0; ; n++ {
		mem := storetest.NewMem()
		st := storetest.FailAt(mem, n)
		err := func() error {
			c, err := New(t.Context(), st, Options{
				Workers: 2, Codec: pack.Zstd, ChunkSize: 64 << 10, SegmentSize: 64 << 10, PackLimit: 100 << 10,
			})
			if err != nil {
				return err
			}
			for i, b := range files {
				p, err := c.Add(t.Context(), Source{Number: uint32(i), Name: "f", File: bytes.NewReader(b), Size: int64(len(b))})
				if err == nil {
					_, err = p.Wait(t.Context())
				}
				if err != nil {
					c.Abort(err)
					return err
				}
			}
			_, err = c.Close(t.Context())
			return err
		}()
		if !st.Fired() {
			if err != nil {
				t.Fatal(err)
			}
			if n < 4 {
				t.Errorf("only %d points", n)
			}
			break
		}
		if !errors.Is(err, storetest.ErrInjected) {
			t.Fatalf("point %d: %v", n, err)
		}
	}
}

func TestFirstErrorFailsAll(t *testing.T) {
	broken := errors.New("broken disk")
	c := start(t, storetest.NewMem(), Options{Workers: 2})
	file := readerAt(func([]byte, int64) (int, error) { return 0, broken })
	bad := addSource(t, c, Source{Name: "bad", Size: 10, File: file})
	if _, err := bad.Wait(t.Context()); !errors.Is(err, broken) || !strings.Contains(err.Error(), "read bad at byte 0") {
		t.Errorf("Wait: %v, want %v", err, broken)
	}
	p, err := c.Add(t.Context(), Source{Name: "good", Size: 4, File: strings.NewReader("good")})
	if err == nil {
		_, err = p.Wait(t.Context())
	}
	if !errors.Is(err, broken) {
		t.Errorf("next source: %v, want %v", err, broken)
	}
	if packs, err := c.Close(t.Context()); !errors.Is(err, broken) || packs != nil {
		t.Errorf("Close: %v, %v, want %v", packs, err, broken)
	}
}

func TestFullQueue(t *testing.T) {
	release := make(chan struct{})
	slow := readerAt(func(p []byte, off int64) (int, error) {
		<-release
		return len(p), nil
	})
	c := start(t, storetest.NewMem(), Options{Workers: 1, Queue: 1, ChunkSize: 64 << 10, SegmentSize: 64 << 10})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := c.Add(ctx, Source{Name: "slow", Size: 1 << 20, File: slow})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Add to a full queue: %v, want %v", err, context.DeadlineExceeded)
	}
	close(release)
	p := add(t, c, 2, packtest.Text(100, 1))
	wait(t, p)
}

func TestCancel(t *testing.T) {
	t.Run("New's context", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("signal")
		mem := storetest.NewMem()
		c, err := New(ctx, mem, Options{Workers: 2})
		if err != nil {
			t.Fatal(err)
		}
		p := add(t, c, 1, packtest.Text(100, 1))
		wait(t, p)
		reading := make(chan struct{})
		p = addSource(t, c, Source{Name: "endless", Size: 1 << 35, File: readerAt(func(p []byte, off int64) (int, error) {
			select {
			case reading <- struct{}{}:
			default:
			}
			return len(p), nil
		})})
		<-reading
		cancel(cause)
		if _, err := p.Wait(t.Context()); !errors.Is(err, cause) {
			t.Errorf("Wait: %v, want %v", err, cause)
		}
		if _, err := c.Close(t.Context()); !errors.Is(err, cause) {
			t.Errorf("Close: %v, want %v", err, cause)
		}
		if objects, err := mem.List(t.Context(), ""); err != nil || len(objects) > 0 {
			t.Errorf("store has %v, %v", objects, err)
		}
	})
	t.Run("Close's context", func(t *testing.T) {
		c := start(t, storetest.NewMem(), Options{Workers: 1})
		addSource(t, c, endless())
		if _, err := c.Close(cancelled(t)); !errors.Is(err, context.Canceled) {
			t.Errorf("Close: %v, want %v", err, context.Canceled)
		}
	})
	t.Run("Wait's context", func(t *testing.T) {
		c := start(t, storetest.NewMem(), Options{Workers: 1})
		p := addSource(t, c, endless())
		if _, err := p.Wait(cancelled(t)); !errors.Is(err, context.Canceled) {
			t.Errorf("Wait: %v, want %v", err, context.Canceled)
		}
		c.Abort(errors.New("enough"))
	})
	t.Run("before the start", func(t *testing.T) {
		mem := storetest.NewMem()
		c, err := New(cancelled(t), mem, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Close(t.Context()); !errors.Is(err, context.Canceled) {
			t.Errorf("Close: %v, want %v", err, context.Canceled)
		}
	})
	t.Run("throttled", func(t *testing.T) {
		c := start(t, storetest.NewMem(), Options{Workers: 1, BytesPerSecond: 1})
		p := add(t, c, 1, packtest.Noise(3<<20, 1))
		c.Abort(ErrShort)
		if _, err := p.Wait(t.Context()); !errors.Is(err, ErrShort) {
			t.Errorf("Wait: %v, want %v", err, ErrShort)
		}
	})
}

func TestAbortLeavesNoGoroutine(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 5 {
		c, err := New(t.Context(), storetest.NewMem(), Options{Workers: 4, Codec: pack.Zstd})
		if err != nil {
			t.Fatal(err)
		}
		add(t, c, 1, packtest.Text(5<<20, 1))
		c.Abort(nil)
		if _, err := c.Close(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("Close after Abort: %v, want %v", err, ErrClosed)
		}
		if _, err := c.Add(t.Context(), Source{Name: "late", File: strings.NewReader("")}); !errors.Is(err, ErrClosed) {
			t.Errorf("Add after Abort: %v, want %v", err, ErrClosed)
		}
	}
	// A goroutine is counted for a moment after it has said that it is done.
	for range 100 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), before)
}

func TestAbortAfterCloseDoesNothing(t *testing.T) {
	c := start(t, storetest.NewMem(), Options{Workers: 1})
	p := add(t, c, 1, packtest.Text(100, 1))
	packs := closeCopier(t, c)
	c.Abort(errors.New("too late"))
	wait(t, p)
	if again := closeCopier(t, c); len(again) != 1 || again[0] != packs[0] {
		t.Errorf("Close = %v, then %v", packs, again)
	}
}

func TestManySmallFiles(t *testing.T) {
	const files = 5000
	st := storetest.NewMem()
	c := start(t, st, Options{Workers: 2, Codec: pack.Zstd})
	pending := make([]*Pending, files)
	var raw int64
	for i := range pending {
		b := packtest.Text(i%2000, uint64(i))
		raw += int64(len(b))
		pending[i] = add(t, c, uint32(i), b)
	}
	results := make([]Result, files)
	for i, p := range pending {
		results[i] = wait(t, p)
	}
	wantPacks(t, st, closeCopier(t, c), raw)
	for i := 0; i < files; i += 97 {
		wantFile(t, st, uint32(i), results[i], packtest.Text(i%2000, uint64(i)))
	}
}

func TestProgressAddsUp(t *testing.T) {
	var raw, stored atomic.Int64
	st := storetest.NewMem()
	c := start(t, st, Options{Workers: 2, Codec: pack.Zstd, OnProgress: func(r, s int64) {
		raw.Add(r)
		stored.Add(s)
	}})
	var size int64
	for i, b := range [][]byte{make([]byte, 3<<20), packtest.Text(3<<20, 1), packtest.Noise(100, 1), sparse(2<<20, 5)} {
		wait(t, add(t, c, uint32(i), b))
		size += int64(len(b))
	}
	var packed int64
	for _, p := range closeCopier(t, c) {
		packed += p.Size
	}
	if raw.Load() != size || stored.Load() != packed {
		t.Errorf("progress %d, %d, want %d, %d", raw.Load(), stored.Load(), size, packed)
	}
}

func TestBadOptions(t *testing.T) {
	for _, tc := range []struct {
		name string
		opts Options
	}{
		{"unknown codec", Options{Codec: 9}},
		{"level of none", Options{Level: 1}},
		{"s2 level 4", Options{Codec: pack.S2, Level: 4}},
		{"workers", Options{Workers: -1}},
		{"small chunks", Options{ChunkSize: 4096}},
		{"large chunks", Options{ChunkSize: 2 << 20}},
		{"segment below chunk", Options{ChunkSize: 1 << 20, SegmentSize: 1 << 19}},
		{"pack limit", Options{PackLimit: -1}},
		{"speed", Options{BytesPerSecond: -1}},
		{"tries", Options{PageTries: -1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := New(t.Context(), storetest.NewMem(), tc.opts); err == nil {
				t.Error("accepted")
			}
			_, _, err := StoreStream(t.Context(), storetest.NewMem(), "redo.pack", 1, 0, strings.NewReader(""), tc.opts)
			if err == nil {
				t.Error("accepted by StoreStream")
			}
		})
	}
}

func TestRealFile(t *testing.T) {
	file := sparse(3<<20, 8)
	path := filepath.Join(t.TempDir(), "t.ibd")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	root, err := folder.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := start(t, root, Options{Codec: pack.Zstd, PreserveCache: true})
	r := wait(t, addSource(t, c, Source{Number: 1, Name: path, File: f, Size: int64(len(file))}))
	wantPacks(t, root, closeCopier(t, c), int64(len(file)))
	wantFile(t, root, 1, r, file)
}

// A worker must stay below 20 MiB whatever it copies.
func TestMemoryOfWorkers(t *testing.T) {
	const workers = 4
	for _, codec := range codecs {
		t.Run(codec.String(), func(t *testing.T) {
			before := heap()
			c := start(t, discard{}, Options{Workers: workers, Codec: codec})
			p := &sumPages{size: 64 << 10}
			file := p.pages(128)
			var pending []*Pending
			for i := range 2 * workers {
				s := source("f", file)
				s.Number, s.Pages = uint32(i), p
				pending = append(pending, addSource(t, c, s))
			}
			for _, p := range pending {
				wait(t, p)
			}
			pending, file = nil, nil
			if got := (heap() - before) / workers; got > 10<<20 || got < 1<<20 {
				t.Errorf("%d KiB for a worker", got>>10)
			}
			closeCopier(t, c)
		})
	}
}

// heap returns the bytes in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A segment is whole chunks, and no worker has long to do alone at the end.
func TestSegmentsOfSources(t *testing.T) {
	for _, c := range []struct {
		options    Options
		size, want int64
	}{
		{Options{Workers: 2}, 1 << 10, 8 << 20},
		{Options{Workers: 2}, 1 << 30, 16 << 20},
		{Options{Workers: 16}, 1 << 30, 8 << 20},
		{Options{Workers: 2}, 1 << 40, 64 << 20},
		{Options{Workers: 2, SegmentSize: 3 << 20}, 1 << 40, 3 << 20},
		{Options{Workers: 2, SegmentSize: 1}, 1 << 40, pack.MaxChunk},
	} {
		o := c.options.fill()
		if got := o.segment(c.size); got != c.want {
			t.Errorf("%+v: segments of %d bytes for a source of %d, want %d", c.options, got, c.size, c.want)
		}
	}
}
