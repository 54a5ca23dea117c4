package copier

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/klauspost/compress/zstd"
)

func TestDocument(t *testing.T) {
	for _, size := range []int{0, 1, 100, 5 << 20} {
		doc := text(size, 1)
		b, err := EncodeDocument(doc)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := DecodeDocument(b, int64(size)); err != nil || !bytes.Equal(got, doc) {
			t.Errorf("%d bytes come back as %d, %v", size, len(got), err)
		}
		r, err := OpenDocument(b)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, doc) {
			t.Errorf("%d bytes are read as %d, %v", size, len(got), err)
		}
		r.Close()
		if size > 0 {
			if _, err := DecodeDocument(b, int64(size)-1); !errors.Is(err, ErrDocument) {
				t.Errorf("%d bytes with a lower limit: %v, want %v", size, err, ErrDocument)
			}
		}
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
		if _, err := DecodeDocument(b, 1000); !errors.Is(err, ErrDocument) {
			t.Errorf("bit %d may change: %v", bit, err)
		}
		b[bit/8] ^= 1 << (bit % 8)
	}
	for n := range b {
		if _, err := DecodeDocument(b[:n], 1000); !errors.Is(err, ErrDocument) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	if _, err := DecodeDocument(append(bytes.Clone(b), b...), 1000); !errors.Is(err, ErrDocument) {
		t.Errorf("twice: %v", err)
	}
}

func FuzzDocument(f *testing.F) {
	b, err := EncodeDocument(text(1000, 1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if doc, err := DecodeDocument(b, 10000); err == nil && len(doc) > 10000 {
			t.Fatalf("%d bytes", len(doc))
		}
		if len(b) < documentHeader {
			return
		}
		b = bytes.Clone(b)
		putDocumentHeader(b, b[documentHeader:])
		if doc, err := DecodeDocument(b, 10000); err == nil && len(doc) > 10000 {
			t.Fatalf("%d bytes", len(doc))
		}
	})
}
