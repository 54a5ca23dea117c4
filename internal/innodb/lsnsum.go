package innodb

import (
	"math/bits"
	"sync/atomic"
)

// This file sums up the LSNs of the pages of a file, so that two readings of it can be
// compared: a page that the LSN says has not changed must have had the same LSN before.
//
// There is a sum for each group of pages. A group is one page up to page 8192, then two
// pages up to 16384, four up to 32768 and so on, and at most 64. So a file has some four
// million bytes of sums for each TB of pages of 16 KiB, and a page is in the same group
// however long the file is.

const (
	groupsPerSize = 4096 // groups of each size but the largest; there are twice as many of one page
	maxGroupShift = 6    // of a group of 64 pages
)

// LSNGroup returns the number of the group that a page is in, from 0. no counts from the
// file's first page.
func LSNGroup(no int64) int {
	shift := min(bits.Len64(uint64(no)/(2*groupsPerSize)), maxGroupShift)
	return shift*groupsPerSize + int(no>>shift)
}

// LSNGroups returns the number of groups of a file of so many pages.
func LSNGroups(pages int64) int {
	if pages <= 0 {
		return 0
	}
	return LSNGroup(pages-1) + 1
}

// LSNGroupPages returns the pages [first, end) of a group.
func LSNGroupPages(group int) (first, end int64) {
	shift := min(max(group/groupsPerSize-1, 0), maxGroupShift)
	first = int64(group-shift*groupsPerSize) << shift
	return first, first + 1<<shift
}

// LSNGroupsWithin returns the groups [first, end) all of whose pages that a file of so many
// pages has are in the range [from, to) of pages.
func LSNGroupsWithin(from, to, pages int64) (first, end int) {
	from, to = max(from, 0), min(to, pages)
	if from >= to {
		return 0, 0
	}
	first = LSNGroup(from)
	if begin, _ := LSNGroupPages(first); begin < from {
		first++
	}
	end = LSNGroup(to-1) + 1
	if _, last := LSNGroupPages(end - 1); last > to && to < pages {
		end--
	}
	return first, max(first, end)
}

// LSNSums are the sums of a file that is being read. Methods may be called from several
// goroutines.
type LSNSums struct {
	sums []atomic.Uint32 // by group
}

// NewLSNSums makes the sums of a file of so many pages, none of which was read yet.
func NewLSNSums(pages int64) *LSNSums {
	return &LSNSums{sums: make([]atomic.Uint32, LSNGroups(pages))}
}

// Add takes in a page. It must be called once for each. Pages behind the last are ignored.
// A page with LSN 0 adds nothing.
func (s *LSNSums) Add(no int64, lsn LSN) {
	if group := LSNGroup(no); group < len(s.sums) {
		s.sums[group].Add(lsnHash(no, lsn))
	}
}

// Of returns the sum of a group, 0 if there is no page with an LSN in it.
func (s *LSNSums) Of(group int) uint32 {
	if group >= len(s.sums) {
		return 0
	}
	return s.sums[group].Load()
}

// Within returns the sums of groups [first, end).
func (s *LSNSums) Within(first, end int) []uint32 {
	sums := make([]uint32, 0, end-first)
	for group := first; group < end; group++ {
		sums = append(sums, s.Of(group))
	}
	return sums
}

// lsnHash mixes the number of a page and its LSN: the low half of what the finalizer of
// SplitMix64 makes of them (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number
// Generators", 2014). It is part of the repository format.
func lsnHash(no int64, lsn LSN) uint32 {
	if lsn == 0 {
		return 0
	}
	x := uint64(lsn) ^ uint64(no+1)*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return uint32(x ^ x>>31)
}
