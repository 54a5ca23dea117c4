//go:build soak

package cli_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mbk/internal/consolidate"
	"mbk/internal/test/mariadbtest"
)

// soakIncrements are chains of backups.
func soakIncrements() []soaked {
	one := func(test func(t *testing.T, version string) string) func(*testing.T, string, int) string {
		return func(t *testing.T, version string, _ int) string { return test(t, version) }
	}
	found := []soaked{
		{name: "increments", run: one(increment)},
		{name: "increments, files in all ways", run: one(changedFiles)},
		{name: "increments, encrypted", run: one(encryptedIncrements)},
		{name: "chain, consolidated twice", run: one(consolidatedChain)},
	}
	add := func(since, name string, p profile) {
		found = append(found, soaked{since: since, name: "chain, " + name,
			run: func(t *testing.T, version string, round int) string {
				p := p
				p.flush, p.seed, p.chain = round%3, uint64(round), 2
				return oracle(t, version, p)
			}})
	}
	add("", "DDL storm", profile{storm: 2})
	add("", "read all", profile{storm: 2, backup: []string{"--read-all"}})
	undo := []string{"--innodb-max-undo-log-size=10M", "--innodb-undo-log-truncate=ON",
		"--innodb-purge-rseg-truncate-frequency=1", "--innodb-undo-tablespaces=3", "--innodb-log-file-size=512M"}
	add("", "undo truncated", profile{storm: 1, args: undo, prepare: statements(filled("rewritten", 10, "")),
		during: truncating("d.rewritten", "DO SLEEP(0.05)")})
	add("", "2 files of ibdata", profile{storm: 1,
		args: []string{"--innodb-data-file-path=ibdata1:12M;ibdata2:12M:autoextend"}})
	add("", "log tables", profile{storm: 1,
		args: []string{"--log-output=TABLE", "--general-log=1", "--slow-query-log=1", "--long-query-time=0"}})
	add("10.9", "redo resized", profile{storm: 1,
		during: churn("SET GLOBAL innodb_log_file_size=16777216", "DO SLEEP(0.3)",
			"SET GLOBAL innodb_log_file_size=67108864", "DO SLEEP(0.3)")})
	for _, size := range []string{"4k", "64k"} {
		add("", "pages of "+size, profile{args: []string{"--innodb-page-size=" + size, "--innodb-strict-mode=OFF"}})
	}
	add("", "checksum crc32", profile{storm: 1, args: []string{"--innodb-checksum-algorithm=crc32"}})
	// Compressed pages need a file of their own, so the first tables have one, and no storm
	// makes more of them.
	add("", "no file per table", profile{
		prepare: append(statements(filled("moved", 2, ""), filled("kept", 2, "")), "SET GLOBAL innodb_file_per_table=OFF"),
		during: churn("ALTER TABLE d.moved FORCE", "UPDATE d.moved SET n = n + 1", "DO SLEEP(0.1)",
			"CREATE OR REPLACE TABLE d.shared AS SELECT * FROM d.kept", "TRUNCATE TABLE d.shared", "DO SLEEP(0.1)")})
	add("", "all encrypted", profile{storm: 1, encrypted: true})
	add("", "keys rotating", profile{storm: 1, encrypted: true,
		args: []string{"--innodb-encryption-threads=4", "--innodb-encryption-rotate-key-age=1"},
		during: churn("SET GLOBAL innodb_encryption_rotate_key_age=1", "DO SLEEP(0.3)",
			"SET GLOBAL innodb_encryption_rotate_key_age=2", "DO SLEEP(0.3)")})
	return found
}

// changedFiles changes files in all ways that there are between two backups.
func changedFiles(t *testing.T, version string) string {
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	c := &chained{t: t, repository: t.TempDir(), server: mariadbtest.New(t, version,
		"--innodb-undo-tablespaces=3", "--innodb-max-undo-log-size=10M", "--innodb-undo-log-truncate=ON",
		"--innodb-purge-rseg-truncate-frequency=1")}
	if err := os.Mkdir(elsewhere, 0o777); err != nil {
		t.Fatal(err)
	}
	c.server.MustExec(t, statements(
		filled("imported", 2, ""), filled("dropped", 2, ""), filled("kept", 2, ""), filled("rebuilt", 2, ""),
		filled("truncated", 2, ""), filled("renamed", 2, ""), filled("undone", 4, ""), filled("shrunk", 8, ""),
		filled("compressed", 4, "PAGE_COMPRESSED=1"), filled("zip", 4, "ROW_FORMAT=COMPRESSED"),
		filled("away", 4, externalOption(elsewhere)),
		[]string{"SET GLOBAL innodb_file_per_table=OFF"}, filled("system", 2, ""), []string{
			"SET GLOBAL innodb_file_per_table=ON", "CREATE TABLE parts (a INT PRIMARY KEY, b INT) " +
				"PARTITION BY RANGE (a) (PARTITION p VALUES LESS THAN (1000), PARTITION q VALUES LESS THAN MAXVALUE)",
			"INSERT INTO parts SELECT seq, 0 FROM seq_1_to_5000",
			"CREATE TABLE words (s VARCHAR(500), FULLTEXT (s))", "INSERT INTO words SELECT MD5(seq) FROM seq_1_to_500",
		})...)
	c.rest()
	c.backup()
	c.server.MustExec(t, "UPDATE d.imported SET n = 1")
	x := exported(t, c.server, "d", "imported", "imported")
	c.server.MustExec(t, "UPDATE d.imported SET n = 2", "ALTER TABLE d.imported DISCARD TABLESPACE")
	x.place(t)
	c.server.MustExec(t, "ALTER TABLE d.imported IMPORT TABLESPACE", "UPDATE d.imported SET n = 3 WHERE id = 1",
		"DROP TABLE d.dropped", "ALTER TABLE d.rebuilt FORCE", "TRUNCATE d.truncated",
		"INSERT INTO d.truncated (id) VALUES (1)", "RENAME TABLE d.renamed TO d.moved",
		"UPDATE d.compressed SET s = REPEAT('x', 400) WHERE id % 50 = 0", "DELETE FROM d.compressed WHERE id > 3000",
		"UPDATE d.zip SET n = 1 WHERE id % 500 = 0", "UPDATE d.away SET n = 1 WHERE id = 7",
		"UPDATE d.system SET n = 1 WHERE id % 100 = 0", "DELETE FROM d.shrunk WHERE id > 100",
		"UPDATE d.parts SET b = 1 WHERE a = 3", "ALTER TABLE d.parts TRUNCATE PARTITION q",
		"INSERT INTO d.words VALUES ('something else')", "OPTIMIZE TABLE d.words",
		"CREATE TABLE d.dropped (a INT)", "INSERT INTO d.dropped VALUES (1)")
	for range 3 {
		c.server.MustExec(t, "UPDATE d.undone SET n = n + 1, s = CONCAT(LEFT(s, 400), n)")
	}
	c.rest()
	first := c.backup("--incremental")
	if first.Kind != "incr" {
		t.Fatalf("a full backup because %s", first.FullReason)
	}
	for path, want := range map[string]string{
		"d/imported.ibd": asWhole, "d/dropped.ibd": asWhole, "d/kept.ibd": asReference, "d/rebuilt.ibd": asWhole,
		"d/truncated.ibd": asWhole, "d/compressed.ibd": asPages, "d/zip.ibd": asPages, "d/away.ibd": asPages,
		"d/shrunk.ibd": asPages, "d/parts#P#p.ibd": asPages, "d/parts#P#q.ibd": asWhole, "ibdata1": asPages,
	} {
		c.want(first.ID, path, want)
	}
	c.restored(first.ID)
	// What was imported and rebuilt is the base of the next.
	c.server.MustExec(t, "UPDATE d.imported SET n = 4 WHERE id < 10", "UPDATE d.rebuilt SET n = 4 WHERE id < 10",
		"UPDATE d.moved SET n = 4 WHERE id < 10", "INSERT INTO d.truncated (id) SELECT seq FROM mysql.seq_2_to_3000")
	second := c.backup("--incremental")
	c.restored(second.ID)
	return fmt.Sprintf("%+v, %+v", *first.Pages, *second.Pages)
}

// encryptedIncrements encrypts, decrypts and changes keys between backups.
func encryptedIncrements(t *testing.T, version string) string {
	args, err := mariadbtest.EncryptionArgs(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c := &chained{t: t, server: mariadbtest.New(t, version, args...), repository: t.TempDir()}
	c.server.MustExec(t, statements(filled("always", 2, "ENCRYPTED=YES"), filled("later", 2, "ENCRYPTED=NO"),
		filled("rotated", 2, "ENCRYPTED=YES ENCRYPTION_KEY_ID=2"), filled("idle", 2, "ENCRYPTED=YES"))...)
	c.rest()
	c.backup()
	c.server.MustExec(t, "UPDATE d.always SET n = 1 WHERE id < 20", "ALTER TABLE d.later ENCRYPTED=YES",
		"SET GLOBAL innodb_encryption_rotate_key_age=1", "SET GLOBAL innodb_encrypt_tables=OFF", "DO SLEEP(2)",
		"SET GLOBAL innodb_encrypt_tables=ON", "DO SLEEP(2)")
	first := c.backup("--incremental")
	c.restored(first.ID, args...)
	c.server.MustExec(t, "UPDATE d.rotated SET n = 1 WHERE id < 20", "UPDATE d.later SET n = 1 WHERE id < 20")
	second := c.backup("--incremental")
	c.restored(second.ID, args...)
	return fmt.Sprintf("%+v, %+v", *first.Pages, *second.Pages)
}

// While writers and DDL go on, a chain is taken, consolidated, continued and consolidated
// again. What has become of it, alone in the repository, is restored, the rest of the
// source's binary log replayed, and everything must be as on the source.
func consolidatedChain(t *testing.T, version string) string {
	ctx := t.Context()
	source := mariadbtest.New(t, version, "--innodb-flush-log-at-trx-commit=2")
	if err := mariadbtest.Populate(ctx, source, mariadbtest.Fill{InnoDBMiB: 8, MyISAMMiB: 1, AriaMiB: 1}); err != nil {
		t.Fatal(err)
	}
	writers, err := mariadbtest.Write(ctx, source, mariadbtest.WriteOptions{Pause: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	storm, err := mariadbtest.Storm(ctx, source, mariadbtest.StormOptions{Sessions: 1, Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	repository := t.TempDir()
	p := profile{backup: []string{"--incremental", "--nice", "0"}}
	var b taken
	for round := range 2 {
		for range 3 {
			time.Sleep(time.Second)
			b = taking(t, source, repository, p)
		}
		if !strings.HasSuffix(b.ID, "-incr") {
			t.Fatalf("%s is no increment", b.ID)
		}
		r := consolidates(t, repository)
		// A full backup and two increments; then the consolidated one and three.
		if want := 3 + round; len(r.From) != want || r.From[0] != b.ID {
			t.Errorf("made of %v, want %d backups, the newest %s", r.From, want, b.ID)
		}
		b.ID = r.ID
	}
	for _, l := range []*mariadbtest.Load{writers, storm} {
		if _, err := l.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	must(t, "verify", "latest", "--repo", repository, "--depth", "pages", "--quiet")
	must(t, "expire", "--repo", repository, "--keep-last", "1", "--quiet")
	if folders, err := filepath.Glob(filepath.Join(repository, "backups", "*")); err != nil || len(folders) != 1 ||
		filepath.Base(folders[0]) != b.ID {
		t.Fatalf("the repository holds %v, %v; want only %s", folders, err, b.ID)
	}
	restored := caughtUp(t, source, repository, b, p)
	wantSame(t, source, restored)
	wantInvariants(t, restored)
	return b.String()
}

// consolidates consolidates the newest backup of a repository.
func consolidates(t *testing.T, repository string) consolidate.Result {
	t.Helper()
	r := document[consolidate.Result](t, "consolidate", "latest", "--repo", repository, "--quiet")
	if !r.Done() || !strings.HasSuffix(r.ID, "-full") || r.BytesStored > r.BytesNeeded {
		t.Fatalf("consolidate prints %+v", r)
	}
	return r
}
