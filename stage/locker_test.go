package stage_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"mbk/internal/test/mariadbtest"
	"mbk/stage"
)

func TestLocker(t *testing.T) {
	onEach(t, func(t *testing.T, srv *mariadbtest.Server) {
		tables(t, srv)
		srv.MustExec(t, "CREATE DATABASE `o``d``d db`", "INSTALL SONAME 'metadata_lock_info'")
		s := connect(t, srv)
		l, err := s.Locker(t.Context(), time.Second, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		// held lists the tables that the locker has locked.
		held := func() string {
			return srv.MustValue(t, `SELECT GROUP_CONCAT(TABLE_SCHEMA, '/', TABLE_NAME) FROM information_schema.METADATA_LOCK_INFO
				WHERE LOCK_MODE = 'MDL_SHARED_HIGH_PRIO'`)
		}
		t.Run("keeps DDL away, not writes", func(t *testing.T) {
			must(l.Lock(t.Context(), "d", "m"))
			c := session(t, srv)
			c.exec("INSERT INTO d.m VALUES (5)", "SET lock_wait_timeout=0")
			if _, err := c.conn.ExecContext(t.Context(), "TRUNCATE TABLE d.m"); err == nil {
				t.Error("TRUNCATE of the locked table succeeded")
			}
			must(l.Unlock(t.Context()))
			c.exec("TRUNCATE TABLE d.m")
		})
		t.Run("one at a time", func(t *testing.T) {
			must(l.Lock(t.Context(), "d", "m"))
			must(l.Lock(t.Context(), "d", "i"))
			if got := held(); got != "d/i" {
				t.Errorf("locked: %q, want d/i alone", got)
			}
			must(l.Unlock(t.Context()))
			if got := held(); got != "" {
				t.Errorf("locked after Unlock: %q", got)
			}
			must(l.Unlock(t.Context())) // twice is no error
		})
		t.Run("for long", func(t *testing.T) {
			brief, err := s.Locker(t.Context(), time.Second, time.Nanosecond) // the server waits for five seconds
			must(err)
			defer brief.Close()
			must(brief.LockFor(t.Context(), "d", "i", time.Minute))
			time.Sleep(7 * time.Second)
			if got := held(); got != "d/i" {
				t.Errorf("locked after 7 s: %q, want d/i", got)
			}
			must(brief.Unlock(t.Context()))
		})
		t.Run("names", func(t *testing.T) {
			for _, name := range []string{"t", "no such table", "a`b", "``", "größe", "日本", "a.b", "'x'", `"y"`, `back\slash`,
				"semi;colon", "?", "-- x",
				"select", "#sql-alter-1", strings.Repeat("x", 64), "#mysql50#a-b"} {
				if err := l.Lock(t.Context(), "o`d`d db", name); err != nil {
					t.Errorf("Lock(%q): %v", name, err)
					continue
				}
				if got, want := held(), "o`d`d db/"+name; got != want {
					t.Errorf("locked %q, want %q", got, want)
				}
			}
			must(l.Unlock(t.Context()))
			for _, name := range []string{"", "end ", strings.Repeat("x", 65)} {
				if err := l.Lock(t.Context(), "d", name); err == nil || errors.Is(err, stage.ErrLockLost) {
					t.Errorf("Lock(%q): %v, want an error of the server", name, err)
				}
			}
		})
		t.Run("busy", func(t *testing.T) {
			c := session(t, srv)
			c.exec("LOCK TABLES d.m WRITE") // of MyISAM: no exclusive lock
			must(l.Lock(t.Context(), "d", "m"))
			c.exec("UNLOCK TABLES")
			must(l.Unlock(t.Context()))

			created := c.start("CREATE TABLE d.slow (a INT) ENGINE=InnoDB AS SELECT SLEEP(5) AS a")
			running(t, srv, "CREATE", "User sleep")
			begun := time.Now()
			err := l.Lock(t.Context(), "d", "slow")
			var busy *stage.BusyError
			if !errors.As(err, &busy) || len(busy.Blockers) != 1 || busy.Blockers[0].ID != c.id {
				t.Errorf("Lock: %v, want BusyError naming connection %d", err, c.id)
			}
			if took := time.Since(begun); took > 4*time.Second {
				t.Errorf("Lock came back after %s, want 1s", took)
			}
			t.Log(err)
			must(l.Lock(t.Context(), "d", "i"))
			must(l.Unlock(t.Context()))
			if got := <-created; got.err != nil {
				t.Error(got.err)
			}
		})
		t.Run("many", func(t *testing.T) {
			begun := time.Now()
			for range 2000 {
				must(l.Lock(t.Context(), "d", "i"))
				must(l.Unlock(t.Context()))
			}
			t.Logf("%s a pair", time.Since(begun)/2000)
		})
		t.Run("killed while it holds a lock", func(t *testing.T) {
			must(l.Lock(t.Context(), "d", "i"))
			id := srv.MustValue(t,
				"SELECT THREAD_ID FROM information_schema.METADATA_LOCK_INFO WHERE LOCK_MODE = 'MDL_SHARED_HIGH_PRIO'")
			srv.MustExec(t, "KILL "+id)
			for range 2 {
				if err := l.Unlock(t.Context()); !errors.Is(err, stage.ErrLockLost) {
					t.Errorf("Unlock: %v, want ErrLockLost", err)
				}
			}
			if err := l.Lock(t.Context(), "d", "i"); !errors.Is(err, stage.ErrLockLost) {
				t.Errorf("Lock: %v, want ErrLockLost: a new connection would hide the gap", err)
			}
		})
		t.Run("cancelled", func(t *testing.T) {
			l, err := s.Locker(t.Context(), time.Minute, 0)
			must(err)
			defer l.Close()
			ctx, cancel := context.WithCancel(t.Context())
			must(l.Lock(ctx, "d", "i"))
			cancel()
			if err := l.Lock(ctx, "d", "i"); !errors.Is(err, context.Canceled) {
				t.Errorf("Lock: %v, want context.Canceled", err)
			}
			l.Close()
			waitFor(t, srv,
				"SELECT COUNT(*) FROM information_schema.METADATA_LOCK_INFO WHERE LOCK_MODE = 'MDL_SHARED_HIGH_PRIO'", "0")
		})
	})
}

func TestWatch(t *testing.T) {
	onEach(t, func(t *testing.T, srv *mariadbtest.Server) {
		tables(t, srv)
		s := connect(t, srv)
		w, err := s.Watch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		before, err := w.LSNs(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		srv.MustExec(t, "INSERT INTO d.i SELECT seq FROM d.seq_10_to_5000", "FLUSH ENGINE LOGS")
		after, err := w.LSNs(t.Context())
		if err != nil || after.Current <= before.Current || after.Flushed <= before.Flushed ||
			after.Checkpoint < before.Checkpoint ||
			after.Flushed > after.Current || after.Checkpoint > after.Flushed {
			t.Errorf("LSNs = %+v, then %+v, %v", before, after, err)
		}
		if err := s.Checkpoint(t.Context(), w, after.Current); srv.Dist.Series == "10.5" || srv.Dist.Series == "10.6" {
			if !errors.Is(err, errors.ErrUnsupported) {
				t.Errorf("Checkpoint: %v, want ErrUnsupported", err)
			}
		} else if err != nil {
			t.Fatal(err)
		} else if forced, err := w.LSNs(t.Context()); err != nil || forced.Checkpoint < after.Current {
			t.Errorf("LSNs after a forced checkpoint = %+v, %v; want Checkpoint >= %s", forced, err, after.Current)
		}
		begun := time.Now()
		for range 200 {
			if _, err := w.LSNs(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("LSNs: %s a call", time.Since(begun)/200)

		t.Run("kill query", func(t *testing.T) {
			c := session(t, srv)
			slept := c.start("UPDATE d.m SET a = a + SLEEP(20)")
			running(t, srv, "UPDATE", "User sleep")
			if err := w.KillQuery(t.Context(), c.id); err != nil {
				t.Fatal(err)
			}
			if got := <-slept; got.took > 5*time.Second {
				t.Errorf("the statement ran for %s", got.took)
			}
			c.exec("DO 1") // the connection lives
			if err := w.KillQuery(t.Context(), 1<<40); err != nil {
				t.Errorf("KillQuery of nobody: %v", err)
			}
		})
		t.Run("connects again", func(t *testing.T) {
			ids := srv.MustValue(t,
				"SELECT GROUP_CONCAT(ID) FROM information_schema.PROCESSLIST WHERE ID <> CONNECTION_ID() AND COMMAND = 'Sleep'")
			for _, id := range strings.Split(ids, ",") {
				if _, err := strconv.Atoi(id); err == nil {
					srv.MustExec(t, "KILL "+id)
				}
			}
			if _, err := w.LSNs(t.Context()); err != nil {
				t.Errorf("LSNs after KILL: %v", err)
			}
			if err := w.Ping(t.Context()); err != nil {
				t.Error(err)
			}
			if err := s.Ping(t.Context()); err != nil {
				t.Error(err)
			}
		})
		t.Run("cancelled", func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := w.LSNs(ctx); !errors.Is(err, context.Canceled) {
				t.Errorf("LSNs: %v, want context.Canceled", err)
			}
			if _, err := w.LSNs(t.Context()); err != nil {
				t.Errorf("LSNs after that: %v", err)
			}
		})
	})
}
