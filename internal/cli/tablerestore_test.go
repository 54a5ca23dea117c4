package cli_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"mbk/internal/tablerestore"
	"mbk/internal/test/mariadbtest"
)

// shop is a database with tables of all kinds that a restore into a server has to deal
// with, and what belongs to them.
func shop(version string) []string {
	statements := []string{
		"CREATE DATABASE shop CHARACTER SET utf8mb4",
		"CREATE TABLE shop.customers (id INT PRIMARY KEY AUTO_INCREMENT, name VARCHAR(40), KEY (name))",
		"CREATE TABLE shop.orders (id INT PRIMARY KEY, customer INT, KEY (customer), " +
			"CONSTRAINT of_customer FOREIGN KEY (customer) REFERENCES customers (id) ON DELETE CASCADE)",
		"CREATE TABLE shop.`lines` (id INT PRIMARY KEY, `order` INT, FOREIGN KEY (`order`) REFERENCES orders (id))",
		"INSERT INTO shop.customers (name) SELECT CONCAT('name ', seq) FROM shop.seq_1_to_1000",
		"INSERT INTO shop.orders SELECT seq, seq FROM shop.seq_1_to_1000",
		"INSERT INTO shop.`lines` SELECT seq, seq FROM shop.seq_1_to_500",
		// Columns that were added, dropped and moved in an instant.
		"CREATE TABLE shop.instant (id INT PRIMARY KEY, a INT, b INT)",
		"INSERT INTO shop.instant VALUES (1,1,1),(2,2,2)",
		"ALTER TABLE shop.instant ADD c INT DEFAULT 7 FIRST, DROP a, ALGORITHM=INSTANT",
		"CREATE TABLE shop.generated (a INT, v INT AS (a + 1) VIRTUAL, s INT AS (a * 2) STORED, KEY (v))",
		"INSERT INTO shop.generated (a) VALUES (1), (2)",
		"CREATE TABLE shop.texts (id INT PRIMARY KEY, t TEXT, FULLTEXT words (t), FULLTEXT again (t))",
		"INSERT INTO shop.texts VALUES (1, 'the quick brown fox'), (2, 'jumps over the lazy dog')",
		"CREATE TABLE shop.places (p POINT NOT NULL, SPATIAL KEY (p))", "INSERT INTO shop.places VALUES (POINT(1, 2))",
		"CREATE TABLE shop.versioned (a INT) WITH SYSTEM VERSIONING", "INSERT INTO shop.versioned VALUES (1)",
		"UPDATE shop.versioned SET a = 2",
		"CREATE TABLE shop.small (a INT PRIMARY KEY, b TEXT) ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=4",
		"INSERT INTO shop.small SELECT seq, REPEAT('x', 500) FROM shop.seq_1_to_300",
		"CREATE TABLE shop.holes (a INT PRIMARY KEY, b TEXT) PAGE_COMPRESSED=1",
		"INSERT INTO shop.holes SELECT seq, REPEAT('y', 500) FROM shop.seq_1_to_300",
		"CREATE TABLE shop.parts (a INT PRIMARY KEY, b INT) PARTITION BY RANGE (a) SUBPARTITION BY HASH (a) " +
			"SUBPARTITIONS 2 (PARTITION low VALUES LESS THAN (100), PARTITION `hi gh` VALUES LESS THAN MAXVALUE)",
		"INSERT INTO shop.parts SELECT seq, seq FROM shop.seq_1_to_300",
		"CREATE TABLE shop.`it's / a ``näme``` (`a,b)` INT COMMENT 'x, `y` (', c ENUM('a,(''b', 'c\\\\') DEFAULT 'c\\\\', " +
			"CHECK (`a,b)` < 10))", "INSERT INTO shop.`it's / a ``näme``` (`a,b)`) VALUES (1)",
		// Engines whose rows are loaded.
		"CREATE TABLE shop.aria (a FLOAT, b DOUBLE, c BIT(9), d BLOB, e DATETIME(6), f TIMESTAMP NULL, g JSON, h INET6, " +
			"i SET('x', 'y'), j DECIMAL(30, 10), k YEAR, l TIME(3), m BIGINT UNSIGNED, " +
			"n CHAR(3) CHARACTER SET ucs2) ENGINE=Aria",
		`INSERT INTO shop.aria VALUES (1/3, 1e300/7, b'101010101', CONCAT(CHAR(0,9,10,13,92), 'N\\'), '2020-02-29 1:2:3.456789',
			'2021-03-04 5:6:7', '{"a": [1, "\\t"]}', '2001:db8::1', 'x,y', 12345678901234567890.0123456789, 1999, '-12:34:56.789',
			18446744073709551615, 'äöü'), (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)`,
		"CREATE TABLE shop.isam (a INT PRIMARY KEY AUTO_INCREMENT, b VARCHAR(20), FULLTEXT (b)) ENGINE=MyISAM",
		"SET SESSION sql_mode='NO_AUTO_VALUE_ON_ZERO'", "INSERT INTO shop.isam VALUES (0, 'zero'), (5, '\\\\N')",
		"CREATE TABLE shop.csv (a INT NOT NULL, b VARCHAR(20) NOT NULL) ENGINE=CSV",
		"INSERT INTO shop.csv VALUES (1, 'a,\"b')",
		"CREATE TABLE shop.part1 (a INT) ENGINE=MyISAM", "INSERT INTO shop.part1 VALUES (1)",
		"CREATE TABLE shop.merged (a INT) ENGINE=MERGE UNION=(shop.part1)",
		"CREATE SEQUENCE shop.numbers START WITH 100 INCREMENT BY 5", "SELECT NEXTVAL(shop.numbers)",
		"CREATE TABLE shop.numbered (a INT DEFAULT NEXTVAL(shop.numbers), b INT)", "INSERT INTO shop.numbered (b) VALUES (1)",
		"CREATE FUNCTION shop.twice(x INT) RETURNS INT DETERMINISTIC RETURN x * 2",
		"CREATE PROCEDURE shop.nothing() BEGIN END",
		"CREATE VIEW shop.a_view AS SELECT * FROM shop.b_view",
		"CREATE OR REPLACE VIEW shop.b_view AS SELECT id, shop.twice(id) AS t FROM shop.customers",
		"CREATE TRIGGER shop.first BEFORE INSERT ON shop.customers FOR EACH ROW SET NEW.name = UPPER(NEW.name)",
		"CREATE TRIGGER shop.second BEFORE INSERT ON shop.customers FOR EACH ROW SET NEW.name = CONCAT(NEW.name, '!')",
		"CREATE EVENT shop.never ON SCHEDULE EVERY 1 YEAR STARTS '2030-01-01 00:00:00' DISABLE DO DO 1",
	}
	if i := slices.Index(statements, "CREATE VIEW shop.a_view AS SELECT * FROM shop.b_view"); i >= 0 {
		statements[i], statements[i+1] = strings.Replace(statements[i+1], "CREATE OR REPLACE", "CREATE", 1), statements[i]
	}
	if !older(version, "11.7") {
		statements = append(statements,
			"CREATE TABLE shop.vectors (a INT PRIMARY KEY, v VECTOR(3) NOT NULL, VECTOR INDEX (v))",
			"INSERT INTO shop.vectors VALUES (1, VEC_FromText('[1,2,3]'))")
	}
	return statements
}

// into restores into a running server.
func into(srv *mariadbtest.Server, repository string, more ...string) []string {
	return append([]string{"restore", "latest", "--repo", repository, "--into-server", "--socket", srv.Socket,
		"--user", "root", "--no-defaults", "--quiet", "--owner", self()}, more...)
}

// Tables of all kinds are restored into the running server: a whole database that was
// dropped, tables in place of those that are there, and one beside the original.
func TestTablesIntoServer(t *testing.T) {
	t.Parallel()
	for _, version := range mariadbtest.Some(t, mariadbtest.Versions()...) {
		srv := mariadbtest.New(t, version)
		srv.MustExec(t, shop(version)...)
		repository := t.TempDir()
		document[taken](t, backupArgs(srv, repository)...)
		want := tablesOf(t, srv)
		before, err := mariadbtest.CheckTables(t.Context(), srv)
		if err != nil {
			t.Fatal(err)
		}

		srv.MustExec(t, "DROP DATABASE shop")
		gtid := srv.MustValue(t, "SELECT @@gtid_binlog_pos")
		whole := document[tablerestore.Report](t, into(srv, repository, "--database", "shop")...)
		wantShop(t, "after the database was dropped", srv, want)
		if now := srv.MustValue(t, "SELECT @@gtid_binlog_pos"); now != gtid {
			t.Errorf("the restore is in the binary log: %s, before it was %s", now, gtid)
		}
		for _, one := range whole.Tables {
			if files := one.Way == tablerestore.WayFiles; files != (one.Engine == "InnoDB" && one.Table != "shop.numbers" &&
				one.Table != "shop.vectors") {
				t.Errorf("%s (%s) was restored by %s: %s", one.Table, one.Engine, one.Way, one.Reason)
			}
		}
		srv.MustExec(t, "UPDATE shop.customers SET name='wrong'", "DELETE FROM shop.`lines`", "DROP TRIGGER shop.first",
			"TRUNCATE shop.parts", "DELETE FROM shop.aria", "DROP TABLE shop.texts", "SELECT NEXTVAL(shop.numbers)")
		beside := document[tablerestore.Report](t, into(srv, repository, "--table", "shop.customers",
			"--as", "shop.before")...)
		if n := srv.MustValue(t, "SELECT COUNT(*) FROM shop.`before` WHERE name LIKE 'name %'"); n != "1000" {
			t.Errorf("shop.before has %s rows as they were: %+v", n, beside)
		}
		o := mbk(t, into(srv, repository, "--table", "shop.*")...)
		if o.code != 2 || !strings.Contains(o.stderr, "the server has `shop`.`customers` already") ||
			!strings.Contains(o.stderr, "--replace") {
			t.Errorf("tables that are there: exit code %d\n%s", o.code, o.stderr)
		}
		replaced := document[tablerestore.Report](t, into(srv, repository, "--table", "shop.*",
			"--exclude-table", "shop.?_view", "--replace")...)
		for _, one := range replaced.Tables {
			if (one.KeptAs == "") != (one.Table == "shop.texts") {
				t.Errorf("%s was kept as %q", one.Table, one.KeptAs)
			}
			if one.KeptAs != "" {
				kind := "TABLE "
				if one.Table == "shop.numbers" {
					kind = "SEQUENCE "
				}
				database, table, _ := strings.Cut(one.KeptAs, ".")
				srv.MustExec(t, "DROP "+kind+"`"+database+"`.`"+strings.ReplaceAll(table, "`", "``")+"`")
			}
		}
		srv.MustExec(t, "DROP TABLE shop.`before`")
		wantShop(t, "after all tables were replaced", srv, want)
		// What was imported outlives the server's caches.
		if err := srv.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantShop(t, "after a restart", srv, want)
		findings, err := mariadbtest.CheckTables(t.Context(), srv)
		if err != nil || !slices.Equal(findings, before) {
			t.Errorf("CHECK TABLE: %q, want %q: %v", findings, before, err)
		}
		// Files that cannot be brought to the server are no hindrance, and nothing of the attempt is left.
		srv.MustExec(t, "TRUNCATE shop.parts")
		loaded := document[tablerestore.Report](t, into(srv, repository, "--table", "shop.parts", "--replace", "--drop-old",
			"--datadir", t.TempDir())...)
		wantShop(t, "after a table was loaded since its files could not be imported", srv, want)
		if one := loaded.Tables[0]; one.Way != tablerestore.WayRows || one.Reason == "" {
			t.Errorf("with a wrong data directory: %+v", one)
		}
		wantNoWork(t, srv)
		gtid = srv.MustValue(t, "SELECT @@gtid_binlog_pos")
		logged := document[tablerestore.Report](t, into(srv, repository, "--table", "shop.customers", "--table", "shop.parts",
			"--replace", "--drop-old", "--log-bin")...)
		wantShop(t, "after two tables were replaced by their rows", srv, want)
		if now := srv.MustValue(t, "SELECT @@gtid_binlog_pos"); now == gtid || logged.Tables[0].Way != tablerestore.WayRows {
			t.Errorf("the binary log is still at %s after %+v", now, logged)
		}
		srv.MustExec(t, "DELETE FROM shop.customers WHERE id=900") // by the foreign key of orders, which has no line
		if n, err := srv.Value(t.Context(), "SELECT COUNT(*) FROM shop.orders"); err != nil || n != "999" {
			t.Errorf("after a customer was deleted there are %s orders (%v), want 999", n, err)
		}
	}
}

// tablesOf is a snapshot of the database shop.
func tablesOf(t *testing.T, srv *mariadbtest.Server) mariadbtest.Snapshot {
	t.Helper()
	shop, err := mariadbtest.TakeSnapshot(t.Context(), srv, "shop")
	if err != nil {
		t.Fatal(err)
	}
	return shop
}

func wantShop(t *testing.T, when string, srv *mariadbtest.Server, want mariadbtest.Snapshot) {
	t.Helper()
	if diff := mariadbtest.Diff(tablesOf(t, srv), want); len(diff) > 0 {
		t.Errorf("%s:\n%s", when, strings.Join(diff, "\n"))
	}
}

// struckShop is a small shop with a table for each way, and changes to it.
var (
	struckShop = []string{
		"CREATE DATABASE shop", "CREATE TABLE shop.customers (id INT PRIMARY KEY, name TEXT, FULLTEXT (name))",
		"CREATE TABLE shop.orders (id INT PRIMARY KEY, c INT, FOREIGN KEY (c) REFERENCES customers (id))",
		"CREATE TABLE shop.visits (id INT PRIMARY KEY, c INT, FOREIGN KEY (c) REFERENCES customers (id))",
		"CREATE TABLE shop.parts (a INT PRIMARY KEY) PARTITION BY HASH (a) PARTITIONS 2",
		"CREATE TABLE shop.aria (a INT) ENGINE=Aria",
		"CREATE TRIGGER shop.t BEFORE INSERT ON shop.customers FOR EACH ROW SET NEW.name = 'x'",
		"INSERT INTO shop.customers (id) SELECT seq FROM shop.seq_1_to_100", "INSERT INTO shop.visits VALUES (1, 1)",
		"INSERT INTO shop.orders SELECT seq, seq FROM shop.seq_1_to_100", "INSERT INTO shop.parts VALUES (1), (2)",
		"INSERT INTO shop.aria SELECT seq FROM shop.seq_1_to_100",
	}
	struckChanges = []string{
		"UPDATE shop.customers SET name = 'changed'", "DELETE FROM shop.orders WHERE id > 1",
		"INSERT INTO shop.parts VALUES (3)",
		"TRUNCATE shop.aria",
	}
)

// A restore into a server that ends at any moment, because mbk or the server is killed,
// leaves every table as it was or restored, and nothing that the next one does not remove.
func TestTablesIntoServerKilled(t *testing.T) {
	mariadbtest.Rare(t)
	t.Parallel()
	for _, version := range mariadbtest.Some(t, mariadbtest.Versions()...) {
		tablesKilled(t, version, []int{2, 7, 12, 18, 25}, []int{4, 15}, false)
	}
}

// tablesKilled kills mbk, and the server, when so many statements of a restore were seen; with busy
// while others write and change definitions.
func tablesKilled(t *testing.T, version string, client, server []int, busy bool) string {
	var args []string
	if busy { // with less, 10.5 can hang in its recovery, with and without mbk
		args = append(args, "--innodb-buffer-pool-size=256M")
	}
	srv := mariadbtest.New(t, version, args...)
	if busy {
		if err := mariadbtest.Populate(t.Context(), srv, mariadbtest.Fill{}); err != nil {
			t.Fatal(err)
		}
	}
	srv.MustExec(t, struckShop...)
	repository := t.TempDir()
	document[taken](t, backupArgs(srv, repository)...)
	want, sums := tablesOf(t, srv), sumsOf(t, srv)
	reached := 0
	for _, killed := range []struct {
		name    string
		moments []int
		kill    func(r *run)
	}{
		{"mbk", client, func(r *run) { _ = r.cmd.Process.Kill() }},
		{"server", server, func(*run) {
			if err := srv.Kill(); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		for _, moment := range killed.moments {
			srv.MustExec(t, struckChanges...)
			changed := sumsOf(t, srv)
			stop := func() {}
			if busy {
				stop = busied(t, srv)
			}
			p := launch(t, command(t, into(srv, repository, "--table", "shop.*", "--replace", "--drop-old")...))
			if !statementsSeen(t, srv, p, moment) {
				p.wait(t, 3*time.Minute)
				stop()
				break
			}
			reached++
			killed.kill(p)
			o := p.wait(t, 3*time.Minute)
			stop()
			if killed.name == "server" {
				if o.code == 0 {
					t.Errorf("the server was killed at statement %d, and mbk exits 0", moment)
				}
				if err := srv.Restart(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			wantOneOrOther(t, fmt.Sprintf("%s killed at statement %d", killed.name, moment), sumsOf(t, srv), changed, sums)
			must(t, into(srv, repository, "--table", "shop.*", "--replace", "--drop-old")...)
			wantShop(t, fmt.Sprintf("%s killed at statement %d, and restored once more", killed.name, moment), srv, want)
			wantNoWork(t, srv)
		}
	}
	if reached == 0 {
		t.Error("no restore was killed")
	}
	return fmt.Sprintf("%d restores killed", reached)
}

// busied starts writers and a storm of DDL, and returns what ends them. The server may be killed
// meanwhile.
func busied(t *testing.T, srv *mariadbtest.Server) (stop func()) {
	t.Helper()
	write, err := mariadbtest.Write(t.Context(), srv, mariadbtest.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	storm, err := mariadbtest.Storm(t.Context(), srv, mariadbtest.StormOptions{Sessions: 1})
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if _, err := write.Stop(); err != nil && srv.Pid() != 0 {
			t.Error(err)
		}
		if _, err := storm.Stop(); err != nil && srv.Pid() != 0 {
			t.Error(err)
		}
	}
}

// statementsSeen waits until so many different statements of a restore have been seen at
// work, and reports false if it ended before.
func statementsSeen(t *testing.T, srv *mariadbtest.Server, r *run, n int) bool {
	t.Helper()
	seen := map[string]bool{}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		select {
		case <-r.done:
			return false
		default:
		}
		rows, err := srv.DB().QueryContext(t.Context(),
			"SELECT INFO FROM information_schema.PROCESSLIST WHERE INFO LIKE '%mbk\\_restore\\_%' AND ID<>CONNECTION_ID()")
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var text string
			if err := rows.Scan(&text); err != nil {
				t.Fatal(err)
			}
			seen[text] = true
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			t.Fatal(err)
		}
		if len(seen) >= n {
			return true
		}
	}
	t.Fatal("the restore does not end")
	return false
}

// sumsOf are the checksums of the small shop's tables, or what CHECK TABLE finds wrong.
func sumsOf(t *testing.T, srv *mariadbtest.Server) map[string]string {
	t.Helper()
	sums := map[string]string{}
	for _, table := range []string{"customers", "orders", "visits", "parts", "aria"} {
		var name, kind, text string
		check := srv.DB().QueryRowContext(t.Context(), "CHECK TABLE shop."+table+" EXTENDED")
		if err := check.Scan(&name, &kind, &kind, &text); err != nil || text != "OK" {
			t.Errorf("%s: %s %s (%v)", table, kind, text, err)
		}
		sum := srv.DB().QueryRowContext(t.Context(), "CHECKSUM TABLE shop."+table)
		if err := sum.Scan(&name, &text); err != nil {
			t.Fatal(err)
		}
		sums[table] = text
	}
	return sums
}

// wantOneOrOther wants every table to be as in one or in the other.
func wantOneOrOther(t *testing.T, when string, got, one, other map[string]string) {
	t.Helper()
	for name, sum := range got {
		if sum != one[name] && sum != other[name] {
			t.Errorf("%s: %s has the checksum %s, want %s or %s", when, name, sum, one[name], other[name])
		}
	}
}

// wantNoWork wants nothing of a restore to be left in the database shop.
func wantNoWork(t *testing.T, srv *mariadbtest.Server) {
	t.Helper()
	files, err := os.ReadDir(filepath.Join(srv.Datadir, "shop"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.Contains(f.Name(), "mbk_restore") {
			t.Errorf("%s is left", f.Name())
		}
	}
}

// Tables come back as they were at a moment after the backup, those too that were made after it, and
// with what foreign keys changed, which is in no log.
func TestTablesIntoServerUntil(t *testing.T) {
	t.Parallel()
	for _, version := range mariadbtest.Some(t, mariadbtest.Versions()...) {
		srv := mariadbtest.New(t, version)
		srv.MustExec(t, "CREATE DATABASE shop", "CREATE TABLE shop.parent (a INT PRIMARY KEY)",
			"CREATE TABLE shop.child (a INT, FOREIGN KEY (a) REFERENCES parent (a) ON DELETE CASCADE)",
			"INSERT INTO shop.parent VALUES (1), (2)", "INSERT INTO shop.child VALUES (1), (2)",
			"CREATE TABLE shop.other (a INT) ENGINE=Aria")
		repository := t.TempDir()
		document[taken](t, backupArgs(srv, repository)...)
		srv.MustExec(t, "DELETE FROM shop.parent WHERE a = 1", "INSERT INTO shop.other VALUES (7)",
			"CREATE TABLE shop.`later` AS SELECT * FROM shop.other",
			"ALTER TABLE shop.child ADD b INT DEFAULT 5, ALGORITHM=INSTANT",
			"CREATE EVENT shop.e ON SCHEDULE EVERY 1 YEAR STARTS '2037-01-01 00:00:00' DO DO 1")
		want := tablesOf(t, srv)
		srv.MustExec(t, "DROP DATABASE shop")
		gtid := srv.MustValue(t, "SELECT @@gtid_binlog_pos")
		archiving(t, srv, repository)
		plan := document[tablerestore.Report](t, into(srv, repository, "--table", "shop.later", "--until",
			"before-gtid:"+gtid, "--dry-run")...)
		if plan.Replay == nil || plan.Replay.Next != gtid {
			t.Errorf("%s: the plan is %+v", version, plan)
		}
		srv.MustExec(t, "CREATE DATABASE shop", "CREATE TABLE shop.parent (a INT PRIMARY KEY)")
		r := document[tablerestore.Report](t, into(srv, repository, "--table", "shop.later", "--table", "shop.child",
			"--until", "before-gtid:"+gtid)...)
		if len(r.Tables) != 2 || r.Replay == nil || r.Tables[0].Way != tablerestore.WayFiles {
			t.Errorf("%s: the report is %+v", version, r)
		}
		if n := srv.MustValue(t, "SELECT CONCAT(SUM(a), ' ', SUM(b)) FROM shop.child"); n != "2 5" {
			t.Errorf("%s: child has %s", version, n)
		}
		o := mbk(t, into(srv, repository, "--table", "shop.*", "--until", "end", "--replace")...)
		o.wantRefusal(t, 2, "mbk events", "at that moment", "shop.*")
		o = mbk(t, into(srv, repository, "--table", "shop.*", "--until", "before-gtid:"+gtid)...)
		o.wantRefusal(t, 2, "--replace", "has `shop`.`parent` already")
		srv.MustExec(t, "DROP DATABASE shop")
		must(t, into(srv, repository, "--database", "shop", "--until", "before-gtid:"+gtid)...)
		srv.MustExec(t, "ALTER EVENT shop.e ENABLE")
		wantShop(t, version+", the whole database before it was dropped", srv, want)
	}
}

// A table that is replaced while others write to it loses no row that was committed: each is in the
// table or in the one that is kept.
func TestTableReplacedUnderWrites(t *testing.T) {
	t.Parallel()
	for _, version := range mariadbtest.Some(t, mariadbtest.Versions()...) {
		srv := mariadbtest.New(t, version)
		srv.MustExec(t, "CREATE DATABASE shop", "CREATE TABLE shop.orders (id INT PRIMARY KEY AUTO_INCREMENT, w VARCHAR(9))",
			"CREATE TABLE shop.`lines` (o INT, KEY (o), CONSTRAINT c FOREIGN KEY (o) REFERENCES orders (id) ON DELETE CASCADE)",
			"INSERT INTO shop.orders SELECT seq, 'before' FROM shop.seq_1_to_5000", "INSERT INTO shop.`lines` VALUES (1)")
		repository := t.TempDir()
		document[taken](t, backupArgs(srv, repository)...)
		ctx, stop := context.WithCancel(t.Context())
		var written atomic.Int64
		var writers sync.WaitGroup
		for i := range 3 {
			writers.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					err := srv.Exec(t.Context(), fmt.Sprintf("INSERT INTO shop.orders VALUES (%d, 'new')", 10_000+3*n+i))
					if err != nil {
						t.Error(err)
						return
					}
					written.Add(1)
				}
			})
		}
		r := document[tablerestore.Report](t, into(srv, repository, "--table", "shop.orders", "--replace")...)
		stop()
		writers.Wait()
		kept := strings.TrimPrefix(r.Tables[0].KeptAs, "shop.")
		got := srv.MustValue(t, "SELECT CONCAT((SELECT COUNT(*) FROM shop.orders WHERE w='before'), ' ', "+
			"(SELECT COUNT(DISTINCT id) FROM (SELECT id, w FROM shop.orders UNION ALL "+
			"SELECT id, w FROM shop."+kept+") a WHERE w='new'))")
		if want := fmt.Sprintf("5000 %d", written.Load()); got != want || written.Load() == 0 {
			t.Errorf("%s: rows of before and new ones: %s, want %s", version, got, want)
		}
		srv.MustExec(t, "DELETE FROM shop.orders WHERE id = 1")
		if n := srv.MustValue(t, "SELECT COUNT(*) FROM shop.`lines`"); n != "0" {
			t.Errorf("%s: the foreign key of lines does not refer to the restored table", version)
		}
	}
}

// A small table of a large backup in an object store costs little more than itself: the dictionary, the
// undo logs and the redo.
func TestOneTableOfManyFromStore(t *testing.T) {
	t.Parallel()
	c, repository := newCounted(t), t.TempDir()
	srv := newBusyServer(t, newest())
	srv.MustExec(t, "INSERT INTO d.i SELECT a + 16000, b FROM d.i", "INSERT INTO d.i SELECT a + 32000, b FROM d.i",
		"CREATE TABLE d.small (a INT PRIMARY KEY, b BLOB)", "INSERT INTO d.small SELECT a, b FROM d.i WHERE a <= 500")
	if err := srv.Restart(t.Context()); err != nil { // so that the redo log of the backup is short
		t.Fatal(err)
	}
	must(t, backupArgs(srv, repository)...)
	var stored int64
	err := filepath.WalkDir(repository, func(_ string, e os.DirEntry, err error) error {
		if info, failed := e.Info(); err == nil && failed == nil && e.Type().IsRegular() {
			stored += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	o, requests := c.run(t, into(srv, repository, "--table", "d.small", "--replace")...)
	if o.code != 0 {
		t.Fatalf("restore exits %d: %s", o.code, o.stderr)
	}
	read := c.proxy.Read()
	t.Logf("%d requests and %d KiB of %d KiB", requests, read>>10, stored>>10)
	if stored < 50<<20 || read > stored/10 || requests > 60 {
		t.Errorf("%d requests read %d bytes of %d for a table of 500 KiB", requests, read, stored)
	}
}
