package verify

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// What the head is made of must reach the pages as it came.
func TestHeadFirst(t *testing.T) {
	for _, c := range []struct {
		name  string
		parts []int // bytes, negative for zeros
		want  string
	}{
		{"at once", []int{100}, "data 0+20 data 20+80"},
		{"exactly", []int{20, 5}, "data 0+20 data 20+5"},
		{"in parts", []int{3, 4, 30, -5, 7}, "data 0+20 data 20+17 zero 37+5 data 42+7"},
		{"zeros", []int{-50, 4}, "data 0+0 zero 0+50 data 50+4"},
		{"zeros from the middle on", []int{8, -50}, "data 0+8 zero 8+50"},
		{"short zeros", []int{8, -4, 10}, "data 0+20 data 20+2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var heads [][]byte
			log := &partsSink{}
			s := &headFirst{n: 20, rest: log, use: func(head []byte) { heads = append(heads, bytes.Clone(head)) }}
			var all []byte
			for _, n := range c.parts {
				off, err := int64(len(all)), error(nil)
				if n < 0 {
					all = append(all, make([]byte, -n)...)
					err = s.Zero(off, int64(-n))
				} else {
					all = append(all, bytes.Repeat([]byte{7}, n)...)
					_, err = s.WriteAt(all[off:], off)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			if len(heads) != 1 || !bytes.Equal(heads[0], all[:20]) {
				t.Errorf("heads %v, want one: %v", heads, all[:20])
			}
			if got := strings.Join(log.parts, " "); got != c.want {
				t.Errorf("passed on %q, want %q", got, c.want)
			}
		})
	}
}

// partsSink notes what it gets.
type partsSink struct{ parts []string }

func (s *partsSink) WriteAt(p []byte, off int64) (int, error) {
	s.parts = append(s.parts, fmt.Sprintf("data %d+%d", off, len(p)))
	return len(p), nil
}

func (s *partsSink) Zero(off, n int64) error {
	s.parts = append(s.parts, fmt.Sprintf("zero %d+%d", off, n))
	return nil
}

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
