package backup

import (
	"os"
	"path/filepath"
	"testing"

	"mbk/copier"
	"mbk/internal/datadir"
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
