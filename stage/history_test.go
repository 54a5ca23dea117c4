package stage_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"mbk/internal/hint"
	"mbk/internal/test/mariadbtest"
	"mbk/stage"
)

// historyAccount opens the control connection of a new account with some
// privileges.
func historyAccount(t *testing.T, srv *mariadbtest.Server, name string, grants ...string) *stage.Server {
	t.Helper()
	srv.MustExec(t, "CREATE USER "+name+"@localhost IDENTIFIED BY 'secret'",
		"GRANT SHOW VIEW ON *.* TO "+name+"@localhost")
	for _, g := range grants {
		srv.MustExec(t, g+" TO "+name+"@localhost")
	}
	s, err := stage.Connect(t.Context(), stage.Config{Socket: srv.Socket, User: name, Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// A row is written on this server alone: neither it nor the table gets into the
// binary log, also on a read-only replica. Who lacks a privilege for that writes
// nothing, and is told the statement that helps.
func TestHistoryTable(t *testing.T) {
	onEach(t, func(t *testing.T, srv *mariadbtest.Server) {
		srv.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.wrong (a INT)")
		table, err := stage.ParseHistoryTable(stage.DefaultHistoryTable)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Date(2026, 11, 22, 1, 2, 3, 456e6, time.FixedZone("", 3600))
		row := stage.HistoryRow{
			RepositoryID: "3527d339-c242-4a9f-9507-8c51f4d9d455", Repository: "/backup/db'1", Started: began,
			Finished: began.Add(time.Minute),
			Label:    strings.Repeat("0a", 32), FullReason: "the first", Chain: 2, BytesUnchanged: 1 << 40, BytesResumed: 7,
			Outcome: "failed", Error: "it's broken \\ `", Hints: "a\nb", End: 1<<64 - 1, Warnings: 3,
		}
		put := func(s *stage.Server, table stage.HistoryTable, id string) error {
			row := row
			row.ID = id
			return s.PutHistory(t.Context(), table, row)
		}
		count := func() string {
			t.Helper()
			return srv.MustValue(t, "SELECT COUNT(*) FROM mysql.mbk_history")
		}

		none := historyAccount(t, srv, "none")
		err = put(none, table, "20260101T000000Z-full")
		if !errors.Is(err, stage.ErrHistoryLogged) || !errors.Is(err, stage.ErrPrivilege) {
			t.Errorf("without any privilege: %v", err)
		}
		want := []string{"GRANT BINLOG ADMIN ON *.* TO 'none'@'localhost'",
			"GRANT INSERT, CREATE ON `mysql`.`mbk_history` TO 'none'@'localhost'"}
		if got, err := none.MissingHistoryGrants(t.Context(), table); err != nil || !slices.Equal(got, want) {
			t.Errorf("MissingHistoryGrants = %q, %v; want %q", got, err, want)
		}
		if hints := hint.Strings(hint.Attached(put(none, table, "x"))); !slices.Equal(hints, want) {
			t.Errorf("hints: %q, want %q", hints, want)
		}
		if n := srv.MustValue(t,
			"SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_NAME = 'mbk_history'"); n != "0" {
			t.Error("the table was made nevertheless")
		}
		srv.MustExec(t, want...)

		position := func() string { t.Helper(); return srv.MustValue(t, "SELECT @@gtid_binlog_pos") }
		before := position()
		again := historyAgain(t, srv, "none")
		if got, err := again.MissingHistoryGrants(t.Context(), table); err != nil || len(got) > 0 {
			t.Errorf("after the advice: MissingHistoryGrants = %q, %v", got, err)
		}
		for _, id := range []string{"20260101T000000Z-full", "20260102T000000Z-full"} {
			if err := put(again, table, id); err != nil {
				t.Fatal(err)
			}
		}
		if after := position(); after != before {
			t.Errorf("the binary log is at %s, was at %s", after, before)
		}
		got := srv.MustValue(t,
			"SELECT CONCAT_WS('|', id, repository, started, outcome, error, lsn_end, warnings) FROM mysql.mbk_history WHERE "+
				"id LIKE '20260101%'")
		if want := "20260101T000000Z-full|/backup/db'1|2026-11-22 00:02:03.456|failed|it's broken \\ " +
			"`|18446744073709551615|3"; got != want {
			t.Errorf("the row is\n%s, want\n%s", got, want)
		}
		if engine := srv.MustValue(t,
			"SELECT ENGINE FROM information_schema.TABLES WHERE TABLE_NAME = 'mbk_history'"); engine != "InnoDB" {
			t.Errorf("the engine is %s", engine)
		}

		wantInManual(t,
			srv.MustValue(t,
				"SELECT GROUP_CONCAT(COLUMN_NAME) FROM information_schema.COLUMNS WHERE TABLE_NAME = 'mbk_history'"))

		// Who may change the binary log but not a read-only server.
		srv.MustExec(t, "SET GLOBAL read_only=1")
		err = put(again, table, "20260103T000000Z-full")
		wantRead := []string{"GRANT READ_ONLY ADMIN ON *.* TO 'none'@'localhost'"}
		if err == nil || !slices.Equal(hint.Strings(hint.Attached(err)), wantRead) {
			t.Errorf("on a read-only server: %v, hints %q; want %q", err, hint.Attached(err), wantRead)
		}
		srv.MustExec(t, wantRead...)
		if err := put(historyAgain(t, srv, "none"), table, "20260103T000000Z-full"); err != nil {
			t.Errorf("on a read-only server, after the advice: %v", err)
		}
		srv.MustExec(t, "SET GLOBAL read_only=0")
		if n := count(); n != "3" {
			t.Errorf("%s rows, want 3", n)
		}

		root := connect(t, srv)
		if err := put(root, stage.HistoryTable{Database: "nowhere", Name: "t"}, "x"); err == nil ||
			!strings.Contains(hint.Join(hint.Attached(err), " ").String(), "create the database `nowhere`") {
			t.Errorf("no such database: %v, hints %q", err, hint.Attached(err))
		}
		if _, err := root.MissingHistoryGrants(t.Context(), stage.HistoryTable{Database: "nowhere", Name: "t"}); err == nil {
			t.Error("no such database: MissingHistoryGrants finds nothing")
		}
		if err := put(root, stage.HistoryTable{Database: "d", Name: "wrong"}, "x"); err == nil ||
			!strings.Contains(hint.Join(hint.Attached(err), " ").String(), "does not have the columns") {
			t.Errorf("another table: %v, hints %q", err, hint.Attached(err))
		}
		// A table that somebody has locked holds up nobody for long.
		locker := session(t, srv)
		locker.exec("LOCK TABLES mysql.mbk_history WRITE")
		start := time.Now()
		if err := put(root, table, "x"); err == nil || time.Since(start) > 7*time.Second {
			t.Errorf("a locked table: %v after %s", err, time.Since(start))
		}
	}, "--log-bin=binlog", "--binlog-format=STATEMENT")
}

// wantInManual makes sure that the manual describes all columns of the table.
func wantInManual(t *testing.T, columns string) {
	t.Helper()
	page, err := os.ReadFile("../docs/manual/history-table.md")
	if err != nil {
		t.Fatal(err)
	}
	for column := range strings.SplitSeq(columns, ",") {
		if !strings.Contains(string(page), "`"+column+"`") {
			t.Errorf("the manual has no column %s", column)
		}
	}
	if n := strings.Count(columns, ","); n < 25 {
		t.Errorf("%d columns: %s", n+1, columns)
	}
}

// historyAgain logs in as an account again, with what it has been granted since.
func historyAgain(t *testing.T, srv *mariadbtest.Server, name string) *stage.Server {
	t.Helper()
	s, err := stage.Connect(t.Context(), stage.Config{Socket: srv.Socket, User: name, Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func TestParseHistoryTable(t *testing.T) {
	for _, text := range []string{"", "t", ".t", "d.", "a.b.c"} {
		if table, err := stage.ParseHistoryTable(text); err == nil {
			t.Errorf("ParseHistoryTable(%q) = %v", text, table)
		}
	}
	if table, err := stage.ParseHistoryTable("d.t"); err != nil || table.String() != "d.t" || table.IsZero() {
		t.Errorf("ParseHistoryTable(d.t) = %v, %v", table, err)
	}
}
