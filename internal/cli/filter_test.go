package cli_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mbk/internal/test/mariadbtest"
)

// filterSchema has what hangs together across databases and tables: keep is kept,
// out is left out, and of mixed only some tables are kept.
func filterSchema() []string {
	const body = "(id INT PRIMARY KEY AUTO_INCREMENT, a INT, s VARCHAR(200), KEY (a), FULLTEXT KEY words (s))"
	const plain = "(id INT PRIMARY KEY AUTO_INCREMENT, a INT, s VARCHAR(200), KEY (a))"
	q := []string{
		"CREATE DATABASE `keep`", "CREATE DATABASE `out`", "CREATE DATABASE `mixed é`", "CREATE DATABASE `empty out`",
		"CREATE TABLE `keep`.t " + body, "CREATE TABLE `keep`.parts " + plain + " PARTITION BY HASH (id) PARTITIONS 3",
		"CREATE TABLE `keep`.aria " + plain + " ENGINE=Aria TRANSACTIONAL=1", "CREATE TABLE `keep`.my " + plain +
			" ENGINE=MyISAM", "CREATE TABLE `out`.t " + body, "CREATE TABLE `out`.parts " + plain +
			" PARTITION BY HASH (id) PARTITIONS 3",
		"CREATE TABLE `out`.aria " + plain + " ENGINE=Aria TRANSACTIONAL=1",
		"CREATE TABLE `out`.my " + plain + " ENGINE=MyISAM", "CREATE TABLE `mixed é`.`in a` " + body,
		"CREATE TABLE `mixed é`.`in #P#` " + plain +
			" PARTITION BY RANGE (id) (PARTITION `p ä` VALUES LESS THAN (1000), PARTITION p1 VALUES LESS THAN MAXVALUE)",
		"CREATE TABLE `mixed é`.`out a` " + body, "CREATE TABLE `mixed é`.`out b` " + plain +
			" PARTITION BY RANGE (id) (PARTITION `p ä` VALUES LESS THAN (1000), PARTITION p1 VALUES LESS THAN MAXVALUE)",
		"CREATE TABLE `mixed é`.`out aria` " + plain + " ENGINE=Aria TRANSACTIONAL=1",
		"CREATE TABLE `mixed é`.`in versioned` (id INT PRIMARY KEY, a INT) WITH SYSTEM VERSIONING",
		"CREATE TABLE `mixed é`.`out versioned` (id INT PRIMARY KEY, a INT) WITH SYSTEM VERSIONING",
		"CREATE SEQUENCE `mixed é`.`in seq`", "CREATE SEQUENCE `mixed é`.`out seq`",
		"CREATE TABLE `out`.parent (id INT PRIMARY KEY)", "INSERT INTO `out`.parent VALUES (1), (2)",
		"CREATE TABLE `keep`.child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES `out`.parent (id))",
		"INSERT INTO `keep`.child VALUES (1, 1)", "CREATE TABLE `keep`.parent (id INT PRIMARY KEY)",
		"INSERT INTO `keep`.parent VALUES (1), (2)",
		"CREATE TABLE `out`.child (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES `keep`.parent (id))",
		"INSERT INTO `out`.child VALUES (1, 1)", "CREATE VIEW `keep`.v AS SELECT * FROM `keep`.t",
		"CREATE VIEW `out`.v AS SELECT * FROM `keep`.t", "CREATE VIEW `mixed é`.`out v` AS SELECT 1",
		"CREATE VIEW `keep`.`v torn` AS SELECT a AS x FROM `out`.t JOIN `mixed é`.`in a` USING (a)",
		"CREATE TRIGGER `mixed é`.`trigger in` BEFORE INSERT ON `mixed é`.`in a` FOR EACH ROW SET NEW.a = NEW.a",
		"CREATE TRIGGER `mixed é`.`trigger out` BEFORE INSERT ON `mixed é`.`out a` FOR EACH ROW SET NEW.a = NEW.a",
		"CREATE PROCEDURE `out`.p() SELECT 1", "CREATE EVENT `out`.e ON SCHEDULE EVERY 1 HOUR DO SELECT 1",
		"CREATE PROCEDURE `keep`.p() SELECT 1", "CREATE EVENT `keep`.e ON SCHEDULE EVERY 1 HOUR DO SELECT 1",
		"CREATE TABLE `mixed é`.`in merged` " + plain + " ENGINE=MERGE UNION=(`keep`.my) INSERT_METHOD=LAST", "USE mysql",
	}
	for _, t := range filterRows() {
		q = append(q, "INSERT INTO "+t+" (a, s) SELECT seq, CONCAT('some words ', seq) FROM seq_1_to_3000")
	}
	return append(q, "INSERT INTO `mixed é`.`in versioned` SELECT seq, 1 FROM seq_1_to_100",
		"INSERT INTO `mixed é`.`out versioned` SELECT seq, 1 FROM seq_1_to_100",
		"ANALYZE TABLE "+strings.Join(filterRows(), ", ")+" PERSISTENT FOR ALL")
}

// filterRows are the tables of the schema with the columns a and s.
func filterRows() []string {
	return []string{"`keep`.t", "`keep`.parts", "`keep`.aria", "`keep`.my", "`out`.t", "`out`.parts",
		"`out`.aria", "`out`.my",
		"`mixed é`.`in a`", "`mixed é`.`in #P#`", "`mixed é`.`out a`", "`mixed é`.`out b`", "`mixed é`.`out aria`"}
}

// filterArgs choose what the schema's names say.
func filterArgs() []string {
	return []string{"--database", "keep", "--table", "mixed é.in*"}
}

// leftOpen leaves transactions open on tables of InnoDB that are kept and on others,
// one of them prepared, and rows for purge that one of them still sees.
func leftOpen(t *testing.T, s *mariadbtest.Server) {
	t.Helper()
	ctx := t.Context()
	session := func(statements ...string) {
		conn, err := s.DB().Conn(ctx)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		for _, q := range statements {
			if _, err := conn.ExecContext(ctx, q); err != nil {
				t.Fatalf("%s: %v", q, err)
			}
		}
	}
	var open, prepared, later []string
	for _, table := range filterRows() {
		if strings.Contains(table, "my") || strings.Contains(table, "aria") {
			continue
		}
		open = append(open, "UPDATE "+table+" SET a = -1 WHERE id < 500",
			"DELETE FROM "+table+" WHERE id BETWEEN 500 AND 600",
			"INSERT INTO "+table+" (a, s) SELECT seq, CONCAT('uncommitted ', seq) FROM seq_1_to_200")
		prepared = append(prepared, "UPDATE "+table+" SET a = -2, s = 'prepared' WHERE id BETWEEN 1000 AND 1100")
		later = append(later, "DELETE FROM "+table+" WHERE id BETWEEN 2000 AND 2200",
			"UPDATE "+table+" SET a = a + 1, s = 'later' WHERE id BETWEEN 2300 AND 2400")
	}
	session(slices.Concat([]string{"USE mysql", "START TRANSACTION WITH CONSISTENT SNAPSHOT"}, open)...)
	session(slices.Concat([]string{"USE mysql", "XA START 'x'"}, prepared, []string{"XA END 'x'", "XA PREPARE 'x'"})...)
	session(later...)
}

// busy writes to all tables until its context ends.
func busy(ctx context.Context, s *mariadbtest.Server) error {
	conn, err := s.DB().Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	for i := 0; ctx.Err() == nil; i++ {
		for _, table := range filterRows() {
			if _, err := conn.ExecContext(ctx,
				fmt.Sprintf("UPDATE %s SET a = a + 1, s = CONCAT('busy ', a) WHERE id = %d", table, 2500+i%500)); err != nil &&
				ctx.Err() == nil {
				return err
			}
		}
	}
	return nil
}

// errorsOf are the error lines of a server's log, from a mark on.
func errorsOf(t *testing.T, s *mariadbtest.Server, mark int) (lines []string, end int) {
	t.Helper()
	b, err := os.ReadFile(s.ErrorLog)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b[mark:])) {
		if strings.Contains(line, "[ERROR]") || strings.Contains(line, "[Warning] InnoDB") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines, len(b)
}

// wantFiltered checks a server on what was restored of the schema: nothing is left
// of what was left out, and it can be created again.
func wantFiltered(t *testing.T, r *mariadbtest.Server) {
	t.Helper()
	ctx := t.Context()
	if lines, _ := errorsOf(t, r, 0); len(lines) > 0 {
		t.Errorf("the first start logs %q", lines)
	}
	rows := func(q string) []string {
		t.Helper()
		v, err := r.Value(ctx, "SELECT IFNULL(GROUP_CONCAT(x ORDER BY 1 SEPARATOR '\n'), '') FROM ("+q+") q")
		if err != nil {
			t.Fatal(err)
		}
		return strings.Fields(v)
	}
	for _, q := range []string{
		"SELECT NAME AS x FROM information_schema.INNODB_SYS_TABLES WHERE NAME LIKE 'out/%' OR NAME LIKE 'mixed%/out%'",
		"SELECT NAME AS x FROM information_schema.INNODB_SYS_TABLES t WHERE NAME LIKE '%/FTS\\_%' AND NOT EXISTS (SELECT 1 " +
			"FROM information_schema.INNODB_SYS_TABLES p WHERE t.NAME LIKE CONCAT('%/FTS\\_', LPAD(LOWER(HEX(p.TABLE_ID)), " +
			"16, '0'), '\\_%'))",
		"SELECT FOR_NAME AS x FROM information_schema.INNODB_SYS_FOREIGN WHERE FOR_NAME LIKE 'out/%'",
		"SELECT CONCAT(database_name, '.', table_name) AS x FROM mysql.innodb_table_stats WHERE database_name = 'out' OR " +
			"table_name LIKE 'out%'",
		"SELECT CONCAT(database_name, '.', table_name) AS x FROM mysql.innodb_index_stats WHERE database_name = 'out' OR " +
			"table_name LIKE 'out%'",
		"SELECT CONCAT(db_name, '.', table_name) AS x FROM mysql.table_stats WHERE db_name = 'out' OR table_name LIKE 'out%'",
		"SELECT CONCAT(db_name, '.', table_name) AS x FROM mysql.column_stats WHERE db_name = 'out' OR table_name LIKE " +
			"'out%'",
		"SELECT CONCAT(db, '.', name) AS x FROM mysql.proc WHERE db = 'out'",
		"SELECT CONCAT(db, '.', name) AS x FROM mysql.event WHERE db = 'out'",
		"SELECT TABLE_NAME AS x FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'out' OR TABLE_NAME LIKE 'out%'",
		"SELECT SCHEMA_NAME AS x FROM information_schema.SCHEMATA WHERE SCHEMA_NAME LIKE '%out'",
	} {
		if got := rows(q); len(got) > 0 {
			t.Errorf("%s finds %q", q, got)
		}
	}
	for _, q := range []string{
		"SELECT db AS x FROM mysql.proc WHERE db = 'keep'", "SELECT db AS x FROM mysql.event WHERE db = 'keep'",
		"SELECT 1 AS x FROM mysql.table_stats WHERE db_name = 'keep'",
		"SELECT 1 AS x FROM mysql.innodb_table_stats WHERE database_name = 'keep' AND table_name = 'parts#P#p0'",
	} {
		if got := rows(q); len(got) == 0 {
			t.Errorf("%s finds nothing", q)
		}
	}
	findings, err := mariadbtest.CheckTables(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		// CHECK TABLE does not know MERGE over another database's table
		if !strings.Contains(f, "in merged") && !strings.Contains(f, "v torn") {
			t.Errorf("CHECK TABLE: %s", f)
		}
	}
	// What was left out can be created again, under the same names.
	again := []string{"CREATE DATABASE `out`"}
	for _, q := range filterSchema() {
		if strings.HasPrefix(q, "CREATE") && !strings.Contains(q, "`keep`.child") && !strings.Contains(q, "v torn") &&
			(strings.Contains(q, " `out`.") || strings.Contains(q, "`mixed é`.`out") || strings.Contains(q, "trigger out")) &&
			!strings.HasPrefix(q, "CREATE DATABASE") {
			again = append(again, q)
		}
	}
	// A foreign key of a table that is kept leads to the one that is made here.
	r.MustExec(t, append(again, "INSERT INTO `out`.parent VALUES (1), (2)", "INSERT INTO `keep`.child VALUES (2, 2)",
		"INSERT INTO `out`.t (a, s) VALUES (1, 'new')",
		"SET @n = (SELECT COUNT(*) FROM `out`.t WHERE MATCH (s) AGAINST ('new'))")...)
	_, mark := errorsOf(t, r, 0)
	if err := r.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if lines, _ := errorsOf(t, r, mark); len(lines) > 0 {
		t.Errorf("the second start logs %q", lines)
	}
}

// sums are checksums of the tables that the filter keeps. Transactions that are
// open count for nothing.
func sums(t *testing.T, s *mariadbtest.Server) string {
	t.Helper()
	var all []string
	for _, table := range append(filterRows(), "`mixed é`.`in versioned`", "`keep`.child") {
		if strings.Contains(table, "out") {
			continue
		}
		columns := "id, a"
		if strings.Contains(table, "child") {
			columns = "id, p"
		}
		all = append(all, table+"="+
			s.MustValue(t, "SELECT CONCAT(COUNT(*), '/', IFNULL(SUM(CRC32(CONCAT_WS(',', "+columns+"))), 0)) FROM "+table))
	}
	return strings.Join(all, " ")
}

// filteredDocument is what the JSON of a backup says of its filter.
type filteredDocument struct {
	ID      string `json:"id"`
	LeftOut []struct {
		Database string `json:"database"`
		Name     string `json:"name"`
		Reason   string `json:"reason"`
	} `json:"left_out"`
	Filter struct {
		Databases []string `json:"databases"`
		Tables    []string `json:"tables"`
		LeftOut   []string `json:"left_out"`
	} `json:"filter"`
	Warnings []string `json:"warnings"`
}

// A filtered backup, and a filtered restore of a full one, make a working server
// without a trace of what was left out, whatever was going on.
func TestFilter(t *testing.T) {
	for _, version := range mariadbtest.Some(t, append([]string{"10.5"}, mariadbtest.Versions()...)...) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			source := mariadbtest.New(t, version)
			source.MustExec(t, filterSchema()...)
			leftOpen(t, source)
			repository := t.TempDir()
			connection := []string{"--repo", repository, "--socket", source.Socket, "--user", "root", "--quiet"}
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- busy(ctx, source) }()
			time.Sleep(200 * time.Millisecond)
			must(t, append([]string{"backup"}, slices.Concat(connection, filterArgs())...)...)
			stop()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			filtered := document[filteredDocument](t, append([]string{"backup"}, slices.Concat(connection, filterArgs())...)...)
			full := document[filteredDocument](t, append([]string{"backup"}, connection...)...)
			want := sums(t, source)

			wantFilterShown(t, filtered)
			must(t, "verify", filtered.ID, "--repo", repository, "--depth", "boot", "--owner", self(), "--quiet")
			for name, args := range map[string][]string{
				"while all tables are written to": {"0"},
				"of a filtered backup":            {filtered.ID},
				"of a full backup":                append([]string{full.ID}, filterArgs()...),
			} {
				if version == oldest() && args[0] == filtered.ID && len(args) == 1 {
					continue // the first is like it
				}
				t.Run(name, func(t *testing.T) {
					if args[0] == "0" {
						args = []string{firstBackup(t, repository)}
					}
					target := filepath.Join(t.TempDir(), "restored")
					out := must(t, append(restoreArgs(args[0], repository, target), args[1:]...)...)
					if strings.Contains(out.stdout, "warning") {
						t.Errorf("the restore warns:\n%s", out.stdout)
					}
					r := mariadbtest.Open(t, version, target)
					r.MustExec(t, "XA ROLLBACK 'x'")
					if got := sums(t, r); name != "while all tables are written to" && got != want {
						t.Errorf("the tables hold\n%s, want\n%s", got, want)
					}
					wantFiltered(t, r)
				})
			}
		})
	}
}

// firstBackup is the oldest one in a repository.
func firstBackup(t *testing.T, repository string) string {
	t.Helper()
	list := document[struct {
		Backups []struct {
			ID string `json:"id"`
		} `json:"backups"`
	}](t, "list", "--repo", repository)
	return list.Backups[0].ID
}

// wantFilterShown checks what a filtered backup says of itself.
func wantFilterShown(t *testing.T, d filteredDocument) {
	t.Helper()
	if got := d.Filter.LeftOut; !slices.Equal(got, []string{"empty out", "out"}) {
		t.Errorf("databases left out: %q", got)
	}
	left := map[string]bool{}
	for _, l := range d.LeftOut {
		left[l.Database+"."+l.Name] = true
		if !strings.Contains(l.Reason, "filter") {
			t.Errorf("%s.%s was left out because %q", l.Database, l.Name, l.Reason)
		}
	}
	for _, name := range []string{"out.t", "out.my", "out.v", "out.parts", "mixed é.out a", "mixed é.out v",
		"mixed é.out seq"} {
		if !left[name] {
			t.Errorf("%s is not listed as left out", name)
		}
	}
	if text := strings.Join(d.Warnings, "\n"); !strings.Contains(text, "`keep`.`child` to `out`.`parent`") {
		t.Errorf("no warning of a foreign key: %q", d.Warnings)
	}
	if text := strings.Join(d.Warnings, "\n"); !strings.Contains(text,
		"views show tables that are left out: `keep`.`v torn` of `out`.`t`") || strings.Count(text, "v torn") != 1 {
		t.Errorf("no warning of a view, or too many: %q", d.Warnings)
	}
}
