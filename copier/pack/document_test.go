package pack

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"mbk/copier/pack/packtest"

	"github.com/klauspost/compress/zstd"
)

func TestDocument(t *testing.T) {
	for _, size := range []int{0, 1, 100, 5 << 20} {
		doc := packtest.Text(size, 1)
		b, err := EncodeDocument(doc)
		if err != nil {
			t.Fatal(err)
		}
		r, err := OpenDocument(b)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, doc) {
			t.Errorf("%d bytes are read as %d, %v", size, len(got), err)
		}
		r.Close()
		dec, err := zstd.NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		var plain bytes.Buffer
		if _, err := plain.ReadFrom(dec); err != nil || !bytes.Equal(plain.Bytes(), doc) {
			t.Errorf("%d bytes by zstd: %d, %v", size, plain.Len(), err)
		}
		dec.Close()
	}
}

func TestDocumentDamage(t *testing.T) {
	b, err := EncodeDocument([]byte(`{"id": "20261121T201806Z-full", "tables": [1, 1, 1, 1, 1, 1, 1, 1]}`))
	if err != nil {
		t.Fatal(err)
	}
	for bit := range len(b) * 8 {
		b[bit/8] ^= 1 << (bit % 8)
		if _, err := OpenDocument(b); !errors.Is(err, ErrDocument) {
			t.Errorf("bit %d may change to a reader: %v", bit, err)
		}
		b[bit/8] ^= 1 << (bit % 8)
	}
	for n := range b {
		if _, err := OpenDocument(b[:n]); !errors.Is(err, ErrDocument) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	if _, err := OpenDocument(append(bytes.Clone(b), b...)); !errors.Is(err, ErrDocument) {
		t.Errorf("twice: %v", err)
	}
}

func FuzzDocument(f *testing.F) {
	b, err := EncodeDocument(packtest.Text(1000, 1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		readSome(t, b)
		if len(b) < documentHeader {
			return
		}
		b = bytes.Clone(b)
		putDocumentHeader(b, b[documentHeader:])
		readSome(t, b)
	})
}

// readSome reads a document that may be anything, as far as a caller with a limit would.
func readSome(t *testing.T, b []byte) {
	r, err := OpenDocument(b)
	if err != nil {
		return
	}
	defer r.Close()
	if doc, err := io.ReadAll(io.LimitReader(r, 10000)); err == nil && len(doc) > 10000 {
		t.Fatalf("%d bytes", len(doc))
	}
}
