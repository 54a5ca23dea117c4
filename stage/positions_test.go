package stage_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"testing"
	"time"

	"mbk/internal/hint"
	"mbk/internal/test/mariadbtest"
	"mbk/stage"
)

func TestPositions(t *testing.T) {
	onEach(t, func(t *testing.T, srv *mariadbtest.Server) {
		tables(t, srv)
		s := connect(t, srv)
		if all, err := s.Replicas(t.Context()); err != nil || len(all) != 0 {
			t.Errorf("Replicas = %v, %v; want none", all, err)
		}
		if g, err := s.Galera(t.Context()); err != nil || g != nil {
			t.Errorf("Galera = %v, %v; want none", g, err)
		}
		srv.MustExec(t,
			"CHANGE MASTER TO master_host='db0.example', master_port=3307, master_user='r', master_log_file='log.000007', "+
				"master_log_pos=4711",
			"CHANGE MASTER 'east' TO master_host='db1.example', master_user='r', master_use_gtid=slave_pos",
			"SET GLOBAL gtid_slave_pos='0-9-17,5-9-9'")
		// What threads have committed and not noted yet, in tables of several engines, and
		// what somebody keeps beside them.
		for _, engine := range []string{"MyISAM", "Aria"} {
			name := "mysql.gtid_slave_pos_" + engine
			srv.MustExec(t, "SET sql_log_bin=0", "CREATE TABLE "+name+" LIKE mysql.gtid_slave_pos",
				"ALTER TABLE "+name+" ENGINE="+engine)
		}
		srv.MustExec(t, "SET sql_log_bin=0", "CREATE TABLE mysql.gtid_slave_pos_old (a INT)",
			"CREATE TABLE mysql.gtid_slave_posted (a INT)",
			"INSERT INTO mysql.gtid_slave_pos (domain_id, sub_id, server_id, seq_no) VALUES (0, 1000, 9, 18)",
			"INSERT INTO mysql.gtid_slave_pos_Aria (domain_id, sub_id, server_id, seq_no) VALUES (0, 999, 9, 16), (0, 1002, "+
				"9, 20), (5, 1, 9, 3)",
			"INSERT INTO mysql.gtid_slave_pos_MyISAM (domain_id, sub_id, server_id, seq_no) VALUES (0, 1001, 9, 19), "+
				"(3, 1, 4, 5)")
		st := begin(t, s, stage.StageOptions{})
		advance(t, st, stage.Start, stage.BlockCommit)
		committed := session(t, srv).start("INSERT INTO d.i VALUES (77)")
		running(t, srv, "INSERT", "Waiting for backup lock")
		b, err := s.Binlog(t.Context())
		if err != nil || b == nil {
			t.Fatalf("Binlog = %v, %v", b, err)
		}
		file, pos, err := srv.Position(t.Context())
		if err != nil || b.File != file || b.Position != pos {
			t.Errorf("Binlog = %s:%d, want %s:%d, %v", b.File, b.Position, file, pos, err)
		}
		if want := srv.MustValue(t, "SELECT @@gtid_binlog_pos"); b.GTID != want || b.State == "" {
			t.Errorf("Binlog = %+v, want GTID %q and a state", b, want)
		}
		if written, err := s.FlushEngineLogs(t.Context()); err != nil || !written {
			t.Errorf("FlushEngineLogs = %t, %v", written, err)
		}
		got, err := s.Replicas(t.Context())
		want := []stage.Replica{
			{Host: "db0.example", Port: 3307, File: "log.000007", Position: 4711, GTID: "0-9-20,5-9-9,3-4-5", UsingGTID: "No",
				IO: "No", SQL: "No"},
			{Connection: "east", Host: "db1.example", Port: 3306, GTID: "0-9-20,5-9-9,3-4-5", UsingGTID: "Slave_Pos",
				IO: "No", SQL: "No"},
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("Replicas = %+v, %v; want %+v", got, err, want)
		}
		if now, err := s.Binlog(t.Context()); err != nil || *now != *b {
			t.Errorf("the position moved under BLOCK_COMMIT: %+v, then %+v, %v", b, now, err)
		}
		if err := st.End(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := <-committed; got.err != nil {
			t.Error(got.err)
		}
	}, "--report-host=self")
	t.Run("no binary log", func(t *testing.T) {
		s := connect(t, mariadbtest.New(t, mariadbtest.Versions()[0], "--skip-log-bin"))
		if b, err := s.Binlog(t.Context()); b != nil || err != nil {
			t.Errorf("Binlog = %v, %v; want none", b, err)
		}
	})
}

// An INSERT into an Aria table that waits for the binary log has committed: its row is
// there, and the position is not. SHOW BINLOG EVENTS holds the log while nobody reads
// what it sends.
func TestCommitting(t *testing.T) {
	onEach(t, func(t *testing.T, srv *mariadbtest.Server) {
		const text = "BEGIN NOT ATOMIC FOR i IN 1..30000 DO INSERT INTO d.i VALUES (i, " +
			"'0123456789012345678901234567890123456789'); END FOR; COMMIT; END"
		srv.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.a (a INT) ENGINE=Aria",
			"CREATE TABLE d.i (a INT, b CHAR(40)) ENGINE=InnoDB",
			"SET binlog_format=STATEMENT, autocommit=0", text)
		s := connect(t, srv)
		reader := session(t, srv)
		sent, err := reader.conn.QueryContext(t.Context(), "SHOW BINLOG EVENTS")
		if err != nil {
			t.Fatal(err)
		}
		waitFor(t, srv, "SELECT COALESCE(MAX(STATE), '') FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SHOW BINLOG%'",
			"Writing to net")
		inserted := session(t, srv).start("INSERT INTO d.a VALUES (1)")
		waitFor(t, srv, "SELECT COALESCE(MAX(STATE), '') FROM information_schema.PROCESSLIST WHERE INFO LIKE 'INSERT%'",
			"Writing to binlog")
		if n, err := s.Committing(t.Context()); err != nil || n != 1 {
			t.Errorf("Committing = %d, %v; want 1", n, err)
		}
		if err := sent.Close(); err != nil {
			t.Fatal(err)
		}
		if got := <-inserted; got.err != nil {
			t.Error(got.err)
		}
		if n, err := s.Committing(t.Context()); err != nil || n != 0 {
			t.Errorf("Committing = %d, %v; want 0", n, err)
		}
	})
}

// A commit that waits for a replica's acknowledgement keeps BLOCK_COMMIT waiting,
// and that request keeps all other commits waiting, but only for a slice.
func TestBehindCommit(t *testing.T) {
	onEach(t, func(t *testing.T, srv *mariadbtest.Server) {
		tables(t, srv)
		srv.MustExec(t, "CREATE TABLE d.n (a INT) ENGINE=InnoDB", "SET GLOBAL rpl_semi_sync_master_timeout=5000",
			"SET GLOBAL rpl_semi_sync_master_enabled=ON")
		s := connect(t, srv)
		c := session(t, srv)
		st := begin(t, s, stage.StageOptions{Patience: 2500 * time.Millisecond})
		advance(t, st, stage.Start, stage.BlockDDL)
		committed := c.start("INSERT INTO d.i VALUES (55)")
		running(t, srv, "INSERT", "Waiting for semi-sync ACK from slave")
		err := st.Advance(t.Context(), stage.BlockCommit)
		var busy *stage.BusyError
		if !errors.As(err, &busy) || len(busy.Blockers) != 1 || busy.Blockers[0].ID != c.id {
			t.Errorf("Advance: %v, want BusyError naming connection %d", err, c.id)
		}
		t.Log(err)
		if err := st.End(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := <-committed; got.err != nil {
			t.Error(got.err)
		}
	})
}

// A cluster node is taken out of flow control by BLOCK_DDL and brought back by END.
func TestGalera(t *testing.T) {
	series := mariadbtest.Versions()[0]
	dist, err := mariadbtest.Get(t.Context(), series)
	if err != nil {
		t.Fatal(err)
	}
	args, _, err := mariadbtest.GaleraArgs(dist, "")
	if err != nil {
		t.Fatal(err)
	}
	srv := mariadbtest.New(t, series, append(args, "--wsrep-sst-method=skip")...)
	waitFor(t, srv, "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'wsrep_ready'",
		"ON")
	tables(t, srv)
	s := connect(t, srv)
	st := begin(t, s, stage.StageOptions{})
	advance(t, st, stage.Start, stage.Flush, stage.BlockDDL, stage.BlockCommit)
	g, err := s.Galera(t.Context())
	if err != nil || g == nil {
		t.Fatalf("Galera = %v, %v", g, err)
	}
	status := func(name string) string {
		return srv.MustValue(t, "SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = '"+name+
			"'")
	}
	if want := status("wsrep_cluster_state_uuid"); g.UUID != want || g.SeqNo <= 0 ||
		strconv.FormatInt(g.SeqNo, 10) != status("wsrep_last_committed") {
		t.Errorf("Galera = %+v, want %s and a position", g, want)
	}
	if err := st.End(context.Background()); err != nil {
		t.Fatal(err)
	}
	waitFor(t, srv,
		"SELECT VARIABLE_VALUE FROM information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'wsrep_local_state_comment'",
		"Synced")
	free(t, srv)
	// A node that has lost the others, or is told to, refuses all queries for a while.
	srv.MustExec(t, "SET GLOBAL wsrep_reject_queries=ALL")
	_, err = s.MissingGrants(t.Context())
	if !errors.Is(err, stage.ErrNotReady) {
		t.Errorf("MissingGrants: %v, want ErrNotReady", err)
	}
	contains(t, hint.Join(hint.Attached(err), " ").String(), "wsrep_ready", "wsrep_reject_queries")
	srv.MustExec(t, "SET GLOBAL wsrep_reject_queries=NONE")
}

// A statement about accounts that is in the binary log and waits for the end of
// BLOCK_COMMIT with its rows is found. One that began later has written nothing yet.
func TestHalfDone(t *testing.T) {
	onEach(t, func(t *testing.T, srv *mariadbtest.Server) {
		const text = "BEGIN NOT ATOMIC FOR i IN 1..30000 DO INSERT INTO d.i VALUES (i, " +
			"'0123456789012345678901234567890123456789'); END FOR; COMMIT; END"
		srv.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.i (a INT, b CHAR(40)) ENGINE=InnoDB",
			"CREATE USER u@localhost", "SET binlog_format=STATEMENT, autocommit=0", text)
		s := connect(t, srv)
		st := begin(t, s, stage.StageOptions{})
		from, err := s.Binlog(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		advance(t, st, stage.Start, stage.Flush, stage.BlockDDL)
		// Whoever reads the log keeps others from writing it.
		reader := session(t, srv)
		sent, err := reader.conn.QueryContext(t.Context(), "SHOW BINLOG EVENTS")
		if err != nil {
			t.Fatal(err)
		}
		waitFor(t, srv, "SELECT COALESCE(MAX(STATE), '') FROM information_schema.PROCESSLIST WHERE INFO LIKE 'SHOW BINLOG%'",
			"Writing to net")
		granted := session(t, srv).start("GRANT SELECT ON d.* TO u@localhost")
		waitFor(t, srv, "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'GRANT%' AND "+
			"STATE <> 'Waiting for backup lock'", "1")
		time.Sleep(200 * time.Millisecond)
		blocked := make(chan error, 1)
		go func() { blocked <- st.Advance(t.Context(), stage.BlockCommit) }()
		waitFor(t, srv, "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'BACKUP STAGE%'", "1")
		if err := sent.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-blocked; err != nil {
			t.Fatal(err)
		}
		var to *stage.Binlog
		halfDone := func() (found bool, unfinished []string) {
			var err error
			if to, err = s.Binlog(t.Context()); err == nil {
				unfinished, err = s.Unfinished(t.Context())
			}
			if err == nil {
				found, err = s.HalfDone(t.Context(), from, to, unfinished)
			}
			if err != nil {
				t.Fatal(err)
			}
			return found, unfinished
		}
		// It may take a moment until it writes. From then on it is found.
		for found, tries := false, 0; !found; tries++ {
			var unfinished []string
			if found, unfinished = halfDone(); !found && (to.Position > from.Position || tries > 5000) {
				t.Fatalf("the GRANT was not found at %d, after %d; unfinished: %q", to.Position, from.Position, unfinished)
			}
		}
		if err := st.End(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := <-granted; got.err != nil {
			t.Error(got.err)
		}
		if from, err = s.Binlog(t.Context()); err != nil {
			t.Fatal(err)
		}
		st = begin(t, s, stage.StageOptions{})
		advance(t, st, stage.Start, stage.Flush, stage.BlockDDL, stage.BlockCommit)
		later := session(t, srv).start("GRANT INSERT ON d.* TO u@localhost")
		waitFor(t, srv, "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'GRANT%' AND "+
			"STATE = 'Waiting for backup lock'", "1")
		if found, unfinished := halfDone(); found || len(unfinished) != 1 {
			t.Errorf("a GRANT that has written nothing is taken for one that has: %q", unfinished)
		}
		if err := st.End(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := <-later; got.err != nil {
			t.Error(got.err)
		}
	})
}
