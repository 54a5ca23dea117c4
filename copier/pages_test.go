package copier

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"mbk/copier/pack/packtest"
	"mbk/internal/repo/store/storetest"
)

// quick are options that copy pages without long pauses.
var quickOptions = Options{Workers: 2, ChunkSize: 64 << 10, SegmentSize: 256 << 10, PageTries: 4}

func TestPagesAreChecked(t *testing.T) {
	for _, size := range []int{1024, 4096, 16384, 65536, 12288} {
		p := &sumPages{size: size}
		file := append(p.pages(100), "a part of a page"...)
		clear(file[7*size : 9*size])
		src := Source{Number: 1, Name: "t.ibd", File: bytes.NewReader(file), Size: int64(len(file)), Pages: p}
		r, st, err := copyOne(t, quickOptions, src)
		if err != nil {
			t.Fatalf("page size %d: %v", size, err)
		}
		wantFile(t, st, 1, r, file)
		if r.TornPages != 0 || len(r.Damaged) != 0 {
			t.Errorf("page size %d: %d torn, %v damaged", size, r.TornPages, r.Damaged)
		}
		for no := range uint32(100) {
			if p.checked[no] != 1 {
				t.Fatalf("page size %d: page %d checked %d times", size, no, p.checked[no])
			}
		}
		if len(p.checked) != 100 {
			t.Errorf("page size %d: %d pages checked, want 100", size, len(p.checked))
		}
	}
}

// tear makes the first reads of some pages return a mixture.
func tear(file []byte, times map[int]int) *changing {
	whole := bytes.Clone(file)
	return &changing{b: file, hook: func(f *changing, off int64, n int) {
		copy(f.b, whole)
		for no := range times {
			at := no * page
			if int64(at) >= off && int64(at) < off+int64(n) && times[no] > 0 {
				times[no]--
				clear(f.b[at+page/2 : at+page])
				f.b[at+100]++ // another state each time
				whole[at+100]++
				p := sumPages{size: page}
				p.stamp(whole, no)
			}
		}
	}}
}

func TestTornPages(t *testing.T) {
	p := &sumPages{size: page}
	file := tear(p.pages(64), map[int]int{0: 1, 16: 3, 17: 4, 63: 2})
	r, st, err := copyOne(t, quickOptions, Source{Number: 1, Name: "t.ibd", File: file, Size: 64 * page, Pages: p})
	if err != nil {
		t.Fatal(err)
	}
	if r.TornPages != 4 {
		t.Errorf("%d torn pages, want 4", r.TornPages)
	}
	file.hook(file, 0, 0)
	wantFile(t, st, 1, r, file.b)
}

// A device that cannot read some bytes fails the whole of a large read.
func TestUnreadablePages(t *testing.T) {
	unreadable := func(p *sumPages, times map[int]int) (Source, []byte) {
		file := p.pages(64)
		device := readerAt(func(b []byte, off int64) (int, error) {
			for no := range times {
				if at := int64(no * page); at >= off && at < off+int64(len(b)) && times[no] > 0 {
					times[no]--
					return int(at - off), syscall.EIO
				}
			}
			return bytes.NewReader(file).ReadAt(b, off)
		})
		return Source{Number: 1, Name: "t.ibd", File: device, Size: 64 * page, Pages: p}, file
	}
	const never = 1 << 30
	t.Run("fail the copy", func(t *testing.T) {
		s, _ := unreadable(&sumPages{size: page}, map[int]int{17: never})
		_, _, err := copyOne(t, quickOptions, s)
		bad, ok := errors.AsType[*PageError](err)
		if !ok || bad.Page != 17 || !errors.Is(err, syscall.EIO) {
			t.Fatalf("error %v", err)
		}
	})
	t.Run("are recorded and zeros", func(t *testing.T) {
		s, file := unreadable(&sumPages{size: page}, map[int]int{17: never, 63: never})
		opts := quickOptions
		opts.DamagedOK = true
		r, st, err := copyOne(t, opts, s)
		if err != nil {
			t.Fatal(err)
		}
		if want := []uint32{17, 63}; !slices.Equal(r.Damaged, want) {
			t.Errorf("Damaged = %v, want %v", r.Damaged, want)
		}
		clear(file[17*page : 18*page])
		clear(file[63*page:])
		wantFile(t, st, 1, r, file)
	})
	t.Run("come back", func(t *testing.T) {
		s, file := unreadable(&sumPages{size: page}, map[int]int{17: 3, 40: 1})
		r, st, err := copyOne(t, quickOptions, s)
		if err != nil || len(r.Damaged) > 0 {
			t.Fatal(r.Damaged, err)
		}
		wantFile(t, st, 1, r, file)
	})
	t.Run("of a file without pages fail the copy", func(t *testing.T) {
		s, _ := unreadable(&sumPages{size: page}, map[int]int{17: never})
		s.Pages = nil
		if _, _, err := copyOne(t, quickOptions, s); !errors.Is(err, syscall.EIO) {
			t.Fatalf("error %v", err)
		}
	})
}

func TestDamagedPages(t *testing.T) {
	damaged := func() (*sumPages, []byte) {
		p := &sumPages{size: page}
		file := p.pages(64)
		for _, no := range []int{3, 17, 40} {
			file[no*page+77]++
		}
		return p, file
	}
	t.Run("fail the copy", func(t *testing.T) {
		p, file := damaged()
		began := time.Now()
		_, _, err := copyOne(t, quickOptions, p.source("./d/t.ibd", file))
		bad, ok := errors.AsType[*PageError](err)
		if !ok || bad.File != "./d/t.ibd" || !slices.Contains([]uint32{3, 17, 40}, bad.Page) || !errors.Is(err, errPage) {
			t.Fatalf("error %v", err)
		}
		if want := "page " + string(rune('0'+bad.Page)); bad.Page == 3 && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("message %q", err)
		}
		if p.checked[bad.Page] != 5 {
			t.Errorf("page read %d times, want 5", p.checked[bad.Page])
		}
		if took := time.Since(began); took < (250+500+1000+2000)*time.Microsecond {
			t.Errorf("all tries took %v", took)
		}
	})
	t.Run("are recorded", func(t *testing.T) {
		p, file := damaged()
		opts := quickOptions
		opts.DamagedOK = true
		r, st, err := copyOne(t, opts, p.source("t.ibd", file))
		if err != nil {
			t.Fatal(err)
		}
		if want := []uint32{3, 17, 40}; !slices.Equal(r.Damaged, want) {
			t.Errorf("Damaged = %v, want %v", r.Damaged, want)
		}
		wantFile(t, st, 1, r, file)
	})
	t.Run("cost a bounded time", func(t *testing.T) {
		p := &sumPages{size: page}
		file := packtest.Noise(64*page, 1)
		opts := quickOptions
		opts.DamagedOK = true
		opts.PageTries = 8
		opts.RetryTime = time.Millisecond
		r, _, err := copyOne(t, opts, p.source("t.ibd", file))
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Damaged) != 64 {
			t.Errorf("%d damaged pages, want 64", len(r.Damaged))
		}
		var most int
		for _, n := range p.checked {
			if n == 9 {
				most++
			}
		}
		if most == 0 || most > 2 {
			t.Errorf("%d pages were read 9 times", most)
		}
	})
	t.Run("are too many", func(t *testing.T) {
		p := &sumPages{size: 512}
		file := packtest.Noise((maxDamaged+100)*512, 1)
		opts := Options{DamagedOK: true, PageTries: 1, RetryTime: 1}
		began := time.Now()
		s := p.source("t.ibd", file)
		s.Pages = hopeless{p}
		_, _, err := copyOne(t, opts, s)
		if !errors.Is(err, ErrManyDamaged) {
			t.Errorf("after %v: %v, want %v", time.Since(began), err, ErrManyDamaged)
		}
	})
}

// Damaged pages in many files do not add up to hours, and while the server is locked not
// even to seconds.
func TestPatienceIsForAllFiles(t *testing.T) {
	const files = 40
	for _, c := range []struct {
		name   string
		opts   Options
		urgent bool
		most   time.Duration
	}{
		{"in the background", Options{RetryTime: 50 * time.Millisecond}, false, 20 * time.Second},
		{"urgent", Options{}, true, 5 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.opts.Workers, c.opts.DamagedOK = 2, true
			cp := start(t, storetest.NewMem(), c.opts)
			if c.urgent {
				cp.MakeUrgent()
			}
			began := time.Now()
			var all []*Pending
			for n := range uint32(files) {
				pages := &sumPages{size: page}
				s := pages.source(fmt.Sprint("t", n, ".ibd"), packtest.Noise(page, uint64(n)))
				s.Number = n
				all = append(all, addSource(t, cp, s))
			}
			for _, p := range all {
				if r, err := p.Wait(t.Context()); err != nil || len(r.Damaged) != 1 {
					t.Fatalf("%d damaged pages, %v", len(r.Damaged), err)
				}
			}
			if took := time.Since(began); took > c.most {
				t.Errorf("took %s", took)
			}
		})
	}
}

// A wait for a page ends when copying becomes urgent.
func TestUrgencyEndsAWait(t *testing.T) {
	cp := start(t, storetest.NewMem(), Options{Workers: 1, DamagedOK: true})
	pages := &sumPages{size: page}
	began := time.Now()
	p := addSource(t, cp, pages.source("t.ibd", packtest.Noise(page, 1)))
	time.Sleep(time.Second)
	cp.MakeUrgent()
	if _, err := p.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("took %s", took)
	}
}

// hopeless is pages none of which is whole; reading them again is not paused for.
type hopeless struct{ *sumPages }

func (hopeless) Check([]byte, uint32) error { return errPage }

func TestUnverifiablePages(t *testing.T) {
	loosePages := func() (*sumPages, []byte) {
		p := &sumPages{size: page, loose: true}
		file := p.pages(64)
		for _, no := range []int{2, 20, 21, 60} {
			copy(file[no*page:], packtest.Noise(page, uint64(no)))
			file[no*page] = 0xFF
		}
		return p, file
	}
	t.Run("same twice", func(t *testing.T) {
		p, file := loosePages()
		reads := map[int64]int{}
		f := &changing{b: file, hook: func(f *changing, off int64, n int) {
			if n == page {
				reads[off/page]++
			}
		}}
		r, st, err := copyOne(t, quickOptions, Source{Number: 1, Name: "t.ibd", File: f, Size: 64 * page, Pages: p})
		if err != nil {
			t.Fatal(err)
		}
		wantFile(t, st, 1, r, file)
		if r.TornPages != 0 || len(reads) != 4 || reads[20] != 1 {
			t.Errorf("%d torn, read again: %v", r.TornPages, reads)
		}
	})
	t.Run("changed between the reads", func(t *testing.T) {
		p, file := loosePages()
		changes := 3
		f := &changing{b: file, hook: func(f *changing, off int64, n int) {
			if off == 20*page && n == page && changes > 0 {
				changes--
				f.b[20*page+5]++
			}
		}}
		r, st, err := copyOne(t, quickOptions, Source{Number: 1, Name: "t.ibd", File: f, Size: 64 * page, Pages: p})
		if err != nil {
			t.Fatal(err)
		}
		wantFile(t, st, 1, r, file)
		if r.TornPages != 1 {
			t.Errorf("%d torn pages, want 1", r.TornPages)
		}
	})
	t.Run("changes for ever", func(t *testing.T) {
		p, file := loosePages()
		f := &changing{b: file, hook: func(f *changing, off int64, n int) { f.b[20*page+5]++ }}
		_, _, err := copyOne(t, quickOptions, Source{Number: 1, Name: "t.ibd", File: f, Size: 64 * page, Pages: p})
		if bad, ok := errors.AsType[*PageError](err); !ok || bad.Page != 20 || !errors.Is(err, ErrUnstable) {
			t.Errorf("error %v, want page 20: %v", err, ErrUnstable)
		}
	})
	t.Run("becomes a page with a sum", func(t *testing.T) {
		p, file := loosePages()
		f := &changing{b: file, hook: func(f *changing, off int64, n int) {
			if off == 20*page && n == page {
				p.stamp(f.b, 20)
			}
		}}
		r, st, err := copyOne(t, quickOptions, Source{Number: 1, Name: "t.ibd", File: f, Size: 64 * page, Pages: p})
		if err != nil {
			t.Fatal(err)
		}
		wantFile(t, st, 1, r, file)
	})
}

// slowWrite is a file in which a page is being written by somebody who loses the
// processor in the middle: its second half comes a while after it was first read.
type slowWrite struct {
	*os.File
	at    int64         // of the second half
	old   []byte        // what is in its place until then
	takes time.Duration // after the first read
	once  sync.Once
	begun time.Time
}

func (f *slowWrite) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	if off <= f.at && f.at+int64(len(f.old)) <= off+int64(n) {
		f.once.Do(func() { f.begun = time.Now() })
		if time.Since(f.begun) < f.takes {
			copy(p[f.at-off:], f.old)
		}
	}
	return n, err
}

// Two equal reads of half a write once followed each other at once, and what was
// stored was half a page.
func TestSlowWriteOfUnverifiablePage(t *testing.T) {
	for name, c := range map[string]struct {
		urgent bool
		takes  time.Duration
	}{
		"background": {false, writerPause - time.Millisecond},
		"urgent":     {true, urgentPause - time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			p := &sumPages{size: page, loose: true}
			want := p.pages(8)
			copy(want[3*page:], packtest.Noise(page, 3))
			want[3*page] = 0xFF
			path := filepath.Join(t.TempDir(), "t.MAD")
			if err := os.WriteFile(path, want, 0o600); err != nil {
				t.Fatal(err)
			}
			later := time.Now().Add(time.Hour) // so that it has been changed just now however slow the test is
			if err := os.Chtimes(path, later, later); err != nil {
				t.Fatal(err)
			}
			file, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			mem := storetest.NewMem()
			copied := start(t, mem, Options{Workers: 1})
			if c.urgent {
				copied.MakeUrgent()
			}
			f := &slowWrite{File: file, at: 3*page + page/2, old: make([]byte, page/2), takes: c.takes}
			r := wait(t, addSource(t, copied, Source{Number: 1, Name: "t.MAD", File: f, Size: 8 * page, Pages: p}))
			closeCopier(t, copied)
			wantFile(t, mem, 1, r, want)
			if r.TornPages != 1 {
				t.Errorf("%d torn pages, want 1", r.TornPages)
			}
		})
	}
}

// busyPage is a file whose first page is another every two milliseconds.
type busyPage struct{ *os.File }

func (b busyPage) ReadAt(p []byte, off int64) (int, error) {
	n, err := b.File.ReadAt(p, off)
	if off == 0 && n >= page {
		copy(p[1:page], packtest.Noise(page-1, uint64(time.Now().UnixMilli()/2)))
	}
	return n, err
}

// A page that is written all the time is never the same after a pause, and was called
// damaged.
func TestBusyUnverifiablePage(t *testing.T) {
	p := &sumPages{size: page, loose: true}
	content := p.pages(8)
	content[0] = 0xFF
	path := filepath.Join(t.TempDir(), "t.MAI")
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	copied := start(t, storetest.NewMem(), Options{Workers: 1})
	wait(t, addSource(t, copied, Source{Number: 1, Name: "t.MAI", File: busyPage{file}, Size: 8 * page, Pages: p}))
	closeCopier(t, copied)
}

func TestCancelWhileReadingAgain(t *testing.T) {
	p := &sumPages{size: page}
	ctx, cancel := context.WithCancel(t.Context())
	f := &changing{b: packtest.Noise(page, 1), hook: func(f *changing, off int64, n int) { cancel() }}
	c, err := New(ctx, storetest.NewMem(), Options{Workers: 1, PageTries: 1000})
	if err != nil {
		t.Fatal(err)
	}
	addSource(t, c, Source{Name: "t.ibd", File: f, Size: page, Pages: p})
	if _, err := c.Close(t.Context()); !errors.Is(err, context.Canceled) {
		t.Errorf("Close: %v, want %v", err, context.Canceled)
	}
}
