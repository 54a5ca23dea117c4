package datadir

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"
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

// The inode number of a deleted file is given to the next one at once; the birth
// time tells them apart.
func TestIdentityOfReusedInode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	seen := map[Identity]bool{}
	for range 50 {
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := Layout{}.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if s.ID.Born == 0 {
			t.Fatal("the file system of the temporary folder keeps no birth times")
		}
		if seen[s.ID] {
			t.Fatalf("identity %+v twice", s.ID)
		}
		seen[s.ID] = true
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond) // more than a tick of the kernel's clock
	}
}
