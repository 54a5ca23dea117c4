package copier

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"mbk/copier/pack"
	"mbk/copier/pack/packtest"
	"mbk/internal/repo/store/storetest"
)

const page = 4096

func TestPartOfAFile(t *testing.T) {
	p := &sumPages{size: page}
	file := p.pages(100)
	src := Source{Number: 1, Name: "t.ibd", File: bytes.NewReader(file), Start: 37 * page, Size: 40 * page, Pages: p}
	r, st, err := copyOne(t, quickOptions, src)
	if err != nil {
		t.Fatal(err)
	}
	x, sink := pack.NewReader(), packtest.NewFile(int64(len(file)))
	defer x.Close()
	for _, e := range r.Extents {
		if err := x.Extent(t.Context(), st, 1, e, sink); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(sink.Bytes[37*page:77*page], file[37*page:77*page]) || sink.Bytes[77*page] != 0xEE {
		t.Error("copied something else")
	}
}

func TestLengthChanges(t *testing.T) {
	cut := func(p *sumPages, to int) *changing {
		return &changing{b: p.pages(64), hook: func(f *changing, off int64, n int) {
			if off >= 32*page {
				f.b = f.b[:to]
			}
		}}
	}
	opts := quickOptions
	opts.Workers = 1
	t.Run("shrinks", func(t *testing.T) {
		p := &sumPages{size: page}
		_, _, err := copyOne(t, opts, Source{Number: 1, Name: "t.ibd", File: cut(p, 40*page), Size: 64 * page, Pages: p})
		if !errors.Is(err, ErrShort) || !strings.Contains(err.Error(), "t.ibd: ends at byte 163840 instead of 262144") {
			t.Errorf("error %v, want %v", err, ErrShort)
		}
	})
	t.Run("shrinks and may", func(t *testing.T) {
		p := &sumPages{size: page}
		f := cut(p, 40*page+100)
		want := append(bytes.Clone(f.b[:40*page]), make([]byte, 24*page)...)
		r, st, err := copyOne(t, opts, Source{Number: 1, Name: "undo001", File: f, Size: 64 * page, Pages: p, PadShort: true})
		if err != nil {
			t.Fatal(err)
		}
		wantFile(t, st, 1, r, want)
	})
	t.Run("shrinks and may, without pages", func(t *testing.T) {
		f := cut(&sumPages{size: page}, 40*page+100)
		want := append(bytes.Clone(f.b[:40*page+100]), make([]byte, 24*page-100)...)
		r, st, err := copyOne(t, opts, Source{Number: 1, Name: "f", File: f, Size: 64 * page, PadShort: true})
		if err != nil {
			t.Fatal(err)
		}
		wantFile(t, st, 1, r, want)
	})
	t.Run("shrinks below a page that is read again", func(t *testing.T) {
		p := &sumPages{size: page}
		b := p.pages(64)
		b[50*page+9]++
		f := &changing{b: b, hook: func(f *changing, off int64, n int) {
			if n == page {
				f.b = f.b[:50*page]
			}
		}}
		want := bytes.Clone(b)
		clear(want[50*page : 51*page])
		// Pages 48 to 63 were read at once, all but page 50 whole.
		r, st, err := copyOne(t, opts, Source{Number: 1, Name: "undo001", File: f, Size: 64 * page, Pages: p, PadShort: true})
		if err != nil {
			t.Fatal(err)
		}
		wantFile(t, st, 1, r, want)
	})
	t.Run("grows", func(t *testing.T) {
		p := &sumPages{size: page}
		grow := func(f *changing, _ int64, _ int) { f.b = append(f.b, packtest.Noise(page, 1)...) }
		f := &changing{b: p.pages(64), hook: grow}
		want := bytes.Clone(f.b)
		r, st, err := copyOne(t, opts, Source{Number: 1, Name: "t.ibd", File: f, Size: 64 * page, Pages: p})
		if err != nil {
			t.Fatal(err)
		}
		wantFile(t, st, 1, r, want)
	})
}

func TestBlankRanges(t *testing.T) {
	p := &sumPages{size: page}
	file := p.pages(256)
	want := bytes.Clone(file)
	blank := []Range{
		{Start: 64 * page, Size: 64 * page}, {Start: 128 * page, Size: 64 * page}, {Start: 250 * page, Size: 1 << 40},
	}
	for _, r := range blank {
		end := min(r.Start+r.Size, int64(len(file)))
		copy(file[r.Start:end], packtest.Noise(int(end-r.Start), uint64(r.Start)))
		clear(want[r.Start:end])
	}
	s := p.source("ibdata1", file)
	s.Blank = blank
	r, st, err := copyOne(t, quickOptions, s)
	if err != nil {
		t.Fatal(err)
	}
	if zeroed := wantFile(t, st, 1, r, want).Zeroed; zeroed != 128*page {
		t.Errorf("%d bytes in chunks of zeros, want %d", zeroed, 128*page)
	}
	if p.checked[64] != 0 || p.checked[191] != 0 || p.checked[192] != 1 {
		t.Error("blank pages were checked, or others were not")
	}
}

func TestBadSources(t *testing.T) {
	c := start(t, storetest.NewMem(), Options{Workers: 1, ChunkSize: 64 << 10})
	file := bytes.NewReader(nil)
	for _, tc := range []struct {
		name string
		src  Source
	}{
		{"no file", Source{Size: 1}},
		{"negative start", Source{File: file, Start: -1, Size: 1}},
		{"negative size", Source{File: file, Size: -1}},
		{"overflow", Source{File: file, Start: 1 << 62, Size: 1 << 62}},
		{"blank overflow", Source{File: file, Blank: []Range{{1 << 62, 1 << 62}}}},
		{"blank negative", Source{File: file, Blank: []Range{{-1, 5}}}},
		{"page size 0", Source{File: file, Pages: &sumPages{}}},
		{"page size over a chunk", Source{File: file, Pages: &sumPages{size: 128 << 10}}},
		{"start inside a page", Source{File: file, Start: 100, Size: 4096, Pages: &sumPages{size: 4096}}},
		{"page numbers beyond 32 bits", Source{File: file, Size: math.MaxInt64 / 4096 * 4096, Pages: &sumPages{size: 4096}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := c.Add(t.Context(), tc.src); err == nil {
				t.Error("accepted")
			}
		})
	}
	wait(t, add(t, c, 1, []byte("the copier works on")))
}

var _ io.ReaderAt = readerAt(nil)
