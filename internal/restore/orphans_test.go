package restore

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"mbk/internal/mariadbd"
	"mbk/internal/sys/fsuser"
	"mbk/internal/test/coldbackup"
)

func TestFilesOfIntermediateTables(t *testing.T) {
	dir := t.TempDir()
	o := orphans{instance: mariadbd.Instance{Data: dir, Owner: fsuser.Current()}}
	for _, name := range []string{"shop/#sql-alter-1.ibd", "shop/orders.ibd", "#sql-outside"} {
		if err := errors.Join(os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700),
			os.WriteFile(filepath.Join(dir, name), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	files, err := o.intermediate()
	if err != nil || !slices.Equal(files, []string{"shop/#sql-alter-1.ibd"}) {
		t.Errorf("intermediate files %q, %v", files, err)
	}
	for range 2 { // the server may have done it
		if err := o.remove(files); err != nil {
			t.Fatal(err)
		}
	}
	coldbackup.WantNothingBut(t, filepath.Join(dir, "shop"), "orders.ibd")
	if _, err := os.Stat(filepath.Join(dir, "#sql-outside")); err != nil {
		t.Error(err)
	}
}
