package stage_test

import (
	"context"
	"database/sql"
	"log/slog"
	"strconv"
	"strings"
	"testing"
	"time"

	"mbk/internal/test/mariadbtest"
	"mbk/stage"
)

// onEach runs test against a server of some of the versions, started with args and used
// by this test alone.
func onEach(t *testing.T, test func(t *testing.T, srv *mariadbtest.Server), args ...string) {
	t.Helper()
	for _, series := range mariadbtest.Some(t, mariadbtest.Versions()...) {
		t.Run(series, func(t *testing.T) {
			t.Parallel()
			test(t, mariadbtest.New(t, series, args...))
		})
	}
}

// connect opens the control connection of the server's root.
func connect(t *testing.T, srv *mariadbtest.Server) *stage.Server {
	t.Helper()
	s, err := stage.Connect(t.Context(), stage.Config{Socket: srv.Socket, User: "root"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// begin opens stage connections that are closed when the test ends.
func begin(t *testing.T, s *stage.Server, opts stage.StageOptions) *stage.Stages {
	t.Helper()
	opts.Logger = slog.New(slog.NewTextHandler(t.Output(), nil))
	st, err := s.Begin(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() }) // the tests look at End themselves
	return st
}

// advance takes stages in order and fails the test at the first error.
func advance(t *testing.T, st *stage.Stages, to ...stage.Stage) {
	t.Helper()
	for _, s := range to {
		if err := st.Advance(t.Context(), s); err != nil {
			t.Fatalf("Advance(%s): %v", s, err)
		}
	}
}

// client is another session on the server.
type client struct {
	t    *testing.T
	conn *sql.Conn
	id   uint64
}

// session opens a connection of its own for a test.
func session(t *testing.T, srv *mariadbtest.Server) *client {
	t.Helper()
	conn, err := srv.DB().Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, conn: conn}
	t.Cleanup(func() {
		// A test that fails may leave a statement running. Errors do not matter:
		// the test or the server may have ended the connection already.
		_, _ = srv.DB().Exec("KILL " + strconv.FormatUint(c.id, 10))
		_ = conn.Close()
	})
	c.id, err = strconv.ParseUint(c.value("SELECT CONNECTION_ID()"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// exec runs statements and fails the test at the first error.
func (c *client) exec(statements ...string) {
	c.t.Helper()
	for _, q := range statements {
		if _, err := c.conn.ExecContext(context.WithoutCancel(c.t.Context()), q); err != nil {
			c.t.Fatalf("%s: %v", q, err)
		}
	}
}

// value returns the first column of a query's row.
func (c *client) value(q string) string {
	c.t.Helper()
	var v sql.NullString
	if err := c.conn.QueryRowContext(c.t.Context(), q).Scan(&v); err != nil {
		c.t.Fatalf("%s: %v", q, err)
	}
	return v.String
}

// start runs a statement in the background. Its error and how long it took come
// over the channel.
func (c *client) start(q string) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		begun := time.Now()
		_, err := c.conn.ExecContext(context.WithoutCancel(c.t.Context()), q)
		done <- outcome{err, time.Since(begun)}
	}()
	return done
}

type outcome struct {
	err  error
	took time.Duration
}

// waitFor polls until the query's first column has the value.
func waitFor(t *testing.T, srv *mariadbtest.Server, query, want string) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		got := srv.MustValue(t, query)
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: still %q, want %q", query, got, want)
		}
	}
}

// running waits until a statement of that beginning is in that state.
func running(t *testing.T, srv *mariadbtest.Server, statement, state string) {
	t.Helper()
	waitFor(t, srv, "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE '"+statement+"%' AND STATE = '"+
		state+"'", "1")
}

// free fails the test unless another session can change definitions and write to
// a MyISAM and an InnoDB table at once.
func free(t *testing.T, srv *mariadbtest.Server) {
	t.Helper()
	begun := time.Now()
	c := session(t, srv)
	c.exec("SET lock_wait_timeout=5",
		"CREATE OR REPLACE TABLE d.free_m (a INT) ENGINE=MyISAM", "INSERT INTO d.free_m VALUES (1)", "DROP TABLE d.free_m",
		"CREATE OR REPLACE TABLE d.free_i (a INT) ENGINE=InnoDB", "INSERT INTO d.free_i VALUES (1)", "DROP TABLE d.free_i")
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("DDL and writes took %s: something still holds the server", took)
	}
}

// contains fails the test unless text contains every part.
func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, p := range parts {
		if !strings.Contains(text, p) {
			t.Errorf("%q does not contain %q", text, p)
		}
	}
}
