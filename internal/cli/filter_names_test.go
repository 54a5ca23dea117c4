package cli_test

import (
	"path/filepath"
	"strings"
	"testing"

	"mbk/internal/repo"
	"mbk/internal/test/mariadbtest"
)

// With lower_case_table_names=1 a server folds the names of partitions before it looks
// for them, so what a filter left out could not be dropped: the backup could not be
// restored, and nothing had said so.
func TestFilterWithFoldedNames(t *testing.T) {
	folds := []string{"1"} // which is what the test is about
	if thorough := len(mariadbtest.Some(t, 1, 2)) > 1; thorough {
		folds = append(folds, "0", "2")
	}
	for _, version := range mariadbtest.Some(t, mariadbtest.Versions()...) {
		for _, fold := range folds {
			if fold != "1" && version != newest() {
				continue // 2 is as 0 where file names have upper-case letters
			}
			t.Run(version+", lower_case_table_names="+fold, func(t *testing.T) {
				t.Parallel()
				filterWithFoldedNames(t, version, fold)
			})
		}
	}
}

func filterWithFoldedNames(t *testing.T, version, fold string) {
	args := []string{"--lower-case-table-names=" + fold}
	s := mariadbtest.New(t, version, args...)
	s.MustExec(t, "CREATE DATABASE shop", "CREATE DATABASE Crm",
		"CREATE TABLE shop.t (id INT PRIMARY KEY)", "INSERT INTO shop.t SELECT seq FROM mysql.seq_1_to_100",
		"CREATE TABLE shop.Parts (id INT PRIMARY KEY) PARTITION BY RANGE (id) (PARTITION P0 VALUES LESS THAN (10), "+
			"PARTITION p1 VALUES LESS THAN MAXVALUE)",
		"CREATE TABLE shop.subs (id INT PRIMARY KEY) PARTITION BY RANGE (id) SUBPARTITION BY HASH (id) SUBPARTITIONS 2 "+
			"(PARTITION p0 VALUES LESS THAN MAXVALUE)",
		"CREATE TABLE shop.Texts (id INT PRIMARY KEY, t TEXT, FULLTEXT (t))", "INSERT INTO shop.Texts VALUES (1, 'a word')",
		"CREATE TABLE Crm.People (id INT PRIMARY KEY) PARTITION BY HASH (id) PARTITIONS 2",
		"CREATE TABLE `Crm`.`Ünï-X` (id INT PRIMARY KEY, t TEXT, FULLTEXT (t))")
	crm := s.MustValue(t, "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE LOWER(SCHEMA_NAME) = 'crm'")
	parts := s.MustValue(t, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE LOWER(TABLE_NAME) = 'parts'")
	texts := s.MustValue(t, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE LOWER(TABLE_NAME) = 'texts'")
	wanted := func(target string, tables string) {
		t.Helper()
		r := mariadbtest.Open(t, version, target, args...)
		got := r.MustValue(t,
			"SELECT GROUP_CONCAT(LOWER(CONCAT(TABLE_SCHEMA, '.', TABLE_NAME)) ORDER BY 1) FROM information_schema.TABLES "+
				"WHERE LOWER(TABLE_SCHEMA) IN ('shop', 'crm')")
		if got != tables {
			t.Errorf("restored tables %s, want %s", got, tables)
		}
		if n := r.MustValue(t, "SELECT COUNT(*) FROM shop.t"); n != "100" {
			t.Errorf("%s rows, want 100", n)
		}
		if left := r.MustValue(t,
			"SELECT COUNT(*) FROM information_schema.INNODB_SYS_TABLES WHERE NAME LIKE 'shop/%parts%' OR NAME LIKE 'Crm/%' OR "+
				"NAME LIKE 'shop/FTS%'"); left != "0" {
			t.Errorf("InnoDB still knows %s tables that were left out", left)
		}
	}
	connection := []string{"--socket", s.Socket, "--user", "root", "--quiet"}
	filtered, full := t.TempDir(), t.TempDir()
	id := document[taken](t,
		append([]string{"backup", "--repo", filtered, "-T", "shop." + parts, "-T", "shop." + texts, "-X", crm},
			connection...)...).ID
	must(t, "verify", id, "--repo", filtered, "--depth", repo.DepthBoot, "--scratch", t.TempDir(), "--owner",
		self(), "--quiet")
	target := filepath.Join(t.TempDir(), "filtered")
	must(t, restoreArgs(id, filtered, target)...)
	wanted(target, "shop.subs,shop.t")

	id = document[taken](t, append([]string{"backup", "--repo", full}, connection...)...).ID
	target = filepath.Join(t.TempDir(), "one")
	must(t, append(restoreArgs(id, full, target), "--table", "shop.t")...)
	wanted(target, "shop.t")
}

// A server that was given lower_case_table_names=1 when it had names with upper-case
// letters cannot open those tables, nor drop them.
func TestFilterWithNamesThatCannotBeOpened(t *testing.T) {
	for _, version := range mariadbtest.Some(t, mariadbtest.Versions()...) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			s := mariadbtest.New(t, version)
			s.MustExec(t, "CREATE DATABASE Sales", "CREATE TABLE Sales.Orders (id INT PRIMARY KEY)",
				"CREATE TABLE Sales.Parts (id INT PRIMARY KEY) PARTITION BY HASH (id) PARTITIONS 2",
				"CREATE DATABASE low", "CREATE TABLE low.t (id INT PRIMARY KEY)", "CREATE TABLE low.Cust (id INT PRIMARY KEY)")
			if err := s.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := s.Restart(t.Context(), "--lower-case-table-names=1"); err != nil {
				t.Fatal(err)
			}
			repository := t.TempDir()
			id := document[taken](t, "backup", "--repo", repository, "--socket", s.Socket, "--user", "root", "--quiet", "-X",
				"Sales", "-T", "low.Cust").ID
			must(t, "verify", id, "--repo", repository, "--depth", repo.DepthBoot, "--scratch", t.TempDir(), "--owner",
				self(), "--quiet")
			target := filepath.Join(t.TempDir(), "restored")
			must(t, restoreArgs(id, repository, target)...)
			r := mariadbtest.Open(t, version, target)
			if left := r.MustValue(t,
				"SELECT GROUP_CONCAT(NAME) FROM information_schema.INNODB_SYS_TABLES WHERE NAME LIKE 'Sales/%' OR NAME LIKE "+
					"'low/%'"); left != "low/t" {
				t.Errorf("InnoDB knows %s, want low/t", left)
			}

			// All of it is copied, and said to be of no use to the server itself.
			all := t.TempDir()
			connection := []string{"--repo", all, "--socket", s.Socket, "--user", "root"}
			const want = "`Sales`.`Orders`, `Sales`.`Parts`, `low`.`Cust`: upper-case letters in the name"
			if o := must(t, append([]string{"check"}, connection...)...); !strings.Contains(o.stdout, want) {
				t.Errorf("the check does not say %q:\n%s", want, o.stdout)
			}
			b := document[taken](t, append([]string{"backup", "--quiet"}, connection...)...)
			if !strings.Contains(strings.Join(b.Warnings, "\n"), want) {
				t.Errorf("the backup does not warn of %q: %q", want, b.Warnings)
			}
			must(t, "verify", b.ID, "--repo", all, "--depth", repo.DepthBoot, "--scratch", t.TempDir(), "--owner",
				self(), "--quiet")
		})
	}
}
