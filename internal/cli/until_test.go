package cli_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"mbk/internal/binlog"
	"mbk/internal/test/mariadbtest"
)

// untilDocument is what the tests read of "restore --until --json", or of the plan.
type untilDocument struct {
	ID     string `json:"id"`
	Replay struct {
		Timeline string `json:"timeline"`
		From     string `json:"from"`
		To       string `json:"to"`
		Last     string `json:"last"`
		Next     string `json:"next"`
	} `json:"replay"`
}

// archiving archives what a server has.
func archiving(t *testing.T, source *mariadbtest.Server, repository string, more ...string) {
	t.Helper()
	must(t, append([]string{"archive", "--once", "--repo", repository, "--socket", source.Socket, "--user", "root",
		"--quiet"}, more...)...)
}

// loggedSince lists the transactions of a server's log that follow a position.
func loggedSince(t *testing.T, source *mariadbtest.Server, position string) []string {
	t.Helper()
	at, err := binlog.ParsePosition(position)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	rows, err := source.DB().QueryContext(t.Context(), "SHOW BINARY LOGS")
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for rows.Next() {
		var name, size string
		if err := rows.Scan(&name, &size); err != nil {
			t.Fatal(err)
		}
		files = append(files, name)
	}
	if err := rows.Close(); err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		events, err := source.DB().QueryContext(t.Context(), "SHOW BINLOG EVENTS IN '"+file+"'")
		if err != nil {
			t.Fatal(err)
		}
		for events.Next() {
			var name, pos, kind, server, end, info string
			if err := events.Scan(&name, &pos, &kind, &server, &end, &info); err != nil {
				t.Fatal(err)
			}
			_, text, found := strings.Cut(info, "GTID ")
			text, _, _ = strings.Cut(text, " ")
			if g, err := binlog.ParseGTID(text); kind == "Gtid" && found && err == nil && g.Sequence > at[g.Domain].Sequence {
				list = append(list, text)
			}
		}
		if err := events.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return list
}

// At any moment that is asked for, the restored server is what a replica of the source is that
// was stopped there: under writes of all kinds and formats, DDL, and several domains.
func TestRestoreUntil(t *testing.T) {
	t.Parallel()
	for _, version := range mariadbtest.Some(t, "10.5", "10.11", "11.8") {
		t.Run(version, func(t *testing.T) { restoreUntil(t, version) })
	}
}

func restoreUntil(t *testing.T, version string) {
	formats := []string{"ROW", "MIXED"}
	source := mariadbtest.New(t, version, "--binlog-format="+formats[rand.IntN(2)], "--log-bin-compress=ON",
		"--log-bin-compress-min-len=10")
	if err := mariadbtest.Populate(t.Context(), source, mariadbtest.Fill{InnoDBMiB: 1}); err != nil {
		t.Fatal(err)
	}
	// A table that is in no binary log, as if sql_log_bin had been 0.
	source.MustExec(t, "SET sql_log_bin=0", "DROP TABLE mbk_load.idle_innodb")
	source.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.t (a INT AUTO_INCREMENT PRIMARY KEY, b TEXT)",
		"CREATE TABLE d.m (a INT AUTO_INCREMENT PRIMARY KEY, b DOUBLE) ENGINE=MyISAM")
	load, err := mariadbtest.Write(t.Context(), source, mariadbtest.WriteOptions{Pause: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	repository := t.TempDir()
	b := document[taken](t, "backup", "--repo", repository, "--socket", source.Socket, "--user", "root", "--quiet")
	archiving(t, source, repository)
	domains(t, source)
	if _, err := load.Stop(); err != nil {
		t.Fatal(err)
	}
	archiving(t, source, repository)
	after := loggedSince(t, source, b.Binlog.GTID)
	if len(after) < 50 {
		t.Fatalf("only %d transactions after the backup", len(after))
	}
	some := []string{"gtid:" + after[rand.IntN(len(after))], "before-gtid:" + after[rand.IntN(len(after)-5)+5]}
	for i, moment := range []string{some[rand.IntN(2)], "end"} {
		target := filepath.Join(t.TempDir(), fmt.Sprint("restored", i))
		args := append(restoreArgs("latest", repository, target), "--until", moment)
		plan := document[untilDocument](t, append(args, "--dry-run")...)
		got := document[untilDocument](t, args...)
		if got.Replay != plan.Replay || got.ID != b.ID || got.Replay.From != b.Binlog.GTID ||
			i == 0 && "gtid:"+got.Replay.Last != moment && "before-gtid:"+got.Replay.Next != moment {
			t.Errorf("to %s: %+v, the plan was %+v", moment, got, plan)
		}
		wantAsReplica(t, source, target, version, got.Replay.To)
	}
	for moment, code := range map[string]int{"gtid:0-1-999999": 2, "gtid:0-1-1": 2, "2020-01-01T00:00:00Z": 2,
		"2099-01-01T00:00:00Z": 2, "tomorrow": 2} {
		o := mbk(t, append(restoreArgs("latest", repository, filepath.Join(t.TempDir(), "none")), "--until", moment)...)
		if o.code != code {
			t.Errorf("to %s: exit code %d, want %d: %s", moment, o.code, code, o.stderr)
		}
	}
}

// domains makes transactions in several domains, of all kinds.
func domains(t *testing.T, source *mariadbtest.Server) {
	t.Helper()
	for i := range 20 {
		source.MustExec(t, fmt.Sprintf("SET gtid_domain_id=%d", i%3), "INSERT INTO d.t (b) VALUES (REPEAT('x', 3000))",
			"SET binlog_format=STATEMENT", "INSERT INTO d.m (b) VALUES (RAND())", "SET @a=7",
			"UPDATE d.t SET b=@a ORDER BY a DESC LIMIT 1", "BEGIN", "INSERT INTO d.t (b) VALUES (2)", "SAVEPOINT a",
			"INSERT INTO d.t (b) VALUES (3)", "ROLLBACK TO a", "COMMIT",
			fmt.Sprintf("CREATE TABLE d.x%d (a INT PRIMARY KEY) SELECT a FROM d.t", i),
			fmt.Sprintf("CREATE USER u%d@localhost IDENTIFIED BY 'word'", i),
			fmt.Sprintf("GRANT SELECT ON d.* TO u%d@localhost", i),
			fmt.Sprintf("XA START 'x%d'", i), "INSERT INTO d.t (b) VALUES (4)", fmt.Sprintf("XA END 'x%d'", i),
			fmt.Sprintf("XA PREPARE 'x%d'", i), fmt.Sprintf("XA COMMIT 'x%d'", i))
		if i == 10 {
			source.MustExec(t, "FLUSH BINARY LOGS", "CREATE TEMPORARY TABLE d.tt (a INT)")
		}
	}
}

// wantAsReplica compares a restored data directory with a replica that was stopped at a position.
func wantAsReplica(t *testing.T, source *mariadbtest.Server, target, version, position string) {
	t.Helper()
	replica := mariadbtest.New(t, version)
	if err := mariadbtest.ReplicateUntil(t.Context(), source, replica, position); err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"relay*", "master.info", "multi-master.info", "*.relay"} {
		if left, err := filepath.Glob(filepath.Join(target, pattern)); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
	restored := mariadbtest.Open(t, version, target)
	const enable = "UPDATE mysql.event SET status='ENABLED', created=created, modified=modified" // a replica disables them
	replica.MustExec(t, "SET sql_log_bin=0", enable)
	restored.MustExec(t, "SET sql_log_bin=0", enable)
	if at := restored.MustValue(t, "SELECT @@gtid_slave_pos"); at != position {
		t.Errorf("gtid_slave_pos = %s, want %s", at, position)
	}
	wantSame(t, replica, restored)
	wantInvariants(t, restored)
	if err := errors.Join(restored.Close(), replica.Close(), os.RemoveAll(target)); err != nil {
		t.Error(err)
	}
}
