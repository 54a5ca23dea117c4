package cli_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mbk/internal/test/mariadbtest"
)

// Tables are renamed into the filter and out of it, exchanged with others that are
// left out, rebuilt and created again while backups run. Whatever a kept name means
// at the end of a backup must be there, whole.
func TestFilterUnderStorm(t *testing.T) {
	for _, version := range mariadbtest.Some(t, append([]string{"10.5"}, mariadbtest.Versions()...)...) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			filterUnderStorm(t, version, 1)
		})
	}
}

// movingRows is how many rows each table of the storm has. All rows of a table
// have the table's number in their column n, which no statement changes.
const movingRows = 400

// filterStorm are the sessions of the storm, each with statements that it repeats.
// Names that begin with "in" are kept. The first statements of each are its setup.
func filterStorm() (setup []string, sessions [][]string) {
	number := 0
	table := func(name, columns string) string {
		number++
		setup = append(setup, "CREATE TABLE "+name+
			" (id INT PRIMARY KEY AUTO_INCREMENT, n INT NOT NULL, s VARCHAR(100) DEFAULT 'some words'"+columns,
			fmt.Sprintf("INSERT INTO %s (n) SELECT %d FROM seq_1_to_%d", name, number, movingRows))
		return name
	}
	setup = []string{"CREATE DATABASE `in`", "CREATE DATABASE part", "CREATE DATABASE `out`", "USE part"}
	a, b := table("part.`in a`", ", FULLTEXT KEY (s))"), table("part.`out b`", ", FULLTEXT KEY (s))")
	p, q := table("part.`in p`", ") PARTITION BY HASH (id) PARTITIONS 3"),
		table("part.`out q`", ") PARTITION BY HASH (id) PARTITIONS 2")
	m, n := table("part.in_m", ") ENGINE=MyISAM"), table("part.out_n", ") ENGINE=MyISAM")
	c, d := table("part.in_c", ") ENGINE=Aria TRANSACTIONAL=1"), table("part.out_d", ") ENGINE=Aria TRANSACTIONAL=1")
	f, g := table("part.in_f", ")"), table("part.out_g", ")")
	k, l := table("`in`.k", ")"), table("`out`.l", ")")
	table("`in`.new_always", ")") // a filter that names in.new_a* finds it at any moment
	// e is exchanged with a partition of x that holds as many rows.
	e := table("part.out_e", ")")
	x := table("part.in_x",
		") PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10000), PARTITION p1 VALUES LESS THAN MAXVALUE)")
	swap := func(x, y, z string) string {
		return "RENAME TABLE " + x + " TO " + z + ", " + y + " TO " + x + ", " + z + " TO " + y
	}
	again := func(name, columns string) []string {
		number++
		return []string{
			"CREATE OR REPLACE TABLE " + name +
				" (id INT PRIMARY KEY AUTO_INCREMENT, n INT NOT NULL, s VARCHAR(100) DEFAULT 'some words'" + columns +
				fmt.Sprintf(" SELECT seq AS id, %d AS n FROM seq_1_to_%d", number, movingRows),
		}
	}
	return setup, [][]string{
		{swap(a, b, "part.t1"), "RENAME TABLE " + a + " TO part.out_moved", "RENAME TABLE part.out_moved TO " + a,
			"ALTER TABLE " + b + " FORCE"},
		{swap(p, q, "part.t2"), "ALTER TABLE " + q + " FORCE", "RENAME TABLE " + q + " TO `out`.moved",
			"RENAME TABLE `out`.moved TO " + q},
		{swap(m, n, "part.t3"), swap(c, d, "part.t4"), "ALTER TABLE " + d + " FORCE", "ALTER TABLE " + m + " FORCE"},
		{swap(k, l, "`out`.t5"), "ALTER TABLE " + x + " EXCHANGE PARTITION p0 WITH TABLE " + e,
			"ALTER TABLE " + k + " FORCE, ALGORITHM=COPY"},
		slices.Concat([]string{"ALTER TABLE " + f + " ADD FULLTEXT KEY ft (s)",
			"ALTER TABLE " + g + " ADD FULLTEXT KEY ft (s)",
			"ALTER TABLE " + f + " DROP KEY ft", "ALTER TABLE " + g + " DROP KEY ft",
			"CREATE DATABASE out2", "CREATE TABLE out2.t (a INT)", "DROP DATABASE out2"},
			again("part.in_new", ")"), again("part.out_new", ")"), again("`in`.new_aria", ") ENGINE=Aria"),
			again("`out`.new_aria", ") ENGINE=Aria")),
	}
}

// filterUnderStorm takes backups, and restores each.
func filterUnderStorm(t *testing.T, version string, backups int) {
	source := mariadbtest.New(t, version)
	setup, sessions := filterStorm()
	source.MustExec(t, setup...)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var storms []func(context.Context, *mariadbtest.Server) error
	for _, statements := range sessions {
		storms = append(storms, churn(append([]string{"USE part"}, statements...)...))
	}
	done := make(chan error, 1)
	go func() { done <- all(storms...)(ctx, source) }()
	repository := t.TempDir()
	args := []string{"backup", "--repo", repository, "--socket", source.Socket, "--user", "root", "--quiet",
		"--database", "in", "--table", "part.in*", "--lock-wait", "5m"}
	var ids []string
	for range backups {
		time.Sleep(200 * time.Millisecond)
		ids = append(ids, document[filteredDocument](t, args...).ID)
	}
	full := document[filteredDocument](t, args[:7]...).ID
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for _, id := range append(ids, full) {
		target := filepath.Join(t.TempDir(), "restored")
		more := []string{}
		if id == full {
			more = []string{"--database", "in", "--exclude-table", "in.new_a*", "--table", "part.in*"}
		}
		out := must(t, append(restoreArgs(id, repository, target), more...)...)
		if strings.Contains(out.stdout, "warning") {
			t.Errorf("the restore warns:\n%s", out.stdout)
		}
		r := mariadbtest.Open(t, version, target)
		wantWhole(t, r)
	}
	must(t, "verify", ids[0], "--repo", repository, "--depth", "boot", "--owner", self(), "--quiet")
}

// wantWhole checks the tables of a storm on a restored server.
func wantWhole(t *testing.T, r *mariadbtest.Server) {
	t.Helper()
	ctx := t.Context()
	if lines, _ := errorsOf(t, r, 0); len(lines) > 0 {
		t.Errorf("the first start logs %q", lines)
	}
	list, err := r.Value(ctx,
		"SELECT GROUP_CONCAT(CONCAT('`', TABLE_SCHEMA, '`.`', TABLE_NAME, '`') ORDER BY 1 SEPARATOR '\n') FROM "+
			"information_schema.TABLES WHERE TABLE_SCHEMA NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')")
	if err != nil {
		t.Fatal(err)
	}
	tables := strings.Split(list, "\n")
	if len(tables) < 5 {
		t.Errorf("only %q", tables)
	}
	for _, name := range tables {
		if !strings.HasPrefix(name, "`in`") && !strings.HasPrefix(name, "`part`.`in") {
			t.Errorf("%s should have been left out", name)
		}
		rows := r.MustValue(t, "SELECT CONCAT(COUNT(*), ' rows, numbers ', COUNT(DISTINCT n)) FROM "+name)
		if want := fmt.Sprintf("%d rows, numbers 1", movingRows); rows != want {
			t.Errorf("%s has %s, want %s", name, rows, want)
		}
	}
	wantSound(t, r)
	if n := r.MustValue(t,
		"SELECT COUNT(*) FROM information_schema.INNODB_SYS_TABLES WHERE NAME LIKE 'out%' OR NAME LIKE 'part/out%' OR NAME "+
			"LIKE '%#sql%'"); n != "0" {
		t.Errorf("InnoDB's dictionary has %s orphans", n)
	}
	r.MustExec(t, "CREATE DATABASE `out`", "CREATE TABLE `out`.l (a INT)",
		"CREATE TABLE part.`out b` (s VARCHAR(100), FULLTEXT KEY (s))",
		"CREATE TABLE part.`out q` (id INT) PARTITION BY HASH (id) PARTITIONS 4",
		"CREATE TABLE part.out_d (a INT) ENGINE=Aria", "CREATE TABLE part.out_moved (a INT)")
	_, mark := errorsOf(t, r, 0)
	if err := r.Restart(ctx); err != nil {
		t.Fatal(err)
	}
	if lines, _ := errorsOf(t, r, mark); len(lines) > 0 {
		t.Errorf("the second start logs %q", lines)
	}
}

// What a filter keeps is, with the rest of the source's binary log, what the source
// has: the restored server catches up as a replica that ignores what was left out.
func TestFilterOracle(t *testing.T) {
	mariadbtest.Rare(t)
	t.Parallel()
	anyKind(t)
	filterOracle(t, newest())
}

func filterOracle(t *testing.T, version string) {
	left := []string{"mbk_load.innodb_fulltext", "mbk_load.innodb_range", "mbk_load.innodb_system", "mbk_load.aria_page",
		"mbk_load.aria_transactional",
		"mbk_load.myisam_fixed", "mbk_load.innodb_redundant", "mbk_storm.s0 large", "mbk_storm.s0 parted",
		"mbk_storm.s0 twin", "mbk_storm.s0 engine"}
	ctx := t.Context()
	source := mariadbtest.Listen(t, version, "")
	if err := mariadbtest.Populate(ctx, source, mariadbtest.Fill{InnoDBMiB: 8}); err != nil {
		t.Fatal(err)
	}
	source.MustExec(t, "CREATE USER r@127.0.0.1 IDENTIFIED BY 'secret'", "GRANT REPLICATION SLAVE ON *.* TO r@127.0.0.1")
	writers, err := mariadbtest.Write(ctx, source, mariadbtest.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	storm, err := mariadbtest.Storm(ctx, source, mariadbtest.StormOptions{Sessions: 1})
	if err != nil {
		t.Fatal(err)
	}
	// A filter may only name what exists: the storm has to have made its tables.
	for made := "0"; made != "1"; time.Sleep(50 * time.Millisecond) {
		made = source.MustValue(t,
			"SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA = 'mbk_storm' AND TABLE_NAME = 's0 parted'")
	}
	repository := t.TempDir()
	p := profile{}
	replica := []string{"--server-id=2"}
	for _, name := range left {
		p.backup = append(p.backup, "--exclude-table", name)
		replica = append(replica, "--replicate-wild-ignore-table="+strings.ReplaceAll(name, "_", `\_`))
	}
	b := taking(t, source, repository, p)
	for _, l := range []*mariadbtest.Load{storm, writers} {
		if _, err := l.Stop(); err != nil {
			t.Fatal(err)
		}
	}
	target := filepath.Join(t.TempDir(), "restored")
	must(t, restoreArgs(b.ID, repository, target)...)
	restored := mariadbtest.Open(t, version, target, replica...)
	wantInvariants(t, restored)
	restored.MustExec(t,
		fmt.Sprintf("CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=%d, MASTER_USER='r', MASTER_PASSWORD='secret', "+
			"MASTER_LOG_FILE='%s', MASTER_LOG_POS=%d",
			source.Port, b.Binlog.File, b.Binlog.Position), "START SLAVE")
	file, at, err := source.Position(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if n := restored.MustValue(t, "SELECT IFNULL(MASTER_POS_WAIT(?, ?, 60), 'stopped')", file, at); n == "-1" ||
		n == "stopped" {
		t.Fatalf("the replica did not reach %s %d: %s", file, at, n)
	}
	restored.MustExec(t, "STOP SLAVE")
	wantSameWithout(t, source, restored, left)
}

// wantSameWithout compares two servers except for tables that were left out, and for
// events, which a replica does not run.
func wantSameWithout(t *testing.T, source, restored *mariadbtest.Server, left []string) {
	t.Helper()
	want, err := mariadbtest.TakeSnapshot(t.Context(), source)
	if err != nil {
		t.Fatal(err)
	}
	got, err := mariadbtest.TakeSnapshot(t.Context(), restored)
	if err != nil {
		t.Fatal(err)
	}
	// A replica that leaves out tables passes over every ALTER SEQUENCE.
	altered := mariadbtest.Object{Kind: "rows", Name: "`mbk_storm @0 é`.`seq`"}
	missing := map[string]bool{}
	for o := range want {
		for _, name := range left {
			database, table, _ := strings.Cut(name, ".")
			if o.Name == "`"+database+"`.`"+table+"`" {
				missing[name] = missing[name] || o.Kind == "table"
				if _, there := got[o]; there {
					t.Errorf("%s %s should have been left out", o.Kind, o.Name)
				}
				delete(want, o)
			}
		}
		if o.Kind == "event" || o.Name == "`mysql`.`event`" || o == altered {
			delete(want, o)
			delete(got, o)
		}
	}
	for _, name := range left {
		if !missing[name] {
			t.Errorf("the source has no %s", name)
		}
	}
	diff := mariadbtest.Diff(got, want)
	if len(diff) > 0 {
		t.Errorf("the restored server differs in %d things:\n%s", len(diff), strings.Join(diff[:min(len(diff), 20)], "\n"))
	}
	wantSound(t, restored)
	if len(want) < 100 {
		t.Errorf("only %d things were compared", len(want))
	}
}
