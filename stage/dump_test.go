package stage_test

import (
	"errors"
	"io"
	"testing"

	"mbk/internal/binlog"
	"mbk/internal/test/mariadbtest"
	"mbk/stage"
)

// received is what came out of a dump.
type received struct {
	position     binlog.Position
	transactions int
	err          error
}

// dumpAll reads the server's log from a position to its end.
func dumpAll(t *testing.T, s *stage.Server, from binlog.Position) received {
	t.Helper()
	d, err := s.Dump(t.Context(), stage.DumpOptions{From: from, Once: true})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	r := received{position: from.Clone()}
	var c binlog.Cutter
	for {
		e, err := d.Next(t.Context(), from)
		if err != nil {
			r.err = err
			return r
		}
		part, dropped, err := c.Next(e)
		if err != nil || dropped {
			t.Fatalf("event %v of type %d: dropped %v, %v", r.transactions, e[4], dropped, err)
		}
		if begin, _ := c.Begun(); part == binlog.Closing {
			r.transactions++
			r.position.Add(begin.GTID)
		}
	}
}

// The server sends whole transactions from a position to its end, in every format, and
// refuses what it does not have.
func TestDump(t *testing.T) {
	onEach(t, func(t *testing.T, srv *mariadbtest.Server) {
		s := connect(t, srv)
		srv.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.t (a INT AUTO_INCREMENT PRIMARY KEY, b TEXT) ENGINE=InnoDB",
			"CREATE TABLE d.m (a INT AUTO_INCREMENT PRIMARY KEY, b TEXT) ENGINE=MyISAM",
			"INSERT INTO d.t (b) VALUES (REPEAT('x', 1000))", "INSERT INTO d.m (b) VALUES (1)",
			"SET binlog_format=STATEMENT", "INSERT INTO d.m (b) VALUES (RAND())", "SET @a=1",
			"INSERT INTO d.t (b) VALUES (@a)",
			"CREATE TEMPORARY TABLE d.x (a INT)", "INSERT INTO d.t (b) SELECT a FROM d.x",
			"DROP TEMPORARY TABLE d.x",
			"SET gtid_domain_id=7", "BEGIN", "INSERT INTO d.t (b) VALUES (2)", "SAVEPOINT a", "INSERT INTO d.m (b) VALUES (3)",
			"ROLLBACK TO a", "COMMIT", "XA START 'x'", "INSERT INTO d.t (b) VALUES (4)", "XA END 'x'", "XA PREPARE 'x'",
			"XA COMMIT 'x'", "FLUSH BINARY LOGS", "SET GLOBAL binlog_checksum=NONE", "INSERT INTO d.t (b) VALUES (5)",
			"SET GLOBAL binlog_checksum=CRC32", "DROP TABLE d.m")
		source, err := s.LogSource(t.Context())
		if err != nil || source.Files < 4 || source.ServerID != 1 || len(source.Gaps) > 0 {
			t.Fatalf("LogSource = %+v, %v", source, err)
		}
		oldest, err := s.OldestLog(t.Context())
		if err != nil || len(oldest) != 0 {
			t.Fatalf("OldestLog = %s, %v", oldest, err)
		}
		all := dumpAll(t, s, nil)
		if all.err != io.EOF || !all.position.Equal(source.Position) || all.transactions < 15 {
			t.Fatalf("from the beginning: %+v, want %s", all, source.Position)
		}
		if rest := dumpAll(t, s, all.position); rest.err != io.EOF || rest.transactions != 0 {
			t.Errorf("from the end: %+v", rest)
		}
		half, err := binlog.ParsePosition("0-1-5")
		if err != nil {
			t.Fatal(err)
		}
		if rest := dumpAll(t, s, half); rest.err != io.EOF || rest.transactions != all.transactions-5 ||
			!rest.position.Equal(all.position) {
			t.Errorf("from %s: %+v of %d", half, rest, all.transactions)
		}
		srv.MustExec(t, "FLUSH BINARY LOGS", "FLUSH BINARY LOGS")
		srv.MustExec(t, "PURGE BINARY LOGS TO '"+srv.MustValue(t, "SELECT CONCAT('binlog.', LPAD(5, 6, '0'))")+"'")
		for from, purged := range map[string]bool{"": true, "0-1-5": true, "0-1-9999,7-1-4": false, "0-5-1,7-1-4": false} {
			p, err := binlog.ParsePosition(from)
			if err != nil {
				t.Fatal(err)
			}
			got := dumpAll(t, s, p)
			history, ok := errors.AsType[*stage.HistoryError](got.err)
			if !ok || history.Purged != purged || got.transactions > 0 {
				t.Errorf("from %q: %+v", from, got)
			}
		}
		oldest, err = s.OldestLog(t.Context())
		if rest := dumpAll(t, s, oldest); err != nil || len(oldest) != 2 || rest.err != io.EOF ||
			!rest.position.Equal(all.position) {
			t.Errorf("from the oldest file, %s (%v): %+v", oldest, err, rest)
		}
	})
}

// What the manual says that an account needs for an archive is enough, and what is said of one
// that lacks it names it.
func TestDumpNeedsLittle(t *testing.T) {
	onEach(t, func(t *testing.T, srv *mariadbtest.Server) {
		srv.MustExec(t, "CREATE USER little@localhost IDENTIFIED BY 'word'",
			"GRANT BINLOG MONITOR, REPLICATION SLAVE, SLAVE MONITOR ON *.* TO little@localhost",
			"CREATE USER less@localhost IDENTIFIED BY 'word'", "GRANT BINLOG MONITOR, SLAVE MONITOR ON *.* TO less@localhost")
		for user, enough := range map[string]bool{"little": true, "less": false} {
			s, err := stage.Connect(t.Context(), stage.Config{Socket: srv.Socket, User: user, Password: "word"})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			source, err := s.LogSource(t.Context())
			if err == nil {
				_, err = s.OldestLog(t.Context())
			}
			if err != nil {
				t.Fatalf("%s: %v", user, err)
			}
			got := dumpAll(t, s, nil)
			if enough && (got.err != io.EOF || !got.position.Equal(source.Position)) ||
				!enough && !errors.Is(got.err, stage.ErrPrivilege) {
				t.Errorf("%s: %+v", user, got)
			}
		}
	}, "--log-slave-updates=OFF")
}
