package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mbk/internal/test/mariadbtest"
)

// A restore in place of the data directory of a server that was stopped.
func TestKeepOld(t *testing.T) {
	t.Parallel()
	version := mariadbtest.Versions()[0]
	srv := mariadbtest.New(t, version)
	srv.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.t (a INT)", "INSERT INTO d.t VALUES (1)")
	repository := t.TempDir()
	must(t, backupArgs(srv, repository)...)
	srv.MustExec(t, "INSERT INTO d.t VALUES (2)")
	keep := append(restoreArgs("latest", repository, srv.Datadir), "--keep-old", "--no-defaults")
	mbk(t, keep...).wantRefusal(t, 2, "stop that server", "is the data directory of a running server, pid ")
	if err := srv.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	mbk(t, append(restoreArgs("latest", repository, srv.Datadir), "--no-defaults")...).wantRefusal(t, 2, "--keep-old",
		"is not empty")
	mbk(t, append(keep, "--galera-node")...).wantRefusal(t, 2, "without --galera-node", "no node of a Galera cluster")
	if o := must(t, append(keep, "--dry-run")...); !strings.Contains(o.stdout,
		"would be kept in "+strings.TrimSuffix(srv.Datadir, "/")+".old-2") {
		t.Errorf("the plan is\n%s", o.stdout)
	}
	r := document[struct {
		KeptOld string `json:"kept_old"`
	}](t, keep...)
	if !strings.HasPrefix(r.KeptOld, strings.TrimSuffix(srv.Datadir, "/")+".old-2") {
		t.Fatalf("kept in %q", r.KeptOld)
	}
	for datadir, rows := range map[string]string{srv.Datadir: "1", r.KeptOld: "2"} {
		started := mariadbtest.Open(t, version, datadir)
		if got := started.MustValue(t, "SELECT COUNT(*) FROM d.t"); got != rows {
			t.Errorf("%s has %s rows, want %s", datadir, got, rows)
		}
		if err := started.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	}

	photos, mounted := t.TempDir(), mount(t, "200m")
	if err := os.WriteFile(filepath.Join(photos, "photo.jpeg"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(mounted, "ibdata1"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	unchanged := tree(t, photos, mounted)
	mbk(t, append(restoreArgs("latest", repository, photos), "--keep-old")...).wantRefusal(t, 2, "only a data directory",
		"is no data directory")
	mbk(t, append(restoreArgs("latest", repository, mounted), "--keep-old")...).wantRefusal(t, 2,
		"move what is in there away", "cannot be moved aside as a whole")
	wantUnchanged(t, unchanged, photos, mounted)
	empty := filepath.Join(t.TempDir(), "missing")
	if o := must(t, append(restoreArgs("latest", repository, empty), "--keep-old")...); strings.Contains(o.stdout,
		"old data") {
		t.Errorf("nothing was there, and restore prints\n%s", o.stdout)
	}
}
