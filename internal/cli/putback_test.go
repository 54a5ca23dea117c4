package cli_test

import (
	"path/filepath"
	"strings"
	"testing"

	"mbk/internal/test/mariadbtest"
)

// Older files that were copied over those of the parent, with their inodes, have pages whose
// LSNs are as old as those of the parent's pages, and which are others. By then the
// server's log has got further than the parent's.
func TestIncrementOfFilesThatWerePutBack(t *testing.T) {
	t.Parallel()
	for what, find := range map[string]string{
		"the whole data directory": "find . -type f", "one table": "find . -name t.ibd",
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			c := &chained{t: t, server: mariadbtest.New(t, newest()), repository: t.TempDir()}
			stopped := func(script string) {
				t.Helper()
				if err := c.server.Stop(t.Context()); err != nil {
					t.Fatal(err)
				}
				shell(t, script)
				if err := c.server.Restart(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			c.server.MustExec(t, statements(filled("t", 4, ""), filled("u", 1, ""))...)
			saved := filepath.Join(t.TempDir(), "saved")
			stopped("cp -a " + c.server.Datadir + " " + saved)
			c.server.MustExec(t, "UPDATE d.t SET n = 99 WHERE id = 300")
			c.rest()
			full := c.wantFull("no backup yet")
			first := c.wantIncrement(full)
			stopped("cd " + saved + " && " + find + " | while read f; do cat \"$f\" > \"" + c.server.Datadir + "/$f\"; done")
			c.server.MustExec(t, "UPDATE d.u SET n = n + 7", "UPDATE d.u SET n = n + 7")
			again := c.wantFull(" was put back to an earlier state since " + first.ID)
			c.restored(again.ID)
			r := mbk(t, "backup", "--repo", c.repository, "--socket", c.server.Socket, "--user", "root", "--quiet",
				"--incremental="+first.ID)
			if r.code != 2 || !strings.Contains(r.stderr, "no increment of "+first.ID+" can be made") {
				t.Errorf("exit code %d, want 2:\n%s", r.code, r.stderr)
			}
			c.wantIncrement(again)
		})
	}
}
