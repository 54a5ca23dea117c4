package copier

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"mbk/copier/pack"
)

// Bounds of the pieces that one worker takes at a time. Opening a pack takes a request
// where the repository is far away, and so does not pay for a small file; but all
// workers are to have something to do.
const (
	runBytes  = 4 << 20 // in the pack
	runPieces = 100
)

// smallGap is how many bytes between two pieces are passed over rather than that the pack
// is opened once more: a request takes as long as reading some megabytes, but what is read
// of an object store in vain may be paid for.
const smallGap = 128 << 10

// Piece is an extent of a file that is to be extracted.
type Piece[File any] struct {
	From   pack.Opener // the backup that the extent lies in
	Number uint32      // of the file in the chunks of that backup
	File   File        // whatever the caller knows it by
	Extent pack.Extent // the zero value for a file without bytes
}

// Extract calls extract for each piece, on several goroutines, in the order in which the
// pieces lie in the packs. extract is to read the piece by x.Extent, at most once; it
// may read other extents before. Pieces that follow each other in a pack, without a gap or
// with a small one, are read with one Open.
//
// After an error no more pieces are begun. Extract waits for those that are, and returns
// the error of the first one in the order of the packs, so it is the same every time.
// It sorts pieces.
func Extract[File any](
	ctx context.Context, workers int, pieces []Piece[File],
	extract func(ctx context.Context, x *pack.Reader, p Piece[File]) error,
) error {
	slices.SortStableFunc(pieces, func(a, b Piece[File]) int {
		return cmp.Or(
			cmp.Compare(a.From.String(), b.From.String()),
			cmp.Compare(a.Extent.Pack, b.Extent.Pack),
			cmp.Compare(a.Extent.Offset, b.Extent.Offset),
		)
	})
	q := runQueue[File]{left: pieces}
	var group sync.WaitGroup
	for range max(1, workers) {
		group.Go(func() {
			x := pack.NewReader()
			defer x.Close()
			for {
				run, at := q.next()
				if len(run) == 0 {
					return
				}
				last := run[len(run)-1]
				x.Ahead(last.From, last.Extent.Pack, last.Extent.Offset+last.Extent.Length)
				for i, p := range run {
					err := context.Cause(ctx)
					if err == nil {
						err = extract(ctx, x, p)
					}
					if err != nil {
						q.fail(at+i, err)
						return
					}
				}
			}
		})
	}
	group.Wait()
	return q.err
}

// runQueue hands out runs: pieces that follow each other in a pack.
type runQueue[File any] struct {
	mu     sync.Mutex
	left   []Piece[File] // in the order of the packs
	begun  int           // pieces that were handed out
	err    error         // of the first piece that failed
	failed int           // its place among all pieces
}

// next returns the next run, and the place of its first piece among all pieces. It is
// empty if there are no more, or one has failed.
func (q *runQueue[File]) next() (run []Piece[File], at int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err != nil {
		return nil, 0
	}
	n := runLength(q.left)
	run, at = q.left[:n], q.begun
	q.left, q.begun = q.left[n:], q.begun+n
	return run, at
}

// runLength returns how many of the first pieces make a run.
func runLength[File any](pieces []Piece[File]) int {
	var size int64
	for i, p := range pieces {
		if i > 0 {
			before := &pieces[i-1]
			gap := p.Extent.Offset - (before.Extent.Offset + before.Extent.Length)
			same := p.From.String() == before.From.String() && p.Extent.Pack == before.Extent.Pack
			if !same || gap < 0 || gap > smallGap || size >= runBytes || i == runPieces {
				return i
			}
			size += gap
		}
		size += p.Extent.Length
	}
	return len(pieces)
}

// fail records the error of a piece.
func (q *runQueue[File]) fail(at int, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.err == nil || at < q.failed {
		q.err, q.failed = err, at
	}
}
