package mariadbtest

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// StormOptions say how hard Storm works.
type StormOptions struct {
	// Sessions is the number of connections; 0 is 4.
	Sessions int
	// Pause is the rest of each session after a unit of DDL; 0 is 5 ms, below 0 is none.
	Pause time.Duration
	// Rows is the size of a session's large table, whose ALTER by copy takes
	// some microseconds a row; 0 is 20,000.
	Rows int
	// Seed makes the sequence of each session's work repeatable.
	Seed uint64
}

// Storm starts sessions that change definitions without a pause: tables of all
// engines, partitions, indexes, views, triggers, sequences, databases. Each has
// tables of its own; if Populate was called, they also alter tables on which
// writers may be busy. What they do can be replayed from the binary log with an
// equal result: DISCARD and IMPORT TABLESPACE, which are not logged, are not
// among it. The caller calls Stop.
func Storm(ctx context.Context, s *Server, o StormOptions) (*Load, error) {
	if o.Sessions == 0 {
		o.Sessions = 4
	}
	if o.Pause == 0 {
		o.Pause = 5 * time.Millisecond
	}
	if o.Rows == 0 {
		o.Rows = 20_000
	}
	busy, err := s.Value(ctx, "SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = ?", loadDB)
	if err != nil {
		return nil, fmt.Errorf("storm: %w", err)
	}
	if err := s.Exec(ctx, "INSTALL PLUGIN IF NOT EXISTS archive SONAME 'ha_archive'",
		"CREATE DATABASE IF NOT EXISTS "+quote(stormDB)); err != nil {
		return nil, fmt.Errorf("storm: %w", err)
	}
	l, halted, running := newLoad(ctx, s, "storm")
	for i := range o.Sessions {
		st := &stormer{prefix: fmt.Sprintf("s%d ", i), other: fmt.Sprintf("mbk_storm @%d é", i), rows: o.Rows,
			busy: busy != "0"}
		deeds := st.deeds()
		order := []int{}
		l.run(halted, running, o.Seed+uint64(i), o.Pause, func(x *session) unit {
			if !st.ready {
				st.ready = true
				return st.setup
			}
			// Every deed once, in random order, then again: no kind is missing
			// from a short storm.
			if len(order) == 0 {
				order = x.Perm(len(deeds))
			}
			d := deeds[order[0]]
			order = order[1:]
			return func(x *session) error { return x.all(d.name, d.statements(x)...) }
		})
	}
	return l, nil
}

// stormer is one session of a storm.
type stormer struct {
	prefix string // of its tables in stormDB
	other  string // a database of its own
	rows   int
	busy   bool // the tables of Populate exist
	ready  bool // setup was done
}

// deed is one kind of change. Its statements leave the tables of setup in place.
type deed struct {
	name       string
	statements func(x *session) []string
}

// t returns the quoted name of one of the session's tables.
func (st *stormer) t(name string) string { return quote(stormDB, st.prefix+name) }

// odd returns a name with characters that are encoded in file names.
func (st *stormer) odd() string { return st.t("it's / a \\ näme @0020 表") }

const stormColumns = " (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, k INT NOT NULL DEFAULT 1, s VARCHAR(100) DEFAULT " +
	"'some text')"

// setup makes the tables that the deeds find, whatever an earlier storm has left.
func (st *stormer) setup(x *session) error {
	q := []string{"DROP DATABASE IF EXISTS " + quote(st.other), "CREATE DATABASE " + quote(st.other),
		"USE " + quote(stormDB),
		"DROP TABLE IF EXISTS " + st.t("x"), "DROP TABLE IF EXISTS " + st.odd(),
		"DROP DATABASE IF EXISTS " + quote(st.other+" 2")}
	for _, name := range []string{"a", "b", "c", "alter", "format", "engine", "truncate", "fulltext"} {
		q = append(q, "CREATE OR REPLACE TABLE "+st.t(name)+stormColumns, st.fill(name, 500))
	}
	q = append(q, "CREATE OR REPLACE TABLE "+st.t("large")+stormColumns, st.fill("large", st.rows),
		"CREATE OR REPLACE TABLE "+st.t("twin")+stormColumns,
		"INSERT INTO "+st.t("twin")+" (id, k) SELECT seq, 7 FROM seq_100_to_150", "CREATE OR REPLACE TABLE "+st.t("parted")+
			stormColumns+` PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (100),
			PARTITION p1 VALUES LESS THAN (200), PARTITION p2 VALUES LESS THAN (300))`,
		st.fill("parted", 250))
	return x.all("setup", q...)
}

// fill returns an INSERT of n rows.
func (st *stormer) fill(name string, n int) string {
	return fmt.Sprintf("INSERT INTO %s (k) SELECT seq FROM seq_1_to_%d", st.t(name), n)
}

// deeds lists everything that a storm does.
func (st *stormer) deeds() []deed {
	fixed := func(name string, q ...string) deed {
		return deed{name, func(*session) []string { return q }}
	}
	all := append(st.tableDeeds(fixed), st.alterDeeds(fixed)...)
	all = append(append(all, st.partitionDeeds(fixed)...), st.objectDeeds(fixed)...)
	if st.busy {
		all = append(all, st.busyDeeds(fixed)...)
	}
	return all
}

// tableDeeds create, drop, rename, truncate and rebuild whole tables.
func (st *stormer) tableDeeds(fixed func(string, ...string) deed) []deed {
	a, b, c := st.t("a"), st.t("b"), st.t("c")
	odd := st.odd()
	return []deed{
		{"create", func(x *session) []string {
			name := fmt.Sprintf("new %d", x.IntN(8))
			engine := []string{"InnoDB", "InnoDB", "InnoDB ROW_FORMAT=COMPRESSED", "InnoDB PAGE_COMPRESSED=1", "Aria",
				"Aria TRANSACTIONAL=0", "MyISAM", "ARCHIVE"}[x.IntN(8)]
			return []string{"CREATE OR REPLACE TABLE " + st.t(name) + stormColumns + " ENGINE=" + engine,
				st.fill(name, 1+x.IntN(300))}
		}},
		{"drop", func(x *session) []string {
			return []string{"DROP TABLE IF EXISTS " + st.t(fmt.Sprintf("new %d", x.IntN(8)))}
		}},
		fixed("rename", "RENAME TABLE "+a+" TO "+odd, st.fill("b", 3), "RENAME TABLE "+odd+" TO "+a),
		fixed("swap", "RENAME TABLE "+a+" TO "+st.t("x")+", "+b+" TO "+a+", "+st.t("x")+" TO "+b),
		fixed("three-way swap", "RENAME TABLE "+a+" TO "+st.t("x")+", "+b+" TO "+a+", "+c+" TO "+b+", "+st.t("x")+" TO "+c),
		fixed("rename to another database", "RENAME TABLE "+c+" TO "+quote(st.other, "c"),
			"RENAME TABLE "+quote(st.other, "c")+" TO "+c),
		fixed("truncate", "TRUNCATE TABLE "+st.t("truncate"), st.fill("truncate", 100)),
		fixed("optimize", "OPTIMIZE TABLE "+a),
		fixed("create like", "CREATE OR REPLACE TABLE "+st.t("like")+" LIKE "+b),
		fixed("create or replace select", "CREATE OR REPLACE TABLE "+st.t("select")+" ENGINE=InnoDB SELECT id, k FROM "+
			st.t("truncate")),
		fixed("create or replace select Aria", "CREATE OR REPLACE TABLE "+st.t("select aria")+
			" ENGINE=Aria SELECT id, k, s FROM "+b),
	}
}

// alterDeeds change tables by every algorithm.
func (st *stormer) alterDeeds(fixed func(string, ...string) deed) []deed {
	alter := "ALTER TABLE " + st.t("alter")
	return []deed{
		fixed("instant", alter+" ADD COLUMN IF NOT EXISTS extra INT NOT NULL DEFAULT 3 FIRST, ALGORITHM=INSTANT",
			st.fill("alter", 20),
			alter+" DROP COLUMN extra, ALGORITHM=INSTANT"),
		fixed("index", alter+" ADD INDEX IF NOT EXISTS (k), ALGORITHM=INPLACE", alter+" DROP INDEX k"),
		fixed("force inplace", alter+" FORCE, ALGORITHM=INPLACE"),
		fixed("force copy", alter+" FORCE, ALGORITHM=COPY"),
		fixed("copy of a large table",
			"ALTER TABLE "+st.t("large")+" MODIFY s VARCHAR(120) DEFAULT 'some text', ALGORITHM=COPY",
			"ALTER TABLE "+st.t("large")+" MODIFY s VARCHAR(100) DEFAULT 'some text', ALGORITHM=COPY"),
		fixed("rebuild of a large table", "ALTER TABLE "+st.t("large")+" FORCE, ALGORITHM=INPLACE"),
		fixed("fulltext index", "ALTER TABLE "+st.t("fulltext")+" ADD FULLTEXT INDEX words (s)", st.fill("fulltext", 5),
			"ALTER TABLE "+st.t("fulltext")+" DROP INDEX words"),
		{"engine", func(x *session) []string {
			return []string{"ALTER TABLE " + st.t("engine") + " ENGINE=" + []string{"InnoDB", "Aria", "MyISAM"}[x.IntN(3)],
				st.fill("engine", 5)}
		}},
		{"row format", func(x *session) []string {
			return []string{"ALTER TABLE " + st.t("format") + " ROW_FORMAT=" +
				[]string{"COMPRESSED KEY_BLOCK_SIZE=8", "DYNAMIC KEY_BLOCK_SIZE=0", "REDUNDANT KEY_BLOCK_SIZE=0"}[x.IntN(3)]}
		}},
	}
}

// partitionDeeds work on a table with the ranges below 100, 200 and 300.
func (st *stormer) partitionDeeds(fixed func(string, ...string) deed) []deed {
	parted, alter := st.t("parted"), "ALTER TABLE "+st.t("parted")
	return []deed{
		fixed("exchange partition", alter+" EXCHANGE PARTITION p1 WITH TABLE "+st.t("twin")),
		fixed("add and drop partition", alter+" ADD PARTITION (PARTITION p3 VALUES LESS THAN (400))",
			"INSERT INTO "+parted+" (id) SELECT seq FROM seq_300_to_350", alter+" DROP PARTITION p3"),
		fixed("truncate partition", alter+" TRUNCATE PARTITION p2",
			"INSERT INTO "+parted+" (id) SELECT seq FROM seq_200_to_250"),
		fixed("rebuild partition", alter+" REBUILD PARTITION p0"),
		fixed("reorganize partition",
			alter+` REORGANIZE PARTITION p0 INTO (PARTITION low VALUES LESS THAN (50), PARTITION p0 VALUES LESS THAN (100))`,
			alter+" REORGANIZE PARTITION low, p0 INTO (PARTITION p0 VALUES LESS THAN (100))"),
	}
}

// objectDeeds change databases and everything in them that is not a table.
func (st *stormer) objectDeeds(fixed func(string, ...string) deed) []deed {
	db := quote(st.other + " 2")
	view, seq, trigger := quote(st.other, "view"), quote(st.other, "seq"), quote(stormDB, st.prefix+"trigger")
	return []deed{
		fixed("create and drop database", "CREATE DATABASE "+db, "CREATE TABLE "+db+".t"+stormColumns,
			"CREATE TABLE "+db+".m"+stormColumns+" ENGINE=MyISAM",
			"INSERT INTO "+db+".t (k) VALUES (1)", "DROP DATABASE "+db),
		fixed("alter database", "ALTER DATABASE "+quote(st.other)+" CHARACTER SET latin1",
			"ALTER DATABASE "+quote(st.other)+" CHARACTER SET utf8mb4"),
		{"view", func(x *session) []string {
			return []string{fmt.Sprintf("CREATE OR REPLACE VIEW %s AS SELECT id + %d AS id FROM %s", view,
				x.IntN(100), st.t("b"))}
		}},
		fixed("drop view", "DROP VIEW IF EXISTS "+view),
		// A trigger on a table that is renamed would be rewritten by a RENAME
		// that fails, which the binary log does not tell.
		{"trigger", func(x *session) []string {
			return []string{fmt.Sprintf("CREATE OR REPLACE TRIGGER %s BEFORE INSERT ON %s FOR EACH ROW SET NEW.k = NEW.k + %d",
				trigger, st.t("truncate"), x.IntN(100))}
		}},
		fixed("drop trigger", "DROP TRIGGER IF EXISTS "+trigger),
		{"sequence", func(x *session) []string {
			return []string{"CREATE OR REPLACE SEQUENCE " + seq + " ENGINE=" + []string{"InnoDB", "Aria", "MyISAM"}[x.IntN(3)],
				fmt.Sprintf("ALTER SEQUENCE %s RESTART %d", seq, 1+x.IntN(1000))}
		}},
		fixed("drop sequence", "DROP SEQUENCE IF EXISTS "+seq),
	}
}

// busyDeeds alter tables of Populate while the writers use them.
func (st *stormer) busyDeeds(fixed func(string, ...string) deed) []deed {
	column := "`" + strings.TrimSpace(st.prefix) + "`"
	alter := func(name, what string) string { return "ALTER TABLE " + quote(loadDB, name) + " " + what }
	return []deed{
		fixed("busy: instant",
			alter("innodb_instant", "ADD COLUMN IF NOT EXISTS "+column+" INT DEFAULT 5, ALGORITHM=INSTANT"),
			alter("innodb_instant", "DROP COLUMN IF EXISTS "+column+", ALGORITHM=INSTANT")),
		fixed("busy: inplace", alter("innodb_compact", "FORCE, ALGORITHM=INPLACE")),
		fixed("busy: copy", alter("innodb_redundant", "FORCE, ALGORITHM=COPY")),
		fixed("busy: fulltext", alter("innodb_fulltext", "FORCE")),
		fixed("busy: Aria", alter("aria_transactional", "FORCE")),
		fixed("busy: MyISAM", alter("myisam_dynamic", "FORCE")),
		fixed("busy: optimize", "OPTIMIZE TABLE "+quote(loadDB, "innodb_page_compressed")+", "+quote(loadDB, "aria_page")+
			", "+quote(loadDB, "myisam_fixed")),
		fixed("busy: partition", alter("innodb_range", "REBUILD PARTITION p0")),
		fixed("busy: truncate", "TRUNCATE TABLE "+quote(loadDB, "innodb_hash")),
	}
}
