package stage_test

import (
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"mbk/internal/test/mariadbtest"
	"mbk/stage"
)

func TestTables(t *testing.T) {
	onEach(t, func(t *testing.T, srv *mariadbtest.Server) {
		srv.MustExec(t, "CREATE DATABASE d", "CREATE DATABASE empty", "CREATE DATABASE `a``b é`",
			"CREATE TABLE d.inno (a INT) ENGINE=InnoDB",
			"CREATE TABLE d.my (a INT) ENGINE=MyISAM",
			"CREATE TABLE d.aria (a INT) ENGINE=Aria TRANSACTIONAL=1 PAGE_CHECKSUM=1",
			"CREATE TABLE d.parts (a INT) ENGINE=InnoDB PARTITION BY HASH (a) PARTITIONS 2",
			"CREATE TABLE d.history (a INT) ENGINE=InnoDB WITH SYSTEM VERSIONING",
			"CREATE SEQUENCE d.seq",
			"CREATE VIEW d.v AS SELECT * FROM d.my",
			"CREATE VIEW d.broken AS SELECT * FROM d.aria", "DROP TABLE d.aria",
			"CREATE TABLE d.aria (b INT) ENGINE=Aria TRANSACTIONAL=1 PAGE_CHECKSUM=1",
			"CREATE TABLE `a``b é`.`t``x 日` (a INT) ENGINE=MyISAM",
			"CREATE TABLE d.torn (a INT) ENGINE=MyISAM",
			"SET GLOBAL sql_select_limit=1") // must not cut the list short
		if err := os.WriteFile(filepath.Join(srv.Datadir, "d", "torn.frm"), []byte("rubbish"), 0o660); err != nil {
			t.Fatal(err)
		}
		srv.MustExec(t, "FLUSH TABLES")
		s := connect(t, srv)
		all, err := s.Tables(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var got []stage.Table
		for _, table := range all {
			if table.Database == "information_schema" || table.Database == "performance_schema" {
				t.Fatalf("%s.%s is listed", table.Database, table.Name)
			}
			if table.Name == "torn" {
				if table.Problem == "" || table.Engine != "" {
					t.Errorf("table with a damaged definition: %+v, want a Problem and no Engine", table)
				}
				table.Problem = ""
			}
			if table.Database == "d" || table.Database == "a`b é" {
				got = append(got, table)
			}
		}
		slices.SortFunc(got, func(a, b stage.Table) int {
			return cmp.Or(cmp.Compare(a.Database, b.Database), cmp.Compare(a.Name, b.Name))
		})
		want := []stage.Table{
			{Database: "a`b é", Name: "t`x 日", Engine: "MyISAM", Type: "BASE TABLE"},
			{Database: "d", Name: "aria", Engine: "Aria", Type: "BASE TABLE"},
			{Database: "d", Name: "broken", Type: "VIEW"},
			{Database: "d", Name: "history", Engine: "InnoDB", Type: "SYSTEM VERSIONED"},
			{Database: "d", Name: "inno", Engine: "InnoDB", Type: "BASE TABLE"},
			{Database: "d", Name: "my", Engine: "MyISAM", Type: "BASE TABLE"},
			{Database: "d", Name: "parts", Engine: "InnoDB", Type: "BASE TABLE"},
			{Database: "d", Name: "seq", Engine: "InnoDB", Type: "SEQUENCE"},
			{Database: "d", Name: "torn", Type: "BASE TABLE"},
			{Database: "d", Name: "v", Type: "VIEW"},
		}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("Tables (-want +got):\n%s", diff)
		}
		names, err := s.TableNames(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if len(names) != len(all) {
			t.Errorf("TableNames lists %d, Tables %d", len(names), len(all))
		}
		for _, table := range all {
			if !slices.Contains(names, stage.Table{Database: table.Database, Name: table.Name}) {
				t.Errorf("TableNames lacks %s.%s", table.Database, table.Name)
			}
		}
		for _, table := range want[:7] {
			table.Options = map[string]string{"aria": "page_checksum=1 transactional=1", "parts": "partitioned"}[table.Name]
			if got, err := s.TableInfo(t.Context(), table.Database, table.Name); err != nil || got != table {
				t.Errorf("TableInfo = %+v, %v; want %+v", got, err, table)
			}
		}
		if _, err := s.TableInfo(t.Context(), "d", "none"); !errors.Is(err, stage.ErrNoTable) {
			t.Errorf("TableInfo: %v, want ErrNoTable", err)
		}
		databases, err := s.Databases(t.Context())
		slices.Sort(databases)
		databases = slices.DeleteFunc(databases, func(name string) bool { return name == "sys" }) // not in 10.5
		if want := []string{"a`b é", "d", "empty", "mysql"}; err != nil || !slices.Equal(databases, want) {
			t.Errorf("Databases = %q, %v; want %q", databases, err, want)
		}
	})
}

// Under BLOCK_DDL an ALTER may hold its table exclusively and wait for us.
func TestTableNamesWaitsForNobody(t *testing.T) {
	onEach(t, func(t *testing.T, srv *mariadbtest.Server) {
		tables(t, srv)
		s := connect(t, srv)
		st := begin(t, s, stage.StageOptions{})
		advance(t, st, stage.Start, stage.BlockDDL)
		dropped := session(t, srv).start("DROP TABLE d.m")
		running(t, srv, "DROP", "Waiting for backup lock")
		begun := time.Now()
		names, err := s.TableNames(t.Context())
		if err != nil || !slices.Contains(names, stage.Table{Database: "d", Name: "m"}) {
			t.Errorf("TableNames = %v, %v; want d.m in it", names, err)
		}
		if took := time.Since(begun); took > time.Second {
			t.Errorf("TableNames took %s", took)
		}
		if err := st.End(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := <-dropped; got.err != nil {
			t.Error(got.err)
		}
	})
}
