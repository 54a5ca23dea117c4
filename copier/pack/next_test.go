package pack

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"mbk/copier/pack/packtest"
	"mbk/internal/repo/store"
	"mbk/internal/repo/store/storetest"
)

// recopy copies chunks of file 5 to another pack, as file 77, except those that begin in
// leave.
func recopy(t *testing.T, st Opener, e Extent, leave ...int64) (*storetest.Mem, Extent, error) {
	t.Helper()
	w, err := NewWriter(Zstd, 0, MaxChunk)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	x := NewReader()
	defer x.Close()
	mem := storetest.NewMem()
	var copied Extent
	err = mem.Put(t.Context(), "data-0009.pack", func(out io.Writer) error {
		w.Begin("data-0009.pack", out)
		w.BeginExtent(77, e.Start, 4096)
		err := x.Each(t.Context(), st, 5, e, func(c *Next) error {
			switch {
			case slices.Contains(leave, c.Start()):
				return nil
			case c.Pages():
				return c.Pass(writerSink{w})
			}
			return c.CopyTo(w)
		})
		if err != nil {
			return err
		}
		copied, err = w.EndExtent()
		if err != nil {
			return err
		}
		_, err = w.End()
		return err
	})
	return mem, copied, err
}

// writerSink appends pages to a Writer.
type writerSink struct{ w *Writer }

func (s writerSink) WriteAt(b []byte, off int64) (int, error) { return len(b), s.w.AddPages(off, b) }
func (s writerSink) Zero(off, n int64) error                  { return s.w.AddZeros(off, n) }

func TestChunksAreCopied(t *testing.T) {
	file := slices.Concat(
		packtest.Text(300<<10, 1), make([]byte, 200<<10), packtest.Noise(400<<10, 2), packtest.Text(5000, 3))
	for _, codec := range codecs {
		t.Run(codec.String(), func(t *testing.T) {
			st, e, made := writeExtent(t, codec, 8192, 4096, func(w *Writer) error {
				for b := file; len(b) > 0; {
					n := copy(w.Buffer()[:100<<10], b)
					if err := w.Add(n); err != nil {
						return err
					}
					b = b[n:]
				}
				return nil
			})
			got, copied, err := recopy(t, st, e)
			if err != nil {
				t.Fatal(err)
			}
			if copied.Length != e.Length || copied.Start != e.Start || copied.Size != e.Size || copied.Partial {
				t.Errorf("extent %+v, was %+v", copied, e)
			}
			sink := packtest.NewFile(e.Start + e.Size)
			x := NewReader()
			defer x.Close()
			if err := x.Extent(t.Context(), got, 77, copied, sink); err != nil || !bytes.Equal(sink.Bytes[8192:], file) {
				t.Errorf("the copy differs, %v", err)
			}

			// What is left out, also at the end, makes the extent a partial one.
			var starts []int64
			for _, c := range walk(t, object(t, st, made.Name)) {
				starts = append(starts, c.Start)
			}
			got, copied, err = recopy(t, st, e, starts[0], starts[3], starts[len(starts)-1])
			if err != nil || !copied.Partial {
				t.Fatalf("extent %+v, %v", copied, err)
			}
			over := overSink{append(make([]byte, 8192), file...)}
			if err := x.Extent(t.Context(), got, 77, copied, over); err != nil || !bytes.Equal(over.b[8192:], file) {
				t.Errorf("the rest differs, %v", err)
			}

			// Damage is found on the way.
			whole := object(t, st, made.Name)
			for at := 3; at < len(whole); at += len(whole)/97 + 1 {
				bad := storetest.NewMem()
				b := bytes.Clone(whole)
				b[at] ^= 4
				if err := store.PutBytes(t.Context(), bad, made.Name, b); err != nil {
					t.Fatal(err)
				}
				if _, _, err := recopy(t, bad, e); !isDamage(err) {
					t.Errorf("byte %d: %v", at, err)
				}
			}
		})
	}
}

// Pages are copied by their runs, between chunks that are copied as they are.
func TestPagesAreCopied(t *testing.T) {
	p := makePartial(3<<20, 4096, 4, 8)
	st, e, _ := writeExtent(t, Zstd, 0, p.page, func(w *Writer) error { return p.add(w, 16<<10) })
	got, copied, err := recopy(t, st, e)
	if err != nil || !copied.Partial {
		t.Fatalf("extent %+v, %v", copied, err)
	}
	over := overSink{bytes.Clone(p.before)}
	x := NewReader()
	defer x.Close()
	if err := x.Extent(t.Context(), got, 77, copied, over); err != nil || !bytes.Equal(over.b, p.after) {
		t.Errorf("the file differs, %v", err)
	}
	err = x.Each(t.Context(), st, 5, e, func(c *Next) error {
		if c.Pages() {
			return c.CopyTo(nil)
		}
		return nil
	})
	if err == nil || isDamage(err) {
		t.Errorf("CopyTo of pages: %v", err)
	}
}

func TestExtentsDoNotGoBack(t *testing.T) {
	w, err := NewWriter(None, 0, MaxChunk)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	w.Begin("data-0001.pack", io.Discard)
	w.BeginExtent(1, 0, 4096)
	if err := errors.Join(w.AddPages(8192, make([]byte, 4096)), w.AddZeros(16384, 4096)); err != nil {
		t.Fatal(err)
	}
	if w.AddPages(16384, make([]byte, 4096)) == nil {
		t.Error("a page is appended twice")
	}
	if e, err := w.EndExtent(); err != nil || e.Size != 20480 || !e.Partial {
		t.Errorf("extent %+v, %v", e, err)
	}
}
