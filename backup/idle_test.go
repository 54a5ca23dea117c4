package backup

import (
	"os"
	"path/filepath"
	"testing"

	"mbk/copier"
	"mbk/internal/datadir"
	"mbk/internal/repo"
	"mbk/internal/repo/store/storetest"
	"mbk/internal/sys/boot"
)

// known makes a file and a copier's book that knows it from the parent, as file 7.
func known(t *testing.T, name, class string, vars map[string]string) (*copies, datadir.Entry) {
	t.Helper()
	dir := t.TempDir()
	e := entryOf("d/" + name)
	path := filepath.Join(dir, "d", name)
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, make([]byte, 64<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	l := datadir.Layout{Dir: dir, Vars: map[string]string{"innodb_page_size": "16384"}}
	for name, value := range vars {
		l.Vars[name] = value
	}
	s, err := l.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if s.ID.Born == 0 {
		t.Skip("the file system keeps no birth times")
	}
	f := s.Lineage()
	f.Number, f.Class, f.Quiescent, f.Copied = 7, class, true, s.Size
	if class == repo.ClassInnoDB {
		f.HasSpace, f.Space, f.PageSize, f.Flags = true, 5, testPage, 0x15
	}
	b := newBases(boot.ID{1}, &repo.Lineage{Checkpoint: 1000, BootID: boot.ID{1}, Files: []repo.LineageFile{f}})
	b.keeps[s.ID.Dev] = true
	cp, err := copier.New(t.Context(), storetest.NewMem(), copier.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cp.Abort(os.ErrClosed) })
	c, err := newCopies(l, cp, b, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.descriptors.Acquire(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	return c, e
}

// free fails the test if the only descriptor is not free.
func free(t *testing.T, c *copies) {
	t.Helper()
	if !c.descriptors.TryAcquire(1) {
		t.Error("a descriptor is held for a file that is not read")
	}
}

// A tablespace that was left alone is not even opened, and what the parent holds stands
// for it.
func TestIdleTablespace(t *testing.T) {
	c, e := known(t, "t.ibd", repo.ClassInnoDB, nil)
	opened, found, err := c.openUnlessIdle(c.layout, e)
	if err != nil || !found || !opened.idle {
		t.Fatalf("idle is %t, found %t, %v", opened.idle, found, err)
	}
	free(t, c)
	fc, err := c.submit(t.Context(), opened)
	if err != nil {
		t.Fatal(err)
	}
	if fc == nil || !fc.below().unread || *fc.below().base != 7 || len(fc.pending) > 0 {
		t.Fatalf("the copy is %+v, want a reference to file 7", fc)
	}
	if fc.class != repo.ClassInnoDB || *fc.id != 5 || fc.space.PageSize != testPage || fc.size != 64<<10 {
		t.Errorf("it is of class %s, tablespace %d with pages of %d and %d bytes", fc.class, *fc.id, fc.space.PageSize,
			fc.size)
	}
	now, err := c.layout.Stat(c.layout.File(e))
	if err != nil {
		t.Fatal(err)
	}
	if got, holds := c.holds(e, now); got != fc || !holds {
		t.Errorf("the reference holds: %t", holds)
	}
}

// What the server has written before the checkpoint need not be in the redo.
func TestIdleTablespaceThatIsWrittenTo(t *testing.T) {
	c, e := known(t, "t.ibd", repo.ClassInnoDB, nil)
	opened, found, err := c.openUnlessIdle(c.layout, e)
	if err != nil || !found || !opened.idle {
		t.Fatalf("idle is %t, found %t, %v", opened.idle, found, err)
	}
	if err := os.WriteFile(c.layout.File(e), []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	fc, err := c.submit(t.Context(), opened)
	if err != nil || fc != nil {
		t.Fatalf("a copy %+v, %v; want none", fc, err)
	}
	fresh, _, err := c.missing([]datadir.Entry{e}, c.layout.StatAll([]datadir.Entry{e}))
	if err != nil || len(fresh) != 1 {
		t.Errorf("%d files are missing, %v; want the one", len(fresh), err)
	}
	was := c.noteTables(datadir.Scan{Entries: []datadir.Entry{e}})
	if data := was.tables[e.Key()].data; len(data) != 1 || data[0].id != opened.stat.ID {
		t.Errorf("when the copying began the table had %+v", data)
	}
}

// Files that were opened under their table's lock and have not changed are closed at once.
func TestUnchangedFileIsReleased(t *testing.T) {
	mapped := map[string]string{"myisam_use_mmap": "ON"}
	for _, tt := range []struct {
		name, class string
		vars        map[string]string
		want        bool
	}{
		{"t.ibd", repo.ClassInnoDB, nil, true},
		{"t.MYD", repo.ClassPlain, nil, true},
		{"t.MYI", repo.ClassPlain, nil, true},
		{"t.frm", repo.ClassPlain, nil, true},
		{"t.MYD", repo.ClassPlain, mapped, false},
		{"t.MYI", repo.ClassPlain, mapped, false},
		{"t.frm", repo.ClassPlain, mapped, true},
		{"t.MAD", repo.ClassPlain, nil, true}, // of a table without transactions
		{"t.MAD", repo.ClassAria, nil, false}, // it has transactions no more
	} {
		c, e := known(t, tt.name, tt.class, tt.vars)
		opened, found, err := c.open(c.layout, e)
		if err != nil || !found {
			t.Fatal(tt.name, found, err)
		}
		fc, err := c.submit(t.Context(), opened)
		if err != nil {
			t.Fatal(tt.name, err)
		}
		if fc.below().unread != tt.want || len(fc.pending) > 0 == tt.want {
			t.Errorf("%s with %v: unread is %t with %d sources, want %t", tt.name, tt.vars, fc.below().unread,
				len(fc.pending), tt.want)
		}
		if tt.want {
			free(t, c)
		}
	}
	c, _ := known(t, "t.CSV", repo.ClassPlain, nil)
	log := &fileCopy{entry: entryOf("mysql/slow_log.CSV")}
	var err error
	if log.stat, err = c.layout.Stat(filepath.Join(c.layout.Dir, "d", "t.CSV")); err != nil {
		t.Fatal(err)
	}
	if c.referPlain(log); log.below().unread {
		t.Error("a log table stands for what the parent has of it, whose last line may be cut off")
	}
}
