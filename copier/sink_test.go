package copier

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"mbk/copier/pack/packtest"

	"golang.org/x/sys/unix"
)

func TestFileSink(t *testing.T) {
	const size = 1 << 20
	for _, tc := range []struct {
		name          string
		sparse, fresh bool
		before        byte // what the file was full of
		most          int64
	}{
		{"dense", false, false, 0, size},
		{"dense over other bytes", false, false, 9, size},
		{"sparse and fresh", true, true, 0, size / 2},
		{"sparse", true, false, 0, size / 2},
		{"sparse over other bytes", true, false, 9, size / 2},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, err := os.Create(filepath.Join(t.TempDir(), "f"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if tc.before != 0 {
				if _, err := f.Write(bytes.Repeat([]byte{tc.before}, size)); err != nil {
					t.Fatal(err)
				}
			}
			if err := f.Truncate(size); err != nil {
				t.Fatal(err)
			}
			s := &FileSink{File: f, Sparse: tc.sparse, Fresh: tc.fresh}
			// A quarter of pages that are three quarters empty, then zeros, then noise.
			want := packtest.Noise(size, 1)
			for at := 0; at < size/4; at += 16 << 10 {
				clear(want[at+4<<10 : at+16<<10])
			}
			clear(want[size/4 : size*3/4])
			write := func(from, to int) {
				t.Helper()
				if n, err := s.WriteAt(want[from:to], int64(from)); err != nil || n != to-from {
					t.Fatalf("WriteAt: %d, %v", n, err)
				}
			}
			write(0, size/4)
			if err := s.Zero(size/4, size/2); err != nil {
				t.Fatal(err)
			}
			write(size*3/4, size-1000)
			write(size-1000, size)
			got, err := os.ReadFile(f.Name())
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("file differs, %v", err)
			}
			if used := used(t, f); used > tc.most+64<<10 {
				t.Errorf("file takes %d bytes, want at most %d", used, tc.most)
			} else if !tc.sparse && used < size {
				t.Errorf("file takes %d bytes, want %d", used, size)
			}
		})
	}
}

// used returns the bytes that a file takes on disk.
func used(t *testing.T, f *os.File) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

func TestFileSinkWritesZerosItself(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := packtest.Noise(3<<20, 1)
	if _, err := f.Write(b); err != nil {
		t.Fatal(err)
	}
	s := &FileSink{File: f}
	if err := s.writeZeros(1000, 2<<20); err != nil {
		t.Fatal(err)
	}
	clear(b[1000 : 1000+2<<20])
	if got, err := os.ReadFile(f.Name()); err != nil || !bytes.Equal(got, b) {
		t.Errorf("file differs, %v", err)
	}
}

func TestFileSinkErrors(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	for _, sparse := range []bool{false, true} {
		s := &FileSink{File: f, Sparse: sparse}
		for what, err := range map[string]error{"Zero": s.Zero(0, 10), "writeZeros": s.writeZeros(0, 10)} {
			if err == nil {
				t.Error(fmt.Sprint(what, " of a closed file succeeds"))
			}
		}
		if _, err := s.WriteAt([]byte("x"), 0); err == nil {
			t.Error("WriteAt of a closed file succeeds")
		}
	}
}
