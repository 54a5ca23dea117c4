package cli_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mbk/backup/preflight"
	"mbk/internal/test/mariadbtest"
)

// Every attempt, failed or not, leaves a row on the server. The server is a
// read-only replica with strict GTIDs here: it must go on following, with no
// transaction of its own.
func TestHistoryTableOfAReplica(t *testing.T) {
	t.Parallel()
	version := newest()
	primary := mariadbtest.Listen(t, version, "", "--gtid-strict-mode=ON")
	replica := mariadbtest.New(t, version, "--gtid-strict-mode=ON", "--log-slave-updates=ON", "--server-id=2")
	primary.MustExec(t, "CREATE USER r@127.0.0.1 IDENTIFIED BY 'secret'", "GRANT REPLICATION SLAVE ON *.* TO r@127.0.0.1")
	replica.MustExec(t,
		fmt.Sprintf("CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=%d, MASTER_USER='r', MASTER_PASSWORD='secret', "+
			"MASTER_USE_GTID=slave_pos", primary.Port),
		"START SLAVE", "SET GLOBAL read_only=1")
	repository := t.TempDir()
	rows := func() string {
		t.Helper()
		return replica.MustValue(t,
			"SELECT GROUP_CONCAT(CONCAT(outcome, ' ', kind, ' ', hostname = @@hostname, ' ', lock_window_ms > 0, ' ', error "+
				"<> '') ORDER BY started SEPARATOR '; ') FROM mysql.mbk_history")
	}

	taken := document[struct {
		ID string `json:"id"`
	}](t, backupArgs(replica, repository, "--history-table")...)
	if id := replica.MustValue(t,
		"SELECT CONCAT(id, ' ', repository, ' ', repository_id) FROM mysql.mbk_history"); !strings.HasPrefix(id,
		taken.ID+" "+nameOf(t, repository)+" ") {
		t.Errorf("the row is of %s, the backup is %s", id, taken.ID)
	}
	// Set in an option file; this attempt fails before it begins.
	file := filepath.Join(t.TempDir(), "my.cnf")
	if err := os.WriteFile(file, []byte("[mbk]\nhistory-table\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if o := mbk(t, "backup", "--defaults-file="+file, "--repo", repository, "--socket", replica.Socket, "--user", "root",
		"--quiet", "--datadir", "/nowhere"); o.code != 2 {
		t.Errorf("exit code %d: %s", o.code, o.stderr)
	}
	if got, want := rows(), "ok full 1 1 0; failed failed 1 0 1"; got != want {
		t.Errorf("the table holds %q, want %q", got, want)
	}
	must(t, backupArgs(replica, repository, "--history-table=d.h", "--quiet")...) // no such database: a warning
	if last := oneLine(must(t, "history", "latest", "--repo", repository).stdout); !strings.Contains(last,
		"no row was written: history table d.h") || !strings.Contains(last, "create the database `d`") ||
		!strings.Contains(last, "BACKUP OK, 2 warnings") {
		t.Errorf("the history says\n%s", last)
	}

	primary.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.t (a INT)", "INSERT INTO d.t VALUES (1)")
	follows(t, replica, primary)
	if ours, theirs := replica.MustValue(t, "SELECT @@gtid_binlog_pos"),
		primary.MustValue(t, "SELECT @@gtid_binlog_pos"); ours != theirs {
		t.Errorf("the replica is at GTID %s, its source at %s", ours, theirs)
	}

	t.Run("account without the privileges", func(t *testing.T) {
		replica.MustExec(t, "SET SESSION sql_log_bin=0, GLOBAL read_only=0")
		primary.MustExec(t, "CREATE USER mbk@localhost",
			"GRANT RELOAD, PROCESS, BINLOG MONITOR, SLAVE MONITOR, SHOW VIEW ON *.* TO mbk@localhost")
		follows(t, replica, primary)
		check := document[struct {
			OK       bool                `json:"ok"`
			Findings []preflight.Finding `json:"findings"`
		}](t, "check", "--repo", repository, "--socket", replica.Socket, "--user", "mbk", "--no-defaults", "--quiet",
			"--history-table")
		var found preflight.Finding
		for _, f := range check.Findings {
			if f.Check == "history" {
				found = f
			}
		}
		if !check.OK || found.Grade != preflight.GradeWarning || len(found.Hints) != 2 ||
			found.Hints[1] != "GRANT INSERT ON `mysql`.`mbk_history` TO 'mbk'@'localhost'" {
			t.Errorf("mbk check finds %+v", found)
		}
		before := rows()
		o := must(t, backupArgs(replica, repository, "--user", "mbk", "--history-table", "--quiet")...)
		if !strings.Contains(o.stderr, "GRANT BINLOG ADMIN") || rows() != before {
			t.Errorf("mbk says %q, the table holds %q", o.stderr, rows())
		}
	})
	o := mbk(t, backupArgs(replica, repository, "--history-table=x")...)
	o.wantRefusal(t, 2, `"mbk backup --help" lists the options`,
		`--history-table: table "x": not of the form database.table`)
}
