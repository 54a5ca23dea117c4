package buffer

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"syscall"
	"testing"
)

// Whatever is written and cut off, the buffer holds what a slice would.
func TestBufferIsASlice(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	b := New(t.TempDir(), 1000)
	defer b.Reset()
	var want []byte
	for i := range 2000 {
		switch r.IntN(10) {
		case 0:
			n := r.IntN(len(want) + 1)
			want = want[:n]
			b.Truncate(int64(n))
		case 1:
			if r.IntN(20) == 0 {
				want = nil
				b.Reset()
			}
		default:
			p := bytes.Repeat([]byte{byte(i)}, r.IntN(400))
			want = append(want, p...)
			if n, err := b.Write(p); n != len(p) || err != nil {
				t.Fatal(n, err)
			}
		}
		var got bytes.Buffer
		n, err := b.WriteTo(&got)
		if err != nil || n != int64(len(want)) || b.Len() != n || !bytes.Equal(got.Bytes(), want) {
			t.Fatalf("step %d: %d bytes, %v, want %d", i, n, err, len(want))
		}
	}
}

func TestBufferWithoutRoom(t *testing.T) {
	b := New(t.TempDir()+"/none", 10)
	if n, err := b.Write(make([]byte, 11)); n != 0 || !errors.Is(err, syscall.ENOENT) {
		t.Errorf("Write = %d, %v", n, err)
	}
	if _, err := b.Write(make([]byte, 10)); err != nil || b.Len() != 10 {
		t.Errorf("%d bytes, %v", b.Len(), err)
	}
}
