package datadir

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// A scan is taken again only if a file or a directory has come or gone since.
func TestRescan(t *testing.T) {
	t.Parallel()
	write := func(name string) func(string) error {
		return func(dir string) error { return os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600) }
	}
	for _, tt := range []struct {
		name   string
		change func(dir string) error
		again  bool
		gains  string // the path of a file that the new scan has
	}{
		{name: "nothing", change: func(string) error { return nil }},
		{name: "a file was written to", change: write("shop/t.ibd")},
		{name: "a table was made", change: write("shop/new.ibd"), again: true, gains: "shop/new.ibd"},
		{name: "a table was dropped", change: func(dir string) error { return os.Remove(filepath.Join(dir, "shop/t.ibd")) },
			again: true},
		{name: "a file of the server was made", change: write("ib_buffer_pool"), again: true, gains: "ib_buffer_pool"},
		{name: "a database was made", again: true, gains: "other/t.ibd", change: func(dir string) error {
			return errors.Join(os.Mkdir(filepath.Join(dir, "other"), 0o700), write("other/t.ibd")(dir))
		}},
		{name: "a hidden directory became a database", change: write(".hidden/t.ibd"), again: true, gains: ".hidden/t.ibd"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			err := errors.Join(os.Mkdir(filepath.Join(dir, "shop"), 0o700), os.Mkdir(filepath.Join(dir, ".hidden"), 0o700),
				write("shop/t.ibd")(dir), write("shop/u.ibd")(dir), write(".hidden/x")(dir))
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(quiescentAfter + 50*time.Millisecond)
			l := Layout{Dir: dir, ServerDir: dir, Vars: map[string]string{"innodb_page_size": "16384"}}
			was, err := l.Rescan(t.Context(), Scan{})
			if err != nil {
				t.Fatal(err)
			}
			if err := tt.change(dir); err != nil {
				t.Fatal(err)
			}
			now, err := l.Rescan(t.Context(), was)
			if err != nil {
				t.Fatal(err)
			}
			if again := &was.Entries[0] != &now.Entries[0]; again != tt.again {
				t.Errorf("scanned again is %t, want %t", again, tt.again)
			}
			has := slices.ContainsFunc(now.Entries, func(e Entry) bool { return e.Path() == tt.gains })
			if has != (tt.gains != "") {
				t.Errorf("%s is in the scan: %t", tt.gains, has)
			}
		})
	}
}

// A directory that has changed just before it was listed may have changed after it, too.
func TestRescanOfDirectoryThatChangedJustBefore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "shop"), 0o700),
		os.WriteFile(filepath.Join(dir, "shop", "t.ibd"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	l := Layout{Dir: dir, ServerDir: dir, Vars: map[string]string{"innodb_page_size": "16384"}}
	was, err := l.Scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	now, err := l.Rescan(t.Context(), was)
	if err != nil {
		t.Fatal(err)
	}
	if &was.Entries[0] == &now.Entries[0] {
		t.Error("the scan was taken for good")
	}
}
