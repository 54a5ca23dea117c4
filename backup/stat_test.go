package backup

import (
	"runtime"
	"slices"
	"sync"
	"testing"
)

// Every thing is in one part, whatever the number of processors, and no part is empty.
func TestInParts(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(8))
	for _, n := range []int{0, 1, 3, 7, 8, 9, 100} {
		var mu sync.Mutex
		var got []int
		inParts(n, func(from, to int) {
			mu.Lock()
			defer mu.Unlock()
			if from >= to {
				t.Errorf("%d things: part [%d, %d)", n, from, to)
			}
			for i := from; i < to; i++ {
				got = append(got, i)
			}
		})
		slices.Sort(got)
		if len(got) != n || n > 0 && (got[0] != 0 || got[n-1] != n-1 || len(slices.Compact(got)) != n) {
			t.Errorf("%d things: %v", n, got)
		}
	}
}
