package mariadbtest

import (
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestOracle proves the oracle on copies that are right beyond doubt: a copy of
// the files of a stopped server, and a copy of the files of one that was frozen
// with all commits blocked. After replay they must equal the source, which
// went on with all the load there is.
func TestOracle(t *testing.T) {
	for i, series := range Versions() {
		how, copied := "stopped", copyStopped
		if i%2 == 1 {
			how, copied = "frozen", copyFrozen
		}
		t.Run(series+" "+how, func(t *testing.T) { testOracle(t, series, copied) })
	}
}

func testOracle(t *testing.T, series string, copyDatadir func(*testing.T, *Server) (string, string, uint64)) {
	step := stopwatch(t)
	src := New(t, series)
	populate(t, src, Fill{InnoDBMiB: 2, AriaMiB: 1, MyISAMMiB: 1})
	step("populated")
	datadir, file, pos := copyDatadir(t, src)
	step("copied")
	stop := startLoad(t, src)
	time.Sleep(2 * time.Second)
	work := stop()
	step("more load")
	dst := Open(t, series, datadir)
	step("copy is open")
	wantNone(t, "invariants before replay", func() ([]string, error) { return CheckInvariants(t.Context(), dst) })
	if err := ReplayBinlog(t.Context(), src, dst, file, pos); err != nil {
		t.Fatal(err)
	}
	step("replayed")
	MustEqual(t, dst, src)
	step("compared")
	wantNone(t, "CHECK TABLE", func() ([]string, error) { return CheckTables(t.Context(), dst) })
	step("checked")
	t.Log(work)
}

// stopwatch returns a function that logs how long each step of a test took.
func stopwatch(t *testing.T) func(step string) {
	last := time.Now()
	return func(step string) {
		t.Helper()
		t.Logf("%s: %v", step, time.Since(last).Round(time.Millisecond))
		last = time.Now()
	}
}

// copyStopped copies the data directory of a server after a clean shutdown.
func copyStopped(t *testing.T, s *Server) (datadir, file string, pos uint64) {
	t.Helper()
	stop := startLoad(t, s)
	time.Sleep(time.Second)
	stop()
	file, pos = position(t, s)
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	datadir = cp(t, s.Datadir)
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	return datadir, file, pos
}

// copyFrozen copies the data directory in the middle of the load, while a read
// lock blocks all commits and the process is stopped: what a snapshot of the volume would hold.
func copyFrozen(t *testing.T, s *Server) (datadir, file string, pos uint64) {
	t.Helper()
	stop := startLoad(t, s)
	time.Sleep(time.Second)
	conn, err := s.DB().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.ExecContext(t.Context(), "FLUSH TABLES WITH READ LOCK"); err != nil {
		t.Fatal(err)
	}
	// InnoDB writes the rows of its sequences outside of any transaction, so
	// that no commit brings them to disk: a crash now would lose the only row
	// of a new one.
	if _, err := conn.ExecContext(t.Context(), "FLUSH NO_WRITE_TO_BINLOG ENGINE LOGS"); err != nil {
		t.Fatal(err)
	}
	file, pos = position(t, s)
	if err := syscall.Kill(s.Pid(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	datadir = cp(t, s.Datadir)
	if err := syscall.Kill(s.Pid(), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.ExecContext(t.Context(), "UNLOCK TABLES"); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	stop()
	return datadir, file, pos
}

// TestDiffFinds does every kind of damage that a bad restore could do.
func TestDiffFinds(t *testing.T) {
	s := New(t, Versions()[0])
	populate(t, s, Fill{})
	for _, name := range []string{"less", "empty", "other", "gone"} {
		s.MustExec(t, "CREATE TABLE mbk_load."+name+" (id INT PRIMARY KEY, s VARCHAR(10))",
			"INSERT INTO mbk_load."+name+" VALUES (1, 'a'), (2, NULL)")
	}
	s.MustExec(t, "CREATE DATABASE mbk_other", "UPDATE mbk_load.innodb_versioned SET k = k + 1 WHERE id = 2")
	want := snapshot(t, s)
	if lines := Diff(snapshot(t, s), want); len(lines) != 0 {
		t.Fatalf("Diff of a server with itself = %q, want none", lines)
	}
	cases := []struct{ name, damage, want string }{
		{"a lost row", "DELETE FROM mbk_load.less WHERE id = 1", "rows `mbk_load`.`less`: got \"1 rows"},
		{"NULL became empty", "UPDATE mbk_load.empty SET s = '' WHERE id = 2", "rows `mbk_load`.`empty`: got \"2 rows"},
		{"a changed row beside virtual columns", "UPDATE mbk_load.innodb_generated SET k = k + 1 WHERE id = 1",
			"rows `mbk_load`.`innodb_generated`: got"},
		{"a changed row of Aria", "UPDATE mbk_load.aria_page SET k = k + 1 WHERE id = 1", "rows `mbk_load`.`aria_page`: got"},
		{"a lost row of history", "DELETE HISTORY FROM mbk_load.innodb_versioned", "rows `mbk_load`.`innodb_versioned`: got"},
		{"a changed definition", "ALTER TABLE mbk_load.other MODIFY s VARCHAR(11)", "table `mbk_load`.`other`: got"},
		{"a lost index", "ALTER TABLE mbk_load.blackhole DROP INDEX k", "table `mbk_load`.`blackhole`: got"},
		{"a lost table", "DROP TABLE mbk_load.gone", "table `mbk_load`.`gone`: missing"},
		{"a table too many", "CREATE TABLE mbk_empty.x (a INT)", "table `mbk_empty`.`x`: not in the original"},
		{"a lost database", "DROP DATABASE mbk_other", "database `mbk_other`: missing"},
		{"a changed database", "ALTER DATABASE mbk_empty COMMENT 'x'", "database `mbk_empty`: got"},
		{"a lost view", "DROP VIEW mbk_load.money", "view `mbk_load`.`money`: missing"},
		{"a lost trigger", "DROP TRIGGER mbk_load.audit_insert", "trigger `mbk_load`.`audit_insert`: missing"},
		{"a changed trigger",
			"CREATE OR REPLACE TRIGGER mbk_load.audit_delete BEFORE DELETE ON mbk_load.innodb_audited FOR EACH ROW DO 1",
			"trigger `mbk_load`.`audit_delete`: got"},
		{"a lost function", "DROP FUNCTION mbk_load.twice", "function `mbk_load`.`twice`: missing"},
		{"a lost procedure", "DROP PROCEDURE mbk_load.tick", "procedure `mbk_load`.`tick`: missing"},
		{"a lost event", "DROP EVENT mbk_load.far_away", "event `mbk_load`.`far_away`: missing"},
		{"a sequence that went on", "DO NEXTVAL(mbk_load.numbers)", "rows `mbk_load`.`numbers`: got"},
		{"a lost user", "DROP USER mbk_guest@'%'", "rows `mysql`.`global_priv`: got"},
		{"a lost grant", "REVOKE SELECT ON mbk_load.* FROM mbk_reader", "rows `mysql`.`db`: got"},
	}
	for _, c := range cases {
		s.MustExec(t, c.damage)
	}
	lines := strings.Join(Diff(snapshot(t, s), want), "\n")
	for _, c := range cases {
		if !strings.Contains(lines, c.want) {
			t.Errorf("%s: %q is not among the differences:\n%s", c.name, c.want, lines)
		}
	}
	rows, err := DiffRows(t.Context(), s, s, "`mbk_load`.`less`", 5)
	if err != nil || len(rows) != 0 {
		t.Errorf("DiffRows of a table with itself = %q, %v, want none", rows, err)
	}
}

// A damaged page must become a finding, or the check proves nothing.
func TestCheckTablesFinds(t *testing.T) {
	s := New(t, Versions()[0])
	s.MustExec(t, "CREATE DATABASE d", "USE d", "CREATE TABLE d.m (id INT PRIMARY KEY, s VARCHAR(100)) ENGINE=MyISAM",
		"INSERT INTO d.m SELECT seq, REPEAT('x', 100) FROM seq_1_to_1000", "FLUSH TABLES")
	wantNone(t, "CHECK TABLE of sound tables", func() ([]string, error) { return CheckTables(t.Context(), s) })
	if out, err := exec.Command("truncate", "-s", "50K",
		filepath.Join(s.Datadir, "d", "m.MYD")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	findings, err := CheckTables(t.Context(), s)
	if err != nil || len(findings) == 0 || !strings.Contains(findings[0], "`d`.`m`") {
		t.Errorf("CheckTables = %q, %v, want findings about `d`.`m`", findings, err)
	}
}

func TestPurgeGarbage(t *testing.T) {
	const message = "InnoDB: Clustered index record not found for index `v` of table `d`.`t`: COMPACT " +
		"RECORD(info_bits=%, 2 fields): {[4]   ,(0x8000002C)}"
	for _, c := range []struct {
		name, kind, bits string
		want             bool
	}{
		{"delete-marked", "Warning", "32", true},
		{"not delete-marked", "Warning", "0", false},
		{"an error", "Error", "32", false},
	} {
		if got := isPurgeGarbage("10.11.2", c.kind, strings.Replace(message, "%", c.bits, 1)); got != c.want {
			t.Errorf("%s: isPurgeGarbage = %v, want %v", c.name, got, c.want)
		}
	}
	const stale = "InnoDB: Clustered index record with stale history in table `d`.`t`"
	if !isPurgeGarbage("10.6.22", "Warning", stale) || isPurgeGarbage("10.11.2", "Warning", stale) {
		t.Error("stale history is something that 10.6 has without harm, and not 10.11")
	}
}

func TestCheckInvariantsFinds(t *testing.T) {
	s := New(t, Versions()[0])
	populate(t, s, Fill{})
	wantNone(t, "invariants of untouched tables", func() ([]string, error) { return CheckInvariants(t.Context(), s) })
	s.MustExec(t, "UPDATE mbk_load.bank_compressed SET balance = balance + 1 WHERE id = 3",
		"SET foreign_key_checks=0", "INSERT INTO mbk_load.child (parent, n) VALUES (5000, 1)")
	findings, err := CheckInvariants(t.Context(), s)
	if err != nil || len(findings) != 3 {
		t.Errorf("CheckInvariants = %q, %v, want 3 findings", findings, err)
	}
}

func TestReplayBinlogFails(t *testing.T) {
	src, dst := New(t, Versions()[0]), New(t, Versions()[0])
	file, pos := position(t, src)
	src.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY)", "INSERT INTO d.t VALUES (1)")
	dst.MustExec(t, "CREATE DATABASE d")
	if err := ReplayBinlog(t.Context(), src, dst, file, pos); err == nil ||
		!strings.Contains(err.Error(), "database exists") {
		t.Errorf("replay of a statement that fails = %v, want the client's words", err)
	}
	if err := ReplayBinlog(t.Context(), src, dst, "binlog.009999", 4); err == nil ||
		!strings.Contains(err.Error(), "not among") {
		t.Errorf("replay from an unknown file = %v, want an error", err)
	}
}

func TestReplayEncryptedBinlog(t *testing.T) {
	args, err := EncryptionArgs(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	src, dst := New(t, Versions()[0], args...), New(t, Versions()[0], args...)
	file, pos := position(t, src)
	src.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY)", "INSERT INTO d.t VALUES (1)")
	if got := src.MustValue(t,
		"SELECT COUNT(*) FROM information_schema.INNODB_TABLESPACES_ENCRYPTION WHERE NAME = 'd/t' AND "+
			"ENCRYPTION_SCHEME = 1"); got != "1" {
		t.Errorf("%s encrypted tablespaces named d/t, want 1", got)
	}
	if err := ReplayBinlog(t.Context(), src, dst, file, pos); err != nil {
		t.Fatal(err)
	}
	MustEqual(t, dst, src)
}

func TestProbe(t *testing.T) {
	s := New(t, Versions()[0])
	p, err := StartProbe(t.Context(), s, 0)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	conn, err := s.DB().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{"BACKUP STAGE START", "BACKUP STAGE BLOCK_COMMIT", "DO SLEEP(0.4)", "BACKUP STAGE END"} {
		if _, err := conn.ExecContext(t.Context(), q); err != nil {
			t.Fatal(err)
		}
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	stalls, err := p.Stop()
	if err != nil {
		t.Fatal(err)
	}
	for name, stall := range map[string]Stall{"Commit": stalls.Commit, "DDL": stalls.DDL, "MyISAM": stalls.MyISAM} {
		if stall.Count < 5 || stall.Longest < 300*time.Millisecond || stall.Longest > 5*time.Second || stall.Slow == 0 {
			t.Errorf("%s = %+v, want a stall of about 0.4 s", name, stall)
		}
	}
}

func TestLoadReportsFailure(t *testing.T) {
	s := New(t, Versions()[0])
	l, err := Write(t.Context(), s, WriteOptions{}) // without Populate
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(50 * time.Millisecond)
	if _, err := l.Stop(); err == nil || !strings.Contains(err.Error(), "doesn't exist") {
		t.Errorf("Stop = %v, want the server's complaint about missing tables", err)
	}
}

// startLoad starts writers and a storm; the function that it returns ends them.
func startLoad(t *testing.T, s *Server) (stop func() Counts) {
	t.Helper()
	w, err := Write(t.Context(), s, WriteOptions{Seed: uint64(time.Now().UnixNano())})
	if err != nil {
		t.Fatal(err)
	}
	st, err := Storm(t.Context(), s, StormOptions{Sessions: 2, Rows: 5000, Seed: uint64(time.Now().UnixNano())})
	if err != nil {
		t.Fatal(err)
	}
	return func() Counts {
		counts, err := w.Stop()
		if err != nil {
			t.Error(err)
		}
		more, err := st.Stop()
		if err != nil {
			t.Error(err)
		}
		for name, n := range more {
			counts[name] += n
		}
		return counts
	}
}

func populate(t *testing.T, s *Server, fill Fill) {
	t.Helper()
	if err := Populate(t.Context(), s, fill); err != nil {
		t.Fatal(err)
	}
}

func position(t *testing.T, s *Server) (string, uint64) {
	t.Helper()
	file, pos, err := s.Position(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return file, pos
}

func snapshot(t *testing.T, s *Server) Snapshot {
	t.Helper()
	snap, err := TakeSnapshot(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return snap
}

func wantNone(t *testing.T, what string, f func() ([]string, error)) {
	t.Helper()
	findings, err := f()
	if err != nil {
		t.Errorf("%s: %v", what, err)
	}
	for _, line := range findings {
		t.Errorf("%s: %s", what, line)
	}
}

// cp returns a copy of a folder.
func cp(t *testing.T, folder string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	if out, err := exec.Command("cp", "-a", folder, to).CombinedOutput(); err != nil {
		t.Fatalf("cp: %v: %s", err, out)
	}
	return to
}
