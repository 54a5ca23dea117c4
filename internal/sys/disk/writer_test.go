package disk

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// piece is a run of bytes that differ from those of every other offset.
func piece(off int64, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte((off + int64(i)) % 251)
	}
	return b
}

// Whatever way the bytes take, and in whatever pieces they come, they arrive.
func TestWriter(t *testing.T) {
	const large = 1 << 20
	for _, cached := range []bool{false, true} {
		for _, drop := range []bool{false, true} {
			for _, sizes := range [][]int{{0}, {1}, {block}, {large, large, 5}, {large, 5, large}, {5, large, large - 5, large},
				{block - 1, 1, block}} {
				t.Run(fmt.Sprintf("cached %v, drop %v, %v", cached, drop, sizes), func(t *testing.T) {
					path := filepath.Join(t.TempDir(), "x")
					f, err := os.Create(path)
					if err != nil {
						t.Fatal(err)
					}
					defer f.Close()
					w := &Writer{File: f, Cached: cached, WriteBack: 64 << 10, Drop: drop}
					local := IsLocal(f)
					off := int64(0)
					for _, n := range sizes {
						if got, err := w.WriteAt(piece(off, n), off); got != n || err != nil {
							t.Fatalf("WriteAt(%d bytes, %d) = %d, %v", n, off, got, err)
						}
						flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
						if err != nil {
							t.Fatal(err)
						}
						whole := n%block == 0 && off%block == 0 && n >= large // smaller slices begin anywhere in memory
						if past := flags&unix.O_DIRECT != 0; whole && past != (local && !cached) {
							t.Errorf("%d bytes at %d: past the page cache: %v", n, off, past)
						}
						off += int64(n)
					}
					got, err := os.ReadFile(path)
					if err != nil || !bytes.Equal(got, piece(0, int(off))) {
						t.Errorf("read %d bytes, %v; want the %d that were written", len(got), err, off)
					}
				})
			}
		}
	}
}

func TestWriterFails(t *testing.T) {
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := (&Writer{File: f, WriteBack: 1}).WriteAt([]byte("x"), 0); err == nil {
		t.Error("a write to a file that is open for reading succeeded")
	}
}

func TestSpaceOf(t *testing.T) {
	s, err := SpaceOf(t.TempDir())
	if err != nil || s.Total <= 0 || s.Free < 0 || s.Free > s.Total {
		t.Errorf("SpaceOf = %+v, %v", s, err)
	}
	if _, err := SpaceOf(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("SpaceOf a folder that is not there succeeded")
	}
}
