package stage_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"mbk/internal/test/mariadbtest"
	"mbk/stage"
)

// tables makes what the tests below lock and change.
func tables(t *testing.T, srv *mariadbtest.Server) {
	srv.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.m (a INT) ENGINE=MyISAM", "INSERT INTO d.m VALUES (1)",
		"CREATE TABLE d.i (a INT PRIMARY KEY) ENGINE=InnoDB", "INSERT INTO d.i VALUES (1)")
}

func TestStages(t *testing.T) {
	onEach(t, func(t *testing.T, srv *mariadbtest.Server) {
		tables(t, srv)
		s := connect(t, srv)
		t.Run("full ascent", func(t *testing.T) { testAscent(t, s) })
		t.Run("order", func(t *testing.T) { testOrder(t, s) })
		t.Run("end without start", func(t *testing.T) { testEndWithoutStart(t, s) })
		t.Run("end on the error path", func(t *testing.T) { testEndAfterError(t, srv, s) })
		t.Run("second backup", func(t *testing.T) { testSecondBackup(t, srv, s) })
		t.Run("flush tables with read lock elsewhere", func(t *testing.T) { testReadLock(t, srv, s) })
		t.Run("cancelled before", func(t *testing.T) { testCancelledBefore(t, s) })
		t.Run("connection killed", func(t *testing.T) { testKilled(t, srv, s) })
		t.Run("query killed by somebody", func(t *testing.T) { testQueryKilled(t, srv, s) })
		free(t, srv)
	})
}

func testAscent(t *testing.T, s *stage.Server) {
	st := begin(t, s, stage.StageOptions{})
	advance(t, st, stage.Start, stage.Flush, stage.BlockDDL)
	time.Sleep(30 * time.Millisecond)
	advance(t, st, stage.BlockCommit)
	if err := st.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := st.End(t.Context()); err != nil {
		t.Errorf("second End: %v", err)
	}
	if err := st.Close(); err != nil {
		t.Errorf("Close after End: %v", err)
	}
	want := []stage.Stage{stage.Start, stage.Flush, stage.BlockDDL, stage.BlockCommit, stage.End}
	times := st.Times()
	if len(times) != len(want) {
		t.Fatalf("Times = %v, want one entry for each of %v", times, want)
	}
	for i, now := range times {
		if now.Stage != want[i] || now.Tries != 1 || now.Wait <= 0 || now.Granted.Location() != time.UTC {
			t.Errorf("Times[%d] = %+v, want stage %s, one try, a wait and UTC", i, now, want[i])
		}
	}
	if held := times[2].Held; held < 30*time.Millisecond || held > 10*time.Second {
		t.Errorf("BLOCK_DDL held %s, want at least 30ms", held)
	}
	if st.Stage() != stage.End {
		t.Errorf("Stage = %s, want END", st.Stage())
	}
}

func testOrder(t *testing.T, s *stage.Server) {
	st := begin(t, s, stage.StageOptions{})
	advance(t, st, stage.Start, stage.BlockDDL) // FLUSH in between is taken too
	if n := len(st.Times()); n != 3 {
		t.Errorf("%d stages granted, want 3", n)
	}
	for _, to := range []stage.Stage{0, stage.Start, stage.Flush, stage.BlockDDL, stage.End, 17} {
		if err := st.Advance(t.Context(), to); !errors.Is(err, stage.ErrStageOrder) {
			t.Errorf("Advance(%s) at BLOCK_DDL: %v, want ErrStageOrder", to, err)
		}
	}
	if err := st.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := st.Advance(t.Context(), stage.BlockCommit); !errors.Is(err, stage.ErrStageOrder) {
		t.Errorf("Advance after End: %v, want ErrStageOrder", err)
	}
}

func testEndWithoutStart(t *testing.T, s *stage.Server) {
	st := begin(t, s, stage.StageOptions{})
	if err := st.End(t.Context()); err != nil {
		t.Errorf("End before START: %v", err)
	}
	if n := len(st.Times()); n != 0 {
		t.Errorf("%d stages granted, want none", n)
	}
}

func testEndAfterError(t *testing.T, srv *mariadbtest.Server, s *stage.Server) {
	ctx, cancel := context.WithCancel(t.Context())
	st, err := s.Begin(ctx, stage.StageOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []stage.Stage{stage.Start, stage.BlockCommit} {
		if err := st.Advance(ctx, to); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	if err := st.End(ctx); err != nil {
		t.Errorf("End with a cancelled context: %v", err)
	}
	free(t, srv)
	if err := st.Close(); err != nil {
		t.Error(err)
	}
}

func testSecondBackup(t *testing.T, srv *mariadbtest.Server, s *stage.Server) {
	first := begin(t, s, stage.StageOptions{})
	advance(t, first, stage.Start)
	second := begin(t, s, stage.StageOptions{Patience: 1500 * time.Millisecond})
	err := second.Advance(t.Context(), stage.Start)
	var busy *stage.BusyError
	if !errors.As(err, &busy) {
		t.Fatalf("second backup: %v, want BusyError", err)
	}
	if len(busy.Blockers) != 1 || busy.Blockers[0].ID != first.ID() || !busy.Blockers[0].Sure {
		t.Errorf("Blockers = %v, want connection %d alone", busy.Blockers, first.ID())
	}
	contains(t, err.Error(), "BACKUP STAGE START: not granted within", "connection "+strconv.FormatUint(first.ID(), 10),
		"another backup by mbk")
	free(t, srv) // START keeps nobody from DDL, nor does the request withdrawn
	if err := first.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	advance(t, second, stage.Start) // without a new connection
	third := begin(t, s, stage.StageOptions{Patience: 500 * time.Millisecond})
	if err := third.Advance(t.Context(), stage.Start); !errors.As(err, &busy) || len(busy.Blockers) != 1 ||
		busy.Blockers[0].ID != second.ID() {
		t.Errorf("third backup: %v, want BusyError naming connection %d: it got the mark with START", err, second.ID())
	}
}

func testReadLock(t *testing.T, srv *mariadbtest.Server, s *stage.Server) {
	c := session(t, srv)
	c.exec("FLUSH TABLES WITH READ LOCK")
	st := begin(t, s, stage.StageOptions{Patience: 3 * time.Second})
	advance(t, st, stage.Start, stage.Flush, stage.BlockDDL, stage.BlockCommit)
	if err := st.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	c.exec("UNLOCK TABLES")
}

func testCancelledBefore(t *testing.T, s *stage.Server) {
	st := begin(t, s, stage.StageOptions{})
	advance(t, st, stage.Start)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := st.Advance(ctx, stage.Flush); !errors.Is(err, context.Canceled) {
		t.Errorf("Advance: %v, want context.Canceled", err)
	}
	if st.Stage() != stage.Start {
		t.Errorf("Stage = %s, want START", st.Stage())
	}
	if err := st.End(ctx); err != nil {
		t.Error(err)
	}
}

func testKilled(t *testing.T, srv *mariadbtest.Server, s *stage.Server) {
	st := begin(t, s, stage.StageOptions{})
	advance(t, st, stage.Start, stage.Flush, stage.BlockDDL)
	srv.MustExec(t, "KILL "+strconv.FormatUint(st.ID(), 10))
	killed := time.Now()
	select {
	case <-st.Lost():
		t.Logf("noticed after %s", time.Since(killed))
	case <-time.After(4 * time.Second):
		t.Fatal("the loss was not noticed within 4s")
	}
	for range 2 {
		if err := st.Check(); !errors.Is(err, stage.ErrStageLost) {
			t.Errorf("Check: %v, want ErrStageLost", err)
		}
		if err := st.Advance(t.Context(), stage.BlockCommit); !errors.Is(err, stage.ErrStageLost) {
			t.Errorf("Advance: %v, want ErrStageLost", err)
		}
		if err := st.End(t.Context()); !errors.Is(err, stage.ErrStageLost) {
			t.Errorf("End: %v, want ErrStageLost", err)
		}
	}
	contains(t, st.End(t.Context()).Error(), "connection "+strconv.FormatUint(st.ID(), 10), "stage BLOCK_DDL")
	if err := st.ConfirmReleased(t.Context()); err != nil {
		t.Error(err)
	}
	free(t, srv)
	if err := st.Close(); !errors.Is(err, stage.ErrStageLost) {
		t.Errorf("Close: %v, want ErrStageLost", err)
	}
	if err := st.ConfirmReleased(t.Context()); err != nil {
		t.Errorf("after Close: %v", err)
	}
}

// A DBA who sees a BACKUP STAGE wait may kill that query; the backup asks again.
func testQueryKilled(t *testing.T, srv *mariadbtest.Server, s *stage.Server) {
	c := session(t, srv)
	update := c.start("UPDATE d.m SET a = a + SLEEP(3)")
	running(t, srv, "UPDATE d.m", "User sleep")
	st := begin(t, s, stage.StageOptions{Slice: 10 * time.Second})
	advance(t, st, stage.Start)
	granted := make(chan error, 1)
	go func() { granted <- st.Advance(t.Context(), stage.BlockDDL) }()
	running(t, srv, "BACKUP STAGE BLOCK_DDL", "Waiting for backup lock")
	srv.MustExec(t, "KILL QUERY "+strconv.FormatUint(st.ID(), 10))
	if err := <-granted; err != nil {
		t.Errorf("Advance: %v", err)
	}
	times := st.Times()
	if last := times[len(times)-1]; last.Tries != 2 {
		t.Errorf("%d tries, want 2", last.Tries)
	}
	if err := st.End(t.Context()); err != nil {
		t.Error(err)
	}
	if got := <-update; got.err != nil {
		t.Error(got.err)
	}
}

// The pending request for BLOCK_DDL, and stage FLUSH itself, make other sessions'
// writes to MyISAM tables wait.
func TestBehindLongUpdate(t *testing.T) {
	onEach(t, func(t *testing.T, srv *mariadbtest.Server) {
		tables(t, srv)
		srv.MustExec(t, "CREATE TABLE d.n (a INT) ENGINE=MyISAM")
		s := connect(t, srv)
		t.Run("busy, named by its statement", func(t *testing.T) { testUpdateNamed(t, srv, s, false) })
		t.Run("busy, deadline", func(t *testing.T) { testUpdateDeadline(t, srv, s) })
		t.Run("cancel in mid-wait", func(t *testing.T) { testCancelInWait(t, srv, s) })
		t.Run("retreat lets writes pass", func(t *testing.T) { testRetreat(t, srv, s) })
		t.Run("retreat refused", func(t *testing.T) { testRetreatRefused(t, srv, s) })
		srv.MustExec(t, "INSTALL SONAME 'metadata_lock_info'")
		t.Run("busy, named by its lock", func(t *testing.T) { testUpdateNamed(t, srv, s, true) })
	})
}

// longUpdate starts a statement that holds d.m for some seconds and returns its
// session and a function that ends it.
func longUpdate(t *testing.T, srv *mariadbtest.Server) (*client, func()) {
	c := session(t, srv)
	update := c.start("UPDATE /* nightly job */ d.m SET a = a + SLEEP(60) WHERE a > 0")
	running(t, srv, "UPDATE", "User sleep")
	return c, func() {
		srv.MustExec(t, "KILL QUERY "+strconv.FormatUint(c.id, 10))
		<-update
	}
}

func testUpdateNamed(t *testing.T, srv *mariadbtest.Server, s *stage.Server, sure bool) {
	c, stop := longUpdate(t, srv)
	defer stop()
	st := begin(t, s, stage.StageOptions{Patience: 3 * time.Second})
	advance(t, st, stage.Start, stage.Flush)
	err := st.Advance(t.Context(), stage.BlockDDL)
	var busy *stage.BusyError
	if !errors.As(err, &busy) {
		t.Fatalf("Advance: %v, want BusyError", err)
	}
	t.Log(err)
	if busy.Stage != stage.BlockDDL || busy.Tries < 2 || busy.Waited < time.Second || busy.Waited > 10*time.Second {
		t.Errorf("BusyError = %+v, want BLOCK_DDL, several tries, about 3s", busy)
	}
	if len(busy.Blockers) != 1 || busy.Blockers[0].ID != c.id || busy.Blockers[0].Sure != sure ||
		busy.Blockers[0].User != "root" || busy.Blockers[0].Time < 300*time.Millisecond {
		t.Errorf("Blockers = %+v, want connection %d of root alone, sure = %t", busy.Blockers, c.id, sure)
	}
	contains(t, err.Error(), "connection "+strconv.FormatUint(c.id, 10)+" (root@localhost, ",
		"UPDATE /* nightly job */ d.m SET a = a + SLEEP(?) WHERE a > ?")
	if st.Stage() != stage.Flush {
		t.Errorf("Stage = %s, want FLUSH", st.Stage())
	}
	if err := st.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	free(t, srv)
}

func testUpdateDeadline(t *testing.T, srv *mariadbtest.Server, s *stage.Server) {
	c, stop := longUpdate(t, srv)
	defer stop()
	st := begin(t, s, stage.StageOptions{Slice: 30 * time.Second})
	advance(t, st, stage.Start, stage.Flush)
	ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
	defer cancel()
	begun := time.Now()
	err := st.Advance(ctx, stage.BlockDDL)
	var busy *stage.BusyError
	if !errors.As(err, &busy) || !errors.Is(err, context.DeadlineExceeded) || len(busy.Blockers) != 1 ||
		busy.Blockers[0].ID != c.id {
		t.Errorf("Advance: %v, want BusyError by the deadline, naming connection %d", err, c.id)
	}
	if took := time.Since(begun); took > 3*time.Second {
		t.Errorf("Advance came back after %s, want about 0.7s", took)
	}
	if err := st.End(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func testCancelInWait(t *testing.T, srv *mariadbtest.Server, s *stage.Server) {
	_, stop := longUpdate(t, srv)
	defer stop()
	st := begin(t, s, stage.StageOptions{Slice: 30 * time.Second, Patience: time.Minute})
	advance(t, st, stage.Start, stage.Flush)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- st.Advance(ctx, stage.BlockDDL) }()
	running(t, srv, "BACKUP STAGE BLOCK_DDL", "Waiting for backup lock")
	cancel()
	begun := time.Now()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("Advance: %v, want context.Canceled", err)
	}
	if err := st.End(ctx); err != nil {
		t.Errorf("End: %v", err)
	}
	t.Logf("free %s after the cancel", time.Since(begun))
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("cancel to END took %s", took)
	}
	free(t, srv)
}

// Another session's insert into a MyISAM table stands still for as long as FLUSH
// is held; with Retreat that is one slice.
func testRetreat(t *testing.T, srv *mariadbtest.Server, s *stage.Server) {
	_, stop := longUpdate(t, srv)
	time.AfterFunc(6*time.Second, stop)
	retreats := 0
	st := begin(t, s, stage.StageOptions{Patience: 30 * time.Second, Retreat: func(context.Context) error {
		retreats++
		return nil
	}})
	advance(t, st, stage.Start)
	first := st.Times()[0].Granted
	stalls := make(chan []time.Duration, 1)
	quit := make(chan struct{})
	go func() { stalls <- insertLoop(session(t, srv), quit) }()
	advance(t, st, stage.BlockDDL, stage.BlockCommit)
	if err := st.End(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(quit)
	all := <-stalls
	longest := slices.Max(all)
	t.Logf("%d inserts, longest stall %s, %d retreats, BLOCK_DDL after %s", len(all), longest, retreats,
		st.Times()[2].Wait)
	if longest > 3*time.Second {
		t.Errorf("an insert stood still for %s, want about a slice (1s)", longest)
	}
	if len(all) < 20 {
		t.Errorf("%d inserts in all: hardly any passed between tries", len(all))
	}
	if retreats < 2 || st.Restarts() != retreats {
		t.Errorf("%d retreats, Restarts = %d, want equal and at least 2", retreats, st.Restarts())
	}
	times := st.Times()
	if len(times) != 5 || !times[0].Granted.Equal(first) || times[2].Tries != retreats+1 {
		t.Errorf("Times = %+v, want five stages, the first START, %d tries for BLOCK_DDL", times, retreats+1)
	}
}

// insertLoop inserts until quit is closed and returns how long each took.
func insertLoop(c *client, quit <-chan struct{}) []time.Duration {
	var all []time.Duration
	for {
		select {
		case <-quit:
			return all
		case <-time.After(20 * time.Millisecond):
		}
		got := <-c.start("INSERT INTO d.n VALUES (1)")
		if got.err != nil {
			c.t.Error(got.err)
			return all
		}
		all = append(all, got.took)
	}
}

func testRetreatRefused(t *testing.T, srv *mariadbtest.Server, s *stage.Server) {
	_, stop := longUpdate(t, srv)
	defer stop()
	no := errors.New("no")
	st := begin(t, s, stage.StageOptions{Retreat: func(context.Context) error { return no }})
	advance(t, st, stage.Start)
	if err := st.Advance(t.Context(), stage.BlockDDL); !errors.Is(err, no) {
		t.Errorf("Advance: %v, want the error of Retreat", err)
	}
	if st.Stage() != stage.Flush {
		t.Errorf("Stage = %s, want FLUSH", st.Stage())
	}
	if err := st.End(t.Context()); err != nil {
		t.Error(err)
	}
}

// An open transaction keeps an ALTER ... RENAME from its table, and the ALTER,
// which takes the backup's lock first, keeps the backup from BLOCK_DDL: both are
// named. Most ALTERs wait for their table without that lock and are no hindrance.
func TestBehindTransaction(t *testing.T) {
	onEach(t, func(t *testing.T, srv *mariadbtest.Server) {
		tables(t, srv)
		s := connect(t, srv)
		t.Run("alter rename, guessed", func(t *testing.T) { testAlterNamed(t, srv, s) })
		srv.MustExec(t, "INSTALL SONAME 'metadata_lock_info'")
		t.Run("alter rename, by its lock", func(t *testing.T) { testAlterNamed(t, srv, s) })
		t.Run("alter add column", func(t *testing.T) {
			idle, ddl := session(t, srv), session(t, srv)
			idle.exec("BEGIN", "SELECT * FROM d.i")
			altered := ddl.start("ALTER TABLE d.i ADD COLUMN b INT")
			running(t, srv, "ALTER", "Waiting for table metadata lock")
			st := begin(t, s, stage.StageOptions{})
			advance(t, st, stage.Start, stage.BlockDDL)
			idle.exec("COMMIT") // lets the ALTER go as far as its own end
			advance(t, st, stage.BlockCommit)
			if err := st.End(t.Context()); err != nil {
				t.Error(err)
			}
			if got := <-altered; got.err != nil {
				t.Error(got.err)
			}
		})
	})
}

func testAlterNamed(t *testing.T, srv *mariadbtest.Server, s *stage.Server) {
	idle, ddl := session(t, srv), session(t, srv)
	idle.exec("BEGIN", "SELECT * FROM d.i")
	altered := ddl.start("ALTER TABLE d.i RENAME TO d.j")
	running(t, srv, "ALTER", "Waiting for table metadata lock")
	st := begin(t, s, stage.StageOptions{Patience: 1500 * time.Millisecond})
	err := st.Advance(t.Context(), stage.Start)
	if err == nil {
		err = st.Advance(t.Context(), stage.BlockDDL)
	}
	var busy *stage.BusyError
	if !errors.As(err, &busy) {
		t.Fatalf("Advance: %v, want BusyError", err)
	}
	t.Log(err)
	ids := make([]uint64, len(busy.Blockers))
	for i, b := range busy.Blockers {
		ids[i] = b.ID
	}
	if want := []uint64{ddl.id, idle.id}; !slices.Equal(ids, want) {
		t.Errorf("Blockers = %v, want connections %v", busy.Blockers, want)
	}
	contains(t, err.Error(), "ALTER TABLE d.i RENAME TO d.j", "idle for")
	if err := st.End(t.Context()); err != nil {
		t.Error(err)
	}
	idle.exec("COMMIT")
	if got := <-altered; got.err != nil {
		t.Error(got.err)
	}
	ddl.exec("RENAME TABLE d.j TO d.i")
}

func TestServerKilled(t *testing.T) {
	onEach(t, func(t *testing.T, srv *mariadbtest.Server) {
		tables(t, srv)
		s := connect(t, srv)
		st := begin(t, s, stage.StageOptions{})
		advance(t, st, stage.Start, stage.Flush, stage.BlockDDL, stage.BlockCommit)
		if err := srv.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := st.End(t.Context()); !errors.Is(err, stage.ErrStageLost) {
			t.Errorf("End: %v, want ErrStageLost", err)
		}
		if err := s.Ping(t.Context()); !errors.Is(err, stage.ErrUnreachable) {
			t.Errorf("Ping: %v, want ErrUnreachable", err)
		}
		if err := st.ConfirmReleased(t.Context()); !errors.Is(err, stage.ErrUnreachable) {
			t.Errorf("ConfirmReleased: %v, want ErrUnreachable", err)
		}
		if err := srv.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.Ping(t.Context()); err != nil {
			t.Errorf("Ping after the restart: %v", err)
		}
		if err := st.End(t.Context()); !errors.Is(err, stage.ErrStageLost) {
			t.Errorf("End after the restart: %v, want ErrStageLost", err)
		}
		if err := st.ConfirmReleased(t.Context()); err != nil {
			t.Errorf("ConfirmReleased after the restart: %v", err)
		}
	})
}

// A server that stands still answers nothing, not even KILL QUERY: a wait that is
// cut short gives the connection up, and the server drops the stages once it runs
// again.
func TestServerStopped(t *testing.T) {
	srv := mariadbtest.New(t, mariadbtest.Versions()[0])
	tables(t, srv)
	s := connect(t, srv)
	st := begin(t, s, stage.StageOptions{})
	advance(t, st, stage.Start)
	resume := func() {
		if err := syscall.Kill(srv.Pid(), syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(resume)
	if err := syscall.Kill(srv.Pid(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	waitStopped(t, srv.Pid())
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	begun := time.Now()
	if err := st.Advance(ctx, stage.Flush); !errors.Is(err, stage.ErrStageLost) {
		t.Errorf("Advance: %v, want ErrStageLost", err)
	}
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("Advance came back after %s", took)
	}
	resume()
	if err := st.ConfirmReleased(t.Context()); err != nil {
		t.Error(err)
	}
	free(t, srv)
}

// waitStopped waits until every thread of a process stands still: the signal
// reaches them one by one.
func waitStopped(t *testing.T, pid int) {
	t.Helper()
	for range 500 {
		stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
		if err != nil {
			t.Fatal(err)
		}
		moving := 0
		for _, path := range stats {
			stat, err := os.ReadFile(path)
			if end := bytes.LastIndexByte(stat, ')'); err == nil && (end < 0 || !bytes.HasPrefix(stat[end:], []byte(") T"))) {
				moving++
			}
		}
		if len(stats) > 0 && moving == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the server does not stop")
}
