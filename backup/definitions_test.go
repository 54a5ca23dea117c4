package backup

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"mbk/internal/datadir"
	"mbk/internal/datadir/filename"
	"mbk/internal/test/mariadbtest"
)

// The engine and kind that we read out of every .frm file must be what the
// server says of the table.
func TestDefinitionsAgreeWithTheServer(t *testing.T) {
	for _, version := range mariadbtest.Versions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			srv := mariadbtest.New(t, version)
			srv.MustExec(t,
				"INSTALL SONAME 'ha_archive'", "INSTALL SONAME 'ha_blackhole'", "CREATE DATABASE d",
				"CREATE TABLE d.ar (a INT) ENGINE=ARCHIVE",
				"CREATE TABLE d.i (a INT PRIMARY KEY) ENGINE=InnoDB COMMENT='a comment' STATS_PERSISTENT=1",
				"CREATE TABLE d.c (a INT PRIMARY KEY, b TEXT CHARACTER SET utf8mb4 DEFAULT 'x')"+
					" ENGINE=InnoDB ROW_FORMAT=COMPRESSED",
				"CREATE TABLE d.p (a INT PRIMARY KEY) ENGINE=InnoDB PARTITION BY HASH(a) PARTITIONS 3",
				"CREATE TABLE d.pm (a INT) ENGINE=MyISAM PARTITION BY RANGE(a) "+
					"(PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN MAXVALUE)",
				"CREATE TABLE d.pa (a INT) ENGINE=Aria PARTITION BY HASH(a) PARTITIONS 2",
				"CREATE TABLE d.m (a INT) ENGINE=MyISAM", "CREATE TABLE d.m2 (a INT) ENGINE=MyISAM",
				"CREATE TABLE d.mm (a INT) ENGINE=MERGE UNION=(d.m, d.m2)",
				"CREATE TABLE d.a (a INT) ENGINE=Aria", "CREATE TABLE d.an (a INT) ENGINE=Aria TRANSACTIONAL=0",
				"CREATE TABLE d.v (a INT) ENGINE=InnoDB WITH SYSTEM VERSIONING",
				"CREATE TABLE d.csv (a INT NOT NULL) ENGINE=CSV", "CREATE TABLE d.mem (a INT) ENGINE=MEMORY",
				"CREATE TABLE d.bh (a INT) ENGINE=BLACKHOLE",
				"CREATE SEQUENCE d.s", "CREATE SEQUENCE d.sa ENGINE=Aria",
				"CREATE VIEW d.vw AS SELECT 1",
				"CREATE TABLE d.long_names (a INT PRIMARY KEY, b VARCHAR(3000) DEFAULT REPEAT('x', 10), c INT AS (a + 1) VIRTUAL, "+
					"CHECK (a > 0)) ENGINE=InnoDB",
			)
			rows, err := srv.DB().QueryContext(t.Context(), "SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, COALESCE(ENGINE,'') "+
				"FROM information_schema.TABLES WHERE TABLE_SCHEMA NOT IN ('information_schema','performance_schema')")
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			count := 0
			for rows.Next() {
				var database, name, kind, engine string
				if err := rows.Scan(&database, &name, &kind, &engine); err != nil {
					t.Fatal(err)
				}
				b, err := os.ReadFile(filepath.Join(srv.Datadir, database, filename.Encode(name)+".frm"))
				if err != nil {
					t.Fatal(err)
				}
				file := datadir.Entry{Dir: database, Name: filename.Encode(name) + ".frm"}
				found, err := datadir.Inspect(file, bytes.NewReader(b), int64(len(b)))
				if err != nil || found.Definition == nil {
					t.Errorf("%s.%s: %v, %s", database, name, err, found.BadDefinition)
					continue
				}
				partitioned := name == "p" || name == "pm" || name == "pa"
				want := datadir.Definition{Kind: kind, Engine: engine, Partitioned: partitioned && database == "d"}
				if *found.Definition != want {
					t.Errorf("%s.%s is %+v, the server says %+v", database, name, *found.Definition, want)
				}
				count++
			}
			if err := rows.Err(); err != nil || count < 30 {
				t.Errorf("compared %d tables, %v", count, err)
			}
		})
	}
}
