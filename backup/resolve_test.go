package backup

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
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
		s, err := layout{}.stat(path)
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
	ours := []qualified{{"d", "a"}, {"d", "B"}, {"#mysql50#x", "#mysql50#bad\xff"}}
	for _, tt := range []struct {
		name   string
		by     reconciler
		server []qualified
		want   difference
	}{
		{"equal lists", reconciler{}, ours, difference{}},
		{"a table of the server that was not copied", reconciler{}, append(slices.Clone(ours), qualified{"d", "x"}), difference{missing: []qualified{{"d", "x"}}}},
		{"a table that the server does not list", reconciler{}, ours[1:], difference{surplus: ours[:1]}},
		{"case", reconciler{}, []qualified{{"D", "a"}, ours[1], ours[2]}, difference{missing: []qualified{{"D", "a"}}, surplus: ours[:1]}},
		{"case with lower_case_table_names", reconciler{folds: true}, []qualified{{"D", "a"}, {"d", "b"}, ours[2]}, difference{}},
		{"names that are passed over", reconciler{unnamable: []string{"d/caf\xe9.frm", "d/two\x02.frm", "d/data\xff.MYD", "f\xff"}}, append(slices.Clone(ours),
			qualified{"d", "#mysql50#caf?"}, qualified{"d", "#mysql50#two\x02"}, qualified{"#mysql50#f?", "t"}, qualified{"d", "data"}), difference{missing: []qualified{{"d", "data"}}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.by.tables(ours, tt.server); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// What the server lists as a database, and has files of one, must be in the manifest.
func TestReconcileDatabases(t *testing.T) {
	datadir := t.TempDir()
	for _, name := range []string{"shop/db.opt", "Sales/t.frm", "empty/notes.txt", "undo/undo001", "@0041b/t.ibd", ".git/config"} {
		file := filepath.Join(datadir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	l := layout{datadir: datadir, vars: map[string]string{}}
	server := []string{"shop", "Sales", "empty", "undo", "#mysql50#@0041b", "#mysql50#.git", "dropped"}
	for _, tt := range []struct {
		by   reconciler
		ours []string
		want string
	}{
		{reconciler{}, server, ""},
		{reconciler{}, nil, "`shop` `Sales` `#mysql50#@0041b`"},
		{reconciler{}, []string{"shop", "sales", "#mysql50#@0041b"}, "`Sales`"},
		{reconciler{folds: true}, []string{"shop", "sales", "#mysql50#@0041b"}, ""},
	} {
		if got := strings.Join(tt.by.databases(l, tt.ours, server), " "); got != tt.want {
			t.Errorf("of %q are missing %s, want %s", tt.ours, got, tt.want)
		}
	}
}
