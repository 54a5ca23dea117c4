package copier

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"

	"mbk/copier/pack"
	"mbk/copier/pack/packtest"
	"mbk/internal/repo/store/storetest"
)

// discard is a store that forgets.
type discard struct{}

func (discard) Put(ctx context.Context, name string, write func(io.Writer) error) error {
	return write(io.Discard)
}

// BenchmarkCopy shows what one worker costs beside the reads and writes of a
// disk: page checks, hashes and compression.
func BenchmarkCopy(b *testing.B) {
	p := &sumPages{size: 16 << 10}
	file := p.pages(4096) // 64 MiB
	for _, codec := range codecs {
		for _, pages := range []Pages{nil, p} {
			b.Run(fmt.Sprintf("%v/pages=%v", codec, pages != nil), func(b *testing.B) {
				b.SetBytes(int64(len(file)))
				b.ReportAllocs()
				c, err := New(b.Context(), discard{}, Options{Workers: 1, Codec: codec})
				if err != nil {
					b.Fatal(err)
				}
				for b.Loop() {
					copyForBenchmark(b, c, Source{Name: "t.ibd", File: bytes.NewReader(file), Size: int64(len(file)), Pages: pages})
				}
				if _, err := c.Close(b.Context()); err != nil {
					b.Fatal(err)
				}
			})
		}
	}
}

// BenchmarkIncrement shows what scanning a file costs of which one page in a hundred has
// changed, or none, beside what reading and checking all of it costs.
func BenchmarkIncrement(b *testing.B) {
	p := &lsnPages{sumPages{size: 16 << 10}}
	file := p.lsnFile(4096) // 64 MiB
	for no := 0; no < 4096; no += 100 {
		p.change(file, 200, no)
	}
	b.Run("read and check", func(b *testing.B) {
		b.SetBytes(int64(len(file)))
		buf := make([]byte, pack.MaxChunk)
		for b.Loop() {
			for at := 0; at < len(file); at += copy(buf, file[at:]) {
				for no := range len(buf) / p.size {
					_ = p.Check(file[at+no*p.size:at+(no+1)*p.size], uint32(at/p.size+no))
				}
			}
		}
	})
	for _, bc := range []struct {
		name  string
		since uint64
	}{{"none changed", 300}, {"1 % changed", 150}, {"all changed", 50}} {
		b.Run(bc.name, func(b *testing.B) {
			b.SetBytes(int64(len(file)))
			b.ReportAllocs()
			c, err := New(b.Context(), discard{}, Options{Workers: 1, Codec: pack.Zstd})
			if err != nil {
				b.Fatal(err)
			}
			s := p.lsnSource(file)
			s.Bases = []Base{{Range{0, s.Size}, bc.since}}
			for b.Loop() {
				copyForBenchmark(b, c, s)
			}
			if _, err := c.Close(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkCopySmall shows what a small file costs.
func BenchmarkCopySmall(b *testing.B) {
	file := packtest.Text(1<<10, 1)
	for _, codec := range codecs {
		b.Run(codec.String(), func(b *testing.B) {
			b.ReportAllocs()
			c, err := New(b.Context(), discard{}, Options{Workers: 2, Codec: codec})
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := c.Add(b.Context(), source("t.frm", file)); err != nil {
					b.Fatal(err)
				}
			}
			if _, err := c.Close(b.Context()); err != nil {
				b.Fatal(err)
			}
		})
	}
}

func copyForBenchmark(b *testing.B, c *Copier, s Source) Result {
	b.Helper()
	p, err := c.Add(b.Context(), s)
	if err != nil {
		b.Fatal(err)
	}
	r, err := p.Wait(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// BenchmarkExtract is the inverse of BenchmarkCopy.
func BenchmarkExtract(b *testing.B) {
	p := &sumPages{size: 16 << 10}
	file := p.pages(4096)
	for _, codec := range codecs {
		b.Run(codec.String(), func(b *testing.B) {
			st := storetest.NewMem()
			c, err := New(b.Context(), st, Options{Workers: 1, Codec: codec})
			if err != nil {
				b.Fatal(err)
			}
			r := copyForBenchmark(b, c, Source{Name: "t.ibd", File: bytes.NewReader(file), Size: int64(len(file))})
			if _, err := c.Close(b.Context()); err != nil {
				b.Fatal(err)
			}
			x := pack.NewReader()
			defer x.Close()
			b.SetBytes(int64(len(file)))
			b.ReportAllocs()
			for b.Loop() {
				for _, e := range r.Extents {
					if err := x.Extent(b.Context(), st, 0, e, packtest.Nowhere{}); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
