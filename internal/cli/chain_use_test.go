package cli_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"mbk/internal/test/mariadbtest"
)

// A chain of a full backup and increments of a server with files of every kind: each
// member is verified by a server, restored in each way, and single tables of it are
// extracted and restored.
func TestUseOfAChain(t *testing.T) {
	t.Parallel()
	anyKind(t)
	version := newest()
	source := mariadbtest.New(t, version, "--innodb-data-file-path=ibdata1:12M;ibdata2:12M:autoextend",
		"--innodb-undo-tablespaces=3", "--innodb-log-file-size=64M")
	outside, repository := t.TempDir(), t.TempDir()
	source.MustExec(t, "CREATE DATABASE shop",
		"CREATE TABLE shop.plain (id INT PRIMARY KEY, v VARCHAR(200), KEY (v))",
		"CREATE TABLE shop.outside (id INT PRIMARY KEY, v VARCHAR(200)) "+externalOption(outside),
		"CREATE TABLE shop.packed (id INT PRIMARY KEY, v VARCHAR(200)) ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=4",
		"CREATE TABLE shop.punched (id INT PRIMARY KEY, v VARCHAR(200)) PAGE_COMPRESSED=1",
		"CREATE TABLE shop.parts (id INT PRIMARY KEY, v VARCHAR(200)) PARTITION BY HASH (id) PARTITIONS 3",
		"CREATE TABLE shop.aria (id INT PRIMARY KEY, v VARCHAR(200)) ENGINE=Aria TRANSACTIONAL=1",
		"CREATE TABLE shop.old (id INT PRIMARY KEY, v VARCHAR(200)) ENGINE=MyISAM",
		"CREATE TABLE shop.still (id INT PRIMARY KEY)", "INSERT INTO shop.still VALUES (1)")
	tables := []string{"plain", "outside", "packed", "punched", "parts", "aria", "old"}
	for _, table := range tables {
		source.MustExec(t, "INSERT INTO shop."+table+" SELECT seq, REPEAT(MD5(seq), 6) FROM mysql.seq_1_to_8000")
	}
	var ids []string
	var snapshots []mariadbtest.Snapshot
	for n := range 3 {
		more := []string{"--incremental"}
		if n == 0 {
			more = nil
		} else {
			for i, table := range tables {
				source.MustExec(t, fmt.Sprintf("UPDATE shop.%s SET v = 'of %d' WHERE id %% 1009 = %d", table, n, i))
			}
			source.MustExec(t, fmt.Sprintf("CREATE TABLE shop.new%d (id INT PRIMARY KEY) SELECT 1 AS id", n))
		}
		if n == 2 {
			source.MustExec(t, "DROP TABLE shop.new1", "ALTER TABLE shop.packed FORCE", "TRUNCATE TABLE shop.parts")
		}
		// So the pages are in the files, and not only in the redo.
		source.MustExec(t, "FLUSH TABLES shop.plain, shop.outside, shop.packed, shop.punched, shop.parts FOR EXPORT",
			"UNLOCK TABLES")
		snapshot, err := mariadbtest.TakeSnapshot(t.Context(), source)
		if err != nil {
			t.Fatal(err)
		}
		id := document[taken](t, backupArgs(source, repository, more...)...).ID
		if full := strings.HasSuffix(id, "-full"); full != (n == 0) {
			t.Fatalf("backup %d is %s", n, id)
		}
		ids, snapshots = append(ids, id), append(snapshots, snapshot)
	}
	for i, id := range ids[1:] {
		t.Run(fmt.Sprintf("member %d", i), func(t *testing.T) {
			useOfAMember(t, version, repository, outside, ids[:i+2], snapshots[i+1])
			t.Log(must(t, "verify", id, "--repo", repository, "--depth", "boot", "--owner", self(),
				"--quiet").stdout)
		})
	}
}

// useOfAMember restores the last of some backups.
func useOfAMember(t *testing.T, version, repository, outside string, ids []string, want mariadbtest.Snapshot) {
	id := ids[len(ids)-1]
	plan := must(t, append(restoreArgs(id, repository, filepath.Join(t.TempDir(), "dry")), "--dry-run")...)
	t.Log(plan.stdout)
	for _, one := range ids {
		if !strings.Contains(plan.stdout, one) {
			t.Errorf("the plan does not name %s:\n%s", one, plan.stdout)
		}
	}
	system := "--innodb-data-file-path=ibdata1:12M;ibdata2:12M:autoextend"
	// Definitions name the folder in which a file lies outside of the data directory.
	option := regexp.MustCompile(` *DATA DIRECTORY='[^']*'`)
	without := func(s mariadbtest.Snapshot) mariadbtest.Snapshot {
		s = maps.Clone(s)
		for o, definition := range s {
			s[o] = option.ReplaceAllString(definition, "")
		}
		return s
	}
	holds := func(target string) {
		t.Helper()
		s := mariadbtest.Open(t, version, target, system)
		got, err := mariadbtest.TakeSnapshot(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		got, want := without(got), without(want)
		for _, line := range mariadbtest.Diff(got, want) {
			t.Errorf("restored: %s", line)
		}
		if err := s.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}
	inside := filepath.Join(t.TempDir(), "inside")
	must(t, restoreArgs(id, repository, inside)...)
	holds(inside)

	target := filepath.Join(t.TempDir(), "mapped")
	elsewhere := t.TempDir()
	if err := os.Chmod(elsewhere, 0o755); err != nil {
		t.Fatal(err)
	}
	must(t, append(restoreArgs(id, repository, target), "--map-dir", outside+"="+elsewhere)...)
	holds(target)

	target = filepath.Join(t.TempDir(), "one")
	must(t, append(restoreArgs(id, repository, target), "-t", "shop.plain", "-t", "shop.punched", "-t", "shop.outside")...)
	s := mariadbtest.Open(t, version, target, system)
	n := s.MustValue(t, "SELECT COUNT(*) FROM shop.plain JOIN shop.punched USING (id) JOIN shop.outside USING (id)")
	if n != "8000" {
		t.Errorf("%s rows of the chosen tables", n)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}

	// Complete tables are extracted as they are restored, and of others every page.
	out := filepath.Join(t.TempDir(), "out")
	must(t, "extract", id, "shop.old", "shop.plain", "shop.punched", "ibdata2", "--repo", repository, "--to", out,
		"--quiet")
	for _, name := range []string{"shop/old.MYD", "shop/old.frm", "shop/plain.frm"} {
		a, err := os.ReadFile(filepath.Join(inside, name))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(out, name))
		if err != nil || !bytes.Equal(a, b) {
			t.Errorf("%s was extracted with other bytes, %v", name, err)
		}
	}
	for _, name := range []string{"shop/plain.ibd", "shop/punched.ibd", "ibdata2"} {
		if info, err := os.Stat(filepath.Join(out, name)); err != nil || info.Size() < 64<<10 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}
