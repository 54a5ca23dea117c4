package consolidate

import (
	"context"
	"testing"

	"mbk/copier"
	"mbk/copier/pack"
	"mbk/copier/pack/packtest"
	"mbk/internal/repo"
	"mbk/internal/repo/store/folder"
)

// BenchmarkConsolidate shows what consolidating a chain costs, beside reading all of its
// files, which is the least that a restore does.
func BenchmarkConsolidate(b *testing.B) {
	st, err := folder.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	s := newServer(b, st, 1, 700)
	s.create("a/large.ibd", 32<<10) // 128 MiB
	s.backUp()
	for range 6 {
		n := len(s.files["a/large.ibd"]) / pageSize
		for range n / 100 {
			s.change("a/large.ibd", s.rand.IntN(n))
		}
		s.backUp()
	}
	newest := s.ids[len(s.ids)-1]
	var size int64
	for _, f := range s.files {
		size += int64(len(f))
	}
	b.Run("consolidate", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			release, err := s.r.Lock(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			result, err := Run(b.Context(), Options{Repository: s.r, ID: newest, Tool: "mbk test"})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(result.BytesCopied)/float64(result.BytesStored), "copied/stored")
			if err := s.r.Draft(result.ID).Discard(b.Context()); err != nil {
				b.Fatal(err)
			}
			if err := release(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("read all files", func(b *testing.B) {
		b.SetBytes(size)
		for b.Loop() {
			readAll(b, s.r, newest)
		}
	})
}

// readAll reads all files of a backup, and keeps nothing.
func readAll(b *testing.B, r *repo.Repository, id string) {
	chain, err := r.Chain(b.Context(), id)
	if err != nil {
		b.Fatal(err)
	}
	var files []*repo.Layered
	for _, f := range chain.Manifest().Files {
		files = append(files, chain.Layered(f.Number))
	}
	for round, last := 0, false; !last; round++ {
		last = true
		var pieces []copier.Piece[*repo.Layered]
		for _, f := range files {
			more, ended := repo.Pieces(f, round, f)
			pieces, last = append(pieces, more...), last && ended
		}
		err := copier.Extract(b.Context(), 2, pieces, func(
			ctx context.Context, x *pack.Reader, p copier.Piece[*repo.Layered],
		) error {
			return repo.Read(ctx, p.File, x, p, packtest.Nowhere{})
		})
		if err != nil {
			b.Fatal(err)
		}
	}
}
