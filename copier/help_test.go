package copier

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"
	"testing"

	"mbk/copier/pack"
	"mbk/copier/pack/packtest"
	"mbk/internal/repo/store"
	"mbk/internal/repo/store/storetest"
)

// wantFile checks that the extents of a file hold exactly want.
func wantFile(t *testing.T, st store.Store, number uint32, r Result, want []byte) *packtest.File {
	t.Helper()
	x := pack.NewReader()
	defer x.Close()
	sink := packtest.NewFile(int64(len(want)))
	for _, e := range r.Extents {
		if err := x.Extent(t.Context(), st, number, e, sink); err != nil {
			t.Fatalf("extent %+v: %v", e, err)
		}
	}
	if i := sink.Missing(); i >= 0 {
		t.Fatalf("file %d: byte %d of %d is in no extent", number, i, len(want))
	}
	if !bytes.Equal(sink.Bytes, want) {
		t.Fatalf("file %d: %d bytes differ from the source", number, len(want))
	}
	return sink
}

// wantPacks checks that all packs are in the store as they are described.
func wantPacks(t *testing.T, st store.Store, packs []pack.Pack, raw int64) {
	t.Helper()
	var sum int64
	for _, p := range packs {
		if b := object(t, st, p.Name); int64(len(b)) != p.Size {
			t.Errorf("pack %s has %d bytes, described as %d", p.Name, len(b), p.Size)
		}
		sum += p.Raw
	}
	if sum != raw {
		t.Errorf("packs hold %d bytes of files, want %d", sum, raw)
	}
	objects, err := st.List(t.Context(), "")
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
	b, err := store.ReadAll(t.Context(), st, name, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// start returns a copier that the test need not close.
func start(t *testing.T, st Putter, opts Options) *Copier {
	t.Helper()
	c, err := New(t.Context(), st, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Abort(errors.New("test is over")) })
	return c
}

// add adds a source of bytes that must be accepted.
func add(t *testing.T, c *Copier, number uint32, b []byte) *Pending {
	t.Helper()
	s := source(fmt.Sprint("file ", number), b)
	s.Number = number
	return addSource(t, c, s)
}

// source is a source of bytes.
func source(name string, b []byte) Source {
	return Source{Name: name, File: bytes.NewReader(b), Size: int64(len(b))}
}

// endless is a source that has not been read to its end before a test is over.
func endless() Source {
	file := readerAt(func(p []byte, _ int64) (int, error) { return len(p), nil })
	return Source{Name: "endless", Size: 1 << 35, File: file}
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

func closeCopier(t *testing.T, c *Copier) []pack.Pack {
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
	if pack.ZeroRun(page) == len(page) || p.Unverifiable(page, no) {
		return nil
	}
	if len(page) == p.size && binary.LittleEndian.Uint32(page) == no &&
		binary.LittleEndian.Uint32(page[p.size-4:]) == crc32.Checksum(page[:p.size-4], crc32.MakeTable(crc32.Castagnoli)) {
		return nil
	}
	p.bad = bytes.Clone(page)
	return errPage
}

// source is a source of a file of such pages, with number 1.
func (p *sumPages) source(name string, b []byte) Source {
	s := source(name, b)
	s.Number, s.Pages = 1, p
	return s
}

// pages returns n valid pages of sumPages.
func (p *sumPages) pages(n int) []byte {
	b := packtest.Text(n*p.size, uint64(n))
	for no := range n {
		p.stamp(b, no)
	}
	return b
}

func (p *sumPages) stamp(b []byte, no int) {
	page := b[no*p.size : (no+1)*p.size]
	binary.LittleEndian.PutUint32(page, uint32(no))
	binary.LittleEndian.PutUint32(page[p.size-4:], crc32.Checksum(page[:p.size-4], crc32.MakeTable(crc32.Castagnoli)))
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
