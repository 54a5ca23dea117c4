package copier

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"mbk/copier/pack"
	"mbk/copier/pack/packtest"
	"mbk/internal/repo/store/storetest"
)

// turning are the files of a tablespace whose encryption begins while they are read: the
// first page gets the keys, and every page that is read from then on needs them.
type turning struct {
	begins int64 // how many pages are read before
	read   atomic.Int64
}

const turningPage = 16 << 10

func (*turning) PageSize() int              { return turningPage }
func (*turning) Check([]byte, uint32) error { return nil }

// Changed is true for all pages that the other pass had read in clear.
func (*turning) Changed(page []byte, _ uint32, _ uint64) bool { return page[0] == 'k' }

// ReadAt fills pages with the letter k, for keys, or c, for clear.
func (t *turning) ReadAt(p []byte, _ int64) (int, error) {
	for at := 0; at < len(p); at += turningPage {
		letter := byte('c')
		if t.read.Add(1) > t.begins {
			letter = 'k'
		}
		for i := at; i < min(at+turningPage, len(p)); i++ {
			p[i] = letter
		}
	}
	return len(p), nil
}

// A page that needs keys is never in a copy whose first page has none: whenever the encryption
// begins, with several workers, another file of the tablespace, and a pass before.
func TestFirstPageIsReadLast(t *testing.T) {
	const first, second = 18 * turningPage, 5 * turningPage
	for _, c := range []struct {
		name          string
		first, second int64
		bases         []Base
	}{
		{"one page", turningPage, 0, nil},
		{"one read", 4 * turningPage, 0, nil},
		{"several reads", first, 0, nil},
		{"two files", first, second, nil},
		{"two files, the first of one page", turningPage, second, nil},
		{"after a pass", first, second, []Base{{Range{0, first}, 7}}},
		{"after half a pass", first, 0, []Base{{Range{turningPage, 9 * turningPage}, 7}}},
	} {
		for _, workers := range []int{1, 3} {
			t.Run(fmt.Sprintf("%s, %d workers", c.name, workers), func(t *testing.T) {
				for begins := range (c.first+c.second)/turningPage + 8 {
					wantKeys(t, workers, begins, c.first, c.second, c.bases)
				}
			})
		}
	}
}

// wantKeys copies two files of a tablespace, the other one if it has a size.
func wantKeys(t *testing.T, workers int, begins, size, second int64, bases []Base) {
	t.Helper()
	st := storetest.NewMem()
	c := start(t, st, Options{
		Workers: workers, Codec: pack.S2, ChunkSize: 4 * turningPage, SegmentSize: 8 * turningPage,
	})
	file := &turning{begins: begins}
	var after []*Pending
	if second > 0 {
		other, err := c.Add(t.Context(), Source{Number: 2, Name: "ibdata2", File: file, Size: second, Pages: file})
		if err != nil {
			t.Fatal(err)
		}
		after = append(after, other)
	}
	p, err := c.Add(t.Context(), Source{
		Number: 1, Name: "ibdata1", File: file, Size: size, Pages: file, Bases: bases, FirstPageLast: true, After: after,
	})
	if err != nil {
		t.Fatal(err)
	}
	closeCopier(t, c)
	copied := storedBytes(t, st, p, 1, size)
	for n, other := range after {
		copied += storedBytes(t, st, other, uint32(n)+2, second)
	}
	if keys := strings.HasPrefix(copied, "k"); !keys && strings.Contains(copied, "k") {
		t.Errorf("the encryption begins after %d pages: the first page has no keys, and page %d needs them", begins,
			strings.IndexByte(copied, 'k')/turningPage)
	}
	if strings.Contains(copied, "\x00") && bases == nil {
		t.Errorf("the encryption begins after %d pages: there are pages that were not copied", begins)
	}
}

// storedBytes is what was copied of a source.
func storedBytes(t *testing.T, st *storetest.Mem, p *Pending, number uint32, size int64) string {
	t.Helper()
	r, err := p.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	x := pack.NewReader()
	defer x.Close()
	to := packtest.NewFile(size)
	for _, e := range r.Extents {
		if err := x.Extent(t.Context(), st, number, e, to); err != nil {
			t.Fatal(err)
		}
	}
	return string(to.Bytes)
}
