package backup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mbk/repo"
)

// A copy of a plain file holds only as long as nothing can have been written to
// the file since, not even within one tick of the file system's clock.
func TestCopiesThatStillHold(t *testing.T) {
	now := time.Now()
	idle := fileStat{id: identity{1, 2, 3}, size: 10, modified: now.Add(-time.Hour), changed: now.Add(-time.Hour), taken: now}
	for name, c := range map[string]struct {
		was, is func(fileStat) fileStat
		want    bool
	}{
		"left alone":                  {nil, nil, true},
		"read again later":            {nil, func(s fileStat) fileStat { s.taken = now.Add(time.Hour); return s }, true},
		"another inode":               {nil, func(s fileStat) fileStat { s.id.inode++; return s }, false},
		"same inode, born later":      {nil, func(s fileStat) fileStat { s.id.born++; return s }, false},
		"grown":                       {nil, func(s fileStat) fileStat { s.size++; return s }, false},
		"written":                     {nil, func(s fileStat) fileStat { s.modified = now; return s }, false},
		"renamed":                     {nil, func(s fileStat) fileStat { s.changed = now; return s }, false},
		"written just before":         {func(s fileStat) fileStat { s.modified = now.Add(-time.Millisecond); return s }, nil, false},
		"written 900 ms before":       {func(s fileStat) fileStat { s.modified = now.Add(-900 * time.Millisecond); return s }, nil, false},
		"changed just before":         {func(s fileStat) fileStat { s.changed = now; return s }, nil, false},
		"written in a clock's future": {func(s fileStat) fileStat { s.modified = now.Add(time.Hour); return s }, nil, false},
	} {
		was := idle
		if c.was != nil {
			was = c.was(was)
		}
		is := was
		if c.is != nil {
			is = c.is(is)
		}
		if got := was.unchangedBy(is); got != c.want {
			t.Errorf("%s: holds = %t, want %t", name, got, c.want)
		}
	}
}

// The inode number of a deleted file is given to the next one at once; the birth
// time tells them apart.
func TestIdentityOfReusedInode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	seen := map[identity]bool{}
	for range 50 {
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := statPath(path)
		if err != nil {
			t.Fatal(err)
		}
		if s.id.born == 0 {
			t.Fatal("the file system of the temporary folder keeps no birth times")
		}
		if seen[s.id] {
			t.Fatalf("identity %+v twice", s.id)
		}
		seen[s.id] = true
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond) // more than a tick of the kernel's clock
	}
}

func TestReconcileTables(t *testing.T) {
	ours := []repo.Table{{Database: "d", Name: "a"}, {Database: "d", Name: "b"}}
	left := []repo.LeftOut{{Database: "d", Name: "c"}}
	server := []qualified{{"d", "a"}, {"d", "b"}, {"d", "c"}}
	if err := reconcile(ours, left, server); err != nil {
		t.Errorf("equal lists: %v", err)
	}
	if err := reconcile(ours, left, append(server, qualified{"d", "x"})); err == nil || !strings.Contains(err.Error(), "`d`.`x`") {
		t.Errorf("a table of the server that was not copied: %v", err)
	}
	if err := reconcile(ours, left, server[1:]); err == nil || !strings.Contains(err.Error(), "`d`.`a`") {
		t.Errorf("a table that the server does not list: %v", err)
	}
}
