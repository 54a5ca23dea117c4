package repo

import (
	"cmp"
	"slices"
)

// LineageIndex finds the files of a pass by identity.
type LineageIndex struct {
	files []LineageFile // by inode and birth time
}

// NewLineageIndex sorts the files of a lineage, which is not to be used any more.
func NewLineageIndex(l *Lineage) LineageIndex {
	slices.SortFunc(l.Files, func(a, b LineageFile) int {
		return cmp.Or(cmp.Compare(a.Inode, b.Inode), cmp.Compare(a.Born, b.Born), cmp.Compare(a.Number, b.Number))
	})
	return LineageIndex{l.Files}
}

// Find returns the files with that inode and birth time. There are several if the file
// had several names, or lies on one of several file systems.
func (x LineageIndex) Find(inode uint64, born int64) []LineageFile {
	from, found := slices.BinarySearchFunc(x.files, inode, func(f LineageFile, inode uint64) int {
		return cmp.Or(cmp.Compare(f.Inode, inode), cmp.Compare(f.Born, born))
	})
	if !found {
		return nil
	}
	to := from
	for to < len(x.files) && x.files[to].Inode == inode && x.files[to].Born == born {
		to++
	}
	return x.files[from:to:to]
}
