package cli_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mbk/internal/repo"
	"mbk/internal/test/mariadbtest"
)

// chainProfile is how a chain of backups is put under fire.
type chainProfile struct {
	increments int
	storm      int // sessions of DDL
	seed       uint64
	fill       *mariadbtest.Fill // and with writers on all engines; nil: few tables and few writers
}

// oracleChain is a chain that is being made.
type oracleChain struct {
	profile    chainProfile
	p          profile
	source     *mariadbtest.Server
	repository string
	folder     string // outside of the data directory
	members    []chainMember
	want       mariadbtest.Snapshot // what the source holds at the end
}

// chainMember is one backup, and what the tables held that the binary log does not tell of.
type chainMember struct {
	taken
	what string // happened before it
	sums string
}

// TestChain is the oracle for increments: a full backup and increments of each other, taken
// while writers and DDL go on, with what has to be told apart from them
// in between. One is consolidated, and the next are increments of that. Every member is restored,
// and everything that the source did since must
// make it equal to the source.
func TestChain(t *testing.T) {
	t.Parallel()
	t.Log(chain(t, newest(), chainProfile{increments: 5, storm: 1}))
}

// chain makes and checks one chain and tells how it went.
func chain(t *testing.T, version string, profile chainProfile) string {
	t.Helper()
	c := newOracleChain(t, version, profile)
	c.take(t, "", nil)
	steps := c.steps(t)
	for i := range profile.increments {
		step := steps[(i+int(profile.seed))%len(steps)]
		c.take(t, step.name, step.do)
		if i == profile.increments/2 {
			c.consolidate(t)
		}
	}
	c.check(t)
	return c.String()
}

// newOracleChain starts the source of a chain.
func newOracleChain(t *testing.T, version string, how chainProfile) *oracleChain {
	t.Helper()
	c := &oracleChain{profile: how, repository: t.TempDir(), folder: t.TempDir()}
	c.p = profile{encrypted: true, args: []string{
		"--innodb-encrypt-tables=OFF", "--encrypt-binlog=OFF", "--innodb-undo-tablespaces=3",
		"--innodb-max-undo-log-size=10M",
		"--innodb-undo-log-truncate=ON", "--innodb-purge-rseg-truncate-frequency=1",
	}}
	c.p.keys(t, version)
	c.source = mariadbtest.New(t, version, c.p.args...)
	if how.fill != nil {
		if err := mariadbtest.Populate(t.Context(), c.source, *how.fill); err != nil {
			t.Fatal(err)
		}
	}
	c.source.MustExec(t, statements(filled("crypt", 1, "ENCRYPTED=YES"), filled("idle", 2, ""), filled("rewritten", 3,
		""),
		filled("packed", 1, "PAGE_COMPRESSED=1"), filled("zip", 1, "ROW_FORMAT=COMPRESSED"), filled("aria", 1,
			"ENGINE=Aria"),
		filled("idlemyisam", 1, "ENGINE=MyISAM"))...)
	c.source.MustExec(t, recreated(1)...)
	// DISCARD and IMPORT are not in the binary log, nor may be what lies outside: a
	// restored server would do it to the files of the source.
	c.unlogged(t, append([]string{"CREATE DATABASE unlogged", "USE unlogged"}, append(append(filled("imported", 1, ""),
		filled("other", 1, "")...), filled("moved", 1, externalOption(c.folder))...)...)...)
	c.unlogged(t, "CREATE TABLE unlogged.parts (a INT PRIMARY KEY) PARTITION BY RANGE (a) (PARTITION p "+
		"VALUES LESS THAN (500), "+
		"PARTITION q VALUES LESS THAN (10000))", "INSERT INTO unlogged.parts SELECT seq FROM mysql.seq_1_to_900")
	return c
}

// unlogged runs statements that the binary log does not get.
func (c *oracleChain) unlogged(t *testing.T, statements ...string) {
	t.Helper()
	c.source.MustExec(t, append([]string{"SET sql_log_bin=0"}, statements...)...)
}

// recreated are the statements that make a database from the beginning, under names that were there
// before, each time with other rows.
func recreated(generation int) []string {
	q := []string{"DROP DATABASE IF EXISTS recreated", "CREATE DATABASE recreated", "USE recreated"}
	for i, engine := range []string{"InnoDB", "InnoDB ROW_FORMAT=COMPRESSED", "InnoDB PAGE_COMPRESSED=1", "Aria",
		"MyISAM"} {
		q = append(q, filled(fmt.Sprintf("t%d", i), 1, "ENGINE="+engine)...)
		q = append(q, fmt.Sprintf("UPDATE t%d SET n = id * %d", i, generation))
	}
	return q
}

// chainStep happens between two members, while nothing else goes on.
type chainStep struct {
	name string
	do   func()
}

// steps are all of them.
func (c *oracleChain) steps(t *testing.T) []chainStep {
	generation := 1
	exec := func(statements ...string) func() {
		return func() { t.Helper(); c.source.MustExec(t, append([]string{"USE d"}, statements...)...) }
	}
	restart := func(end func(context.Context) error) func() {
		return func() {
			t.Helper()
			if err := end(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := c.source.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	external := externalOption(c.folder)
	return []chainStep{
		{"tables imported, database recreated", func() {
			x := exported(t, c.source, "unlogged", "imported", "other")
			c.unlogged(t, "ALTER TABLE unlogged.imported DISCARD TABLESPACE")
			x.place(t)
			c.unlogged(t, "ALTER TABLE unlogged.imported IMPORT TABLESPACE", "UPDATE unlogged.other SET n = n + 3")
			generation++
			c.source.MustExec(t, recreated(generation)...)
		}},
		{"encrypted by threads, another key", exec("SET GLOBAL innodb_encryption_threads=4",
			"SET GLOBAL innodb_encrypt_tables=ON",
			"ALTER TABLE crypt ENCRYPTION_KEY_ID=2", "DO SLEEP(1)")},
		{"moved, undo truncated", func() {
			c.unlogged(t, "USE unlogged", "CREATE OR REPLACE TABLE moved2 (id INT PRIMARY KEY, s VARCHAR(500))",
				"INSERT INTO moved2 SELECT id, s FROM moved", "DROP TABLE moved",
				"CREATE TABLE moved (id INT PRIMARY KEY, n INT, s VARCHAR(500)) "+external,
				"INSERT INTO moved SELECT id, id, s FROM moved2",
				"ALTER TABLE parts REORGANIZE PARTITION p INTO (PARTITION p VALUES LESS THAN (500) "+external+")",
				"UPDATE parts SET a = a + 1000 WHERE a % 9 = 0")
			for range 4 {
				exec("UPDATE rewritten SET n = n + 1, s = REPEAT(MD5(RAND()), 15)")()
			}
			if err := c.source.WaitForPurge(t.Context()); err != nil {
				t.Fatal(err)
			}
		}},
		{"killed", restart(func(ctx context.Context) error {
			// Else a table of ARCHIVE would lose rows that are in the binary log.
			return errors.Join(c.source.Exec(ctx, "FLUSH TABLES"), c.source.Kill())
		})},
		{"decrypted by threads, compression changed", exec("SET GLOBAL innodb_encryption_threads=4",
			"SET GLOBAL innodb_encrypt_tables=OFF", "SET GLOBAL innodb_compression_level=9",
			"ALTER TABLE packed PAGE_COMPRESSION_LEVEL=2", "UPDATE packed SET n = n + 1 WHERE id % 3 = 0",
			"ALTER TABLE zip KEY_BLOCK_SIZE=4", "UPDATE zip SET n = n + 1 WHERE id % 3 = 0",
			"OPTIMIZE TABLE aria, idlemyisam")},
		{"shut down slowly, moved back", func() {
			c.unlogged(t, "USE unlogged", "ALTER TABLE parts REORGANIZE PARTITION p INTO (PARTITION p VALUES LESS THAN (500))",
				"CREATE TABLE IF NOT EXISTS moved2 (id INT PRIMARY KEY, s VARCHAR(500))", // if this step comes first
				"INSERT IGNORE INTO moved2 SELECT id, s FROM moved", "RENAME TABLE moved TO x, moved2 TO moved, x TO moved2")
			exec("SET GLOBAL innodb_fast_shutdown=0")()
			restart(c.source.Stop)()
		}},
	}
}

// take does something, and takes the next member of the chain under fire.
func (c *oracleChain) take(t *testing.T, what string, do func()) {
	t.Helper()
	if do != nil {
		do()
	}
	stop := c.load(t)
	time.Sleep(300 * time.Millisecond)
	p := c.p
	p.backup = []string{"--nice", "0"} // it shall end on a machine that has much else to do
	if len(c.members) > 0 {
		p.backup = append(p.backup, "--incremental")
	}
	if c.profile.fill == nil {
		p.during = churn("UPDATE d.crypt SET n = n + 1 WHERE id % 50 = 0",
			"UPDATE d.packed SET s = MD5(n + id) WHERE id % 50 = 1",
			"UPDATE d.zip SET n = n + 1 WHERE id % 50 = 2", "UPDATE d.aria SET n = n + 1 WHERE id % 50 = 3",
			"UPDATE d.idlemyisam SET n = n + 1 WHERE id = 7", "INSERT INTO d.rewritten (id) SELECT 1 + "+
				"MAX(id) FROM d.rewritten",
			"DO SLEEP(0.05)")
	}
	b := taking(t, c.source, c.repository, p)
	stop()
	m := manifestOf(t, c.repository, b.ID)
	if n := len(c.members); n > 0 && (m.Kind != repo.KindIncremental || m.Parent != c.members[n-1].ID) {
		t.Fatalf("after %q: %s is of kind %q and has the parent %q, want an increment of %s", what, b.ID, m.Kind, m.Parent,
			c.members[n-1].ID)
	}
	c.members = append(c.members, chainMember{b, what, unloggedSums(t, c.source)})
}

// consolidate makes a full backup of the newest member. It is the next one's parent.
func (c *oracleChain) consolidate(t *testing.T) {
	t.Helper()
	made := document[struct {
		ID   string   `json:"id"`
		From []string `json:"from"`
	}](t, "consolidate", "latest", "--repo", c.repository, "--no-defaults", "--quiet")
	m := c.members[len(c.members)-1]
	if len(made.From) != len(c.members) || made.From[0] != m.ID {
		t.Errorf("a full backup was made of %v, want the whole chain of %s", made.From, m.ID)
	}
	m.ID, m.what = made.ID, "being consolidated"
	c.members = append(c.members, m)
}

// load starts the writers and DDL.
func (c *oracleChain) load(t *testing.T) (stop func()) {
	t.Helper()
	seed := c.profile.seed*100 + uint64(len(c.members))
	var loads []*mariadbtest.Load
	begun := func(l *mariadbtest.Load, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		loads = append(loads, l)
	}
	storm := mariadbtest.StormOptions{Sessions: c.profile.storm, Seed: seed}
	if c.profile.fill == nil {
		storm.Rows, storm.Pause = 500, 100*time.Millisecond
	} else {
		begun(mariadbtest.Write(t.Context(), c.source, mariadbtest.WriteOptions{Seed: seed}))
	}
	begun(mariadbtest.Storm(t.Context(), c.source, storm))
	return func() {
		t.Helper()
		for _, l := range loads {
			if _, err := l.Stop(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// unloggedSums tells what the tables hold whose changes are not in the binary log. They are
// changed between two members only.
func unloggedSums(t *testing.T, s *mariadbtest.Server) string {
	t.Helper()
	var all []string
	for _, table := range []string{"imported", "other", "moved"} {
		all = append(all, s.MustValue(t, "SELECT CONCAT(COUNT(*), ' ', SUM(CRC32(CONCAT_WS(',', id, s)))) "+
			"FROM unlogged."+table))
	}
	all = append(all, s.MustValue(t, "SELECT CONCAT(COUNT(*), ' ', SUM(a)) FROM unlogged.parts"))
	return strings.Join(append(all, s.MustValue(t, "SELECT SUM(n) FROM unlogged.imported")), ", ")
}

// check restores every member, the newest first, replays what the source did since and compares.
func (c *oracleChain) check(t *testing.T) {
	t.Helper()
	c.unlogged(t, "DROP DATABASE unlogged")
	var err error // the source is at rest from now on
	if c.want, err = mariadbtest.TakeSnapshot(t.Context(), c.source); err != nil {
		t.Fatal(err)
	}
	for i := len(c.members) - 1; i >= 0; i-- {
		m := c.members[i]
		name := fmt.Sprintf("member %d", i)
		if m.what != "" {
			name += " after " + m.what
		}
		t.Run(name, func(t *testing.T) { c.checkMember(t, m.ID, m) })
	}
}

// checkMember restores a backup with the state of a member, and compares.
func (c *oracleChain) checkMember(t *testing.T, id string, m chainMember) {
	t.Helper()
	must(t, "verify", id, "--repo", c.repository, "--depth", "pages", "--quiet")
	// The dictionary may be encrypted, so that nothing can be brought into the data directory.
	target, folder := filepath.Join(t.TempDir(), "restored"), t.TempDir()
	if err := os.Chmod(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	c.keep(t, filepath.Dir(target))
	must(t, append(restoreArgs(id, c.repository, target), "--map-dir", c.folder+"="+folder, "--keep-on-failure")...)
	restored := mariadbtest.Open(t, c.source.Dist.Series, target, c.p.args...)
	if got := unloggedSums(t, restored); got != m.sums {
		t.Errorf("the tables that the binary log does not tell of are %s, want %s", got, m.sums)
	}
	c.invariants(t, restored)
	restored.MustExec(t, "SET sql_log_bin=0", "DROP DATABASE unlogged")
	if err := mariadbtest.ReplayBinlog(t.Context(), c.source, restored, m.Binlog.File, m.Binlog.Position); err != nil {
		t.Fatal(err)
	}
	wantSnapshot(t, c.want, restored)
	if t.Failed() {
		c.explain(t, restored)
	}
	c.invariants(t, restored)
}

// explain logs the rows in which a restored server differs.
func (c *oracleChain) explain(t *testing.T, restored *mariadbtest.Server) {
	t.Helper()
	got, err := mariadbtest.TakeSnapshot(t.Context(), restored)
	if err != nil {
		t.Fatal(err)
	}
	for o, text := range c.want {
		if o.Kind != "rows" || got[o] == text {
			continue
		}
		rows, err := mariadbtest.DiffRows(t.Context(), restored, c.source, o.Name, 20)
		t.Logf("%s (%v):\n%s", o.Name, err, strings.Join(rows, "\n"))
	}
}

// keep copies what could tell why a member failed into the folder MBK_TEST_KEEP.
func (c *oracleChain) keep(t *testing.T, restored string) {
	t.Helper()
	to := os.Getenv("MBK_TEST_KEEP")
	if to == "" {
		return
	}
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		to := filepath.Join(to, strings.ReplaceAll(t.Name(), "/", "-"))
		for name, from := range map[string]string{"repository": c.repository, "source": c.source.Datadir,
			"keys": c.p.keyFolder, "restored": restored} {
			err := os.CopyFS(filepath.Join(to, name), os.DirFS(from))
			t.Logf("%s of %s kept in %s (%v)", name, from, to, err)
		}
	})
}

// invariants checks what holds at every instant of the work of the writers on all engines.
func (c *oracleChain) invariants(t *testing.T, s *mariadbtest.Server) {
	t.Helper()
	if c.profile.fill != nil {
		wantInvariants(t, s)
	}
}

// String tells how much the members hold.
func (c *oracleChain) String() string {
	var all []string
	for _, m := range c.members {
		all = append(all, fmt.Sprintf("%s (locked %d ms, %.1f MiB of redo)", m.ID, m.LockWindowMS,
			float64(m.RedoBytes)/(1<<20)))
	}
	return strings.Join(all, ", ")
}
