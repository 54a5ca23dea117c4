package repo

import (
	"slices"
	"testing"
)

// However long an attempt takes, its record stays small, has the end of the attempt, and its
// lowest head-room.
func TestSamplesStayFew(t *testing.T) {
	for _, n := range []int64{1, 2, 63, 64, 65, 1000, 100_000} {
		var s Samples
		halved := 0
		for i := range n {
			headroom := int64(-1)
			if i > 0 {
				headroom = 1000
			}
			if i == n/3 {
				headroom = 17
			}
			if s.Add(Sample{MS: i, Read: 10 * i, Stored: 5 * i, Redo: 2 * i, Headroom: headroom}) {
				halved++
			}
		}
		all := s.All()
		last := all[len(all)-1]
		if len(all) > maxSamples || n >= maxSamples && len(all) < maxSamples/2 || (halved > 0) != (n >= maxSamples) {
			t.Errorf("of %d samples %d are left, after halving %d times", n, len(all), halved)
		}
		if last.MS != n-1 || last.Read != 10*(n-1) {
			t.Errorf("of %d samples the last is %+v", n, last)
		}
		low := int64(1 << 40)
		for _, one := range all {
			if one.Headroom >= 0 {
				low = min(low, one.Headroom)
			}
		}
		if low != 17 {
			t.Errorf("of %d samples the lowest head-room is %d", n, low)
		}
	}
}

// A record may say anything.
func TestSamplesOfHostileRecords(t *testing.T) {
	var none *Samples
	if all := none.All(); all != nil {
		t.Errorf("no samples are %v", all)
	}
	s := Samples{MS: []int64{-5, 1, 2, 0, 4}, Read: []int64{0, 1, 2, 3, 4}, Stored: []int64{0, 1, 2, 3, 4},
		Redo: []int64{0, 1, 0, 3, 4}, Headroom: []int64{0, 1, 2, 3}}
	if all := s.All(); len(all) != 1 || all[0] != (Sample{1, 1, 1, 1, 1}) {
		t.Errorf("the samples are %v", all)
	}
	long := make([]int64, 100_000)
	s = Samples{MS: long, Read: slices.Clone(long), Stored: long, Redo: long, Headroom: long}
	if n := len(s.All()); n > maxSamples {
		t.Errorf("%d samples are shown", n)
	}
}
