package innodb

import (
	"math/rand/v2"
	"testing"
)

// The groups of any file cover its pages once each, in order.
func TestLSNGroups(t *testing.T) {
	next := int64(0)
	for group := range 40000 {
		first, end := LSNGroupPages(group)
		if first != next || end <= first || end-first > 64 || first < 8192 && end-first != 1 {
			t.Fatalf("group %d: pages %d to %d, want them from %d", group, first, end, next)
		}
		for _, no := range []int64{first, end - 1} {
			if got := LSNGroup(no); got != group {
				t.Fatalf("page %d is in group %d, want %d", no, got, group)
			}
		}
		next = end
	}
	if got := LSNGroups(64 << 20); got != 1<<20+6*groupsPerSize { // 1 TiB
		t.Errorf("%d groups for 1 TiB", got)
	}
	for _, pages := range []int64{0, -1} {
		if got := LSNGroups(pages); got != 0 {
			t.Errorf("%d pages: %d groups", pages, got)
		}
	}
}

func TestLSNGroupsWithin(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		pages := random.Int64N(40000)
		from, to := random.Int64N(40000), random.Int64N(42000)
		want := [2]int{-1, -1}
		for group := range LSNGroups(pages) {
			first, end := LSNGroupPages(group)
			if first < from || min(end, pages) > to {
				continue
			}
			if want[0] < 0 {
				want[0] = group
			}
			want[1] = group + 1
		}
		first, end := LSNGroupsWithin(from, to, pages)
		if want[0] < 0 {
			if first != end {
				t.Fatalf("%d to %d of %d pages: groups %d to %d, want none", from, to, pages, first, end)
			}
			continue
		}
		if first != want[0] || end != want[1] {
			t.Fatalf("%d to %d of %d pages: groups %d to %d, want %v", from, to, pages, first, end, want)
		}
	}
}

func TestLSNSums(t *testing.T) {
	const pages = 20000
	lsns := make([]LSN, pages)
	for i := range lsns {
		lsns[i] = LSN(1000000 + i*17)
	}
	sum := func() *LSNSums {
		s := NewLSNSums(pages)
		for _, i := range rand.Perm(pages) {
			s.Add(int64(i), lsns[i])
		}
		s.Add(pages+100, 5)
		return s
	}
	was := sum()
	for name, change := range map[string]func(){
		"older page":       func() { lsns[19999] -= 17 },
		"page of its own":  func() { lsns[77]++ },
		"exchanged":        func() { lsns[19998], lsns[19999] = lsns[19999], lsns[19998] },
		"zeros":            func() { lsns[9000] = 0 },
		"LSN of a moment":  func() { lsns[5], lsns[6] = 42, 42 },
		"first of a group": func() { lsns[16384]-- },
	} {
		t.Run(name, func(t *testing.T) {
			before := append([]LSN(nil), lsns...)
			change()
			is := sum()
			for group := range LSNGroups(pages) {
				first, end := LSNGroupPages(group)
				same := true
				for no := first; no < min(end, pages); no++ {
					same = same && lsns[no] == before[no]
				}
				if got := was.Of(group) == is.Of(group); got != same {
					t.Errorf("group %d: equal sums %v, equal LSNs %v", group, got, same)
				}
			}
			copy(lsns, before)
		})
	}
}
