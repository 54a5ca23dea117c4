package binlog_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mbk/internal/binlog"
	"mbk/internal/binlog/logfiles"
	"mbk/internal/test/mariadbtest"
)

// summaries reads all transactions of a server's log, in their order.
func summaries(t *testing.T, s *mariadbtest.Server) (all []*binlog.Transaction) {
	t.Helper()
	l, err := logfiles.Open(s.Datadir)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // of a test
	sum := binlog.Summarizer{WithStatements: true}
	for _, name := range l.Names {
		file, err := l.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close() //nolint:errcheck // of a test
		r := binlog.NewReader(file, binlog.MaxEvent)
		var c binlog.Cutter
		for {
			e, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			part, _, err := c.Next(e)
			if err != nil {
				t.Fatal(err)
			}
			begin, _ := c.Begun()
			if done := sum.Add(e, part, begin); done != nil {
				all = append(all, done)
			}
		}
	}
	return all
}

// describe makes a line of a transaction.
func describe(x *binlog.Transaction) string {
	if x == nil {
		return "not there"
	}
	text := fmt.Sprint(x.Kinds)
	for _, c := range x.Tables {
		text += fmt.Sprintf(" %s+%d~%d-%d", c.Name, c.Inserted, c.Updated, c.Deleted)
	}
	if !x.TablesKnown {
		text += " tables?"
	}
	if !x.RowsKnown {
		text += " rows?"
	}
	return text
}

// columns has columns of all kinds, each once without a value and once with its longest.
const columns = `a INT AUTO_INCREMENT PRIMARY KEY, c01 TINYINT, c02 SMALLINT, c03 MEDIUMINT, c04 BIGINT UNSIGNED,
	c05 FLOAT, c06 DOUBLE, c07 DECIMAL(65,30), c08 DECIMAL(10,0), c09 DECIMAL(9,9), c10 BIT(1), c11 BIT(64), c12 BIT(17),
	c13 DATE, c14 TIME, c15 TIME(3), c16 DATETIME, c17 DATETIME(6), c18 TIMESTAMP NULL, c19 TIMESTAMP(1) NULL, c20 YEAR,
	c21 CHAR(1), c22 CHAR(255) CHARACTER SET utf8mb4, c23 VARCHAR(255) CHARACTER SET latin1, c24 VARCHAR(2000),
	c25 BINARY(255), c26 VARBINARY(3000), c27 TINYBLOB, c28 BLOB, c29 MEDIUMBLOB, c30 LONGTEXT, c31 ENUM('a','b'),
	c32 SET('a','b','c','d','e','f','g','h','i'), c33 POINT, c34 JSON, c35 VARCHAR(3000) COMPRESSED, c36 BLOB COMPRESSED,
	c37 INT AS (c02+1) VIRTUAL, c38 INT AS (c02+2) STORED, c39 INET6`

const values = `1, 2, 3, 4, 5.5, 6.5, 7.25, 8, 0.5, 1, 5, 6, '2026-11-30', '11:59:00', '11:59:00.5', NOW(), NOW(6), NOW(),
	NOW(), 2026, 'x', REPEAT('ü', 255), REPEAT('x', 255), REPEAT('y', 2000), 'b', REPEAT('z', 3000), REPEAT('t', 255),
	REPEAT('u', 60000), REPEAT('v', 70000), REPEAT('w', 70000), 'b', 'a,i', POINT(1, 2), '[1]', REPEAT('c', 3000),
	REPEAT('d', 3000), DEFAULT, DEFAULT, '::1'`

// What statements and rows of all kinds do is told as the server says it: in both versions of the
// events of rows, compressed, with images of all columns and of few.
func TestSummary(t *testing.T) {
	t.Parallel()
	for _, version := range mariadbtest.Some(t, "10.5", "10.11", "11.8") {
		for _, args := range [][]string{
			{"--log-bin-compress=ON", "--log-bin-compress-min-len=10", "--binlog-row-image=MINIMAL"},
			{"--binlog-annotate-row-events=ON", "--mysql56-temporal-format=ON", "--binlog-row-image=FULL"},
		} {
			s := mariadbtest.New(t, version, append(args, "--binlog-format=ROW")...)
			summarize(t, s, args[0] != "--log-bin-compress=ON")
		}
	}
}

func summarize(t *testing.T, s *mariadbtest.Server, annotated bool) {
	t.Helper()
	load := filepath.Join(s.Datadir, "load.txt")
	if err := os.WriteFile(load, []byte("2\n8\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprintf("(NULL, %s), (NULL, %s), (NULL%s)", values, values,
		strings.Repeat(", NULL", 36)+", DEFAULT, DEFAULT, NULL")
	steps := [][]string{ // a statement or several, and what is told of the transaction
		{"CREATE DATABASE d", "[ddl create] d.*+0~0-0"},
		{"CREATE TABLE d.t (" + columns + ")", "[ddl create] d.t+0~0-0"},
		{"INSERT INTO d.t VALUES " + all, "[insert] d.t+3~0-0"},
		{"UPDATE d.t SET c01=c01+1, c30=CONCAT(c30, 'x') WHERE c01 IS NOT NULL", "[update] d.t+0~2-0"},
		{"DELETE FROM d.t WHERE c01 IS NULL", "[delete] d.t+0~0-1"},
		{"CREATE TABLE d.u (a INT PRIMARY KEY) SELECT a FROM d.t", "[ddl create insert] d.u+2~0-0"},
		{"REPLACE INTO d.u VALUES (1), (7)", "[insert] d.u+1~0-0"},
		{"LOAD DATA INFILE '" + load + "' REPLACE INTO TABLE d.u", "[insert] d.u+1~0-0"},
		{"BEGIN", "SAVEPOINT a", "DELETE FROM d.u", "INSERT INTO d.t (c01) VALUES (1), (2)", "COMMIT",
			"[insert delete] d.u+0~0-4 d.t+2~0-0"},
		{"TRUNCATE d.u", "[ddl truncate] d.u+0~0-0"},
		{"ALTER TABLE d.u ADD b INT, RENAME TO d.v", "[ddl alter] d.u+0~0-0 d.v+0~0-0"},
		{"RENAME TABLE d.v TO d.w, d.t TO d.x", "[ddl rename] d.v+0~0-0 d.w+0~0-0 d.t+0~0-0 d.x+0~0-0"},
		{"CREATE USER u@localhost IDENTIFIED BY 'secret'", "[ddl account]"},
		{"CREATE TRIGGER d.tr AFTER INSERT ON d.w FOR EACH ROW SET @a=1", "[ddl create] d.w+0~0-0"},
		{"DROP TRIGGER d.tr", "[ddl drop] tables?"},
		{"CREATE PROCEDURE d.p() SELECT 1", "[ddl create]"},
		{"SET binlog_format=STATEMENT", "INSERT INTO d.w VALUES (1, 2), (3, 4)", "[insert] d.w+0~0-0 rows?"},
		{"SET binlog_format=STATEMENT", "USE d", "UPDATE w AS y SET y.b=1", "[update] d.w+0~0-0 rows?"},
		{"SET binlog_format=STATEMENT", "UPDATE d.w, d.x SET d.x.c01=1", "[update] d.w+0~0-0 tables? rows?"},
		{"SET binlog_format=STATEMENT", "LOAD DATA INFILE '" + load + "' REPLACE INTO TABLE d.w (a)",
			"[insert] d.w+0~0-0 rows?"},
		{"XA START 'x'", "INSERT INTO d.w VALUES (9, 9)", "XA END 'x'", "XA PREPARE 'x'", "XA COMMIT 'x'",
			"[insert] d.w+1~0-0"},
		{"DROP TABLE d.w, d.x", "[ddl drop] d.w+0~0-0 d.x+0~0-0"},
		{"DROP DATABASE d", "[ddl drop] d.*+0~0-0"},
	}
	for _, step := range steps {
		before := len(summaries(t, s))
		s.MustExec(t, step[:len(step)-1]...)
		got := summaries(t, s)[before:]
		want := step[len(step)-1]
		if len(got) == 0 || describe(got[0]) != want {
			t.Errorf("%s: %.300s: %d transactions, the first is %s; want %s", s.Dist.Version, step[0], len(got),
				describe(first(got)), want)
			continue
		}
		shown := strings.Join(got[0].Statements, "; ")
		ddl := slices.Contains(got[0].Kinds, binlog.KindDDL)
		if statement := step[len(step)-2]; annotated && !ddl && len(step) == 2 && !strings.HasPrefix(shown, statement[:15]) {
			t.Errorf("%s: %.100s is shown as %.200q", s.Dist.Version, statement, shown)
		}
		if strings.Contains(shown, "secret") {
			t.Errorf("%s: a password is shown: %q", s.Dist.Version, shown)
		}
		if ddl && got[0].Thread == 0 {
			t.Errorf("%s: %.100s has no thread", s.Dist.Version, step[0])
		}
	}
}

func first(list []*binlog.Transaction) *binlog.Transaction {
	if len(list) == 0 {
		return nil
	}
	return list[0]
}

// What the text of a statement tells, and where it does not tell all.
func TestParseStatement(t *testing.T) {
	for text, want := range map[string]string{
		"drop table if exists `a b`.`x``y`, t2":                                         "[ddl drop] a b.x`y d.t2",
		"DROP TABLE IF EXISTS `t` /* generated by server */":                            "[ddl drop] d.t",
		"/* who */ DROP /*!40005 TEMPORARY */ TABLE a.b -- c":                           "[ddl drop] a.b",
		"CREATE OR REPLACE DEFINER=`TABLE`@`%` SQL SECURITY DEFINER VIEW v AS SELECT 1": "[ddl create] d.v",
		"create unique index i on s.t (a)":                                              "[ddl create] s.t",
		"CREATE TABLE IF NOT EXISTS `s`.`t` LIKE x":                                     "[ddl create] s.t",
		"ALTER DATABASE CHARACTER SET utf8mb4":                                          "[ddl alter] d.*",
		"CREATE DATABASE if not exists z":                                               "[ddl create] z.*",
		"ALTER TABLE t RENAME COLUMN a TO b":                                            "[ddl alter] d.t",
		"RENAME TABLE a TO b, c.d TO e":                                                 "[ddl rename] d.a d.b c.d d.e",
		"RENAME USER a TO b":                                                            "[ddl account]",
		"TRUNCATE TABLE t":                                                              "[ddl truncate] d.t",
		"insert ignore t values ('drop table x')":                                       "[insert] d.t",
		"INSERT INTO t SELECT * FROM u":                                                 "[insert] d.t",
		"UPDATE t SET a=1":                                                              "[update] d.t",
		"UPDATE t, u SET t.a=1":                                                         "[update] d.t tables?",
		"UPDATE t JOIN u USING (a) SET u.b=1":                                           "[update] d.t tables?",
		"DELETE FROM t":                                                                 "[delete] d.t",
		"DELETE a FROM t AS a, u":                                                       "[delete] d.a tables?",
		"DELETE FROM t USING t, u":                                                      "[delete] d.t tables?",
		"SET STATEMENT max_statement_time=0 FOR DELETE FROM t WHERE a='`'":              "[delete] d.t",
		"SET PASSWORD FOR a='x'":                                                        "[ddl account]",
		"SAVEPOINT `DROP TABLE t`":                                                      "[]",
		"XA START X'61'":                                                                "[]",
		"BEGIN NOT ATOMIC DELETE FROM t; END":                                           "[other] tables?",
		"WITH c AS (SELECT 1) UPDATE t SET a=1":                                         "[other] tables?",
		"SELECT f()":                                                                    "[other] tables?",
		"":                                                                              "[other] tables?",
		"DROP TABLE":                                                                    "[ddl drop] tables?",
		"DROP":                                                                          "[ddl drop] tables?",
	} {
		s := binlog.ParseStatement([]byte(text), "d")
		got := fmt.Sprint(s.Kinds)
		for _, n := range s.Tables {
			got += " " + n.String()
		}
		if !s.Known {
			got += " tables?"
		}
		if got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func FuzzParseStatement(f *testing.F) {
	f.Add([]byte("/*!40000 ALTER */ TABLE `a`.b RENAME TO c"), "d")
	f.Add([]byte("DELETE a, b.c FROM 'x\\'' \"y\"\""), "")
	f.Fuzz(func(t *testing.T, text []byte, database string) {
		s := binlog.ParseStatement(text, database)
		for _, n := range s.Tables {
			if len(n.Table) > len(text) || len(n.Database) > max(len(text), len(database)) {
				t.Errorf("%q names %q", text, n)
			}
		}
	})
}

// What is hostile is neither a panic, nor costs memory that the events do not have.
func FuzzSummary(f *testing.F) {
	for _, packed := range []bool{false, true} {
		f.Add(binlog.RowEvents(packed))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s := binlog.Summarizer{WithStatements: true}
		var c binlog.Cutter
		for len(b) >= binlog.HeaderSize {
			h, err := binlog.ParseHeader(b)
			if err != nil || int(h.Size) > len(b) {
				return
			}
			part, _, err := c.Next(b[:h.Size])
			if err != nil {
				return
			}
			begin, _ := c.Begun()
			done := s.Add(b[:h.Size], part, begin)
			if done != nil && (done.Rows < 0 || len(done.Statements) > 101) {
				t.Errorf("%d rows, %d statements", done.Rows, len(done.Statements))
			}
			b = b[h.Size:]
		}
	})
}

// The events that the fuzzer begins with are understood.
func TestRowEvents(t *testing.T) {
	for _, packed := range []bool{false, true} {
		b := binlog.RowEvents(packed)
		var s binlog.Summarizer
		var c binlog.Cutter
		got := ""
		for len(b) > 0 {
			h, err := binlog.ParseHeader(b)
			if err != nil {
				t.Fatal(err)
			}
			part, _, err := c.Next(b[:h.Size])
			if err != nil {
				t.Fatal(err)
			}
			begin, _ := c.Begun()
			if done := s.Add(b[:h.Size], part, begin); done != nil {
				got = describe(done)
			}
			b = b[h.Size:]
		}
		if want := "[insert] d.t+2~0-0 rows?"; got != want {
			t.Errorf("packed %v: %s, want %s", packed, got, want)
		}
	}
}
