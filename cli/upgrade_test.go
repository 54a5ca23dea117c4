package cli_test

import (
	"testing"

	"mbk/internal/mariadbtest"
)

// Files keep the checksums of the server that wrote them, however old, until a page
// is changed. Servers since 10.6 read the forms "innodb" and "none" and write neither.
func TestChecksumsOfOldServers(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []string{"innodb", "none"} {
		t.Run(algorithm, func(t *testing.T) { t.Log(oldChecksums(t, newest(), algorithm)) })
	}
}

func oldChecksums(t *testing.T, version, algorithm string) string {
	old := mariadbtest.New(t, "10.5", "--innodb-checksum-algorithm="+algorithm)
	old.MustExec(t, statements(filled("dynamic", 3, ""), filled("redundant", 2, "ROW_FORMAT=REDUNDANT"),
		filled("zip", 2, "ROW_FORMAT=COMPRESSED"), filled("packed", 2, "PAGE_COMPRESSED=1"), filled("later", 2, ""))...)
	old.MustExec(t, "SET GLOBAL innodb_fast_shutdown=0")
	if err := old.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	source := mariadbtest.Open(t, version, old.Datadir, "--log-bin=upgraded")
	p := profile{during: all(churn("UPDATE d.later SET n = n + 1 WHERE id % 9 = 0"), churn("UPDATE d.zip SET n = n + 1 WHERE id % 99 = 0"),
		churn("UPDATE d.packed SET n = n + 1 WHERE id % 99 = 0"), churn("UPDATE d.dynamic SET n = n + 1 WHERE id % 999 = 0"))}
	repository := t.TempDir()
	b := taking(t, source, repository, p)
	must(t, "verify", "latest", "--repo", repository, "--depth", "pages", "--quiet")
	restored := caughtUp(t, source, repository, b, p)
	// The server's own tables were not upgraded, of which both servers complain.
	for _, table := range []string{"dynamic", "redundant", "zip", "packed", "later"} {
		sum := "SELECT CONCAT(COUNT(*), ' ', SUM(CRC32(CONCAT_WS('|', id, n, s)))) FROM d." + table
		if got, want := restored.MustValue(t, sum), source.MustValue(t, sum); got != want {
			t.Errorf("the rows of %s are %s, want %s", table, got, want)
		}
		var name, op, kind, said string
		if err := restored.DB().QueryRowContext(t.Context(), "CHECK TABLE d."+table+" EXTENDED").Scan(&name, &op, &kind, &said); err != nil || said != "OK" {
			t.Errorf("CHECK TABLE %s: %s %s, %v", table, kind, said, err)
		}
	}
	return b.String()
}
