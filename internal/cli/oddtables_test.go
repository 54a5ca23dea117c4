package cli_test

import (
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"mbk/internal/hint"
	"mbk/internal/tablerestore"
	"mbk/internal/test/mariadbtest"
)

// oddTable is what a restore into a running server may stumble over.
type oddTable struct {
	name  string
	since string // the oldest series that has it, "": all
	way   string // in which its tables must be filled, "": by any
	files string // the oldest series whose server takes the files of all of them, "": all
	make  []string
	// same are queries about the restored tables that no snapshot asks; the answers are those of the
	// source.
	same []string
}

// Ways in which the tables of a case are to be filled.
const (
	byFiles = tablerestore.WayFiles
	byRows  = tablerestore.WayRows
	byText  = tablerestore.WayDefinition
)

// rows fills a table with a column a that is INT.
func rows(table string, n int) string {
	return fmt.Sprintf("INSERT INTO %s (a) SELECT seq FROM seq_1_to_%d", table, n)
}

// oddTables are the cases. Each has a database of its own, in which the statements are run. The
// folder is for tables that are outside of the data directory.
func oddTables(folder string) []oddTable {
	return slices.Concat(oddColumns(), oddFormats(), oddPartitions(folder), oddIndexes(), oddKeys(), oddNames(),
		oddEngines())
}

func oddColumns() []oddTable {
	return []oddTable{
		{name: "instant ADD, DROP and MODIFY", way: byFiles, make: []string{
			"CREATE TABLE t (a INT PRIMARY KEY, b INT, c VARCHAR(10))", rows("t", 100),
			"ALTER TABLE t ADD d INT DEFAULT 7 FIRST, ALGORITHM=INSTANT", "INSERT INTO t (a) VALUES (101)",
			"ALTER TABLE t DROP b, ALGORITHM=INSTANT", "INSERT INTO t (a) VALUES (102)",
			"ALTER TABLE t MODIFY c VARCHAR(10) FIRST, ALGORITHM=INSTANT", "INSERT INTO t (a) VALUES (103)",
			"ALTER TABLE t MODIFY c VARCHAR(200), ADD e TEXT DEFAULT 'e', ALGORITHM=INSTANT",
			"UPDATE t SET e='x' WHERE a < 10",
			"DELETE FROM t WHERE a > 50"}},
		{name: "instant, redundant, with a key", way: byFiles, make: []string{
			"CREATE TABLE t (a INT PRIMARY KEY, b INT, c INT, KEY (c)) ROW_FORMAT=REDUNDANT", rows("t", 100),
			"ALTER TABLE t DROP b, ADD d CHAR(3) DEFAULT 'xyz', ALGORITHM=INSTANT", "INSERT INTO t (a) VALUES (101)"}},
		{name: "generated, with keys", way: byFiles, make: []string{
			"CREATE TABLE t (a INT, v INT AS (a + 1) VIRTUAL, w INT AS (v * 2) STORED, x VARCHAR(9) AS " +
				"(CONCAT('<', a)) " +
				"VIRTUAL, KEY (v, w), UNIQUE (x))", rows("t", 100), "UPDATE t SET a = -a WHERE a < 10",
			"CREATE TABLE later (a INT, b INT)", rows("later", 50),
			"ALTER TABLE later ADD v INT AS (a * 3) VIRTUAL FIRST, ALGORITHM=INSTANT",
			"ALTER TABLE later ADD KEY (v, b)"}},
		{name: "DEFAULT expressions and CHECK", way: byFiles, make: []string{
			"CREATE TABLE t (a INT, b CHAR(36) DEFAULT UUID(), c TEXT DEFAULT (CONCAT('(\\'', a, '`,\\\")')), " +
				"d INT CHECK (d <> 3), CONSTRAINT `a check, (named)` CHECK (a > 0 AND c <> ')'), CHECK (a < 1000))",
			rows("t", 10), "SET SESSION check_constraint_checks=OFF", "INSERT INTO t (a, d) VALUES (-1, 3)"}},
		{name: "invisible columns", way: byFiles, make: []string{
			"CREATE TABLE t (a INT, i INT INVISIBLE DEFAULT 4, KEY (i))", rows("t", 10), "UPDATE t SET i = a"},
			same: []string{"SELECT SUM(i) FROM t"}},
		{name: "compressed columns", way: byFiles, make: []string{
			"CREATE TABLE t (a INT PRIMARY KEY, b TEXT COMPRESSED, c BLOB COMPRESSED=zlib)",
			"INSERT INTO t SELECT seq, REPEAT('x', seq * 100), REPEAT('y', seq) FROM seq_1_to_100"}},
		{name: "compressed columns of MyISAM", way: byRows, make: []string{
			"CREATE TABLE t (a INT PRIMARY KEY, b TEXT COMPRESSED) ENGINE=MyISAM",
			"INSERT INTO t SELECT seq, REPEAT('x', seq * 100) FROM seq_1_to_100"}},
		{name: "system versioning", way: byFiles, make: []string{
			"CREATE TABLE t (a INT PRIMARY KEY, b INT) WITH SYSTEM VERSIONING", rows("t", 20),
			"UPDATE t SET b = 1", "DELETE FROM t WHERE a < 5",
			"CREATE TABLE named (a INT, b INT WITHOUT SYSTEM VERSIONING, s TIMESTAMP(6) GENERATED ALWAYS AS " +
				"ROW START INVISIBLE, " +
				"e TIMESTAMP(6) GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (s, e), PRIMARY KEY (a, e)) " +
				"WITH SYSTEM VERSIONING", rows("named", 20), "DELETE FROM named WHERE a < 5"}},
		{name: "system versioning, partitioned", way: byFiles, make: []string{
			"CREATE TABLE t (a INT) WITH SYSTEM VERSIONING PARTITION BY SYSTEM_TIME LIMIT 10 " +
				"(PARTITION p0 HISTORY, PARTITION p1 HISTORY, PARTITION pn CURRENT)", rows("t", 20),
			"DELETE FROM t WHERE a <= 8", "DELETE FROM t WHERE a <= 16",
			"CREATE TABLE parts (a INT) WITH SYSTEM VERSIONING PARTITION BY SYSTEM_TIME INTERVAL 1 MONTH " +
				"SUBPARTITION BY KEY (a) SUBPARTITIONS 2 (PARTITION p0 HISTORY, PARTITION pn CURRENT)",
			rows("parts", 20),
			"DELETE FROM parts WHERE a <= 8"},
			same: []string{"SELECT COUNT(*) FROM t PARTITION (p0)", "SELECT COUNT(*) FROM t PARTITION (pn)"}},
		{name: "period of an application", way: byFiles, make: []string{
			"CREATE TABLE t (a INT, f DATE, u DATE, PERIOD FOR p (f, u), UNIQUE (a, p WITHOUT OVERLAPS))",
			"INSERT INTO t VALUES (1, '2020-01-01', '2021-01-01'), (1, '2021-01-01', '2022-01-01')"}},
		{name: "INET6", make: []string{
			"CREATE TABLE t (a INT, i INET6, KEY (i))", "INSERT INTO t VALUES (1, '::1'), (2, '2001:db8::7'), " +
				"(3, NULL)",
			"CREATE TABLE aria (i INET6 PRIMARY KEY) ENGINE=Aria", "INSERT INTO aria SELECT i FROM t WHERE a < 3"}},
		{name: "UUID", since: "10.7", make: []string{
			"CREATE TABLE t (u UUID PRIMARY KEY DEFAULT UUID(), a INT)", rows("t", 20),
			"CREATE TABLE aria (u UUID) ENGINE=Aria", "INSERT INTO aria SELECT u FROM t"}},
		{name: "INET4", since: "10.10", make: []string{
			"CREATE TABLE t (i INET4)", "INSERT INTO t VALUES ('1.2.3.4'), (NULL)",
			"CREATE TABLE aria ENGINE=Aria SELECT * FROM t"}},
		{name: "all types, loaded", way: byRows, make: []string{
			"CREATE TABLE t (a FLOAT, b DOUBLE, c BIT(9), d LONGBLOB, e DATETIME(6), f TIMESTAMP(3) NULL, g JSON, " +
				"i SET('x', 'y'), j DECIMAL(65, 30), k YEAR, l TIME(6), m BIGINT UNSIGNED ZEROFILL, n CHAR(3) " +
				"CHARACTER SET utf16, " +
				"o ENUM('', 'ä', '\\\\N'), p GEOMETRY, q FLOAT(7, 3), r TINYTEXT CHARACTER SET sjis, s " +
				"BINARY(4), t DATE) ENGINE=Aria",
			"INSERT INTO t VALUES (1/3, -1e300/7, b'101010101', CONCAT(CHAR(0,9,10,13,26,92,39), 'N\\\\'), " +
				"'0000-00-00', " +
				"'2021-03-04 5:6:7.891', '{\"a\": 1}', 'x,y', -1.000000000000000000000000000001, 1999, " +
				"'-838:59:59.999999', 7, 'äö', " +
				"'ä', POINT(1, 2), 1.5, _sjis 0x955C, 'a', '2020-00-00'), (3.4e38, 0, b'0', '', NULL, NULL, " +
				"'[]', '', 0, 0, 0, 0, " +
				"'', '', NULL, 0, '', '', 0), (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, " +
				"NULL, NULL, NULL, " +
				"'\\\\N', NULL, NULL, '\\\\N', '\\\\N', NULL)"}},
	}
}

func oddFormats() []oddTable {
	var formats []string
	for _, format := range []string{"REDUNDANT", "COMPACT", "DYNAMIC", "COMPRESSED", "COMPRESSED KEY_BLOCK_SIZE=2"} {
		name := strings.ToLower(strings.NewReplacer(" ", "_", "=", "_").Replace(format))
		formats = append(formats, "CREATE TABLE "+name+" (a INT PRIMARY KEY, b LONGTEXT, c VARCHAR(100), KEY "+
			"(c)) ROW_FORMAT="+format,
			"INSERT INTO "+name+" SELECT seq, REPEAT(seq, seq * 40), CONCAT('c', seq) FROM seq_1_to_200")
	}
	return []oddTable{
		{name: "row formats", way: byFiles, make: formats},
		{name: "PAGE_COMPRESSED", way: byFiles, make: []string{
			"CREATE TABLE t (a INT PRIMARY KEY, b TEXT, KEY (b(9))) PAGE_COMPRESSED=1 PAGE_COMPRESSION_LEVEL=9",
			"INSERT INTO t SELECT seq, REPEAT('y', 500) FROM seq_1_to_300",
			"CREATE TABLE p (a INT PRIMARY KEY, b TEXT) PAGE_COMPRESSED=1 PARTITION BY HASH (a) PARTITIONS 2",
			rows("p", 100)}},
		{name: "encrypted", way: byFiles, make: []string{
			"CREATE TABLE one (a INT PRIMARY KEY, b INT, KEY (b)) ENCRYPTED=YES", rows("one", 500),
			"CREATE TABLE two (a INT PRIMARY KEY, b TEXT, FULLTEXT (b)) ENCRYPTED=YES ENCRYPTION_KEY_ID=2",
			rows("two", 500),
			"CREATE TABLE small (a INT PRIMARY KEY) ENCRYPTED=YES ENCRYPTION_KEY_ID=2 ROW_FORMAT=COMPRESSED",
			rows("small", 500),
			"CREATE TABLE holes (a INT PRIMARY KEY) ENCRYPTED=YES ENCRYPTION_KEY_ID=2 PAGE_COMPRESSED=1",
			rows("holes", 500),
			"CREATE TABLE never (a INT PRIMARY KEY) ENCRYPTED=NO", rows("never", 500),
			"CREATE TABLE parts (a INT PRIMARY KEY) ENCRYPTED=YES PARTITION BY HASH (a) PARTITIONS 2",
			rows("parts", 500)}},
		{name: "AUTO_INCREMENT far ahead", way: byFiles, make: []string{
			"CREATE TABLE t (a INT PRIMARY KEY AUTO_INCREMENT) AUTO_INCREMENT=1000000", "INSERT INTO t VALUES (NULL)",
			"CREATE TABLE gone (a BIGINT UNSIGNED PRIMARY KEY AUTO_INCREMENT)", "INSERT INTO gone VALUES (5000000000)",
			"DELETE FROM gone",
			"CREATE TABLE p (a INT PRIMARY KEY AUTO_INCREMENT) PARTITION BY HASH (a) PARTITIONS 3",
			"INSERT INTO p VALUES (777)",
			"DELETE FROM p"},
			same: []string{autoIncrement("t"), autoIncrement("gone"), autoIncrement("p")}},
		{name: "AUTO_INCREMENT of Aria and MyISAM", way: byRows, make: []string{
			"CREATE TABLE t (a INT PRIMARY KEY AUTO_INCREMENT) ENGINE=Aria", "INSERT INTO t VALUES (4711)",
			"DELETE FROM t",
			"CREATE TABLE m (b INT, a INT AUTO_INCREMENT, PRIMARY KEY (b, a)) ENGINE=MyISAM",
			"INSERT INTO m (b) VALUES (1), (1), (2)",
			"SET SESSION sql_mode='NO_AUTO_VALUE_ON_ZERO'", "INSERT INTO m VALUES (9, 0)"},
			same: []string{autoIncrement("t")}},
		{name: "no primary key, and nothing in it", way: byFiles, make: []string{
			"CREATE TABLE t (a INT)", rows("t", 100), "CREATE TABLE nothing (a INT, KEY (a))",
			"CREATE TABLE nothings (a INT) PARTITION BY HASH (a) PARTITIONS 2"}},
		{name: "long rows", way: byFiles, make: []string{
			"CREATE TABLE t (a INT PRIMARY KEY, b LONGBLOB)",
			"INSERT INTO t SELECT seq, REPEAT(CHAR(seq), 300000) FROM seq_1_to_5"}},
		{name: "options and comments", way: byFiles, make: []string{
			"CREATE TABLE t (a INT COMMENT 'it''s (a, `b`)') COMMENT='a ''comment'' \\\\ with ENGINE=MyISAM' " +
				"STATS_PERSISTENT=1 " +
				"STATS_SAMPLE_PAGES=5 MAX_ROWS=10 CHECKSUM=1 CHARACTER SET latin1"}},
	}
}

func autoIncrement(table string) string {
	return "SELECT AUTO_INCREMENT FROM information_schema.TABLES WHERE TABLE_SCHEMA=DATABASE() AND " +
		"TABLE_NAME='" + table + "'"
}

func oddPartitions(folder string) []oddTable {
	return []oddTable{
		{name: "partitions", way: byFiles, make: []string{
			"CREATE TABLE by_range (a INT, b TEXT, KEY (a), PRIMARY KEY (a)) PARTITION BY RANGE (a) " +
				"(PARTITION low VALUES LESS " +
				"THAN (100), PARTITION `hi gh` VALUES LESS THAN (200), PARTITION `MAX#é` VALUES LESS THAN " +
				"MAXVALUE)", rows("by_range", 300),
			"CREATE TABLE by_list (a INT) PARTITION BY LIST (a) (PARTITION p1 VALUES IN (1, 2), PARTITION d " +
				"DEFAULT)", rows("by_list", 9),
			"CREATE TABLE by_key (a INT PRIMARY KEY, v INT AS (a + 1) VIRTUAL, KEY (v)) PARTITION BY KEY () " +
				"PARTITIONS 3", rows("by_key", 99),
			"CREATE TABLE by_columns (a INT, c VARCHAR(9)) PARTITION BY RANGE COLUMNS (c, a) (PARTITION p " +
				"VALUES LESS THAN ('m', 5), " +
				"PARTITION q VALUES LESS THAN (MAXVALUE, MAXVALUE))",
			"INSERT INTO by_columns VALUES (1, 'a'), (2, 'z')"}},
		{name: "subpartitions", way: byFiles, make: []string{
			"CREATE TABLE t (a INT PRIMARY KEY) PARTITION BY RANGE (a) SUBPARTITION BY HASH (a) (PARTITION p " +
				"VALUES LESS THAN (10) " +
				"(SUBPARTITION s0, SUBPARTITION `s 1`), PARTITION q VALUES LESS THAN MAXVALUE (SUBPARTITION " +
				"s2, SUBPARTITION s3))",
			rows("t", 30)}},
		{name: "instant in partitions", way: byFiles, make: []string{
			"CREATE TABLE t (a INT PRIMARY KEY, b INT) PARTITION BY HASH (a) PARTITIONS 2", rows("t", 20),
			"ALTER TABLE t ADD c INT DEFAULT 3 FIRST, DROP b, ALGORITHM=INSTANT",
			"INSERT INTO t (a) VALUES (100), (101)"}},
		{name: "partitions of other engines", way: byRows, make: []string{
			"CREATE TABLE t (a INT) ENGINE=Aria PARTITION BY HASH (a) PARTITIONS 2", rows("t", 20),
			"CREATE TABLE u (a INT) ENGINE=MyISAM PARTITION BY HASH (a) PARTITIONS 2", rows("u", 20)}},
		{name: "DATA DIRECTORY", since: "10.6", way: byFiles, make: []string{
			"CREATE TABLE t (a INT PRIMARY KEY) DATA DIRECTORY='" + folder + "'", rows("t", 20),
			"CREATE TABLE p (a INT PRIMARY KEY) PARTITION BY RANGE (a) (PARTITION x VALUES LESS THAN (10) " +
				"DATA DIRECTORY='" +
				folder + "', PARTITION y VALUES LESS THAN MAXVALUE)", rows("p", 20)}},
	}
}

func oddIndexes() []oddTable {
	const words = "'the quick brown fox'), (2, 'jumps over the lazy dog'), (3, NULL"
	const search = " WHERE MATCH (b) AGAINST ('+quick' IN BOOLEAN MODE)"
	return []oddTable{
		{name: "FULLTEXT", way: byFiles, make: []string{
			"CREATE TABLE hidden (a INT PRIMARY KEY, b TEXT, c TEXT, FULLTEXT `a b` (b), FULLTEXT (c, b))",
			"INSERT INTO hidden (a, b) VALUES (1, " + words + ")", "DELETE FROM hidden WHERE a = 2",
			"CREATE TABLE own (FTS_DOC_ID BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, b TEXT, FULLTEXT (b))",
			"INSERT INTO own VALUES (1, " + words + ")",
			"CREATE TABLE uniq (FTS_DOC_ID BIGINT UNSIGNED NOT NULL, b TEXT, UNIQUE KEY FTS_DOC_ID_INDEX " +
				"(FTS_DOC_ID), FULLTEXT (b))",
			"INSERT INTO uniq VALUES (1, " + words + ")",
			"CREATE TABLE was (a INT PRIMARY KEY, b TEXT, FULLTEXT k (b))", "INSERT INTO was VALUES (1, " + words + ")",
			"ALTER TABLE was DROP INDEX k", "INSERT INTO was VALUES (7, 'later')"},
			same: []string{"SELECT COUNT(*) FROM hidden" + search, "SELECT COUNT(*) FROM own" + search,
				"SELECT COUNT(*) FROM uniq" + search}},
		{name: "spatial", way: byFiles, make: []string{
			"CREATE TABLE t (a INT, p POINT NOT NULL, g GEOMETRY NOT NULL, SPATIAL KEY (p), SPATIAL KEY (g))",
			"INSERT INTO t SELECT seq, POINT(seq, seq), ST_GeomFromText('LINESTRING(0 0,1 1,2 2)') FROM seq_1_to_200"},
			same: []string{"SELECT COUNT(*) FROM t WHERE MBRContains(ST_GeomFromText('Polygon((0 0,0 9,9 9,9 " +
				"0,0 0))'), p)"}},
		{name: "long unique", way: byFiles, files: "10.6", make: []string{
			"CREATE TABLE t (a INT, b TEXT, UNIQUE (b), UNIQUE `h` (a) USING HASH)",
			"INSERT INTO t SELECT seq, REPEAT(seq, 2000) FROM seq_1_to_50"}},
		{name: "IGNORED", since: "10.6", way: byFiles, make: []string{
			"CREATE TABLE t (a INT, KEY k (a) IGNORED)", rows("t", 20)}},
		{name: "DESC", since: "10.8", way: byFiles, make: []string{
			"CREATE TABLE t (a INT, b INT DEFAULT 3, PRIMARY KEY (a DESC), KEY (b DESC, a))", rows("t", 2000)}},
		{name: "prefixes and collations", way: byFiles, make: []string{
			"CREATE TABLE t (a INT, b VARCHAR(500) COLLATE utf8mb4_unicode_nopad_ci, c BLOB, KEY (b(20)), KEY " +
				"(c(30), a)) " +
				"CHARACTER SET utf8mb4", "INSERT INTO t SELECT seq, CONCAT('ä', seq, ' '), seq FROM seq_1_to_100"}},
		{name: "VECTOR", since: "11.7", way: byRows, make: []string{
			"CREATE TABLE t (a INT PRIMARY KEY, v VECTOR(3) NOT NULL, VECTOR INDEX (v) M=8 DISTANCE=cosine)",
			"INSERT INTO t SELECT seq, VEC_FromText(CONCAT('[1,2,', seq, ']')) FROM seq_1_to_50"},
			same: []string{"SELECT GROUP_CONCAT(a) FROM (SELECT a FROM t ORDER BY VEC_DISTANCE_COSINE(v, " +
				"VEC_FromText('[1,2,9]')) " +
				"LIMIT 3) q"}},
		{name: "VECTOR column without an index", since: "11.7", way: byFiles, make: []string{
			"CREATE TABLE t (a INT PRIMARY KEY, v VECTOR(2))",
			"INSERT INTO t VALUES (1, VEC_FromText('[1,2]')), (2, NULL)"}},
	}
}

func oddKeys() []oddTable {
	return []oddTable{
		{name: "foreign keys", way: byFiles, make: []string{
			"CREATE TABLE self (a INT PRIMARY KEY, b INT, KEY (b), CONSTRAINT up FOREIGN KEY (b) REFERENCES " +
				"self (a) ON DELETE SET NULL)",
			"INSERT INTO self VALUES (1, NULL), (2, 1), (3, 2), (4, 4)",
			"CREATE TABLE parent (a INT, b INT, PRIMARY KEY (a, b))",
			"INSERT INTO parent SELECT seq, seq FROM seq_1_to_50",
			"CREATE TABLE a_child (c INT, d INT, KEY (c, d), CONSTRAINT `both (c, d)` FOREIGN KEY (c, d) " +
				"REFERENCES parent (a, b) " +
				"ON UPDATE CASCADE ON DELETE RESTRICT)", "INSERT INTO a_child SELECT seq, seq FROM seq_1_to_50",
			"CREATE TABLE one (a INT PRIMARY KEY, b INT, KEY (b))", "CREATE TABLE two (a INT PRIMARY KEY, b INT, " +
				"FOREIGN KEY (b) REFERENCES one (a))", "ALTER TABLE one ADD FOREIGN KEY (b) REFERENCES two (a)",
			"INSERT INTO one VALUES (1, NULL)", "INSERT INTO two VALUES (1, 1)", "UPDATE one SET b = 1"}},
		{name: "triggers", way: byFiles, make: []string{
			"CREATE TABLE t (a INT PRIMARY KEY, n INT)", "CREATE TABLE log (a INT, w TEXT)",
			"CREATE TRIGGER one BEFORE INSERT ON t FOR EACH ROW SET NEW.n = COALESCE(NEW.n, 0) + 1",
			"CREATE TRIGGER three BEFORE INSERT ON t FOR EACH ROW SET NEW.n = NEW.n * 10",
			"CREATE TRIGGER two BEFORE INSERT ON t FOR EACH ROW FOLLOWS one SET NEW.n = NEW.n + 7",
			"CREATE TRIGGER `a ``trigger``` AFTER DELETE ON t FOR EACH ROW INSERT INTO log VALUES (OLD.a, 'gone')",
			rows("t", 20), "DELETE FROM t WHERE a = 7"}},
		{name: "sequences", way: byRows, make: []string{
			"CREATE SEQUENCE s START WITH 100 INCREMENT BY 5 CACHE 3", "DO NEXTVAL(s)", "DO NEXTVAL(s)",
			"CREATE SEQUENCE down START WITH -1 INCREMENT BY -1 MINVALUE -10 MAXVALUE -1 CYCLE NOCACHE",
			"DO NEXTVAL(down)",
			"CREATE SEQUENCE aria ENGINE=Aria", "CREATE TABLE t (a INT DEFAULT NEXTVAL(s), b INT) ENGINE=Aria",
			"INSERT INTO t (b) VALUES (1)"}},
	}
}

func oddNames() []oddTable {
	long := strings.Repeat("l", 63)
	return []oddTable{{name: "names", way: byFiles, files: "10.6", make: []string{
		"CREATE TABLE " + long + "1 (" + long + "a INT, " + long + "b INT, KEY " + long + "k (" + long + "b), " +
			"CONSTRAINT " + long +
			"f FOREIGN KEY (" + long + "b) REFERENCES " + long + "2 (" + long + "a))",
		"CREATE TABLE " + long + "2 (" + long + "a INT PRIMARY KEY)", "INSERT INTO " + long + "2 VALUES (1)",
		"INSERT INTO " + long + "1 VALUES (1, 1)", "CREATE TABLE `" + strings.Repeat("表", 49) + "` (`列` INT, `" +
			strings.Repeat("é", 64) + "` INT)", "INSERT INTO `" + strings.Repeat("表", 49) + "` VALUES (1, 2)",
		"CREATE TABLE `a.b` (`c.d` INT, `e``f` INT, `g'h` INT, `i\"j` INT, `k/l` INT, `m\\n` INT, KEY `o``p, " +
			"(` (`e``f`))",
		"INSERT INTO `a.b` VALUES (1, 2, 3, 4, 5, 6)", "CREATE TABLE `a#P#b` (a INT)", rows("`a#P#b`", 5),
		"CREATE TABLE `it's / a ``näme`` \\\\ \"#sql` (a INT) PARTITION BY HASH (a) PARTITIONS 2",
		rows("`it's / a ``näme`` \\\\ \"#sql`", 5), "CREATE TABLE `-- x` (`/* y */` INT)",
		"CREATE TABLE `select` (`from` INT, KEY `where` (`from`))",
		"CREATE TABLE Case_ (A INT)", "INSERT INTO Case_ VALUES (1)", "CREATE TABLE ` .x` (a INT)",
		"CREATE TABLE `con` (a INT)",
	}}}
}

func oddEngines() []oddTable {
	return []oddTable{
		{name: "ARCHIVE", way: byRows, make: []string{
			"CREATE TABLE t (a INT AUTO_INCREMENT, b TEXT, KEY (a)) ENGINE=ARCHIVE", rows("t", 50)}},
		{name: "CSV", way: byRows, make: []string{
			"CREATE TABLE t (a INT NOT NULL, b VARCHAR(20) NOT NULL) ENGINE=CSV",
			"INSERT INTO t VALUES (1, 'a,\"b\\n'), (2, '\\\\')"}},
		{name: "MEMORY", way: byRows, make: []string{
			"CREATE TABLE t (a INT, KEY (a) USING BTREE) ENGINE=MEMORY", rows("t", 50)}},
		{name: "BLACKHOLE", way: byText, make: []string{"CREATE TABLE t (a INT PRIMARY KEY) ENGINE=BLACKHOLE",
			rows("t", 50)}},
		{name: "MyISAM", way: byRows, same: []string{"SELECT GROUP_CONCAT(e + 0, s + 0 ORDER BY a) FROM marks"},
			make: []string{
				"CREATE TABLE t (a INT, b VARCHAR(20), FULLTEXT (b), KEY (a)) ENGINE=MyISAM ROW_FORMAT=FIXED",
				rows("t", 50),
				"CREATE TABLE marks (a INT, e ENUM('', 'x'), s SET('', 'y')) ENGINE=MyISAM", rows("marks", 3),
				"SET SESSION sql_mode=''", "UPDATE marks SET e='wrong', s='wrong' WHERE a = 1",
				"UPDATE marks SET e='', s='' WHERE a = 2",
				"CREATE TABLE packed (a INT PRIMARY KEY, b CHAR(100)) ENGINE=MyISAM PACK_KEYS=1 CHECKSUM=1",
				rows("packed", 50)}},
		{name: "Aria", way: byRows, make: []string{
			"CREATE TABLE t (a INT, KEY (a)) ENGINE=Aria TRANSACTIONAL=0", rows("t", 50),
			"CREATE TABLE u (a INT PRIMARY KEY, b TEXT) ENGINE=Aria TRANSACTIONAL=1 PAGE_CHECKSUM=1", rows("u", 50),
			"DELETE FROM u WHERE a < 20"}},
		{name: "MERGE", make: []string{
			"CREATE TABLE one (a INT) ENGINE=MyISAM", rows("one", 5), "CREATE TABLE two (a INT) ENGINE=MyISAM",
			rows("two", 5),
			"CREATE TABLE t (a INT) ENGINE=MERGE UNION=(one, two) INSERT_METHOD=LAST"}},
	}
}

// database is the name of the database of a case.
func (o oddTable) database(number int) string { return fmt.Sprintf("odd_%02d", number) }

// Odd tables of all kinds come back into a running server, with the same rows and indexes, and
// are still there after a crash. With MBK_TEST_VERSIONS they are replaced, too.
func TestOddTablesIntoServer(t *testing.T) {
	t.Parallel()
	thorough := len(mariadbtest.Some(t, 1, 2)) > 1
	for _, version := range mariadbtest.Some(t, mariadbtest.Versions()...) {
		x := newOdd(t, version)
		before, err := mariadbtest.CheckTables(t.Context(), x.srv)
		if err != nil {
			t.Fatal(err)
		}
		x.srv.MustExec(t, x.drop...)
		r := document[tablerestore.Report](t, into(x.srv, x.repository, "--database", "odd_*")...)
		for _, one := range r.Tables {
			o := x.caseOf(one.Table)
			if o.way != "" && one.Way != o.way && !older(version, o.files) {
				t.Errorf("%s, %s: %s was restored by %s: %s", version, o.name, one.Table, one.Way, one.Reason)
			}
		}
		for _, line := range slices.Concat(r.Warnings, hint.Strings(r.Notes)) {
			t.Logf("%s: %s", version, line)
		}
		x.wantAll(t, "after the databases were dropped")
		// A crash at once: nothing may be only in memory.
		if err := x.srv.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := x.srv.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		x.wantAll(t, "after a crash")
		if thorough {
			must(t, into(x.srv, x.repository, "--table", "odd_*.*", "--replace", "--drop-old")...)
			x.wantAll(t, "after they were replaced")
			if err := x.srv.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			x.wantAll(t, "after a restart")
		}
		findings, err := mariadbtest.CheckTables(t.Context(), x.srv)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range findings {
			if !slices.Contains(before, line) {
				t.Errorf("%s: CHECK TABLE: %s", version, x.named(line))
			}
		}
		files, err := filepath.Glob(filepath.Join(x.srv.Datadir, "odd_*", "*mbk_restore*"))
		if err != nil || len(files) > 0 {
			t.Errorf("%s: left are %q (%v)", version, files, err)
		}
	}
}

// odd is a server with the odd tables, and its backup.
type odd struct {
	srv        *mariadbtest.Server
	version    string
	cases      []oddTable
	drop       []string // statements that drop them
	repository string
	want       mariadbtest.Snapshot
	answers    map[string]string // by the queries
}

func newOdd(t *testing.T, version string) *odd {
	t.Helper()
	keys, err := mariadbtest.EncryptionArgs(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	x := &odd{srv: mariadbtest.New(t, version, keys[:2]...), version: version, repository: t.TempDir()}
	x.srv.MustExec(t, "INSTALL SONAME 'ha_archive'", "INSTALL SONAME 'ha_blackhole'")
	x.cases = slices.DeleteFunc(oddTables(t.TempDir()), func(o oddTable) bool { return older(version, o.since) })
	for i, o := range x.cases {
		name := o.database(i)
		x.srv.MustExec(t, slices.Concat([]string{"CREATE DATABASE " + name + " CHARACTER SET utf8mb4", "USE " + name,
			"SET SESSION foreign_key_checks=0"}, o.make)...)
		x.drop = append(x.drop, "DROP DATABASE "+name)
	}
	// What the statistics say of AUTO_INCREMENT is so after a restart.
	if err := x.srv.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	x.answers = x.ask(t)
	document[taken](t, backupArgs(x.srv, x.repository)...)
	x.want = x.snapshot(t)
	return x
}

// ask has the queries of all cases answered.
func (x *odd) ask(t *testing.T) map[string]string {
	t.Helper()
	answers := map[string]string{}
	for i, o := range x.cases {
		for _, query := range o.same {
			answers[o.name+": "+query] = oddAnswer(t, x.srv, o.database(i), query)
		}
	}
	return answers
}

// wantAll wants everything to be as it was.
func (x *odd) wantAll(t *testing.T, when string) {
	t.Helper()
	for _, line := range mariadbtest.Diff(x.snapshot(t), x.want) {
		t.Errorf("%s, %s: %s", x.version, when, x.named(line))
	}
	for query, answer := range x.ask(t) {
		if want := x.answers[query]; answer != want {
			t.Errorf("%s, %s: %s: got %s, want %s", x.version, when, query, answer, want)
		}
	}
}

// Names that the server folds are found, those of partitions too. A table of MERGE needs those that
// it is made of.
func TestFoldedNamesIntoServer(t *testing.T) {
	t.Parallel()
	for _, version := range mariadbtest.Some(t, mariadbtest.Versions()...) {
		srv := mariadbtest.New(t, version, "--lower-case-table-names=1")
		srv.MustExec(t, "CREATE DATABASE Shop", "USE Shop", "CREATE TABLE Orders (A INT PRIMARY KEY, b INT, KEY (b))",
			"CREATE TABLE `Größen` (a INT PRIMARY KEY) PARTITION BY RANGE (a) SUBPARTITION BY HASH (a) "+
				"(PARTITION Low VALUES LESS THAN (10) (SUBPARTITION S0, SUBPARTITION `S É`), "+
				"PARTITION HIGH VALUES LESS THAN MAXVALUE (SUBPARTITION s2, SUBPARTITION s3))",
			"INSERT INTO ORDERS SELECT seq, seq FROM seq_1_to_50", "INSERT INTO `GRÖßEN` SELECT seq FROM seq_1_to_50",
			"CREATE TABLE One (a INT) ENGINE=MyISAM", "INSERT INTO one VALUES (1)",
			"CREATE TABLE Merged (a INT) ENGINE=MERGE UNION=(One)")
		repository := t.TempDir()
		document[taken](t, backupArgs(srv, repository)...)
		want := tablesOf(t, srv)
		srv.MustExec(t, "DROP TABLE Shop.Merged")
		o := mbk(t, into(srv, repository, "--table", "shop.MERGED")...)
		o.wantRefusal(t, 1, "tables that it is made of", "underlying table")
		srv.MustExec(t, "DROP DATABASE shop")
		r := document[tablerestore.Report](t, into(srv, repository, "--database", "SHOP")...)
		for _, one := range r.Tables {
			if one.Engine == "InnoDB" && one.Way != byFiles {
				t.Errorf("%s: %s was restored by %s: %s", version, one.Table, one.Way, one.Reason)
			}
		}
		if err := srv.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantShop(t, version+", after the database was dropped", srv, want)
	}
}

// The dictionary of a server before 10.6 has the paths of tables with DATA DIRECTORY. A part of its
// backup is not recovered, since that would lead the private server to the files in use.
func TestDataDirectoryNotIntoServer(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	srv := mariadbtest.New(t, "10.5")
	srv.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.t (a INT) DATA DIRECTORY='"+folder+"'",
		"CREATE TABLE d.u (a INT)",
		"INSERT INTO d.t VALUES (1)")
	repository := t.TempDir()
	must(t, backupArgs(srv, repository)...)
	for _, table := range []string{"d.t", "d.u"} {
		o := mbk(t, into(srv, repository, "--table", table, "--as", "d.v")...)
		o.wantRefusal(t, 2, "restore everything", "DATA DIRECTORY", "dictionary")
	}
	if n := srv.MustValue(t, "SELECT COUNT(*) FROM d.t"); n != "1" {
		t.Errorf("d.t has %s rows", n)
	}
}

// oddAnswer asks in a database.
func oddAnswer(t *testing.T, srv *mariadbtest.Server, database, query string) string {
	t.Helper()
	conn, err := srv.DB().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close() //nolint:errcheck // only read
	if _, err := conn.ExecContext(t.Context(), "USE "+database); err != nil {
		return err.Error()
	}
	var answer *string
	if err := conn.QueryRowContext(t.Context(), query).Scan(&answer); err != nil {
		return err.Error()
	}
	if answer == nil {
		return "NULL"
	}
	return *answer
}

// elsewhere is what a definition says of files outside of the data directory.
var elsewhere = regexp.MustCompile(` DATA DIRECTORY ?= ?'[^']*'`)

// snapshot is one of the odd tables, without what a restore gives up: DATA DIRECTORY.
func (x *odd) snapshot(t *testing.T) mariadbtest.Snapshot {
	t.Helper()
	all, err := mariadbtest.TakeSnapshot(t.Context(), x.srv)
	if err != nil {
		t.Fatal(err)
	}
	for o, text := range all {
		if all[o] = elsewhere.ReplaceAllString(text, ""); !strings.HasPrefix(o.Name, "`odd_") {
			delete(all, o)
		}
	}
	return all
}

// caseOf is the case of a name that begins with the name of its database.
func (x *odd) caseOf(name string) oddTable {
	for i, o := range x.cases {
		if strings.HasPrefix(strings.TrimPrefix(name, "`"), o.database(i)) {
			return o
		}
	}
	return oddTable{name: "no case"}
}

// named puts the name of the case before a line about one of its tables.
func (x *odd) named(line string) string {
	if i := strings.Index(line, "odd_"); i >= 0 {
		return x.caseOf(line[i:]).name + ": " + line
	}
	return line
}
