package verify

import (
	"slices"
	"testing"
)

func TestPageSink(t *testing.T) {
	const size = 16
	for _, c := range []struct {
		name  string
		parts []int // bytes, negative for zeros
		want  []uint32
	}{
		{"whole pages", []int{32, 16}, []uint32{0, 1, 2}},
		{"cut anywhere", []int{1, 15, 7, 20, 5}, []uint32{0, 1, 2}},
		{"zeros between pages", []int{16, -32, 16}, []uint32{0, 3}},
		{"zeros from the middle of a page on", []int{10, -38}, []uint32{0}},
		{"zeros up to the middle of a page", []int{-26, 6}, []uint32{1}},
		{"a page of pieces", []int{4, -4, 4, -4}, []uint32{0}},
		{"half a page at the end", []int{24}, []uint32{0}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var got []uint32
			s := &pageSink{check: &pageCheck{size: size, test: func(p []byte, no uint32) error {
				if len(p) != size {
					t.Errorf("a page of %d bytes", len(p))
				}
				got = append(got, no)
				return nil
			}}}
			var off int64
			for _, n := range c.parts {
				var err error
				if n < 0 {
					n = -n
					err = s.Zero(off, int64(n))
				} else {
					_, err = s.WriteAt(make([]byte, n), off)
				}
				if err != nil {
					t.Fatal(err)
				}
				off += int64(n)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("checked pages %v, want %v", got, c.want)
			}
		})
	}
}
