package cli_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// filetimeTables are tables of all engines and kinds of tablespace.
func filetimeTables() []string {
	const columns = " (id INT NOT NULL PRIMARY KEY, k INT NOT NULL, s VARCHAR(400) NOT NULL, b BLOB NOT NULL, KEY (k)) "
	q := []string{"CREATE DATABASE d", "USE d", "SET GLOBAL innodb_file_per_table=OFF"}
	for _, table := range [][2]string{
		{"insystem", ""}, {"plain", ""}, {"redundant", "ROW_FORMAT=REDUNDANT"}, {"packed", "PAGE_COMPRESSED=1"},
		{"zip", "ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=2"}, {"crypt", "ENCRYPTED=YES"},
		{"aria", "ENGINE=Aria TRANSACTIONAL=1"}, {"aria_page", "ENGINE=Aria TRANSACTIONAL=0 ROW_FORMAT=PAGE"},
		{"aria_dynamic", "ENGINE=Aria TRANSACTIONAL=0 ROW_FORMAT=DYNAMIC"},
		{"myisam", "ENGINE=MyISAM"}, {"keyed", "ENGINE=MyISAM DELAY_KEY_WRITE=1"},
	} {
		q = append(q, "CREATE TABLE "+table[0]+columns+table[1],
			"INSERT INTO "+table[0]+" SELECT seq, seq * 7 % 1000, REPEAT(MD5(seq), 6), '' FROM seq_1_to_2000",
			"SET GLOBAL innodb_file_per_table=ON")
	}
	const fixed = "(id INT NOT NULL PRIMARY KEY, k INT NOT NULL, s CHAR(100) NOT NULL) ROW_FORMAT=FIXED "
	return append(q, "CREATE TABLE bulk"+columns, "CREATE TABLE undone"+columns,
		"CREATE TABLE fixed "+fixed+"ENGINE=MyISAM", "CREATE TABLE aria_fixed "+fixed+"ENGINE=Aria TRANSACTIONAL=0",
		"INSERT INTO fixed SELECT id, k, MD5(id) FROM plain", "INSERT INTO aria_fixed SELECT * FROM fixed",
		"CREATE TABLE comma (id INT NOT NULL, s VARCHAR(100) NOT NULL) ENGINE=CSV",
		"INSERT INTO comma SELECT id, s FROM fixed WHERE id <= 100",
		"CREATE TABLE archived (id INT NOT NULL, s VARCHAR(100) NOT NULL) ENGINE=ARCHIVE",
		"INSERT INTO archived SELECT id, s FROM fixed",
		"INSERT INTO undone SELECT seq, seq, REPEAT(MD5(seq), 12), '' FROM seq_1_to_8000")
}

// filetimeInnoDB are the tables of filetimeTables that have rows in pages of InnoDB.
var filetimeInnoDB = []string{"insystem", "plain", "redundant", "packed", "zip", "crypt"}

// each repeats a statement for several tables.
func each(statement string, tables ...string) []string {
	var q []string
	for _, table := range tables {
		q = append(q, fmt.Sprintf(statement, table))
	}
	return q
}

// spaces are the files that hold changed rows of all kinds of tablespace.
func spaces() []string {
	return []string{"d/plain.ibd", "d/redundant.ibd", "d/zip.ibd", "d/crypt.ibd", "ibdata1"}
}

// rows changes rows of InnoDB.
func (f *filetimes) rows(t *testing.T) {
	t.Helper()
	f.sql(t, "one row", each("UPDATE %s SET k = k + 1 WHERE id = 7", filetimeInnoDB...), append(spaces(),
		"d/packed.ibd")...)
	f.sql(t, "few rows", each("UPDATE %s SET k = k + 1 WHERE id %% 200 = 0", filetimeInnoDB...), spaces()...)
	f.sql(t, "growing", each("INSERT INTO %s SELECT seq, seq, REPEAT(MD5(seq), 12), REPEAT(MD5(-seq), 500) "+
		"FROM seq_10001_to_10040", filetimeInnoDB...), spaces()...)
	f.step(t, "purge", func() {
		f.MustExec(t, each("DELETE FROM d.%s WHERE id BETWEEN 300 AND 900", filetimeInnoDB...)...)
		if err := f.WaitForPurge(t.Context()); err != nil {
			t.Fatal(err)
		}
	}, spaces()...)
	f.step(t, "scrubbing of what is freed", func() {
		f.MustExec(t, append([]string{"SET GLOBAL innodb_immediate_scrub_data_uncompressed=ON"},
			each("DELETE FROM d.%s WHERE id > 10000 OR id BETWEEN 1200 AND 1400", filetimeInnoDB...)...)...)
		if err := f.WaitForPurge(t.Context()); err != nil {
			t.Fatal(err)
		}
		f.MustExec(t, "SET GLOBAL innodb_immediate_scrub_data_uncompressed=OFF")
	}, spaces()...)
	f.sql(t, "rolled back", []string{"BEGIN", "UPDATE plain SET s = UPPER(s)", "DELETE FROM insystem", "ROLLBACK"},
		"d/plain.ibd", "ibdata1")
	f.sql(t, "holes made", []string{"UPDATE packed SET s = REPEAT('a', 200)"}, "d/packed.ibd")
	f.sql(t, "holes filled", []string{"UPDATE packed SET s = REPEAT(SHA1(id * k), 5)"}, "d/packed.ibd")
	f.sql(t, "another level", []string{"SET GLOBAL innodb_compression_level=9",
		"UPDATE packed SET s = REPEAT(SHA1(-id), 6) WHERE id % 2 = 0"}, "d/packed.ibd")
	f.sql(t, "no algorithm", []string{"SET GLOBAL innodb_compression_algorithm=none",
		"UPDATE packed SET s = REPEAT('b', 200)"},
		"d/packed.ibd")
	f.sql(t, "zlib again", []string{"SET GLOBAL innodb_compression_algorithm=zlib",
		"UPDATE packed SET s = REPEAT('c', 200)"},
		"d/packed.ibd")
	f.sql(t, "bulk load", []string{"SET unique_checks=0, foreign_key_checks=0", "BEGIN",
		"INSERT INTO bulk SELECT seq, seq, REPEAT(MD5(seq), 6), '' FROM seq_1_to_3000", "COMMIT"}, "d/bulk.ibd")
	f.step(t, "undo truncated", func() {
		for range 4 {
			f.MustExec(t, "UPDATE d.undone SET s = REPEAT(MD5(RAND()), 12), k = k + 1")
		}
		if err := f.WaitForPurge(t.Context()); err != nil {
			t.Fatal(err)
		}
	}, "undo*")
}

// definitions alters tables in their files and by new files.
func (f *filetimes) definitions(t *testing.T) {
	t.Helper()
	f.sql(t, "instant", []string{"ALTER TABLE plain ADD COLUMN later INT NOT NULL DEFAULT 3, ALGORITHM=INSTANT",
		"UPDATE plain SET later = 4 WHERE id < 9"}, "d/plain.ibd")
	f.sql(t, "in place", []string{"ALTER TABLE plain ADD INDEX (s(100)), ALGORITHM=INPLACE",
		"ALTER TABLE redundant DROP INDEX k, ALGORITHM=INPLACE"}, "d/plain.ibd")
	f.sql(t, "new files", []string{"ALTER TABLE zip FORCE, ALGORITHM=INPLACE",
		"ALTER TABLE redundant FORCE, ALGORITHM=COPY",
		"OPTIMIZE TABLE plain", "TRUNCATE TABLE bulk", "RENAME TABLE bulk TO other, other TO bulk"})
	f.step(t, "discarded and imported", func() {
		x := exported(t, f.Server, "d", "bulk", "bulk")
		f.MustExec(t, "INSERT INTO d.bulk SELECT * FROM d.undone WHERE id < 100", "ALTER TABLE d.bulk DISCARD TABLESPACE")
		x.place(t)
		f.await(t)
		f.now = f.look(t) // the import writes to the placed file
		f.MustExec(t, "ALTER TABLE d.bulk IMPORT TABLESPACE")
	}, "d/bulk.ibd")
	f.sql(t, "compression turned on", []string{"ALTER TABLE bulk PAGE_COMPRESSED=1",
		"INSERT INTO bulk SELECT * FROM undone WHERE id < 900", "ALTER TABLE bulk PAGE_COMPRESSION_LEVEL=2"})
}

// encryption lets background threads encrypt and decrypt everything.
func (f *filetimes) encryption(t *testing.T) {
	t.Helper()
	change := func(to, which, done string) func() {
		return func() {
			f.MustExec(t, "SET GLOBAL innodb_encryption_threads=4", "SET GLOBAL innodb_encrypt_tables="+to)
			query := "SELECT COUNT(*) FROM information_schema.INNODB_TABLESPACES_ENCRYPTION WHERE NAME IN " +
				"('d/plain', 'd/redundant', 'd/zip', 'd/packed') AND (" + which + ")"
			for deadline := time.Now().Add(20 * time.Second); f.MustValue(t, query) != done; {
				if time.Now().After(deadline) {
					t.Errorf("turned %s, the threads are not done", to)
					break
				}
				time.Sleep(20 * time.Millisecond)
			}
			f.MustExec(t, "SET GLOBAL innodb_encryption_threads=0")
		}
	}
	crypted := append(slices.DeleteFunc(spaces(), func(path string) bool { return path == "d/crypt.ibd" }),
		"d/packed.ibd", "undo*")
	f.step(t, "encrypted by threads", change("ON", "MIN_KEY_VERSION <> 0 AND ROTATING_OR_FLUSHING = 0", "4"), crypted...)
	f.sql(t, "rows encrypted", each("UPDATE %s SET k = k + 1 WHERE id %% 100 = 0", filetimeInnoDB...), spaces()...)
	f.step(t, "decrypted by threads", change("OFF", "MIN_KEY_VERSION <> 0 OR ROTATING_OR_FLUSHING <> 0", "0"),
		crypted...)
	f.sql(t, "another key", []string{"ALTER TABLE crypt ENCRYPTION_KEY_ID=2", "UPDATE crypt SET k = k + 1"})
}

// otherEngines changes tables without tablespaces.
func (f *filetimes) otherEngines(t *testing.T) {
	t.Helper()
	aria, myisam := []string{"aria", "aria_page", "aria_dynamic", "aria_fixed"}, []string{"myisam", "keyed", "fixed"}
	tables := slices.Concat(aria, myisam)
	files := []string{"d/aria.MAD", "d/aria.MAI", "d/aria_page.MAD", "d/aria_dynamic.MAD", "d/aria_fixed.MAD",
		"d/myisam.MYD",
		"d/myisam.MYI", "d/keyed.MYD", "d/keyed.MYI", "d/fixed.MYD"}
	f.sql(t, "one row", each("UPDATE %s SET k = k + 1 WHERE id = 7", tables...), files...)
	f.sql(t, "deleted", each("DELETE FROM %s WHERE id BETWEEN 20 AND 300", tables...), files...)
	f.sql(t, "inserted", []string{"INSERT INTO aria SELECT seq, seq, MD5(seq), 'x' FROM seq_5001_to_5200",
		"INSERT INTO myisam SELECT * FROM aria WHERE id > 5000", "INSERT INTO keyed SELECT * FROM aria WHERE id > 5000",
		"INSERT INTO aria_page SELECT * FROM aria WHERE id > 5000",
		"INSERT INTO fixed SELECT id, k, s FROM aria WHERE id > 5000",
		"INSERT INTO comma VALUES (1, 'x')", "INSERT INTO archived VALUES (1, 'x')"},
		"d/aria.MAD", "d/aria_page.MAD", "d/myisam.MYD", "d/keyed.MYD", "d/fixed.MYD", "d/comma.CSV", "d/archived.ARZ")
	f.sql(t, "checked", each("CHECK TABLE %s EXTENDED", append(tables, "comma", "archived")...))
	f.sql(t, "keys off and on", slices.Concat(each("ALTER TABLE %s DISABLE KEYS", tables...),
		each("UPDATE %s SET k = k + 2 WHERE id = 9", tables...), each("ALTER TABLE %s ENABLE KEYS", tables...)),
		"d/myisam.MYI")
	f.sql(t, "key cache", []string{"SET GLOBAL hot.key_buffer_size=131072", "CACHE INDEX myisam, keyed IN hot",
		"LOAD INDEX INTO CACHE myisam", "UPDATE myisam SET k = k + 5", "UPDATE keyed SET k = k + 5",
		"SET GLOBAL hot.key_buffer_size=0"}, "d/myisam.MYI", "d/keyed.MYI")
	// A repair gives the new file of the rows the times of the old one.
	f.sql(t, "repaired", slices.Concat(each("REPAIR TABLE %s", append(tables, "comma", "archived")...),
		each("REPAIR TABLE %s QUICK", tables...), each("REPAIR TABLE %s USE_FRM", myisam...)))
	f.sql(t, "optimized", slices.Concat(each("DELETE FROM %s WHERE id BETWEEN 500 AND 700", tables...),
		each("OPTIMIZE TABLE %s", append(tables, "archived")...), each("ANALYZE TABLE %s", tables...)))
	f.sql(t, "rewritten", []string{"UPDATE comma SET s = 'abcd'", "DELETE FROM comma WHERE id % 3 = 0",
		"INSERT INTO comma VALUES (2, 'y')"})
	f.sql(t, "log tables", []string{"SET GLOBAL log_output='TABLE'", "SET GLOBAL general_log=ON", "DO 1",
		"SET GLOBAL general_log=OFF"},
		"mysql/general_log.CSV")
}

// offline lets the server's own tools write while the server is down.
func (f *filetimes) offline(t *testing.T) {
	t.Helper()
	f.MustExec(t, "DELETE FROM d.myisam WHERE id % 10 = 0", "DELETE FROM d.aria WHERE id % 10 = 0")
	f.step(t, "shutdown", func() {
		if err := f.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	tool := func(program string, args ...string) {
		t.Helper()
		cmd := exec.Command(f.Dist.Program(program), args...)
		cmd.Dir = f.Datadir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s %q: %v: %s", program, args, err, out)
		}
	}
	f.step(t, "tools", func() {
		tool("myisamchk", "--silent", "--recover", "--sort-index", "d/myisam.MYI")
		tool("myisamchk", "--silent", "--safe-recover", "d/keyed.MYI")
		tool("myisamchk", "--silent", "--update-state", "d/fixed.MYI")
		tool("aria_chk", "--silent", "--recover", "d/aria_page.MAI")
		tool("aria_chk", "--silent", "--zerofill", "d/aria.MAI")
		write := "--write"
		if older(f.Dist.Series, "10.6") {
			write += "=crc32"
		}
		tool("innochecksum", "--no-check", write, filepath.Join(f.Datadir, "d/undone.ibd"))
	})
	f.step(t, "start", func() { f.restart(t) })
}

func (f *filetimes) restart(t *testing.T, args ...string) {
	t.Helper()
	if err := f.Restart(t.Context(), args...); err != nil {
		t.Fatal(err)
	}
}

// system changes what belongs to no table, and crashes the server.
func (f *filetimes) system(t *testing.T, shrinks bool) {
	t.Helper()
	if f.MustValue(t, "SELECT COUNT(*) FROM information_schema.GLOBAL_VARIABLES WHERE VARIABLE_NAME = "+
		"'INNODB_DATA_FILE_BUFFERING'") != "0" {
		for _, option := range []string{"innodb_data_file_buffering", "innodb_data_file_write_through"} {
			for range 2 {
				f.sql(t, "turned "+option, append([]string{"SET GLOBAL " + option + " = NOT @@GLOBAL." + option},
					each("UPDATE %s SET k = k + 1 WHERE id %% 50 = 0", filetimeInnoDB...)...), spaces()...)
			}
		}
	}
	f.step(t, "crash", func() {
		f.MustExec(t, slices.Concat([]string{"USE d"}, each("UPDATE %s SET k = k + 1 WHERE id %% 20 = 0",
			append(slices.Clone(filetimeInnoDB), "aria")...))...)
		// On a busy machine the server may have written those pages by now.
		f.MustExec(t, "UPDATE d.plain SET k = k + 1 WHERE id % 20 = 1")
		if err := f.Kill(); err != nil {
			t.Fatal(err)
		}
	})
	f.step(t, "recovery", func() { f.restart(t) }, "d/plain.ibd", "ibdata1")
	if shrinks {
		f.shrunk(t)
	} else {
		f.changeBuffer(t)
	}
}

// shrunk lets the system tablespace grow and shrink.
func (f *filetimes) shrunk(t *testing.T) {
	t.Helper()
	size := func() int64 {
		st, err := os.Stat(filepath.Join(f.Datadir, "ibdata1"))
		if err != nil {
			t.Fatal(err)
		}
		return st.Size()
	}
	f.sql(t, "ibdata1 grows", []string{"SET GLOBAL innodb_file_per_table=OFF", "CREATE TABLE gone LIKE undone",
		"INSERT INTO gone SELECT seq, seq, REPEAT(MD5(seq), 12), '' FROM seq_1_to_40000",
		"SET GLOBAL innodb_file_per_table=ON"},
		"ibdata1")
	large := size()
	f.step(t, "ibdata1 shrinks", func() {
		f.MustExec(t, "DROP TABLE d.gone", "SET GLOBAL innodb_fast_shutdown=0")
		f.restart(t)
	}, "ibdata1")
	if small := size(); small >= large {
		t.Errorf("ibdata1 has %d bytes and had %d: it was not shrunk", small, large)
	}
}

// changeBuffer fills the change buffer with entries for pages that are not in
// memory, and has it merged.
func (f *filetimes) changeBuffer(t *testing.T) {
	t.Helper()
	const merged = "SELECT SUM(VARIABLE_VALUE) FROM information_schema.GLOBAL_STATUS WHERE " +
		"VARIABLE_NAME LIKE 'INNODB_IBUF_MERGED_%'"
	f.sql(t, "large table", []string{"CREATE TABLE late (id INT PRIMARY KEY, a CHAR(36) NOT NULL, b " +
		"CHAR(36) NOT NULL, KEY (a), KEY (b))",
		"INSERT INTO late SELECT seq, MD5(seq), MD5(-seq) FROM seq_1_to_100000"})
	f.restart(t)
	f.sql(t, "changes buffered", []string{"INSERT INTO late SELECT seq, MD5(seq), MD5(-seq) FROM seq_100001_to_104000"},
		"ibdata1", "d/late.ibd")
	f.step(t, "changes merged", func() {
		f.MustExec(t, "SELECT COUNT(DISTINCT a) FROM d.late FORCE INDEX (a)",
			"SELECT COUNT(DISTINCT b) FROM d.late FORCE INDEX (b)")
		if n := f.MustValue(t, merged); strings.HasPrefix(n, "0") {
			t.Errorf("%s changes were merged", n)
		}
	}, "d/late.ibd", "ibdata1")
}
