package preflight

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"mbk/internal/datadir"
	"mbk/internal/datadir/serverfs"
	"mbk/internal/hint"
	"mbk/internal/sys/fsuser"
)

// A directory that only root may read was an error, with advice that did not help.
func TestDeniedHints(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir := t.TempDir()
	if err := os.Chown(dir, 64999, 64998); err != nil {
		t.Fatal(err)
	}
	files, err := serverfs.New(dir, fsuser.Current())
	if err != nil {
		t.Fatal(err)
	}
	r := &Report{Layout: datadir.Layout{Dir: dir, Files: files}, first: datadir.Scan{Databases: []string{"old.d", "shop"}}}
	want := []string{"the server cannot read it either: chown -R 64999:64998 " + dir + "/old.d",
		"--exclude-database '#mysql50#old.d' leaves it out"}
	if diff := cmp.Diff(want, hint.Strings(r.deniedHints(dir+"/old.d"))); diff != "" {
		t.Errorf("hints (-want +got):\n%s", diff)
	}
}
