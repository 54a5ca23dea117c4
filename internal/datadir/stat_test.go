package datadir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"mbk/internal/repo"
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

// StatAll looks at files in their directories, and finds what Stat finds.
func TestStatAll(t *testing.T) {
	dir := t.TempDir()
	elsewhere := filepath.Join(t.TempDir(), "t.ibd")
	err := errors.Join(os.Mkdir(filepath.Join(dir, "a"), 0o700), os.Mkdir(filepath.Join(dir, "b"), 0o700),
		os.WriteFile(elsewhere, []byte("elsewhere"), 0o600), os.Symlink(elsewhere, filepath.Join(dir, "a", "link.MYD")),
		os.Symlink(filepath.Join(dir, "none"), filepath.Join(dir, "a", "broken.MYD")),
		os.Symlink(filepath.Join(dir, "b"), filepath.Join(dir, "c")))
	for i, name := range []string{"ib_buffer_pool", "a/x.frm", "b/x.frm", "b/y.frm"} {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, name), make([]byte, i+1), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	l := Layout{Dir: dir, ServerDir: dir}
	entries := []Entry{
		{Name: "ib_buffer_pool"}, {Dir: "a", Name: "x.frm"}, {Dir: "b", Name: "x.frm"}, {Dir: "a", Name: "link.MYD"},
		{Dir: "a", Name: "broken.MYD"}, {Dir: "a", Name: "gone.frm"}, {Dir: "gone", Name: "x.frm"},
		{Dir: "c", Name: "y.frm"}, {Dir: "a", Name: "t.ibd", Link: Link{Kind: repo.LinkISL, To: elsewhere}},
		{Dir: "b", Name: "y.frm"},
	}
	for i, got := range l.StatAll(entries) {
		want, err := l.Stat(l.File(entries[i]))
		if got.Stat.Taken, want.Taken = 0, 0; got.Stat != want {
			t.Errorf("%s: %+v, want %+v", entries[i].Path(), got.Stat, want)
		}
		if errors.Is(got.Err, fs.ErrNotExist) != errors.Is(err, fs.ErrNotExist) || (got.Err == nil) != (err == nil) {
			t.Errorf("%s: %v, want %v", entries[i].Path(), got.Err, err)
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

// A copy holds if nothing can have been written since it began: times are coarse, so a
// file that was changed just before it was looked at proves nothing.
func TestUnchangedBy(t *testing.T) {
	now := TimestampOf(time.Unix(1e9, 0))
	was := FileStat{
		ID: Identity{Dev: 1, Inode: 2, Born: 3}, Size: 10, Taken: now,
		Modified: now.Add(-time.Minute), Changed: now.Add(-time.Minute),
	}
	for _, tt := range []struct {
		name   string
		change func(was, now *FileStat)
		want   bool
	}{
		{"as it was", func(*FileStat, *FileStat) {}, true},
		{"another generation of the file", func(_, now *FileStat) { now.ID.Born++ }, false},
		{"another file", func(_, now *FileStat) { now.ID.Inode++ }, false},
		{"it has grown", func(_, now *FileStat) { now.Size++ }, false},
		{"written to", func(_, now *FileStat) { now.Modified = now.Modified.Add(1) }, false},
		{"renamed", func(_, now *FileStat) { now.Changed = now.Changed.Add(1) }, false},
		{"written to just before", func(was, now *FileStat) {
			was.Modified = was.Taken.Add(-time.Second)
			now.Modified = was.Modified
		}, false},
		{"renamed just before", func(was, now *FileStat) {
			was.Changed = was.Taken.Add(-time.Second)
			now.Changed = was.Changed
		}, false},
		{"just before that", func(was, now *FileStat) {
			was.Modified = was.Taken.Add(-time.Second - 1)
			now.Modified = was.Modified
		}, true},
	} {
		a, b := was, was
		tt.change(&a, &b)
		if got := a.UnchangedBy(b); got != tt.want {
			t.Errorf("%s: unchanged is %t, want %t", tt.name, got, tt.want)
		}
	}
}

// A file is as its times say once the writes that moved them have arrived: they are
// known to have before a checkpoint, or after a very long rest.
func TestWritesArrived(t *testing.T) {
	taken := time.Unix(1e9, 0)
	for _, tt := range []struct {
		name              string
		modified, changed time.Duration // before taken
		arrived           time.Duration // before taken; below 0: not known
		want              bool
	}{
		{"before the moment", time.Minute, time.Minute, 30 * time.Second, true},
		{"a second before it", 31 * time.Second, time.Minute, 30 * time.Second, false},
		{"after it", 20 * time.Second, time.Minute, 30 * time.Second, false},
		{"renamed after it", time.Minute, 20 * time.Second, 30 * time.Second, false},
		{"no moment, a short rest", time.Minute, time.Minute, -1, false},
		{"no moment, renamed lately", time.Hour, time.Minute, -1, false},
		{"no moment, a long rest", longestWrite + 1, longestWrite + 1, -1, true},
		{"no moment, nearly long enough", longestWrite, longestWrite, -1, false},
		{"a moment after the file was looked at proves nothing", 2 * time.Second, 2 * time.Second, -2, false},
	} {
		at := TimestampOf(taken)
		s := FileStat{Taken: at, Modified: at.Add(-tt.modified), Changed: at.Add(-tt.changed)}
		var arrived time.Time
		if tt.arrived != -1 {
			arrived = taken.Add(-tt.arrived)
		}
		if got := s.WritesArrived(arrived); got != tt.want {
			t.Errorf("%s: arrived is %t, want %t", tt.name, got, tt.want)
		}
	}
}
