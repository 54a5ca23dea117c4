package backup

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"mbk/copier"
	"mbk/internal/datadir"
	"mbk/internal/repo"
	"mbk/internal/repo/store/storetest"
)

// Tables are opened before the checkpoint is read. What a file grew by in between
// may have been written before that checkpoint; then it is in no redo of the backup.
func TestFileThatGrewSinceItWasOpened(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "d", "t.ibd")
	if err := os.WriteFile(path, make([]byte, 64<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	cp, err := copier.New(t.Context(), storetest.NewMem(), copier.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer cp.Abort(os.ErrClosed)
	c, err := newCopies(datadir.Layout{Dir: dir, Vars: map[string]string{"innodb_page_size": "16384"}}, cp, nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.descriptors.Acquire(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	opened, found, err := c.open(c.layout, datadir.Entry{Dir: "d", Name: "t.ibd", Table: "t"})
	if err != nil || !found {
		t.Fatal(found, err)
	}
	if err := os.Truncate(path, 96<<10); err != nil {
		t.Fatal(err)
	}
	fc, err := c.submit(t.Context(), opened)
	if err != nil {
		t.Fatal(err)
	}
	if err := fc.done(t.Context()); err != nil {
		t.Fatal(err)
	}
	if fc.size != 96<<10 {
		t.Errorf("%d bytes were copied, want %d", fc.size, 96<<10)
	}
}

// A file that has changed just before is not copied before it must be: no copy of it could
// be known to hold. What the log makes up for is, and what the server only appends to.
func TestFileThatChangedJustNow(t *testing.T) {
	for _, tt := range []struct {
		name string
		want bool // it is copied at once
	}{
		{"t.MYD", false}, {"t.MYI", false}, {"t.frm", false}, {"t.MAD", false}, {"t.ibd", true},
	} {
		c, e := known(t, tt.name, repo.ClassPlain, nil)
		c.bases = nil
		opened, _, err := c.open(c.layout, e)
		if err != nil {
			t.Fatal(err)
		}
		opened.mayWait = true
		fc, err := c.submit(t.Context(), opened)
		if err != nil || (fc != nil) != tt.want {
			t.Errorf("%s: a copy %+v, %v; want one: %t", tt.name, fc, err, tt.want)
		}
		if tt.want {
			continue
		}
		free(t, c)
		now := c.layout.StatAll([]datadir.Entry{e})
		if fresh, _, err := c.missing([]datadir.Entry{e}, now); err != nil || len(fresh) > 0 {
			t.Errorf("%s is copied in the next pass, %v", tt.name, err)
		}
		now[0].Stat.Taken = now[0].Stat.Taken.Add(time.Minute)
		if fresh, _, err := c.missing([]datadir.Entry{e}, now); err != nil || len(fresh) != 1 {
			t.Errorf("%s is not copied when it has not changed for a minute, %v", tt.name, err)
		}
		was := c.noteTables(datadir.Scan{Entries: []datadir.Entry{e}}).tables[e.Key()]
		if id := now[0].Stat.ID; was.frm != id && (len(was.data) != 1 || was.data[0].id != id) {
			t.Errorf("%s: when the copying began the table had %+v", tt.name, was)
		}
	}
	if log := (&fileCopy{entry: entryOf("mysql/general_log.CSV"), class: repo.ClassPlain}); log.inVain() {
		t.Error("a log table is not copied before it must be")
	}
}
