package restore

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mbk/internal/repo"
	"mbk/internal/test/coldbackup"
	"mbk/internal/test/mariadbtest"
)

// eachSeries runs a test against some series of servers.
func eachSeries(t *testing.T, run func(t *testing.T, series string)) {
	for _, series := range mariadbtest.Some(t, mariadbtest.Versions()...) {
		t.Run(series, func(t *testing.T) { run(t, series) })
	}
}

// wantHolds starts a server on a restored directory and compares what it holds.
func wantHolds(t *testing.T, series, dir string, want mariadbtest.Snapshot, args ...string) {
	t.Helper()
	s := mariadbtest.Open(t, series, dir, args...)
	findings, err := mariadbtest.CheckTables(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		// After a crash 10.11 can warn of records of an index on a virtual column
		// that are marked as deleted, whoever recovers.
		if strings.Contains(f, ": Warning: ") {
			t.Logf("CHECK TABLE: %s", f)
			continue
		}
		t.Errorf("CHECK TABLE: %s", f)
	}
	got, err := mariadbtest.TakeSnapshot(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range mariadbtest.Diff(got, want) {
		t.Errorf("restored: %s", line)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestRestore(t *testing.T) {
	eachSeries(t, func(t *testing.T, series string) {
		s, want := coldbackup.Fill(t, series)
		f := coldbackup.Of(t, s)
		parent := t.TempDir()
		target := filepath.Join(parent, "restored")
		r, err := Restore(t.Context(), options(f, target))
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Warnings) > 0 {
			t.Errorf("Warnings = %q, want none", r.Warnings)
		}
		coldbackup.WantNothingBut(t, parent, "restored")
		if r.LSN < f.Manifest.LSN.End {
			t.Errorf("LSN = %d, want at least %d", r.LSN, f.Manifest.LSN.End)
		}
		wantHolds(t, series, target, want)

		raw := filepath.Join(parent, "raw")
		o := options(f, raw)
		o.Raw = true
		if _, err := Restore(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		wantHolds(t, series, raw, want)
	})
}

// options are those of a restore of a backup into a target.
func options(f *coldbackup.Fixture, target string) Options {
	owner := self() // not the user mysql, whom a test's folders keep out
	return Options{Target: target, Preparation: Preparation{
		Repository: f.Repository, ID: repo.Latest, Owner: &owner, Mariadbd: f.Dist.Program("mariadbd"), Tool: "mbk test",
	}}
}

func TestReplicaStatements(t *testing.T) {
	m := &repo.Manifest{
		Server: repo.Server{Hostname: "db'1", Port: 3307},
		Binlog: &repo.Binlog{File: "binlog.000007", Position: 342},
		Replicas: []repo.Source{
			{Connection: "east", Host: "h1", Port: 3306, File: "b.1", Position: 4, UsingGTID: "No"},
			{Host: "h2", Port: 3306, UsingGTID: "Slave_Pos"},
			{Connection: "west", Host: "h3", Port: 3306, GTID: "0-1-7",
				UsingGTID: "No"}, // its threads had not noted the position
		},
	}
	want := []string{
		`CHANGE MASTER TO MASTER_HOST='db\'1', MASTER_PORT=3307, MASTER_LOG_FILE='binlog.000007', MASTER_LOG_POS=342;`,
	}
	if got := replicaOfSource(m); !slices.Equal(got, want) {
		t.Errorf("replicaOfSource = %q, want %q", got, want)
	}
	want = []string{
		`CHANGE MASTER 'east' TO MASTER_HOST='h1', MASTER_PORT=3306, MASTER_LOG_FILE='b.1', MASTER_LOG_POS=4;`,
		`CHANGE MASTER TO MASTER_HOST='h2', MASTER_PORT=3306, MASTER_USE_GTID=slave_pos;`,
		`CHANGE MASTER 'west' TO MASTER_HOST='h3', MASTER_PORT=3306, MASTER_USE_GTID=slave_pos;`,
	}
	if got := replicaLikeSource(m); !slices.Equal(got, want) {
		t.Errorf("replicaLikeSource = %q, want %q", got, want)
	}
	m.Binlog.GTID = "0-1-42"
	want = []string{`SET GLOBAL gtid_slave_pos='0-1-42';`,
		`CHANGE MASTER TO MASTER_HOST='db\'1', MASTER_PORT=3307, MASTER_USE_GTID=slave_pos;`}
	if got := replicaOfSource(m); !slices.Equal(got, want) {
		t.Errorf("replicaOfSource = %q, want %q", got, want)
	}
}

func TestOptionsValidate(t *testing.T) {
	r := new(repo.Repository)
	for name, c := range map[string]struct {
		o  Options
		ok bool
	}{
		"whole":            {Options{Preparation: Preparation{Repository: r, ID: "latest"}}, true},
		"no repository":    {Options{Preparation: Preparation{ID: "latest"}}, false},
		"no id":            {Options{Preparation: Preparation{Repository: r}}, false},
		"negative workers": {Options{Preparation: Preparation{Repository: r, ID: "latest", Workers: -1}}, false},
	} {
		if err := c.o.Validate(); (err == nil) != c.ok {
			t.Errorf("%s: Validate = %v", name, err)
		}
	}
}

// Every member of a chain of backups of a real server is restored, and a table of the
// newest alone. Between them the server writes, and tables are made, dropped, rebuilt and
// emptied.
func TestRestoreChain(t *testing.T) {
	eachSeries(t, func(t *testing.T, series string) {
		s, full := coldbackup.Fill(t, series)
		members, want := []*coldbackup.Fixture{coldbackup.Of(t, s)}, []mariadbtest.Snapshot{full}
		for n := range 2 {
			if err := s.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			load, err := mariadbtest.Write(t.Context(), s, mariadbtest.WriteOptions{Pause: -1})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(300 * time.Millisecond)
			if _, err := load.Stop(); err != nil {
				t.Fatal(err)
			}
			s.MustExec(t,
				"CREATE DATABASE IF NOT EXISTS chain",
				"CREATE OR REPLACE TABLE chain.rebuilt (id INT PRIMARY KEY, v VARCHAR(100))",
				"CREATE TABLE IF NOT EXISTS chain.kept (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(100))",
				"INSERT INTO chain.rebuilt SELECT seq, MD5(seq) FROM mysql.seq_1_to_2000",
				"INSERT INTO chain.kept (v) SELECT MD5(seq) FROM mysql.seq_1_to_20000",
				"UPDATE chain.kept SET v = 'changed' WHERE id % 501 = 0",
				fmt.Sprintf("CREATE TABLE chain.new%d ENGINE=Aria AS SELECT seq FROM mysql.seq_1_to_100", n))
			if n > 0 {
				s.MustExec(t, "DROP TABLE chain.new0", "DELETE FROM chain.kept WHERE id > 100",
					"ALTER TABLE chain.rebuilt ADD COLUMN w INT, ALGORITHM=COPY")
			}
			snapshot, err := mariadbtest.TakeSnapshot(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			s.MustExec(t, "FLUSH TABLES", coldbackup.FlushLogs)
			members, want = append(members, members[n].Next(t, s)), append(want, snapshot)
		}
		for i, f := range members {
			o := options(f, filepath.Join(t.TempDir(), "restored"))
			o.ID = f.Manifest.ID
			if _, err := Restore(t.Context(), o); err != nil {
				t.Fatalf("member %d: %v", i, err)
			}
			wantHolds(t, series, o.Target, want[i])
		}
		o := options(members[2], filepath.Join(t.TempDir(), "filtered"))
		o.Filter.Tables = []string{"chain.kept"}
		if _, err := Restore(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		r := mariadbtest.Open(t, series, o.Target)
		if got := r.MustValue(t, "SELECT COUNT(*) FROM chain.kept"); got != "100" {
			t.Errorf("%s rows of the one table", got)
		}
		if err := r.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Whoever restored one table was told how to make the result a replica.
func TestPartOfAServerIsNoReplica(t *testing.T) {
	m := systemManifest()
	m.Binlog = &repo.Binlog{File: "binlog.000007", Position: 342}
	m.Replicas = []repo.Source{{Host: "h1", Port: 3306, File: "b.1", Position: 4, UsingGTID: "No"}}
	for tables, want := range map[string]int{"": 1, "shop.orders": 0} {
		p := &Plan{manifest: m}
		if tables != "" {
			p.opts.Filter.Tables = []string{tables}
		}
		if r := p.result(&Prepared{}); len(r.ReplicaOfSource) != want || len(r.ReplicaLikeSource) != want {
			t.Errorf("with --table %q: %q, %q", tables, r.ReplicaOfSource, r.ReplicaLikeSource)
		}
	}
}
