package copier

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"mbk/internal/repo/store"
	"mbk/internal/repo/store/storetest"
)

const folder = "backups/b"

// noise returns n bytes that no codec makes smaller.
func noise(n int, seed uint64) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(seed, 1))
	for at := 0; at < n; at += 8 {
		var w [8]byte
		binary.LittleEndian.PutUint64(w[:], r.Uint64())
		copy(b[at:], w[:])
	}
	return b
}

// text returns n bytes that every codec makes smaller.
func text(n int, seed uint64) []byte {
	b := make([]byte, 0, n+8)
	r := rand.New(rand.NewPCG(seed, 2))
	var words [300][8]byte
	for i := range words {
		binary.LittleEndian.PutUint64(words[i][:], r.Uint64()&0x0F0F0F0F0F0F0F0F|0x6060606060606060)
	}
	for len(b) < n {
		word := words[r.IntN(len(words))]
		b = append(b, word[:4+r.IntN(5)]...)
	}
	return b[:n]
}

// memSink is a file in memory that notices bytes which were not written once.
type memSink struct {
	b       []byte
	written []byte // 1 for each byte that was
	zeroed  int64
}

func newMemSink(size int64) *memSink {
	return &memSink{b: bytes.Repeat([]byte{0xEE}, int(size)), written: make([]byte, size)}
}

func (s *memSink) mark(off, n int64) error {
	if off < 0 || off+n > int64(len(s.b)) {
		return fmt.Errorf("%d bytes at %d of %d", n, off, len(s.b))
	}
	part := s.written[off : off+n]
	if i := bytes.IndexByte(part, 1); i >= 0 {
		return fmt.Errorf("byte %d is written twice", off+int64(i))
	}
	copy(part, bytes.Repeat([]byte{1}, int(n)))
	return nil
}

func (s *memSink) WriteAt(p []byte, off int64) (int, error) {
	if err := s.mark(off, int64(len(p))); err != nil {
		return 0, err
	}
	return copy(s.b[off:], p), nil
}

func (s *memSink) Zero(off, n int64) error {
	if err := s.mark(off, n); err != nil {
		return err
	}
	s.zeroed += n
	clear(s.b[off : off+n])
	return nil
}

// wantFile checks that the extents of a file hold exactly want.
func wantFile(t *testing.T, st store.Store, number uint32, r Result, want []byte) *memSink {
	t.Helper()
	x := NewExtractor()
	defer x.Close()
	sink := newMemSink(int64(len(want)))
	for _, e := range r.Extents {
		if err := x.Extent(t.Context(), st, folder, number, e, sink); err != nil {
			t.Fatalf("extent %+v: %v", e, err)
		}
	}
	if i := bytes.IndexByte(sink.written, 0); i >= 0 {
		t.Fatalf("file %d: byte %d of %d is in no extent", number, i, len(want))
	}
	if !bytes.Equal(sink.b, want) {
		t.Fatalf("file %d: %d bytes differ from the source", number, len(want))
	}
	return sink
}

// wantPacks checks that all packs are in the store as they are described.
func wantPacks(t *testing.T, st store.Store, packs []Pack, raw int64) {
	t.Helper()
	var sum int64
	for _, p := range packs {
		if err := CheckPack(t.Context(), st, folder, p); err != nil {
			t.Error(err)
		}
		sum += p.Raw
	}
	if sum != raw {
		t.Errorf("packs hold %d bytes of files, want %d", sum, raw)
	}
	objects, err := st.List(t.Context(), folder)
	if err != nil {
		t.Fatal(err)
	}
	if len(objects) != len(packs) {
		t.Errorf("%d objects in the store for %d packs", len(objects), len(packs))
	}
}

// object returns all bytes of an object.
func object(t *testing.T, st store.Store, name string) []byte {
	t.Helper()
	b, err := store.ReadAll(t.Context(), st, folder+"/"+name, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// start returns a copier that the test need not close.
func start(t *testing.T, st Putter, opts Options) *Copier {
	t.Helper()
	c, err := New(t.Context(), st, folder, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Abort(errors.New("test is over")) })
	return c
}

// add adds a source of bytes that must be accepted.
func add(t *testing.T, c *Copier, number uint32, b []byte) *Pending {
	t.Helper()
	return addSource(t, c, Source{Number: number, Name: fmt.Sprint("file ", number), File: bytes.NewReader(b), Size: int64(len(b))})
}

func addSource(t *testing.T, c *Copier, s Source) *Pending {
	t.Helper()
	p, err := c.Add(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func wait(t *testing.T, p *Pending) Result {
	t.Helper()
	r, err := p.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func closeCopier(t *testing.T, c *Copier) []Pack {
	t.Helper()
	packs, err := c.Close(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return packs
}

// copyOne copies one source alone.
func copyOne(t *testing.T, opts Options, s Source) (Result, *storetest.Mem, error) {
	t.Helper()
	st := storetest.NewMem()
	c := start(t, st, opts)
	p := addSource(t, c, s)
	r, err := p.Wait(t.Context())
	_, closeErr := c.Close(t.Context())
	if (err == nil) != (closeErr == nil) {
		t.Errorf("Wait: %v, Close: %v", err, closeErr)
	}
	return r, st, err
}

var errPage = errors.New("wrong sum")

// sumPages are pages that begin with their number and end with a sum. All-zero
// pages are whole. Pages that begin with 0xFF have no sum.
type sumPages struct {
	size  int
	loose bool

	mu      sync.Mutex
	checked map[uint32]int
	bad     []byte // of the last page that was not whole
}

func (p *sumPages) PageSize() int { return p.size }

func (p *sumPages) Unverifiable(page []byte, _ uint32) bool { return p.loose && page[0] == 0xFF }

func (p *sumPages) Check(page []byte, no uint32) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.checked == nil {
		p.checked = map[uint32]int{}
	}
	p.checked[no]++
	if isZero(page) || p.Unverifiable(page, no) {
		return nil
	}
	if len(page) == p.size && binary.LittleEndian.Uint32(page) == no &&
		binary.LittleEndian.Uint32(page[p.size-4:]) == castagnoli(page[:p.size-4]) {
		return nil
	}
	p.bad = bytes.Clone(page)
	return errPage
}

// pages returns n whole pages of sumPages.
func (p *sumPages) pages(n int) []byte {
	b := text(n*p.size, uint64(n))
	for no := range n {
		p.stamp(b, no)
	}
	return b
}

func (p *sumPages) stamp(b []byte, no int) {
	page := b[no*p.size : (no+1)*p.size]
	binary.LittleEndian.PutUint32(page, uint32(no))
	binary.LittleEndian.PutUint32(page[p.size-4:], castagnoli(page[:p.size-4]))
}

// changing is a file that a hook may change before every read.
type changing struct {
	mu   sync.Mutex
	b    []byte
	hook func(f *changing, off int64, n int)
}

func (f *changing) ReadAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hook != nil {
		f.hook(f, off, len(p))
	}
	return bytes.NewReader(f.b).ReadAt(p, off)
}

// cancelled is a context that is over.
func cancelled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

var _ io.ReaderAt = (*changing)(nil)
