package copier

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mbk/copier/pack"
	"mbk/copier/pack/packtest"
	"mbk/internal/repo/store"
	"mbk/internal/repo/store/storetest"
)

// countedOpens is a place of packs that counts how often one is opened, each time after
// a pause.
type countedOpens struct {
	pack.Opener
	opens atomic.Int64
	pause time.Duration
}

func (c *countedOpens) Open(ctx context.Context, name string, offset, n int64) (io.ReadCloser, error) {
	c.opens.Add(1)
	time.Sleep(c.pause)
	return c.Opener.Open(ctx, name, offset, n)
}

// extractedFile is what pieces of tests belong to.
type extractedFile struct {
	number uint32
	name   string
	got    *packtest.File
}

// piecesOf lists the pieces of files that copyAll has copied.
func piecesOf(from pack.Opener, files [][]byte, results []Result) []Piece[*extractedFile] {
	var pieces []Piece[*extractedFile]
	for i, r := range results {
		f := &extractedFile{number: uint32(i), name: fmt.Sprint("file ", i), got: packtest.NewFile(int64(len(files[i])))}
		if len(r.Extents) == 0 {
			pieces = append(pieces, Piece[*extractedFile]{From: from, Number: f.number, File: f})
		}
		for _, e := range r.Extents {
			pieces = append(pieces, Piece[*extractedFile]{From: from, Number: f.number, File: f, Extent: e})
		}
	}
	return pieces
}

// copyAll copies files, which are numbered from 0, into a store.
func copyAll(t *testing.T, opts Options, files [][]byte) (*storetest.Mem, []Result) {
	t.Helper()
	st := storetest.NewMem()
	c := start(t, st, opts)
	pending := make([]*Pending, len(files))
	for i, b := range files {
		pending[i] = add(t, c, uint32(i), b)
	}
	results := make([]Result, len(files))
	for i, p := range pending {
		results[i] = wait(t, p)
	}
	closeCopier(t, c)
	return st, results
}

// smallFiles are many, with a large one among them.
func smallFiles(n int) [][]byte {
	files := make([][]byte, n)
	for i := range files {
		files[i] = packtest.Text(i%3000, uint64(i))
	}
	files[n/2] = packtest.Noise(5<<20, 7)
	return files
}

// readPiece reads a piece into its file.
func readPiece(ctx context.Context, x *pack.Reader, p Piece[*extractedFile]) error {
	if err := x.Extent(ctx, p.From, p.Number, p.Extent, p.File.got); err != nil {
		return fmt.Errorf("%s: %w", p.File.name, err)
	}
	return nil
}

func TestExtract(t *testing.T) {
	files := smallFiles(1500)
	st, results := copyAll(t, Options{Workers: 3, Codec: pack.Zstd, SegmentSize: 1 << 20}, files)
	from := &countedOpens{Opener: st}
	pieces := piecesOf(from, files, results)
	var calls atomic.Int64
	err := Extract(t.Context(), 4, pieces, func(ctx context.Context, x *pack.Reader, p Piece[*extractedFile]) error {
		calls.Add(1)
		return readPiece(ctx, x, p)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pieces {
		if want := files[p.File.number]; !bytes.Equal(p.File.got.Bytes, want) {
			t.Fatalf("%s: %d bytes differ from the source", p.File.name, len(want))
		}
	}
	if got := calls.Load(); got != int64(len(pieces)) {
		t.Errorf("%d calls for %d pieces", got, len(pieces))
	}
	if got := from.opens.Load(); got > 30 {
		t.Errorf("packs were opened %d times for %d pieces", got, len(pieces))
	}
}

// What lies between two pieces is passed over, if it is less than a request is worth.
func TestExtractPassesOverGaps(t *testing.T) {
	for _, tc := range []struct {
		name      string
		gap, most int
	}{{"small gaps", 1000, 8}, {"large gaps", 200 << 10, 1 << 30}} {
		t.Run(tc.name, func(t *testing.T) {
			const n = 200 // every second one is read
			files := make([][]byte, 2*n)
			for i := range files {
				files[i] = packtest.Noise(500+i%2*tc.gap, uint64(i))
			}
			st, results := copyAll(t, Options{Workers: 1, Codec: pack.None, PackLimit: 1 << 30}, files)
			from := &countedOpens{Opener: st}
			var wanted []Piece[*extractedFile]
			for _, p := range piecesOf(from, files, results) {
				if p.Number%2 == 0 {
					wanted = append(wanted, p)
				}
			}
			if err := Extract(t.Context(), 2, wanted, readPiece); err != nil {
				t.Fatal(err)
			}
			for _, p := range wanted {
				if !bytes.Equal(p.File.got.Bytes, files[p.Number]) {
					t.Fatalf("%s differs from the source", p.File.name)
				}
			}
			if got := int(from.opens.Load()); got > tc.most || tc.most > n && got < n {
				t.Errorf("packs were opened %d times for %d pieces", got, len(wanted))
			}
		})
	}
}

// Damage in one piece costs the others nothing, if the caller goes on after it.
func TestExtractAroundDamage(t *testing.T) {
	files := smallFiles(300)
	st, results := copyAll(t, Options{Workers: 1, Codec: pack.Zstd}, files)
	damaged := []uint32{5, 6, 7, 120, 299}
	for _, number := range damaged {
		e := results[number].Extents[0]
		b := object(t, st, e.Pack)
		b[e.Offset+e.Length-1] ^= 1
		if err := store.PutBytes(t.Context(), st, e.Pack, b); err != nil {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	var found []uint32
	pieces := piecesOf(st, files, results)
	err := Extract(t.Context(), 3, pieces, func(ctx context.Context, x *pack.Reader, p Piece[*extractedFile]) error {
		err := readPiece(ctx, x, p)
		if _, ok := errors.AsType[*pack.DamageError](err); ok {
			mu.Lock()
			defer mu.Unlock()
			found = append(found, p.File.number)
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	if !slices.Equal(found, damaged) {
		t.Errorf("damage in files %v, want %v", found, damaged)
	}
	for _, p := range pieces {
		if !slices.Contains(damaged, p.File.number) && !bytes.Equal(p.File.got.Bytes, files[p.File.number]) {
			t.Errorf("%s differs from the source", p.File.name)
		}
	}
}

// Whichever worker is the fastest, the error is that of the first piece in the packs.
func TestExtractReturnsTheFirstError(t *testing.T) {
	files := smallFiles(1000)
	st, results := copyAll(t, Options{Workers: 1, Codec: pack.Zstd}, files)
	for range 20 {
		fail := func(_ context.Context, _ *pack.Reader, p Piece[*extractedFile]) error {
			switch n := p.File.number; {
			case n == 150:
				time.Sleep(time.Millisecond)
				return errors.New("the first")
			case n == 199 || n == 250 || n > 300:
				return errors.New("a later one")
			}
			return nil
		}
		err := Extract(t.Context(), 4, piecesOf(st, files, results), fail)
		if err == nil || err.Error() != "the first" {
			t.Fatalf("error %v, want the first", err)
		}
	}
}

func TestExtractFromTwoBackups(t *testing.T) {
	var pieces []Piece[*extractedFile]
	want := map[*extractedFile][]byte{}
	for i, name := range []string{"backups/a", "backups/b"} {
		var files [][]byte
		for n := range 20 {
			files = append(files, packtest.Text(1000, uint64(100*i+n)))
		}
		st, results := copyAll(t, Options{Workers: 1, Codec: pack.S2}, files)
		for j, p := range piecesOf(namedOpener{st, name}, files, results) {
			want[p.File] = files[j]
			pieces = append(pieces, p)
		}
	}
	if err := Extract(t.Context(), 2, pieces, readPiece); err != nil {
		t.Fatal(err)
	}
	for f, b := range want {
		if !bytes.Equal(f.got.Bytes, b) {
			t.Errorf("%s differs from the source", f.name)
		}
	}
}

// namedOpener is a place of packs with another name.
type namedOpener struct {
	pack.Opener
	name string
}

func (o namedOpener) String() string { return o.name }

func TestExtractCancelled(t *testing.T) {
	files := smallFiles(500)
	st, results := copyAll(t, Options{Workers: 1}, files)
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("signal")
	var calls atomic.Int64
	stop := func(ctx context.Context, x *pack.Reader, p Piece[*extractedFile]) error {
		if calls.Add(1) == 10 {
			cancel(cause)
		}
		return readPiece(ctx, x, p)
	}
	err := Extract(ctx, 2, piecesOf(st, files, results), stop)
	if !errors.Is(err, cause) {
		t.Errorf("error %v, want %v", err, cause)
	}
	if got := calls.Load(); got > 20 {
		t.Errorf("%d pieces were begun after the cancel", got-10)
	}
	if err := Extract(cancelled(t), 2, piecesOf(st, files, results), readPiece); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	if err := Extract[*extractedFile](cancelled(t), 2, nil, readPiece); err != nil {
		t.Errorf("without pieces: %v", err)
	}
}

// Wherever a read fails, Extract returns the error and leaves no goroutine.
func TestExtractFailsAtEveryPoint(t *testing.T) {
	files := [][]byte{packtest.Text(3000, 1), packtest.Text(10, 2), nil, packtest.Noise(300<<10, 3), packtest.Text(50, 4)}
	mem, results := copyAll(t, Options{Workers: 2, ChunkSize: 64 << 10, SegmentSize: 64 << 10}, files)
	for n := 0; ; n++ {
		st := storetest.FailAt(mem, n)
		pieces := piecesOf(st, files, results)
		err := Extract(t.Context(), 2, pieces, readPiece)
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
