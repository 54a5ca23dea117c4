package cli_test

import (
	"strings"
	"testing"

	"mbk/internal/test/mariadbtest"
)

// A repository is for one server. A copy of it that has a server id of its own, as
// a replica has, is refused, unless it takes its place.
func TestBackupsOfAnotherServer(t *testing.T) {
	t.Parallel()
	first := mariadbtest.New(t, newest())
	second := mariadbtest.New(t, newest(), "--server-id=2") // both data directories are copies of one
	repository := t.TempDir()
	taken := document[struct {
		ID string `json:"id"`
	}](t, backupArgs(first, repository)...)
	before := ids(t, repository)
	refused := []string{"repository: the newest backup, " + taken.ID, "server_id 1", "is a copy", "server_id 2"}
	mbk(t, backupArgs(second, repository)...).wantRefusal(t, 2, "--new-server", refused...)
	check := []string{"check", "--repo", repository, "--socket", second.Socket, "--user", "root", "--no-defaults"}
	if o := mbk(t, check...); o.code != 2 || !strings.Contains(o.stdout, "error  repository") ||
		!strings.Contains(o.stderr, "give each server its own repository") {
		t.Errorf("mbk check exits %d: %s%s", o.code, o.stdout, o.stderr)
	}
	if after := ids(t, repository); len(after) != len(before) {
		t.Errorf("listed: %q, were %q", after, before)
	}
	must(t, append(check, "--new-server")...)
	if o := must(t, loud(backupArgs(second, repository, "--new-server"))...); !strings.Contains(o.stdout,
		"from now on the repository is for") {
		t.Errorf("mbk prints\n%s", o.stdout)
	}
	if o := must(t, loud(backupArgs(second, repository))...); strings.Contains(o.stdout, "server_id") {
		t.Errorf("mbk prints\n%s", o.stdout)
	}
	mbk(t, backupArgs(first, repository)...).wantRefusal(t, 2, "--new-server", "server_id 2", "is a copy", "server_id 1")
}
