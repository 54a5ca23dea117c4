package mariadbtest

import (
	"context"
	"fmt"
	"strings"
)

// Databases made by Populate, Storm and Probe.
const (
	loadDB  = "mbk_load"
	oddDB   = "mbk größe & maß @1" // each of its characters is encoded in file names
	emptyDB = "mbk_empty"
	stormDB = "mbk_storm"
	probeDB = "mbk_probe"
)

// bankAccounts and bankStart say how many accounts each bank table has and what
// is in each at the beginning.
const (
	bankAccounts = 200
	bankStart    = 1000
)

// Fill says how much idle data Populate makes beside the tables that Write
// changes. The rows compress to about a half.
type Fill struct {
	InnoDBMiB, AriaMiB, MyISAMMiB int
}

// Populate creates the databases and tables which Write works on, of every
// engine built into the server, with some hundred rows each, and views,
// triggers, routines, events, sequences, users and roles; then idle data. The idle
// data is not in the binary log. Populate is called once per server.
func Populate(ctx context.Context, s *Server, fill Fill) error {
	return s.withSession(ctx, 1, nil, func(x *session) error {
		if err := x.all("populate", schema()...); err != nil {
			return err
		}
		if err := x.systemTablespaceTable(); err != nil {
			return err
		}
		for _, t := range append(rowTables(), statementTables()...) {
			for range 5 {
				if err := t.insert(x, 40); err != nil {
					return fmt.Errorf("populate: %w", err)
				}
			}
		}
		return x.idleData(fill)
	})
}

// bankTables hold the money. Together they always hold the same sum.
func bankTables() []string {
	return []string{"bank_dynamic", "bank_compressed", "bank_page_compressed", "bank_partitioned"}
}

// table is one that the writers change row by row.
type table struct {
	name    string // quoted, with its database
	columns string // besides id, k, s and b; given a value by values
	values  string
	// Only inserts: the engine can do no more, or the contents do not survive a
	// restart, so that a replayed UPDATE would miss its row.
	insertOnly bool
}

// rowTables are those of InnoDB, changed in transactions of several statements.
func rowTables() []table {
	var all []table
	for _, name := range []string{
		"innodb_dynamic", "innodb_compact", "innodb_redundant", "innodb_compressed", "innodb_page_compressed",
		"innodb_hash", "innodb_range", "innodb_generated", "innodb_fulltext", "innodb_instant", "innodb_versioned",
		"innodb_system", "innodb_audited",
	} {
		all = append(all, table{name: quote(loadDB, name)})
	}
	return append(all,
		table{name: quote(loadDB, "innodb_spatial"), columns: ", g", values: ", POINT(RAND() * 100, RAND() * 100)"},
		table{name: quote(oddDB, "naïve table, with # and 'quotes'")},
		table{name: quote(oddDB, "表")})
}

// statementTables are those of engines for which every statement stands alone.
func statementTables() []table {
	var all []table
	for _, name := range []string{
		"aria_transactional", "aria_page", "aria_dynamic", "aria_fixed", "aria_partitioned",
		"myisam_dynamic", "myisam_fixed", "myisam_fulltext", "myisam_partitioned", "merge_part_1", "merge_part_2",
	} {
		all = append(all, table{name: quote(loadDB, name)})
	}
	for _, name := range []string{"merged", "csv", "archive", "memory", "blackhole"} {
		all = append(all, table{name: quote(loadDB, name), insertOnly: true})
	}
	return append(all, table{name: quote(oddDB, "MyISAM @0020")}, table{name: quote(oddDB, "aria.é")})
}

// schema returns the statements that make everything but the one table in the
// system tablespace.
func schema() []string {
	const body = "(id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, k INT NOT NULL, s VARCHAR(200) NOT NULL, b MEDIUMBLOB, " +
		"KEY (k))"
	const fixed = "(id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, k INT NOT NULL, s CHAR(200) NOT NULL, b VARBINARY(0), " +
		"KEY (k))"
	const noKey = "(id INT NOT NULL, k INT NOT NULL, s VARCHAR(200) NOT NULL, b BLOB NOT NULL)"
	const ranges = " PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (100), PARTITION p1 VALUES LESS THAN (200), " +
		"PARTITION `p max` VALUES LESS THAN MAXVALUE)"
	create := func(name, rest string) string { return "CREATE TABLE " + quote(loadDB, name) + " " + rest }
	with := func(more string) string { return strings.TrimSuffix(body, ")") + ", " + more + ")" }

	q := []string{
		"INSTALL SONAME 'ha_archive'", // stays in mysql.plugin, so a restored server loads it
		"INSTALL SONAME 'ha_blackhole'",
		"CREATE DATABASE " + quote(loadDB) + " CHARACTER SET utf8mb4",
		"CREATE DATABASE " + quote(oddDB) + " CHARACTER SET latin1 COLLATE latin1_german1_ci",
		"CREATE DATABASE " + quote(emptyDB) + " COMMENT 'nothing in it'",
		"USE " + quote(loadDB),
		create("innodb_dynamic", body+" ROW_FORMAT=DYNAMIC"),
		create("innodb_compact", body+" ROW_FORMAT=COMPACT"),
		create("innodb_redundant", body+" ROW_FORMAT=REDUNDANT"),
		create("innodb_compressed", body+" ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=8"),
		create("innodb_page_compressed", body+" PAGE_COMPRESSED=1"),
		create("innodb_hash", body+" PARTITION BY HASH (id) PARTITIONS 4"),
		create("innodb_range", body+ranges),
		create("innodb_generated",
			with("v INT AS (k * 2) VIRTUAL, w VARCHAR(20) AS (LEFT(s, 20)) PERSISTENT, KEY (v), KEY (w)")),
		create("innodb_fulltext", with("FULLTEXT (s)")),
		create("innodb_spatial", with("g POINT NOT NULL, SPATIAL KEY (g)")),
		create("innodb_instant", body),
		"ALTER TABLE " + quote(loadDB, "innodb_instant") +
			" ADD COLUMN later INT NOT NULL DEFAULT 7 FIRST, ALGORITHM=INSTANT",
		"ALTER TABLE " + quote(loadDB, "innodb_instant") +
			" DROP COLUMN later, ADD COLUMN last VARCHAR(10) DEFAULT 'x', ALGORITHM=INSTANT",
		create("innodb_versioned", body+" WITH SYSTEM VERSIONING"),
		create("innodb_audited", body),
		create("audit",
			"(id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, what CHAR(1), row_id INT, at TIMESTAMP(6) NOT NULL DEFAULT "+
				"CURRENT_TIMESTAMP(6))"),
		create("ticks", "(id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, at DATETIME(6) NOT NULL)"),
		create("aria_transactional", body+" ENGINE=Aria TRANSACTIONAL=1"),
		create("aria_page", body+" ENGINE=Aria TRANSACTIONAL=0 ROW_FORMAT=PAGE"),
		create("aria_dynamic", body+" ENGINE=Aria TRANSACTIONAL=0 ROW_FORMAT=DYNAMIC"),
		create("aria_fixed", fixed+" ENGINE=Aria TRANSACTIONAL=0 ROW_FORMAT=FIXED"),
		create("aria_partitioned", body+" ENGINE=Aria"+ranges),
		create("myisam_dynamic", body+" ENGINE=MyISAM"),
		create("myisam_fixed", fixed+" ENGINE=MyISAM ROW_FORMAT=FIXED"),
		create("myisam_fulltext", with("FULLTEXT (s)")+" ENGINE=MyISAM CHECKSUM=1 DELAY_KEY_WRITE=1"),
		create("myisam_partitioned", body+" ENGINE=MyISAM PARTITION BY KEY (id) PARTITIONS 3"),
		create("merge_part_1", body+" ENGINE=MyISAM"),
		create("merge_part_2", body+" ENGINE=MyISAM"),
		create("merged", body+" ENGINE=MERGE UNION=(merge_part_1, merge_part_2) INSERT_METHOD=LAST"),
		create("csv", noKey+" ENGINE=CSV"),
		create("archive", "(id INT NOT NULL, k INT NOT NULL, s VARCHAR(200) NOT NULL, b MEDIUMBLOB) ENGINE=ARCHIVE"),
		create("memory", "(id INT NOT NULL, k INT NOT NULL, s VARCHAR(200) NOT NULL, b VARBINARY(0), KEY (k)) ENGINE=MEMORY"),
		create("blackhole", body+" ENGINE=BLACKHOLE"),
		"CREATE TABLE " + quote(oddDB, "naïve table, with # and 'quotes'") + body,
		"CREATE TABLE " + quote(oddDB, "表") + body,
		"CREATE TABLE " + quote(oddDB, "MyISAM @0020") + body + " ENGINE=MyISAM",
		"CREATE TABLE " + quote(oddDB, "aria.é") + body + " ENGINE=Aria",
		create("parent", "(id INT NOT NULL PRIMARY KEY, n INT NOT NULL)"),
		create("child",
			"(id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, parent INT, n INT NOT NULL, FOREIGN KEY (parent) REFERENCES parent "+
				"(id) ON DELETE CASCADE ON UPDATE CASCADE)"),
		"INSERT INTO " + quote(loadDB, "parent") + " SELECT seq, 0 FROM seq_1_to_100",
	}
	return append(append(append(q, bank()...), programs()...), people()...)
}

// bank returns the tables of the invariant that CheckInvariants checks.
func bank() []string {
	forms := []string{"", " ROW_FORMAT=COMPRESSED", " PAGE_COMPRESSED=1", " PARTITION BY HASH (id) PARTITIONS 3"}
	q := []string{"CREATE TABLE " + quote(loadDB, "journal") +
		" (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, bank TINYINT NOT NULL, account INT NOT NULL, amount INT NOT NULL, " +
		"KEY (bank, account))"}
	for i, name := range bankTables() {
		q = append(q,
			"CREATE TABLE "+quote(loadDB, name)+
				" (id INT NOT NULL PRIMARY KEY, balance INT NOT NULL, pad CHAR(100) NOT NULL DEFAULT 'pad')"+forms[i],
			fmt.Sprintf("INSERT INTO %s (id, balance) SELECT seq, %d FROM seq_1_to_%d", quote(loadDB, name), bankStart,
				bankAccounts))
	}
	return q
}

// programs returns views, triggers, routines, events and sequences.
func programs() []string {
	db := quote(loadDB) + "."
	audited := quote(loadDB, "innodb_audited")
	audit := func(what, row string) string {
		return fmt.Sprintf("INSERT INTO %saudit (what, row_id) VALUES ('%s', %s.id)", db, what, row)
	}
	return []string{
		"CREATE VIEW " + db + "money AS SELECT SUM(amount) AS moved, COUNT(*) AS moves FROM " + db + "journal",
		"CREATE ALGORITHM=MERGE VIEW " + quote(oddDB, "a view, too") + " AS SELECT id, k FROM " + quote(oddDB, "表") +
			" WITH CHECK OPTION", "CREATE TRIGGER " + db + "audit_insert AFTER INSERT ON " + audited + " FOR EACH ROW " +
			audit("i", "NEW"),
		"CREATE TRIGGER " + db + "audit_update AFTER UPDATE ON " + audited + " FOR EACH ROW " + audit("u", "NEW"),
		"CREATE TRIGGER " + db + "audit_delete BEFORE DELETE ON " + audited + " FOR EACH ROW " + audit("d", "OLD"),
		"CREATE FUNCTION " + db + "twice(n INT) RETURNS INT DETERMINISTIC RETURN n * 2",
		"CREATE PROCEDURE " + db + "tick() MODIFIES SQL DATA INSERT INTO " + db + "ticks (at) VALUES (NOW(6))",
		"CREATE EVENT " + db + "every_second ON SCHEDULE EVERY 1 SECOND DO CALL " + db + "tick()",
		"CREATE EVENT " + db +
			"far_away ON SCHEDULE AT '2037-01-01 00:00:00' ON COMPLETION PRESERVE DISABLE COMMENT 'later' DO SELECT 1",
		"CREATE SEQUENCE " + db + "numbers START WITH 1 INCREMENT BY 3 CACHE 10",
		"CREATE SEQUENCE " + db + "aria_numbers CACHE 5 ENGINE=Aria",
	}
}

// people returns users, roles and grants of every level.
func people() []string {
	db := quote(loadDB) + "."
	return []string{
		"CREATE ROLE mbk_reader",
		"GRANT SELECT ON " + db + "* TO mbk_reader",
		"CREATE USER mbk_app@localhost IDENTIFIED BY 'secret'",
		"GRANT mbk_reader TO mbk_app@localhost",
		"GRANT INSERT, UPDATE (n) ON " + db + "parent TO mbk_app@localhost",
		"GRANT EXECUTE ON PROCEDURE " + db + "tick TO mbk_app@localhost WITH GRANT OPTION",
		"CREATE USER mbk_guest@'%' IDENTIFIED BY 'secret' WITH MAX_QUERIES_PER_HOUR 10 ACCOUNT LOCK",
	}
}

// systemTablespaceTable makes a table inside ibdata1, which takes a global setting.
func (x *session) systemTablespaceTable() error {
	return x.all("populate",
		"SET GLOBAL innodb_file_per_table=OFF",
		"CREATE TABLE "+quote(loadDB, "innodb_system")+" LIKE "+quote(loadDB, "innodb_dynamic"),
		"SET GLOBAL innodb_file_per_table=ON")
}

// idleData fills one table per engine. 1,000 rows are about one MiB.
func (x *session) idleData(fill Fill) error {
	if err := x.exec("SET SESSION sql_log_bin=0, unique_checks=0, foreign_key_checks=0"); err != nil {
		return err
	}
	for _, e := range []struct {
		engine string
		mib    int
	}{{"InnoDB", fill.InnoDBMiB}, {"Aria", fill.AriaMiB}, {"MyISAM", fill.MyISAMMiB}} {
		if e.mib <= 0 {
			continue
		}
		name := quote(loadDB, "idle_"+strings.ToLower(e.engine))
		if err := x.exec("CREATE TABLE " + name +
			" (id INT NOT NULL PRIMARY KEY, a VARBINARY(600), z VARCHAR(600)) CHARACTER SET latin1 ENGINE=" +
			e.engine); err != nil {
			return err
		}
		if err := x.idleRows(name, e.mib*1000); err != nil {
			return err
		}
	}
	return nil
}

// idleRows inserts rows of about 1 KiB, in transactions of some 64 MiB.
func (x *session) idleRows(name string, rows int) error {
	const step = 64_000
	for first := 1; first <= rows; first += step {
		last := min(first+step-1, rows)
		q := fmt.Sprintf(`INSERT INTO %s SELECT seq,
			UNHEX(CONCAT(SHA2(seq, 512), SHA2(seq + 0.1, 512), SHA2(seq + 0.2, 512), SHA2(seq + 0.3, 512), SHA2(seq + 0.4, 512), SHA2(seq + 0.5, 512), SHA2(seq + 0.6, 512))),
			REPEAT(CONCAT('row ', seq, ' of the idle data; '), 20) FROM seq_%d_to_%d`, name, first, last)
		if err := x.exec(q); err != nil {
			return err
		}
	}
	return nil
}

// quote puts a name, or a database and a name, into backquotes.
func quote(names ...string) string {
	for i, n := range names {
		names[i] = "`" + strings.ReplaceAll(n, "`", "``") + "`"
	}
	return strings.Join(names, ".")
}
