package copier

import (
	"bytes"
	"io"
	"testing"

	"mbk/copier/pack"
	"mbk/copier/pack/packtest"
	"mbk/internal/repo/store/storetest"
)

func TestStoreStream(t *testing.T) {
	for _, size := range []int{0, 1, 1 << 20, 1<<20 + 1, 3<<20 - 1} {
		for _, codec := range codecs {
			b := sparse(size, uint64(size))
			st := storetest.NewMem()
			in := oddReader{bytes.NewReader(b)}
			r, made, err := StoreStream(t.Context(), st, "redo.pack", 77, 1000, in, Options{Codec: codec})
			if err != nil {
				t.Fatal(err)
			}
			wantPacks(t, st, []pack.Pack{made}, int64(size))
			if r.Read != int64(size) || made.Name != "redo.pack" || r.Stored != made.Size {
				t.Errorf("%d bytes: result %+v, pack %+v", size, r, made)
			}
			x, sink := pack.NewReader(), packtest.NewFile(1000+int64(size))
			for _, e := range r.Extents {
				if err := x.Extent(t.Context(), st, 77, e, sink); err != nil {
					t.Fatal(err)
				}
			}
			x.Close()
			if !bytes.Equal(sink.Bytes[1000:], b) {
				t.Errorf("%d bytes by %v differ from the stream", size, codec)
			}
		}
	}
}

// oddReader returns odd lengths.
type oddReader struct{ r io.Reader }

func (r oddReader) Read(p []byte) (int, error) { return r.r.Read(p[:min(len(p), 7777)]) }
