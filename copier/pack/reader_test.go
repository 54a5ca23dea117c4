package pack

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"testing"
	"time"

	"mbk/copier/pack/packtest"
	"mbk/internal/repo/store"
	"mbk/internal/repo/store/storetest"

	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/blake3"
)

var codecs = []Codec{None, Zstd, S2}

// writePack stores data-0001.pack with one extent for each file, from their beginning,
// of chunks of at most chunkSize bytes.
func writePack(t *testing.T, codec Codec, chunkSize int, files ...[]byte) (*storetest.Mem, []Extent, Pack) {
	t.Helper()
	w, err := NewWriter(codec, 0, chunkSize)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	st := storetest.NewMem()
	var extents []Extent
	var made Pack
	err = st.Put(t.Context(), "data-0001.pack", func(out io.Writer) error {
		w.Begin("data-0001.pack", out)
		for i, b := range files {
			w.BeginExtent(uint32(i), 0, 0)
			for len(b) > 0 {
				n := copy(w.Buffer(), b)
				if err := w.Add(n); err != nil {
					return err
				}
				b = b[n:]
			}
			e, err := w.EndExtent()
			if err != nil {
				return err
			}
			extents = append(extents, e)
		}
		var err error
		made, err = w.End()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return st, extents, made
}

// smallPack stores a pack with all kinds of chunks and codecs.
func smallPack(t *testing.T, codec Codec) (*storetest.Mem, [][]byte, []Extent, Pack) {
	t.Helper()
	mixed := bytes.Join([][]byte{packtest.Text(300, 1), make([]byte, 70<<10), packtest.Text(100, 2)}, nil)
	files := [][]byte{packtest.Text(700, 3), mixed, packtest.Noise(200, 4), make([]byte, 100<<10)}
	st, extents, made := writePack(t, codec, 128<<10, files...)
	return st, files, extents, made
}

// object returns all bytes of an object.
func object(t *testing.T, st store.Store, name string) []byte {
	t.Helper()
	b, err := store.ReadAll(t.Context(), st, name, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// hashOf is the BLAKE3 of some bytes, as CheckHash takes it.
func hashOf(b []byte) string {
	sum := blake3.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// cancelled is a context that is over.
func cancelled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// extractAll extracts all files of a pack to nowhere.
func extractAll(ctx context.Context, x *Reader, st Opener, extents []Extent) error {
	for i, e := range extents {
		if err := x.Extent(ctx, st, uint32(i), e, packtest.Nowhere{}); err != nil {
			return err
		}
	}
	return nil
}

func TestEveryFlippedByteIsFound(t *testing.T) {
	for _, codec := range codecs {
		t.Run(codec.String(), func(t *testing.T) {
			st, files, extents, pack := smallPack(t, codec)
			x := NewReader()
			defer x.Close()
			for i, want := range files {
				got := packtest.NewFile(int64(len(want)))
				if err := x.Extent(t.Context(), st, uint32(i), extents[i], got); err != nil || !bytes.Equal(got.Bytes, want) {
					t.Errorf("file %d differs, %v", i, err)
				}
			}
			whole := object(t, st, pack.Name)
			hash := hashOf(whole)
			r := rand.New(rand.NewPCG(1, 1))
			for at := range whole {
				for _, mask := range []byte{0xFF, 1 << r.IntN(8)} {
					b := bytes.Clone(whole)
					b[at] ^= mask
					bad := storetest.NewMem()
					if err := store.PutBytes(t.Context(), bad, pack.Name, b); err != nil {
						t.Fatal(err)
					}
					if err := CheckHash(t.Context(), bad, pack.Name, pack.Size, hash); !isDamage(err) {
						t.Errorf("byte %d: CheckHash: %v", at, err)
					}
					if err := extractAll(t.Context(), x, bad, extents); !isDamage(err) {
						t.Errorf("byte %d: Extent: %v", at, err)
					}
				}
			}
		})
	}
}

func isDamage(err error) bool {
	d, ok := errors.AsType[*DamageError](err)
	return ok && d.Object == "memory/data-0001.pack"
}

func TestCutPack(t *testing.T) {
	st, _, extents, pack := smallPack(t, Zstd)
	whole := object(t, st, pack.Name)
	hash := hashOf(whole)
	x := NewReader()
	defer x.Close()
	for n := range whole {
		bad := storetest.NewMem()
		if err := store.PutBytes(t.Context(), bad, pack.Name, whole[:n]); err != nil {
			t.Fatal(err)
		}
		if err := CheckHash(t.Context(), bad, pack.Name, pack.Size, hash); !isDamage(err) {
			t.Errorf("%d bytes: CheckHash: %v", n, err)
		}
		if err := extractAll(t.Context(), x, bad, extents); !isDamage(err) {
			t.Errorf("%d bytes: Extent: %v", n, err)
		}
	}
	if err := store.PutBytes(t.Context(), st, pack.Name, append(whole, 0)); err != nil {
		t.Fatal(err)
	}
	if err := CheckHash(t.Context(), st, pack.Name, pack.Size, hash); !isDamage(err) {
		t.Errorf("one byte more: %v", err)
	}
}

func TestWrongExtents(t *testing.T) {
	file := packtest.Text(300<<10, 1)
	st, extents, _ := writePack(t, None, 64<<10, file, file)
	good, other := extents[0], extents[1]
	chunk := int64(headerSize + plainSize(64<<10))
	for _, tc := range []struct {
		name   string
		number uint32
		change func(e *Extent)
		damage bool
	}{
		{"other file's number", 1, func(e *Extent) {}, true},
		{"other file's chunks", 0, func(e *Extent) { *e = other }, true},
		{"start is wrong", 0, func(e *Extent) { e.Start += 4096 }, true},
		{"first chunk is left out", 0, func(e *Extent) { e.Offset += chunk; e.Length -= chunk }, true},
		{"last chunk is left out", 0, func(e *Extent) { e.Length -= chunk }, true},
		{"one chunk too many", 0, func(e *Extent) { e.Length += chunk }, true},
		{"size is less", 0, func(e *Extent) { e.Size -= 4096 }, true},
		{"size is more", 0, func(e *Extent) { e.Size += 4096 }, true},
		{"ends inside a chunk", 0, func(e *Extent) { e.Length -= 10 }, true},
		{"begins inside a chunk", 0, func(e *Extent) { e.Offset += 10 }, true},
		{"beyond the pack", 0, func(e *Extent) { e.Offset += 1 << 30 }, true},
		{"no bytes in the pack", 0, func(e *Extent) { e.Length = 0 }, false},
		{"no bytes of the file", 0, func(e *Extent) { e.Size = 0 }, false},
		{"negative offset", 0, func(e *Extent) { e.Offset = -1 }, false},
		{"negative start", 0, func(e *Extent) { e.Start = -1 }, false},
		{"offset overflows", 0, func(e *Extent) { e.Offset = 1<<63 - 1 }, false},
		{"size overflows", 0, func(e *Extent) { e.Size = 1<<63 - 1; e.Start = 1 }, false},
		{"no such pack", 0, func(e *Extent) { e.Pack = "data-0009.pack" }, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := good
			tc.change(&e)
			for _, ahead := range []int64{0, extents[1].Offset + extents[1].Length} {
				x := NewReader()
				defer x.Close()
				x.Ahead(st, e.Pack, ahead)
				err := x.Extent(t.Context(), st, tc.number, e, packtest.NewFile(1<<20))
				if err == nil || isDamage(err) != tc.damage {
					t.Errorf("with %d bytes ahead: error %v", ahead, err)
				}
			}
		})
	}
	x := NewReader()
	defer x.Close()
	if err := x.Extent(t.Context(), st, 0, Extent{Pack: "none.pack"}, nil); err != nil {
		t.Errorf("empty extent: %v", err)
	}
	none := Extent{Pack: "none.pack", Length: 1, Size: 1}
	if err := x.Extent(t.Context(), st, 0, none, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no such pack: %v", err)
	}
	if err := x.Extent(cancelled(t), st, 0, good, packtest.NewFile(1<<20)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

// What Ahead announces is opened once, and again only after an error or elsewhere.
func TestAhead(t *testing.T) {
	files := [][]byte{packtest.Text(1000, 1), packtest.Noise(100<<10, 2), packtest.Text(10, 3), packtest.Text(500, 4)}
	mem, extents, made := writePack(t, Zstd, 64<<10, files...)
	st := &countedOpener{Opener: mem}
	x := NewReader()
	defer x.Close()
	for _, tc := range []struct {
		name  string
		order []int
		ahead int64
		stops int // the file whose sink is full, -1: none
		opens int
	}{
		{"all in order", []int{0, 1, 2, 3}, made.Size, -1, 1},
		{"from the middle on", []int{2, 3}, made.Size, -1, 1},
		{"not announced", []int{0, 1, 2, 3}, 0, -1, 4},
		{"announced in part", []int{0, 1, 2, 3}, extents[1].Offset + extents[1].Length, -1, 3},
		{"one is left out", []int{0, 2, 3}, made.Size, -1, 1},
		{"back to one before", []int{0, 2, 1}, made.Size, -1, 2},
		{"one is read twice", []int{0, 0, 1}, made.Size, -1, 2},
		{"after an error", []int{0, 1, 2, 3}, made.Size, 1, 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			st.opens = 0
			x.Ahead(st, made.Name, tc.ahead)
			for _, i := range tc.order {
				if i == tc.stops {
					if err := x.Extent(t.Context(), st, uint32(i), extents[i], fullSink{}); !errors.Is(err, errFull) {
						t.Errorf("file %d: %v, want %v", i, err, errFull)
					}
					continue
				}
				got := packtest.NewFile(int64(len(files[i])))
				if err := x.Extent(t.Context(), st, uint32(i), extents[i], got); err != nil || !bytes.Equal(got.Bytes, files[i]) {
					t.Errorf("file %d differs, %v", i, err)
				}
			}
			if st.opens != tc.opens {
				t.Errorf("opened %d times, want %d", st.opens, tc.opens)
			}
			x.Ahead(st, "", 0)
			if err := x.Walk(t.Context(), st, made.Name, func(Chunk) error { return nil }); err != nil {
				t.Errorf("Walk: %v", err)
			}
			if st.open != 0 {
				t.Errorf("%d readers are left open", st.open)
			}
		})
	}
}

// countedOpener counts how often a pack is opened, and how many readers are open.
type countedOpener struct {
	Opener
	opens, open int
}

func (c *countedOpener) Open(ctx context.Context, name string, offset, n int64) (io.ReadCloser, error) {
	r, err := c.Opener.Open(ctx, name, offset, n)
	if err != nil {
		return nil, err
	}
	c.opens++
	c.open++
	return &countedReader{r, c}, nil
}

type countedReader struct {
	io.ReadCloser
	c *countedOpener
}

func (r *countedReader) Close() error {
	r.c.open--
	return r.ReadCloser.Close()
}

var errFull = errors.New("disk full")

type fullSink struct{}

func (fullSink) WriteAt(b []byte, off int64) (int, error) { return 0, errFull }
func (fullSink) Zero(off, n int64) error                  { return errFull }

type shortSink struct{ fullSink }

func (shortSink) WriteAt(b []byte, off int64) (int, error) { return len(b) - 1, nil }

func TestSinkErrors(t *testing.T) {
	st, _, extents, _ := smallPack(t, Zstd)
	x := NewReader()
	defer x.Close()
	for _, number := range []uint32{0, 3} {
		if err := x.Extent(t.Context(), st, number, extents[number], fullSink{}); !errors.Is(err, errFull) {
			t.Errorf("file %d: %v, want %v", number, err, errFull)
		}
	}
	if err := x.Extent(t.Context(), st, 0, extents[0], shortSink{}); !errors.Is(err, io.ErrShortWrite) {
		t.Errorf("short write: %v", err)
	}
}

func TestReadFailsAtEveryPoint(t *testing.T) {
	mem, _, extents, pack := smallPack(t, Zstd)
	hash := hashOf(object(t, mem, pack.Name))
	x := NewReader()
	defer x.Close()
	for n := 0; ; n++ {
		st := storetest.FailAt(mem, n)
		err := extractAll(t.Context(), x, st, extents)
		if err == nil {
			err = CheckHash(t.Context(), st, pack.Name, pack.Size, hash)
		}
		if err == nil {
			err = x.Walk(t.Context(), st, pack.Name, func(Chunk) error { return nil })
		}
		if !st.Fired() {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
		if !errors.Is(err, storetest.ErrInjected) {
			t.Fatalf("point %d: %v", n, err)
		}
	}
}

// walk returns the chunks of a pack of which those with bytes keep them.
func walk(t *testing.T, b []byte) []Chunk {
	t.Helper()
	st := storetest.NewMem()
	if err := store.PutBytes(t.Context(), st, "data-0001.pack", b); err != nil {
		t.Fatal(err)
	}
	x := NewReader()
	defer x.Close()
	var chunks []Chunk
	var end int64
	err := x.Walk(t.Context(), st, "data-0001.pack", func(c Chunk) error {
		if c.Offset != end || c.Length <= 0 {
			t.Fatalf("chunk %+v does not begin at byte %d", c, end)
		}
		if c.Err != nil && !isDamage(c.Err) {
			t.Errorf("error %v", c.Err)
		}
		end = c.Offset + c.Length
		c.Raw = bytes.Clone(c.Raw)
		chunks = append(chunks, c)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if end != int64(len(b)) {
		t.Errorf("walk ended at byte %d of %d", end, len(b))
	}
	return chunks
}

// wholeOf returns the chunks without an error.
func wholeOf(chunks []Chunk) (whole []Chunk) {
	for _, c := range chunks {
		if c.Err == nil {
			whole = append(whole, c)
		}
	}
	return whole
}

func TestWalk(t *testing.T) {
	st, files, _, pack := smallPack(t, Zstd)
	b := object(t, st, pack.Name)
	chunks := walk(t, b)
	if len(chunks) != 6 || len(wholeOf(chunks)) != 6 {
		t.Fatalf("%d chunks, %d whole, want 6", len(chunks), len(wholeOf(chunks)))
	}
	for i, c := range chunks {
		want := files[c.Number][c.Start : c.Start+c.Size]
		if c.Zero {
			c.Raw = make([]byte, c.Size)
		}
		if !bytes.Equal(c.Raw, want) {
			t.Errorf("chunk %d differs", i)
		}
	}
	if c := chunks[0]; c.Codec != Zstd || c.Number != 0 || c.Size != 700 {
		t.Errorf("chunk 0 is %+v", c)
	}

	t.Run("damaged frame", func(t *testing.T) {
		b := bytes.Clone(b)
		b[headerSize+5]++
		got := walk(t, b)
		if len(got) != 6 || got[0].Err == nil || got[0].Raw != nil || got[0].Size != 700 || len(wholeOf(got)) != 5 {
			t.Errorf("chunks %+v", got)
		}
	})
	t.Run("damaged header", func(t *testing.T) {
		b := bytes.Clone(b)
		b[20]++
		got := walk(t, b)
		if len(got) != 6 || got[0].Err == nil || got[0].Length != chunks[0].Length || len(wholeOf(got)) != 5 {
			t.Errorf("chunks %+v", got)
		}
	})
	t.Run("a byte is missing", func(t *testing.T) {
		b := append(bytes.Clone(b[:70]), b[71:]...)
		if got := walk(t, b); len(wholeOf(got)) < 4 {
			t.Errorf("%d whole chunks", len(wholeOf(got)))
		}
	})
	t.Run("cut at many bytes", func(t *testing.T) {
		for n := 0; n < len(b); n += 7 {
			if got := walk(t, b[:n]); len(wholeOf(got)) > 5 {
				t.Errorf("%d bytes: %d whole chunks", n, len(wholeOf(got)))
			}
		}
	})
	t.Run("nothing but noise", func(t *testing.T) {
		got := walk(t, packtest.Noise(5<<20, 1))
		if len(got) != 1 || got[0].Err == nil {
			t.Errorf("%d chunks", len(got))
		}
	})
	t.Run("full of magic numbers", func(t *testing.T) {
		var magic [headerSize]byte
		(&header{}).put(magic[:])
		began := time.Now()
		if got := walk(t, bytes.Repeat(magic[:4], 1<<20)); len(got) != 1 {
			t.Errorf("%d chunks", len(got))
		}
		if took := time.Since(began); took > 10*time.Second {
			t.Errorf("took %v", took)
		}
	})
	t.Run("between noise", func(t *testing.T) {
		for _, n := range []int{1, 2, 3, 4, 5, 55, 56, 57, readAhead - 3, readAhead, readAhead + 1} {
			b := bytes.Join([][]byte{packtest.Noise(n, 1), b, packtest.Noise(n, 2)}, nil)
			if got := walk(t, b); len(wholeOf(got)) != 6 {
				t.Errorf("%d bytes of noise: %d whole chunks", n, len(wholeOf(got)))
			}
		}
	})
	t.Run("stopped", func(t *testing.T) {
		x := NewReader()
		defer x.Close()
		if err := x.Walk(t.Context(), st, pack.Name, func(Chunk) error { return errFull }); !errors.Is(err, errFull) {
			t.Errorf("error %v", err)
		}
		if err := x.Walk(cancelled(t), st, pack.Name, func(Chunk) error { return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
}

func FuzzWalk(f *testing.F) {
	for _, h := range goodHeaders() {
		var b [headerSize]byte
		h.put(b[:])
		f.Add(b[:], true)
	}
	var b [headerSize]byte
	h := header{kind: kindData, codec: None, size: 4, stored: uint32(plainSize(4))}
	h.put(b[:])
	f.Add(appendPlain(b[:], []byte("page")), false)
	f.Fuzz(func(t *testing.T, b []byte, twice bool) {
		if twice {
			b = append(bytes.Clone(b), b...)
		}
		walk(t, b)
	})
}

// Without mbk, packs can be read with "zstd -dc".
func TestPacksAreZstdStreams(t *testing.T) {
	for _, codec := range []Codec{None, Zstd} {
		files := [][]byte{packtest.Text(3<<20+5, 1), packtest.Noise(2<<20, 2), packtest.Text(10, 3), packtest.Noise(100, 5)}
		want := bytes.Join(files, nil)
		st, _, _ := writePack(t, codec, MaxChunk, append(files, make([]byte, 1<<20))...) // zeros are not in the stream
		dec, err := zstd.NewReader(bytes.NewReader(object(t, st, "data-0001.pack")))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(dec)
		dec.Close()
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%v: %d bytes, %v, want %d", codec, len(got), err, len(want))
		}
	}
}
