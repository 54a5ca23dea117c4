package copier

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mbk/copier/pack"
	"mbk/copier/pack/packtest"
	"mbk/internal/repo/store/storetest"
)

// lsnPages are sumPages with the LSN of their last change after their number. As the engine's
// are, a page of zeros may be new.
type lsnPages struct{ sumPages }

func (p *lsnPages) Changed(page []byte, no uint32, since uint64) bool {
	return pack.ZeroRun(page) == len(page) || binary.LittleEndian.Uint64(page[4:]) >= since
}

// change gives pages of a file an LSN and other bytes.
func (p *lsnPages) change(b []byte, lsn uint64, numbers ...int) {
	for _, no := range numbers {
		page := b[no*p.size : (no+1)*p.size]
		copy(page, packtest.Text(len(page), lsn+uint64(no)))
		binary.LittleEndian.PutUint64(page[4:], lsn)
		p.stamp(b, no)
	}
}

// lsnFile returns a file of n pages with LSN 100.
func (p *lsnPages) lsnFile(n int) []byte {
	b := make([]byte, n*p.size)
	for no := range n {
		p.change(b, 100, no)
	}
	return b
}

// layers reads the extents of layers, the newest first, into one file.
func layers(t *testing.T, size int64, page int, layers ...layer) []byte {
	t.Helper()
	o := NewOverlay(size, page)
	got := packtest.NewFile(size)
	x := pack.NewReader()
	defer x.Close()
	for i, l := range layers {
		for _, e := range l.result.Extents {
			if err := x.Extent(t.Context(), l.st, 1, e, o.Sink(got)); err != nil {
				t.Fatalf("layer %d, extent %+v: %v", i, e, err)
			}
		}
	}
	if start, n, ok := o.Missing(); ok {
		t.Fatalf("no layer has the %d bytes at %d", n, start)
	}
	return got.Bytes
}

type layer struct {
	st     *storetest.Mem
	result Result
}

// pass copies a file over bases.
func pass(t *testing.T, opts Options, s Source, bases ...Base) layer {
	t.Helper()
	s.Bases = bases
	r, st, err := copyOne(t, opts, s)
	if err != nil {
		t.Fatal(err)
	}
	return layer{st, r}
}

func TestOnlyChangedPagesAreStored(t *testing.T) {
	for _, size := range []int{1 << 10, 16 << 10, 64 << 10} {
		for _, codec := range []pack.Codec{pack.None, pack.Zstd} {
			t.Run(fmt.Sprint(size, codec), func(t *testing.T) {
				p := &lsnPages{sumPages{size: size}}
				opts := Options{Workers: 2, Codec: codec, ChunkSize: 256 << 10, SegmentSize: 512 << 10}
				before := p.lsnFile(2 << 20 / size)
				full := pass(t, opts, p.lsnSource(before))

				// The file grows, pages here and there change, and some become zeros.
				after := append(bytes.Clone(before), p.lsnFile(512<<10/size)...)
				r := rand.New(rand.NewPCG(uint64(size), 1))
				for no := 2 << 20 / size; no < len(after)/size; no++ {
					p.change(after, 150, no)
				}
				changed := map[int]bool{}
				for range 10 {
					no := r.IntN(len(before) / size)
					changed[no] = true
					if r.IntN(3) == 0 {
						clear(after[no*size : (no+1)*size])
					} else {
						p.change(after, 200, no)
					}
				}
				for no := 1 << 20 / size; no < 1536<<10/size; no++ { // whole buffers
					changed[no] = true
					p.change(after, 300, no)
				}
				base := Base{Range{0, int64(len(before))}, 200}
				incr := pass(t, opts, p.lsnSource(after), base)
				if got := layers(t, int64(len(after)), size, incr, full); !bytes.Equal(got, after) {
					t.Error("the file differs")
				}
				most := int64((len(changed) + 512<<10/size) * (size + 100))
				if incr.result.Stored > most || incr.result.Read != int64(len(after)) {
					t.Errorf("%d bytes of %d pages are stored, %d read", incr.result.Stored, len(changed), incr.result.Read)
				}
				if n := len(p.checked); n != len(after)/size {
					t.Errorf("%d pages were checked", n)
				}
				// Nothing that was left out may be there.
				for _, e := range incr.result.Extents {
					x := pack.NewReader()
					defer x.Close()
					if err := x.Extent(t.Context(), incr.st, 1, e, onlyPages{t, p, changed, base}); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
}

// lsnSource is a source of a file, with number 1.
func (p *lsnPages) lsnSource(b []byte) Source {
	s := source("t.ibd", b)
	s.Number, s.Pages = 1, p
	return s
}

// onlyPages is a sink that accepts only some pages of a base.
type onlyPages struct {
	t       *testing.T
	pages   *lsnPages
	changed map[int]bool
	base    Base
}

func (o onlyPages) WriteAt(b []byte, off int64) (int, error) {
	return len(b), o.Zero(off, int64(len(b)))
}

func (o onlyPages) Zero(off, n int64) error {
	for at := off; at < min(off+n, o.base.Start+o.base.Size); at += int64(o.pages.size) {
		if no := int(at / int64(o.pages.size)); !o.changed[no] {
			o.t.Errorf("page %d is stored", no)
		}
	}
	return nil
}

// A source may have been read by several passes, in part.
func TestBasesOfSeveralPasses(t *testing.T) {
	const size = 16 << 10
	p := &lsnPages{sumPages{size: size}}
	opts := Options{Workers: 3, ChunkSize: 128 << 10, SegmentSize: 256 << 10}
	file := p.lsnFile(300)
	for name, bases := range map[string][]Base{
		"none": nil,
		"gaps": {
			{Range{10 * size, 20 * size}, 150}, {Range{30 * size, 50 * size}, 250}, {Range{200 * size, 7 * size}, 150},
		},
		"beyond":        {{Range{290 * size, 100 * size}, 150}, {Range{500 * size, size}, 150}},
		"whole and not": {{Range{0, 0}, 1}, {Range{0, 300 * size}, 150}, {Range{300 * size, 0}, 150}},
	} {
		t.Run(name, func(t *testing.T) {
			full := pass(t, opts, p.lsnSource(file))
			after := bytes.Clone(file)
			r := rand.New(rand.NewPCG(1, 1))
			for no := range 300 {
				if r.IntN(5) == 0 {
					p.change(after, 200, no)
				}
			}
			incr := pass(t, opts, p.lsnSource(after), bases...)
			// Pages of 200 in a base since 250 are as the pass before has read them.
			want := bytes.Clone(after)
			for _, b := range bases {
				if b.Since == 250 {
					copy(want[b.Start:b.Start+b.Size], file[b.Start:b.Start+b.Size])
				}
			}
			if got := layers(t, int64(len(file)), size, incr, full); !bytes.Equal(got, want) {
				t.Error("the file differs")
			}
			for _, e := range incr.result.Extents {
				for at := e.Start; at < e.Start+e.Size; at += size {
					inBase := slices.ContainsFunc(bases, func(b Base) bool { return at >= b.Start && at < b.Start+b.Size })
					if e.Partial && !inBase {
						t.Errorf("extent %+v is partial, but no base has byte %d", e, at)
					}
				}
			}
		})
	}
}

// What nothing is stored of is in no extent and no pack, but OnPack is told.
func TestNothingChanged(t *testing.T) {
	const size = 16 << 10
	p := &lsnPages{sumPages{size: size}}
	file := p.lsnFile(100)
	rec := &recorder{}
	st := storetest.NewMem()
	c := start(t, st, Options{Workers: 2, ChunkSize: 128 << 10, SegmentSize: 256 << 10, OnPack: rec.onPack})
	s := p.lsnSource(file)
	s.Bases = []Base{{Range{0, int64(len(file))}, 101}}
	r := wait(t, addSource(t, c, s))
	if len(r.Extents) != 0 || r.Extents == nil || r.Stored != 0 || r.Read != int64(len(file)) {
		t.Errorf("result %+v", r)
	}
	wantPacks(t, st, closeCopier(t, c), 0)
	rec.want(t, st, map[uint32]int64{1: int64(len(file))})
	for _, call := range rec.calls {
		for _, part := range call.parts {
			if e := part.Extent; call.pack != (pack.Pack{}) || !e.Partial || e.Length != 0 || e.Pack != "" {
				t.Errorf("pack %+v, part %+v", call.pack, part)
			}
		}
	}
}

// recorder keeps what OnPack is told.
type recorder struct {
	mu    sync.Mutex
	calls []packCall
	err   error
}

type packCall struct {
	pack  pack.Pack
	parts []Part
}

func (r *recorder) onPack(ctx context.Context, p pack.Pack, parts []Part) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, packCall{p, parts})
	return errors.Join(ctx.Err(), r.err)
}

// want checks that the parts cover so many bytes of each file without a gap, and that each
// is in a pack that is in the store.
func (r *recorder) want(t *testing.T, st *storetest.Mem, sizes map[uint32]int64) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	all := map[uint32][]pack.Extent{}
	for _, c := range r.calls {
		if c.pack.Name != "" && int64(len(object(t, st, c.pack.Name))) != c.pack.Size {
			t.Errorf("pack %+v is not there", c.pack)
		}
		for _, p := range c.parts {
			if p.Extent.Length > 0 && (p.Extent.Pack != c.pack.Name || p.Extent.Offset+p.Extent.Length > c.pack.Size) {
				t.Errorf("part %+v of pack %+v", p, c.pack)
			}
			all[p.Number] = append(all[p.Number], p.Extent)
		}
	}
	for number, size := range sizes {
		slices.SortFunc(all[number], func(a, b pack.Extent) int { return int(a.Start - b.Start) })
		at := int64(0)
		for _, e := range all[number] {
			if e.Start != at {
				t.Fatalf("file %d: part %+v after byte %d", number, e, at)
			}
			at += e.Size
		}
		if at != size {
			t.Errorf("the parts of file %d end at byte %d of %d", number, at, size)
		}
	}
}

func TestOnPack(t *testing.T) {
	rec := &recorder{}
	st := storetest.NewMem()
	c := start(t, st, Options{
		Workers: 3, ChunkSize: 64 << 10, SegmentSize: 128 << 10, PackLimit: 1 << 20, Codec: pack.Zstd, OnPack: rec.onPack,
	})
	sizes := map[uint32]int64{}
	var raw int64
	for i := range uint32(20) {
		b := packtest.Noise(int(i)*37*1000, uint64(i))
		add(t, c, i, b)
		sizes[i] = int64(len(b))
		raw += int64(len(b))
	}
	packs := closeCopier(t, c)
	wantPacks(t, st, packs, raw)
	rec.want(t, st, sizes)
	if len(rec.calls) != len(packs) || len(packs) < 5 {
		t.Errorf("%d packs, OnPack was called %d times", len(packs), len(rec.calls))
	}
}

func TestErrorOfOnPack(t *testing.T) {
	want := errors.New("no room for the record")
	c := start(t, storetest.NewMem(), Options{Workers: 1, OnPack: (&recorder{err: want}).onPack})
	add(t, c, 1, packtest.Noise(100<<10, 1))
	if packs, err := c.Close(t.Context()); !errors.Is(err, want) || packs != nil {
		t.Errorf("Close = %v, %v", packs, err)
	}
}

// A pack ends in time, whether segments come or not.
func TestPackTime(t *testing.T) {
	for _, tc := range []struct {
		name string
		more bool
	}{{"a segment comes", true}, {"none comes", false}} {
		t.Run(tc.name, func(t *testing.T) {
			rec := &recorder{}
			c := start(t, storetest.NewMem(), Options{Workers: 1, PackTime: 20 * time.Millisecond, OnPack: rec.onPack})
			for i := range 500 {
				if i == 0 || tc.more {
					wait(t, add(t, c, uint32(i), packtest.Noise(1000, 1)))
				}
				rec.mu.Lock()
				n := len(rec.calls)
				rec.mu.Unlock()
				if n > 0 {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
			t.Error("no pack has ended")
		})
	}
	rec := &recorder{}
	c := start(t, storetest.NewMem(), Options{Workers: 1, PackTime: time.Nanosecond, OnPack: rec.onPack})
	c.MakeUrgent()
	for i := range uint32(5) {
		wait(t, add(t, c, i, packtest.Noise(1000, 1)))
	}
	if closeCopier(t, c); len(rec.calls) != 1 || len(rec.calls[0].parts) != 5 {
		t.Errorf("while it is urgent OnPack was called %d times", len(rec.calls))
	}
}

// stopped is a store that makes an object durable only when it is released.
type stopped struct {
	*storetest.Mem
	release chan struct{}
}

func (s *stopped) Put(ctx context.Context, name string, write func(io.Writer) error) error {
	err := s.Mem.Put(ctx, name, func(out io.Writer) error {
		if err := write(out); err != nil {
			return err
		}
		select {
		case <-s.release:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	return err
}

// stopOne copies files until a read of the last one waits, fails the copier as fail says,
// and returns what it saved.
func stopOne(t *testing.T, st *storetest.Mem, save time.Duration, put Putter, fail func(c *Copier, cancel func()) error,
) (*recorder, error) {
	t.Helper()
	rec := &recorder{}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c, err := New(ctx, put, Options{Workers: 2, ChunkSize: 64 << 10, SegmentSize: 256 << 10, OnPack: rec.onPack})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Abort(nil) })
	c.saveFor = save
	for i := range uint32(4) {
		wait(t, add(t, c, i, packtest.Noise(300<<10, uint64(i))))
	}
	reached := make(chan struct{})
	var once sync.Once
	halfway := readerAt(func(p []byte, off int64) (int, error) {
		if off >= 128<<10 { // in the middle of a segment
			once.Do(func() { close(reached) })
			<-ctx.Done()
		}
		return copy(p, packtest.Noise(len(p), 1)), nil
	})
	addSource(t, c, Source{Number: 9, Name: "halfway", File: halfway, Size: 256 << 10})
	<-reached
	return rec, fail(c, cancel)
}

var errStopped = errors.New("stopped")

func TestStopSavesWhatIsStored(t *testing.T) {
	for _, tc := range []struct {
		name string
		fail func(c *Copier, cancel func()) error
		want error
	}{
		{"stopped", func(c *Copier, cancel func()) error {
			time.AfterFunc(20*time.Millisecond, cancel) // the read goes on
			c.Stop(errStopped)
			return c.Err()
		}, errStopped},
		{"stopped after it had failed", func(c *Copier, cancel func()) error {
			cancel()
			<-c.Failed()
			time.Sleep(50 * time.Millisecond)
			c.Stop(errStopped)
			return c.Err()
		}, context.Canceled},
		{"closed after it had failed", func(c *Copier, cancel func()) error {
			cancel()
			<-c.Failed()
			_, err := c.Close(context.Background())
			return err
		}, context.Canceled},
	} {
		t.Run(tc.name, func(t *testing.T) {
			st := storetest.NewMem()
			rec, err := stopOne(t, st, time.Minute, st, tc.fail)
			if !errors.Is(err, tc.want) {
				t.Errorf("error %v", err)
			}
			sizes := map[uint32]int64{0: 300 << 10, 1: 300 << 10, 2: 300 << 10, 3: 300 << 10}
			rec.want(t, st, sizes)
			wantParts(t, st, rec, sizes)
			if slices.ContainsFunc(rec.calls, func(c packCall) bool {
				return slices.ContainsFunc(c.parts, func(p Part) bool { return p.Number == 9 })
			}) {
				t.Error("a part of what was not read")
			}
		})
	}
}

// wantParts reads all files of the parts that were recorded.
func wantParts(t *testing.T, st *storetest.Mem, rec *recorder, sizes map[uint32]int64) {
	t.Helper()
	results := map[uint32]*Result{}
	for _, c := range rec.calls {
		for _, p := range c.parts {
			if results[p.Number] == nil {
				results[p.Number] = &Result{}
			}
			results[p.Number].Extents = append(results[p.Number].Extents, p.Extent)
		}
	}
	for number, size := range sizes {
		wantFile(t, st, number, *results[number], packtest.Noise(int(size), uint64(number)))
	}
}

func TestAbortSavesNothing(t *testing.T) {
	st := storetest.NewMem()
	rec, err := stopOne(t, st, time.Minute, st, func(c *Copier, cancel func()) error {
		time.AfterFunc(20*time.Millisecond, cancel)
		c.Abort(errStopped)
		return c.Err()
	})
	objects, listed := st.List(t.Context(), "")
	if !errors.Is(err, errStopped) || len(rec.calls) > 0 || len(objects) > 0 || listed != nil {
		t.Errorf("%v, OnPack was called %d times, %d objects", err, len(rec.calls), len(objects))
	}
}

// A pack is not cancelled by the failure, but does not take for ever either.
func TestStopHasALimit(t *testing.T) {
	for _, tc := range []struct {
		name  string
		after time.Duration // until packs become durable
		save  time.Duration
		saved bool
	}{{"in time", 50 * time.Millisecond, time.Minute, true}, {"too late", time.Minute, 50 * time.Millisecond, false}} {
		t.Run(tc.name, func(t *testing.T) {
			st := &stopped{storetest.NewMem(), make(chan struct{})}
			release := time.AfterFunc(tc.after, func() { close(st.release) })
			defer release.Stop()
			rec, err := stopOne(t, st.Mem, tc.save, st, func(c *Copier, cancel func()) error {
				cancel()
				c.Stop(errStopped)
				return c.Err()
			})
			if err == nil || (len(rec.calls) > 0) != tc.saved {
				t.Errorf("%v, OnPack was called %d times", err, len(rec.calls))
			}
			if tc.saved {
				rec.want(t, st.Mem, map[uint32]int64{0: 300 << 10, 3: 300 << 10})
			}
		})
	}
}

// Whatever operation of the store fails, OnPack is told of nothing that is not there.
func TestSaveFailsAtEveryPoint(t *testing.T) {
	for n := 0; ; n++ {
		mem := storetest.NewMem()
		st := storetest.FailAt(mem, n)
		rec := &recorder{}
		c, err := New(t.Context(), st, Options{
			Workers: 2, ChunkSize: 64 << 10, SegmentSize: 64 << 10, PackLimit: 200 << 10, OnPack: rec.onPack,
		})
		if err != nil {
			t.Fatal(err)
		}
		for i := range uint32(8) {
			if _, err := c.Add(t.Context(), source("t", packtest.Noise(100<<10, uint64(i)))); err != nil {
				break
			}
		}
		_, err = c.Close(t.Context())
		rec.want(t, mem, nil)
		if !st.Fired() {
			if err != nil {
				t.Fatal(err)
			}
			return
		}
		if !errors.Is(err, storetest.ErrInjected) {
			t.Fatalf("point %d: %v", n, err)
		}
	}
}

// A damaged page is stored although nobody knows whether it has changed.
func TestDamagedPageOfABase(t *testing.T) {
	const size = 16 << 10
	p := &lsnPages{sumPages{size: size}}
	file := p.lsnFile(50)
	opts := Options{Workers: 1, DamagedOK: true, PageTries: 1, RetryTime: time.Millisecond}
	full := pass(t, opts, p.lsnSource(file))
	after := bytes.Clone(file)
	after[7*size+1000] ^= 1
	incr := pass(t, opts, p.lsnSource(after), Base{Range{0, 50 * size}, 101})
	if !slices.Equal(incr.result.Damaged, []uint32{7}) {
		t.Errorf("damaged pages %v", incr.result.Damaged)
	}
	if got := layers(t, 50*size, size, incr, full); !bytes.Equal(got, after) {
		t.Error("the file differs")
	}
}

// namedPages counts how often each page is named as copied or skipped.
type namedPages struct {
	Pages
	Changes
	times   []atomic.Int32
	skipped atomic.Int32
}

func (p *namedPages) Copied(_ []byte, no uint32, valid bool) {
	if valid {
		p.times[no].Add(1)
	}
}

func (p *namedPages) Skipped(first, end uint32) {
	for no := first; no < end; no++ {
		p.times[no].Add(1)
		p.skipped.Add(1)
	}
}

// Of a hole a page filter is not asked: it may be new.
func TestHoleInABase(t *testing.T) {
	const size = 16 << 10
	p := &lsnPages{sumPages{size: size}}
	file := p.lsnFile(64)
	opts := Options{Workers: 1, ChunkSize: 64 << 10, SegmentSize: 1 << 20}
	full := pass(t, opts, p.lsnSource(file))
	f, err := os.Create(filepath.Join(t.TempDir(), "t.ibd"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	after := bytes.Clone(file)
	clear(after[8*size : 40*size])
	p.change(after, 200, 2, 50)
	for _, r := range [][2]int{{0, 8 * size}, {40 * size, 64 * size}} {
		if _, err := f.WriteAt(after[r[0]:r[1]], int64(r[0])); err != nil {
			t.Fatal(err)
		}
	}
	s := p.lsnSource(nil)
	named := &namedPages{Pages: s.Pages, Changes: s.Pages.(Changes), times: make([]atomic.Int32, 64)}
	s.File, s.Size, s.Pages = f, int64(len(after)), named
	incr := pass(t, opts, s, Base{Range{0, s.Size}, 200})
	for no := range named.times {
		if n := named.times[no].Load(); n != 1 {
			t.Errorf("page %d was named %d times as copied or skipped", no, n)
		}
	}
	if n := named.skipped.Load(); n < 16 || n > 32 {
		t.Errorf("%d pages were skipped", n)
	}
	if got := layers(t, s.Size, size, incr, full); !bytes.Equal(got, after) {
		t.Error("the file differs")
	}
	if incr.result.Stored > 3*size {
		t.Errorf("%d bytes are stored", incr.result.Stored)
	}
}

func TestBadBases(t *testing.T) {
	c := start(t, storetest.NewMem(), Options{})
	p := &lsnPages{sumPages{size: 4096}}
	for _, tc := range []struct {
		name  string
		pages Pages
		bases []Base
		want  string
	}{
		{"no pages", nil, []Base{{}}, "no pages"},
		{"pages without Changes", &p.sumPages, []Base{{}}, "do not know"},
		{"inside a page", p, []Base{{Range{100, 4096}, 1}}, "base of"},
		{"ends inside a page", p, []Base{{Range{0, 5000}, 1}}, "base of"},
		{"overlap", p, []Base{{Range{0, 8192}, 1}, {Range{4096, 4096}, 1}}, "base of"},
		{"negative", p, []Base{{Range{-4096, 4096}, 1}}, "base of"},
	} {
		s := p.lsnSource(make([]byte, 8192))
		s.Pages, s.Bases = tc.pages, tc.bases
		if _, err := c.Add(t.Context(), s); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v", tc.name, err)
		}
	}
}
