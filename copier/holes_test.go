package copier

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"mbk/copier/pack"
	"mbk/copier/pack/packtest"
	"mbk/internal/repo/store/storetest"
)

// sparseFile makes a file of that size with data at some offsets, where holes show.
func sparseFile(t *testing.T, size int64, data map[int64][]byte) *readFile {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "mbk-holes-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	f, err := os.Create(dir + "/f")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for at, b := range data {
		if _, err := f.WriteAt(b, at); err != nil {
			t.Fatal(err)
		}
	}
	return &readFile{File: f}
}

// readFile counts what is read of it, which must not be much.
type readFile struct {
	*os.File
	bytes atomic.Int64
}

func (f *readFile) ReadAt(p []byte, off int64) (int, error) {
	if f.bytes.Add(int64(len(p))) > 256<<20 {
		return 0, errors.New("the holes are read")
	}
	return f.File.ReadAt(p, off)
}

// sizeSink remembers the data of a large file and how much of it there was.
type sizeSink struct {
	size int64
	data map[int64][]byte
}

func (s *sizeSink) WriteAt(p []byte, off int64) (int, error) {
	s.size += int64(len(p))
	s.data[off] = bytes.Clone(p)
	return len(p), nil
}

func (s *sizeSink) Zero(_, n int64) error { s.size += n; return nil }

// A file of three terabytes with nothing in it was once read for hours.
func TestHugeHole(t *testing.T) {
	const size, middle = 3<<40 + 5, 1<<40 + 7*4096
	want := map[int64][]byte{0: packtest.Noise(5000, 1), middle: packtest.Noise(3<<20, 2), size - 3: []byte("end")}
	for _, preserve := range []bool{false, true} {
		t.Run(fmt.Sprint("preserve the cache ", preserve), func(t *testing.T) {
			f := sparseFile(t, size, want)
			mem := storetest.NewMem()
			c := start(t, mem, Options{Workers: 2, PreserveCache: preserve})
			r := wait(t, addSource(t, c, Source{Number: 1, Name: "t.MYD", File: f, Size: size}))
			closeCopier(t, c)
			if n := f.bytes.Load(); n > 16<<20 {
				t.Errorf("%d bytes were read", n)
			}
			x, sink := pack.NewReader(), &sizeSink{data: map[int64][]byte{}}
			defer x.Close()
			for _, e := range r.Extents {
				if err := x.Extent(t.Context(), mem, 1, e, sink); err != nil {
					t.Fatal(err)
				}
			}
			if sink.size != size {
				t.Errorf("%d bytes, want %d", sink.size, int64(size))
			}
			for at, b := range want {
				var got []byte
				for off, part := range sink.data { // parts lie anywhere
					for i := range part {
						if off+int64(i) >= at && off+int64(i) < at+int64(len(b)) {
							if got == nil {
								got = make([]byte, len(b))
							}
							got[off+int64(i)-at] = part[i]
						}
					}
				}
				if !bytes.Equal(got, b) {
					t.Errorf("the data at %d differ", at)
				}
			}
		})
	}
}

func TestHoles(t *testing.T) {
	const step = 64 << 10
	for name, c := range map[string]struct {
		size int64
		data map[int64]int // bytes at offsets
		read int64         // at most
	}{
		"no hole":            {10*step + 9, map[int64]int{0: 10*step + 9}, 10*step + 9},
		"nothing but a hole": {10 * step, nil, 0},
		"odd end":            {10*step + 9, nil, 9},
		"data in front":      {50 * step, map[int64]int{0: 1}, step},
		"data at the end":    {50*step + 9, map[int64]int{50*step + 8: 1}, step + 9},
		"data in the middle": {50 * step, map[int64]int{20*step - 1: 2}, 2 * step},
		"every other block": {
			10 * step, map[int64]int{0: step, 2 * step: step, 4 * step: step, 6 * step: step, 8 * step: step}, 5 * step,
		},
		"many small holes":       {4 * step, map[int64]int{0: 4096, 8192: 4096, step: 4096, step + 8192: 4096}, 2 * step},
		"smaller than is looked": {step - 1, nil, step - 1},
	} {
		t.Run(name, func(t *testing.T) {
			data := map[int64][]byte{}
			want := make([]byte, c.size)
			for at, n := range c.data {
				data[at] = packtest.Noise(n+8, uint64(at))[:n]
				copy(want[at:], data[at])
			}
			f := sparseFile(t, c.size, data)
			mem := storetest.NewMem()
			copied := start(t, mem, Options{Workers: 1, ChunkSize: step, SegmentSize: 16 * step})
			r := wait(t, addSource(t, copied, Source{Number: 1, Name: "t.MYD", File: f, Size: c.size}))
			closeCopier(t, copied)
			if n := f.bytes.Load(); n > c.read {
				t.Errorf("%d bytes were read, want at most %d", n, c.read)
			}
			x, sink := pack.NewReader(), packtest.NewFile(c.size)
			defer x.Close()
			for _, e := range r.Extents {
				if err := x.Extent(t.Context(), mem, 1, e, sink); err != nil {
					t.Fatal(err)
				}
			}
			if !bytes.Equal(sink.Bytes, want) || sink.Missing() >= 0 {
				t.Error("what was copied differs")
			}
		})
	}
}

// noZeros are pages of which none may be all zeros.
type noZeros struct{ checked atomic.Int64 }

func (p *noZeros) PageSize() int { return 8192 }
func (p *noZeros) Check(page []byte, _ uint32) error {
	p.checked.Add(1)
	if pack.ZeroRun(page) == len(page) {
		return errors.New("zeros")
	}
	return nil
}

// A hole is not passed over where it is damage, nor where the file has ended.
func TestHolesThatAreNone(t *testing.T) {
	f := sparseFile(t, 1<<20, map[int64][]byte{0: packtest.Noise(8192, 1)})
	c := start(t, storetest.NewMem(), Options{Workers: 1, PageTries: 1})
	_, err := addSource(t, c, Source{Number: 1, Name: "log", File: f, Size: 1 << 20, Pages: &noZeros{}}).Wait(t.Context())
	if bad, ok := errors.AsType[*PageError](err); !ok || bad.Page != 1 {
		t.Errorf("error = %v, want one of page 1", err)
	}
	c = start(t, storetest.NewMem(), Options{Workers: 1})
	p := addSource(t, c, Source{Number: 1, Name: "t.MYD", File: f, Size: 9 << 20})
	if _, err = p.Wait(t.Context()); !errors.Is(err, ErrShort) {
		t.Errorf("error = %v, want ErrShort", err)
	}
}
