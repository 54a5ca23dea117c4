package aria_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mbk/internal/aria"
	"mbk/internal/test/mariadbtest"
)

// What statements do to a transactional table between two readings of its header,
// and whether the log makes up for that. %s is the table; "seed" has 800 rows.
var changes = []struct {
	name     string
	before   []string // what was done before the first reading
	done     []string
	replayed bool // the log holds all of it, so that a copy made before still holds
}{
	{"a row", nil, []string{"INSERT INTO %s VALUES (NULL, 'x', 'y')"}, true},
	{"many rows", nil, []string{"INSERT INTO %s SELECT NULL, a, b FROM t.seed"}, true},
	{"keys changed", nil, []string{"UPDATE %s SET v = CONCAT(v, 'x')"}, true},
	{"rows deleted", nil, []string{"DELETE FROM %s WHERE id %% 2"}, true},
	{"all rows deleted, one by one", nil, []string{"DELETE FROM %s WHERE id > 0"}, true},
	{"rolled back", nil, []string{"!INSERT INTO %s VALUES (9000, 'x', 'y'), (9000, 'x', 'y')"}, true},
	{"high number", nil, []string{"INSERT INTO %s VALUES (5000, 'x', 'y')", "DELETE FROM %s WHERE id = 5000"}, true},
	{"analyzed", nil, []string{"ANALYZE TABLE %s"}, true},
	{"checked", nil, []string{"CHECK TABLE %s EXTENDED"}, true},
	{"comment", nil, []string{"ALTER TABLE %s COMMENT 'c'"}, true},
	{"no keys to disable", []string{"ALTER TABLE %s DROP KEY v, DROP KEY b"}, []string{"ALTER TABLE %s DISABLE KEYS"},
		true},
	{"keys disabled before", []string{"ALTER TABLE %s DISABLE KEYS"},
		[]string{"INSERT INTO %s SELECT NULL, a, b FROM t.seed"}, true},

	{"keys disabled", nil, []string{"ALTER TABLE %s DISABLE KEYS"}, false},
	{"keys disabled, then rows", nil, []string{"ALTER TABLE %s DISABLE KEYS",
		"INSERT INTO %s SELECT NULL, a, b FROM t.seed"}, false},
	{"keys disabled of no rows", []string{"DELETE FROM %s WHERE id > 0"}, []string{"ALTER TABLE %s DISABLE KEYS"},
		false},
	{"keys disabled and enabled", nil, []string{"ALTER TABLE %s DISABLE KEYS", "UPDATE %s SET v = 'x'",
		"ALTER TABLE %s ENABLE KEYS"}, false},
	{"keys disabled and enabled around one row", []string{"TRUNCATE %s"},
		[]string{"ALTER TABLE %s DISABLE KEYS", "INSERT INTO %s VALUES (1, 'x', 'y')", "ALTER TABLE %s ENABLE KEYS"},
		false},
	{"keys enabled", []string{"ALTER TABLE %s DISABLE KEYS", "UPDATE %s SET v = 'x'"},
		[]string{"ALTER TABLE %s ENABLE KEYS"}, false},
	{"keys enabled of no rows", []string{"TRUNCATE %s", "ALTER TABLE %s DISABLE KEYS"},
		[]string{"ALTER TABLE %s ENABLE KEYS"}, false},
	{"truncated", nil, []string{"TRUNCATE %s"}, false},
	{"bulk insert", []string{"TRUNCATE %s"}, []string{"INSERT INTO %s SELECT NULL, a, b FROM t.seed"}, false},
	{"bulk insert that failed", []string{"TRUNCATE %s"}, []string{"!INSERT INTO %s SELECT 1, a, b FROM t.seed"}, false},
	{"repaired", nil, []string{"REPAIR TABLE %s"}, false},
	{"repaired quickly", nil, []string{"REPAIR TABLE %s QUICK"}, false},
	{"optimized", []string{"DELETE FROM %s WHERE id %% 2"}, []string{"OPTIMIZE TABLE %s"}, false},
	{"altered", nil, []string{"ALTER TABLE %s FORCE"}, false},
	{"number set", nil, []string{"ALTER TABLE %s AUTO_INCREMENT = 7000"}, false},
	{"renamed to and fro", nil, []string{"RENAME TABLE %s TO t.away", "RENAME TABLE t.away TO %s"}, false},
}

// wantChangesMarked does the changes on a server that has schema.
func wantChangesMarked(t *testing.T, srv *mariadbtest.Server) {
	t.Helper()
	for i, c := range changes {
		table := fmt.Sprintf("t.change%d", i)
		do := func(statements []string) {
			for _, q := range statements {
				q, fails := strings.CutPrefix(q, "!")
				q = strings.Replace(q, "%%", "%", 1)
				q = strings.ReplaceAll(q, "%s", table)
				if err := srv.Exec(t.Context(), q); (err != nil) != fails {
					t.Fatalf("%s: %s: %v", c.name, q, err)
				}
			}
		}
		do([]string{"CREATE TABLE %s (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(50), b TEXT, KEY v (v), KEY b (b(20))) " +
			"ENGINE=Aria",
			"INSERT INTO %s SELECT n, a, b FROM t.seed LIMIT 300"})
		do(append(c.before, "FLUSH TABLES %s"))
		path := filepath.Join(srv.Datadir, strings.Replace(table, ".", "/", 1)+aria.IndexExt)
		first := readHeader(t, path)
		do(c.done)
		unflushed := readHeader(t, path)
		do([]string{"FLUSH TABLES %s"})
		later := readHeader(t, path)
		if got := first.Continues(later); got != c.replayed {
			t.Errorf("%s: Continues = %t, want %t\nfrom %+v\nto   %+v", c.name, got, c.replayed, first, later)
		}
		if c.replayed && !first.Continues(unflushed) {
			t.Errorf("%s, not flushed: Continues = false\nfrom %+v\nto   %+v", c.name, first, unflushed)
		}
		do([]string{"DROP TABLE %s"})
	}
}

// wantDamageMarked lets a server that has schema find damage in a table.
func wantDamageMarked(t *testing.T, srv *mariadbtest.Server) {
	t.Helper()
	srv.MustExec(t, "CREATE TABLE t.hurt (id INT PRIMARY KEY, v VARCHAR(50), KEY v (v)) ENGINE=Aria",
		"INSERT INTO t.hurt SELECT n, a FROM t.seed", "FLUSH TABLES t.hurt")
	stem := filepath.Join(srv.Datadir, "t", "hurt")
	first := readHeader(t, stem+aria.IndexExt)
	rows, err := os.OpenFile(stem+aria.DataExt, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	if _, err := rows.WriteAt(make([]byte, 4096), 8192+100); err != nil {
		t.Fatal(err)
	}
	srv.MustExec(t, "CHECK TABLE t.hurt", "FLUSH TABLES t.hurt")
	if later := readHeader(t, stem+aria.IndexExt); first.Continues(later) {
		t.Errorf("found damage: Continues = true\nfrom %+v\nto   %+v", first, later)
	}
	srv.MustExec(t, "DROP TABLE t.hurt")
}

func readHeader(t *testing.T, path string) aria.Index {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, aria.MaxIndexHeader)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	ix, err := aria.ParseIndex(b[:n])
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return ix
}
