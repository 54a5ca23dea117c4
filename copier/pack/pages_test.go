package pack

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"testing"

	"mbk/copier/pack/packtest"
	"mbk/internal/repo/store"
	"mbk/internal/repo/store/storetest"

	"github.com/zeebo/xxh3"
)

// writeExtent stores data-0001.pack with one extent of file 5, whose parts add appends.
func writeExtent(
	t *testing.T, codec Codec, start int64, page int, add func(w *Writer) error,
) (*storetest.Mem, Extent, Pack) {
	t.Helper()
	w, err := NewWriter(codec, 0, 256<<10)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	st := storetest.NewMem()
	var e Extent
	var made Pack
	err = st.Put(t.Context(), "data-0001.pack", func(out io.Writer) error {
		w.BeginLater(func() (string, io.Writer, error) { return "data-0001.pack", out, nil })
		w.BeginExtent(5, start, page)
		if err := add(w); err != nil {
			return err
		}
		var err, ended error
		e, err = w.EndExtent()
		made, ended = w.End()
		return errors.Join(err, ended)
	})
	if err != nil {
		t.Fatal(err)
	}
	return st, e, made
}

// partial is a file, and what an extent of it stores.
type partial struct {
	page   int
	before []byte // what the layer below holds
	after  []byte
}

// makePartial returns a file of which about one page in rare changed, some to zeros, and
// which ends inside a page.
func makePartial(size, page, rare int, seed uint64) partial {
	r := rand.New(rand.NewPCG(seed, 1))
	p := partial{page: page, before: packtest.Text(size+page/2, seed)}
	p.after = bytes.Clone(p.before)
	for at := 0; at < size; at += page {
		if r.IntN(rare) > 0 {
			continue
		}
		for n := 1 + r.IntN(3); n > 0 && at < size; n, at = n-1, at+page {
			switch b := p.after[at:min(at+page, len(p.after))]; r.IntN(3) {
			case 0:
				clear(b)
			case 1:
				copy(b, packtest.Noise(page, seed))
			case 2:
				b[r.IntN(page/2)] ^= 0xFF
			}
		}
	}
	return p
}

// add appends all of the file in parts of n bytes, of which the changed pages are stored.
func (p *partial) add(w *Writer, n int) error {
	for at := 0; at < len(p.after); at += n {
		b := p.after[at:min(at+n, len(p.after))]
		copy(w.Buffer(), b)
		var changed []Span
		for from := 0; from < len(b); from += p.page {
			to := min(from+p.page, len(b))
			switch n := len(changed); {
			case bytes.Equal(b[from:to], p.before[at+from:at+to]):
			case n > 0 && changed[n-1].To == from:
				changed[n-1].To = to
			default:
				changed = append(changed, Span{from, to})
			}
		}
		var err error
		switch {
		case len(changed) == 1 && changed[0] == Span{0, len(b)} && isZero(b):
			err = w.AddHole(int64(len(b)))
		case len(changed) == 1 && changed[0] == Span{0, len(b)}:
			err = w.Add(len(b))
		default:
			err = w.AddSome(int64(len(b)), changed)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// overSink is a sink that holds a file already.
type overSink struct{ b []byte }

func (s overSink) WriteAt(b []byte, off int64) (int, error) { return copy(s.b[off:], b), nil }
func (s overSink) Zero(off, n int64) error {
	clear(s.b[off : off+n])
	return nil
}

func TestPartialExtents(t *testing.T) {
	for _, codec := range codecs {
		for _, tc := range []struct{ size, page, rare, step int }{
			{3 << 20, 16 << 10, 1, 256 << 10},
			{3 << 20, 16 << 10, 2, 64 << 10},
			{3 << 20, 16 << 10, 10, 256 << 10},
			{3 << 20, 16 << 10, 3, 16 << 10},
			{2 << 20, 1 << 10, 4, 128 << 10},
			{4 << 20, 64 << 10, 3, 128 << 10},
			{1 << 20, 4 << 10, 1 << 30, 256 << 10},
			{90 * 1000, 1000, 5, 10000},
		} {
			t.Run(fmt.Sprint(codec, tc), func(t *testing.T) {
				p := makePartial(tc.size, tc.page, tc.rare, uint64(tc.size+tc.page+tc.rare))
				start := int64(7 * tc.page)
				st, e, made := writeExtent(t, codec, start, tc.page, func(w *Writer) error { return p.add(w, tc.step) })
				if e.Start != start || e.Size != int64(len(p.after)) || made.Raw > e.Size || made.Size != e.Length {
					t.Errorf("extent %+v of pack %+v", e, made)
				}
				got := overSink{append(make([]byte, start), p.before...)}
				x := NewReader()
				defer x.Close()
				if err := x.Extent(t.Context(), st, 5, e, got); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got.b[start:], p.after) {
					t.Error("the file differs")
				}
				e.Partial = false
				err := x.Extent(t.Context(), st, 5, e, packtest.Nowhere{})
				if tc.rare > 1 && tc.rare < 100 && !isDamage(err) {
					t.Errorf("read as a whole extent: %v", err)
				}
			})
		}
	}
}

// Nothing is made of an extent of which nothing had to be stored.
func TestNothingChanged(t *testing.T) {
	w, err := NewWriter(Zstd, 0, MaxChunk)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	w.BeginLater(func() (string, io.Writer, error) { return "", nil, errors.New("a pack is made") })
	w.BeginExtent(1, 1<<20, 4096)
	if err := w.AddSome(10<<20, nil); err != nil {
		t.Fatal(err)
	}
	e, err := w.EndExtent()
	if want := (Extent{Start: 1 << 20, Size: 10 << 20, Partial: true}); err != nil || e != want {
		t.Errorf("EndExtent = %+v, %v, want %+v", e, err, want)
	}
	if made, err := w.End(); err != nil || made.Name != "" || made.Size != 0 {
		t.Errorf("End = %+v, %v", made, err)
	}
	x := NewReader()
	defer x.Close()
	if err := x.Extent(t.Context(), storetest.NewMem(), 1, e, nil); err != nil {
		t.Errorf("reading it: %v", err)
	}
}

// A pack that cannot be made fails everything that would be in it.
func TestPackThatIsNotMade(t *testing.T) {
	for what, add := range map[string]func(w *Writer) error{
		"data":  func(w *Writer) error { return w.Add(100) },
		"pages": func(w *Writer) error { return w.AddSome(8192, []Span{{0, 4096}}) },
		"hole":  func(w *Writer) error { return w.AddHole(1 << 20) },
	} {
		w, err := NewWriter(None, 0, MaxChunk)
		if err != nil {
			t.Fatal(err)
		}
		w.BeginLater(func() (string, io.Writer, error) { return "", nil, errFull })
		w.BeginExtent(1, 0, 4096)
		copy(w.Buffer(), packtest.Noise(8192, 1))
		err = add(w)
		_, end := w.EndExtent()
		if _, ended := w.End(); !errors.Is(errors.Join(err, end), errFull) || !errors.Is(ended, errFull) {
			t.Errorf("%s: %v, %v", what, end, ended)
		}
		w.Close()
	}
}

// A newer layer holds whole pages, so no chunk may begin or end inside one.
func TestChunksAreOfWholePages(t *testing.T) {
	const page = 16 << 10
	file := packtest.Text(40*page+5000, 1)
	clear(file[3*page+4096 : 12*page+8192]) // zeros from inside a page to inside a page
	clear(file[20*page-4096 : 25*page+1])
	clear(file[30*page+4096 : 34*page+4096]) // too few in whole pages
	clear(file[35*page:])                    // up to the end, which is inside a page
	st, e, _ := writeExtent(t, Zstd, page, page, func(w *Writer) error {
		for b := file; len(b) > 0; {
			n := copy(w.Buffer()[:10*page], b)
			if err := w.Add(n); err != nil {
				return err
			}
			b = b[n:]
		}
		return nil
	})
	zeros := 0
	for _, c := range walk(t, object(t, st, "data-0001.pack")) {
		end := c.Start + c.Size
		if c.Start%page != 0 || end%page != 0 && end != e.Start+e.Size {
			t.Errorf("a chunk of [%d, %d)", c.Start, end)
		}
		if c.Zero {
			zeros++
		}
	}
	if zeros != 3 {
		t.Errorf("%d chunks of zeros, want 3", zeros)
	}
	got := packtest.NewFile(e.Start + e.Size)
	x := NewReader()
	defer x.Close()
	if err := x.Extent(t.Context(), st, 5, e, got); err != nil || !bytes.Equal(got.Bytes[page:], file) {
		t.Errorf("the file differs: %v", err)
	}
}

func TestEveryFlippedByteOfPagesIsFound(t *testing.T) {
	for _, codec := range codecs {
		p := makePartial(40<<10, 1<<10, 3, 9)
		st, e, made := writeExtent(t, codec, 0, p.page, func(w *Writer) error { return p.add(w, 8<<10) })
		whole := object(t, st, made.Name)
		x := NewReader()
		defer x.Close()
		r := rand.New(rand.NewPCG(1, 1))
		for at := range whole {
			b := bytes.Clone(whole)
			b[at] ^= 1 << r.IntN(8)
			bad := storetest.NewMem()
			if err := store.PutBytes(t.Context(), bad, made.Name, b); err != nil {
				t.Fatal(err)
			}
			if err := x.Extent(t.Context(), bad, 5, e, packtest.Nowhere{}); !isDamage(err) {
				t.Errorf("%v: byte %d: %v", codec, at, err)
			}
		}
	}
}

// pageChunk returns a chunk of pages with right checksums, whatever raw is.
func pageChunk(start int64, raw []byte) []byte {
	h := header{
		kind: kindPages, codec: None, number: 5, stored: uint32(plainSize(len(raw))), start: uint64(start),
		size: uint64(len(raw)), sum: xxh3.Hash(raw),
	}
	b := make([]byte, headerSize)
	h.put(b)
	return appendPlain(b, raw)
}

// rawPages returns the raw bytes of a chunk of pages: count, pairs of numbers, n bytes.
func rawPages(count uint32, n int, list ...uint64) []byte {
	b := binary.LittleEndian.AppendUint32(nil, count)
	for _, v := range list {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return append(b, make([]byte, n)...)
}

func TestHostilePages(t *testing.T) {
	const zero = uint64(1) << 63
	for _, tc := range []struct {
		name  string
		start int64
		raw   []byte
		ok    bool
	}{
		{"one run", 4096, rawPages(1, 100, 4096, 100), true},
		{"zeros", 4096, rawPages(1, 0, 4096, zero|8192), true},
		{"three runs", 4096, rawPages(3, 200, 4096, 100, 5000, zero|100, 5100, 100), true},
		{"no runs", 4096, rawPages(0, 100), false},
		{"no list", 4096, rawPages(1, 0), false},
		{"list is cut", 4096, rawPages(2, 8, 4096, zero|1), false},
		{"count is huge", 4096, rawPages(math.MaxUint32, 100, 4096, 100), false},
		{"run without bytes", 4096, rawPages(1, 0, 4096, 0), false},
		{"zeros without bytes", 4096, rawPages(1, 0, 4096, zero), false},
		{"another start", 4095, rawPages(1, 100, 4096, 100), false},
		{"runs descend", 4096, rawPages(2, 200, 4096, 100, 4000, 100), false},
		{"runs overlap", 4096, rawPages(2, 200, 4096, 100, 4195, 100), false},
		{"too few bytes", 4096, rawPages(1, 99, 4096, 100), false},
		{"too many bytes", 4096, rawPages(1, 101, 4096, 100), false},
		{"bytes overflow", 4096, rawPages(3, 100, 4096, 1<<62, 4096+1<<62, 1<<61, 5<<61, 1<<62), false},
		{"run beyond 63 bits", 4096, rawPages(2, 0, 4096, zero|1, math.MaxInt64, zero|1), false},
		{"offset beyond 63 bits", 4096, rawPages(2, 0, 4096, zero|1, math.MaxUint64, zero|1), false},
		{"length beyond 63 bits", 4096, rawPages(1, 0, 4096, zero|math.MaxInt64), false},
		{"up to the last byte", 8192, rawPages(1, 0, 8192, zero|(1<<20-8192)), true},
		{"beyond the extent", 8192, rawPages(1, 0, 8192, zero|(1<<20-8191)), false},
		{"before the extent", 4095, rawPages(1, 1, 4095, 1), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := pageChunk(tc.start, tc.raw)
			st := storetest.NewMem()
			if err := store.PutBytes(t.Context(), st, "data-0001.pack", b); err != nil {
				t.Fatal(err)
			}
			x := NewReader()
			defer x.Close()
			e := Extent{Pack: "data-0001.pack", Length: int64(len(b)), Start: 4096, Size: 1<<20 - 4096, Partial: true}
			err := x.Extent(t.Context(), st, 5, e, packtest.NewFile(1<<20))
			if tc.ok != (err == nil) || err != nil && !isDamage(err) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func FuzzPages(f *testing.F) {
	f.Add(rawPages(1, 100, 4096, 100), int64(4096))
	f.Add(rawPages(3, 200, 4096, 100, 5000, 1<<63|100, 5100, 100), int64(4096))
	f.Add(rawPages(2, 0, 0, 1<<63|1, 10, 1<<63|1), int64(0))
	f.Fuzz(func(t *testing.T, raw []byte, start int64) {
		if len(raw) > MaxChunk || start < 0 {
			return
		}
		p, err := parsePages(raw, uint64(start))
		if err == nil {
			wantRuns(t, p, start)
		}
		if len(raw) < leastPages {
			return
		}
		first := walk(t, pageChunk(start, raw))[0]
		if first.Length == int64(headerSize+plainSize(len(raw))) && (err == nil) != (first.Err == nil) {
			t.Errorf("parsePages: %v, Walk: %v", err, first.Err)
		}
	})
}

// wantRuns checks the runs that were parsed.
func wantRuns(t *testing.T, p pages, start int64) {
	t.Helper()
	end, sum := start, 0
	_ = p.runs(func(r Run, b []byte) error {
		if r.Start < end || r.Size <= 0 || r.Start+r.Size < 0 || !r.Zero && int64(len(b)) != r.Size || r.Zero && b != nil {
			t.Fatalf("run %+v after byte %d, with %d bytes", r, end, len(b))
		}
		if sum == 0 && end == start && r.Start != start {
			t.Fatalf("run %+v, start %d", r, start)
		}
		end, sum = r.Start+r.Size, sum+len(b)
		return nil
	})
	if sum != len(p.data) || end != p.end() {
		t.Fatalf("%d of %d bytes, up to byte %d, %d", sum, len(p.data), end, p.end())
	}
}

// chooser wants one range of a file.
type chooser struct {
	*packtest.File
	from, to int64
}

func (c chooser) Wants(off, n int64) bool { return off < c.to && off+n > c.from }

// seeking counts what is read of an object that can seek, or cannot.
type seeking struct {
	Opener
	can  bool
	read int64
}

type seekingReader struct {
	*bytes.Reader
	from *seeking
}

func (r seekingReader) Close() error { return nil }
func (r seekingReader) Read(b []byte) (int, error) {
	n, err := r.Reader.Read(b)
	r.from.read += int64(n)
	return n, err
}

func (s *seeking) Open(ctx context.Context, name string, offset, n int64) (io.ReadCloser, error) {
	r, err := s.Opener.Open(ctx, name, offset, n)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	reader := seekingReader{bytes.NewReader(b), s}
	if s.can {
		return reader, r.Close()
	}
	return io.NopCloser(struct{ io.Reader }{reader}), r.Close()
}

// A chunk of which nothing is wanted is not decompressed, and not even read where the
// pack can seek.
func TestUnwantedChunks(t *testing.T) {
	file := packtest.Noise(16<<20, 1)
	mem, extents, made := writePack(t, Zstd, MaxChunk, file)
	b := object(t, mem, made.Name)
	for at := headerSize + 20; at < len(b); at += 1<<20 + plainSize(1<<20) - 1<<20 + headerSize {
		if c := at / (1 << 20); c != 9 {
			b[at] ^= 0xFF // in the frame of each chunk that is not wanted
		}
	}
	if err := store.PutBytes(t.Context(), mem, made.Name, b); err != nil {
		t.Fatal(err)
	}
	for _, can := range []bool{true, false} {
		st := &seeking{Opener: mem, can: can}
		x := NewReader()
		defer x.Close()
		sink := chooser{packtest.NewFile(int64(len(file))), 9<<20 + 10, 9<<20 + 20}
		if err := x.Extent(t.Context(), st, 0, extents[0], sink); err != nil {
			t.Fatal(err)
		}
		got := sink.Bytes[9<<20-1 : 10<<20+1]
		if !bytes.Equal(got[1:1+1<<20], file[9<<20:10<<20]) || got[0] != 0xEE || got[1+1<<20] != 0xEE {
			t.Error("something else was passed on than the chunk that is wanted")
		}
		if most := int64(6 << 20); can && st.read > most {
			t.Errorf("%d bytes were read, want at most %d", st.read, most)
		}
		if err := x.Extent(t.Context(), st, 0, extents[0], packtest.Nowhere{}); !isDamage(err) {
			t.Errorf("with everything wanted: %v", err)
		}
		e := extents[0]
		e.Length -= 100
		if err := x.Extent(t.Context(), st, 0, e, chooser{sink.File, 0, 0}); !isDamage(err) {
			t.Errorf("an extent that ends inside a chunk that is not wanted: %v", err)
		}
	}
}

// What newer layers hold of a partial extent is left out, and the rest stays in order.
func TestUnwantedPages(t *testing.T) {
	p := makePartial(4<<20, 16<<10, 2, 3)
	st, e, _ := writeExtent(t, Zstd, 0, p.page, func(w *Writer) error { return p.add(w, 256<<10) })
	x := NewReader()
	defer x.Close()
	for from := int64(0); from < e.Size; from += e.Size / 7 {
		sink := chooser{packtest.NewFile(e.Size), from, from + 100<<10}
		if err := x.Extent(t.Context(), st, 5, e, sink); err != nil {
			t.Fatal(err)
		}
		whole := overSink{bytes.Repeat([]byte{0xEE}, int(e.Size))}
		if err := x.Extent(t.Context(), st, 5, e, whole); err != nil {
			t.Fatal(err)
		}
		to := min(from+100<<10, e.Size)
		if !bytes.Equal(sink.Bytes[from:to], whole.b[from:to]) {
			t.Errorf("[%d, %d) differs", from, to)
		}
	}
}
