package repo

import "testing"

func TestLineageIndex(t *testing.T) {
	x := NewLineageIndex(&Lineage{Files: []LineageFile{
		{Number: 1, Inode: 9, Born: 5}, {Number: 2, Inode: 3, Born: 7}, {Number: 3, Inode: 9, Born: 4},
		{Number: 4, Inode: 9, Born: 5, Dev: 2}, {Number: 5, Inode: 12},
	}})
	for _, c := range []struct {
		name  string
		inode uint64
		born  int64
		want  []uint32
	}{
		{"one file", 3, 7, []uint32{2}},
		{"an inode that was used again", 9, 4, []uint32{3}},
		{"two names, or two file systems", 9, 5, []uint32{1, 4}},
		{"no birth time", 12, 0, []uint32{5}},
		{"the inode of another file", 3, 8, nil},
		{"an unknown inode", 4, 7, nil},
		{"behind all", 13, 0, nil},
	} {
		found := x.Find(c.inode, c.born)
		got := make([]uint32, 0, len(found))
		for _, f := range found {
			got = append(got, f.Number)
		}
		if len(got) != len(c.want) || len(got) > 0 && (got[0] != c.want[0] || got[len(got)-1] != c.want[len(c.want)-1]) {
			t.Errorf("%s: files %v, want %v", c.name, got, c.want)
		}
	}
}
