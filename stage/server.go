package stage

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"time"

	"mbk/internal/hint"
)

// controlLimit bounds a statement of the control connection. The longest of them
// lists the tables, which reads every definition once.
const controlLimit = 5 * time.Minute

// Server is a server that has let us in. Its methods use the control connection,
// one after another, and may be called from several goroutines. If that
// connection dies they connect again: it holds nothing.
type Server struct {
	cfg     Config
	control *session
	started time.Time // of the server, to recognise a restart
}

// Connect opens the control connection. Its errors are ErrUnreachable,
// ErrDenied, ErrTooManyConnections or ErrNotMariaDB where one of them fits, and
// carry hints. The caller calls Close.
func Connect(ctx context.Context, cfg Config) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	control, err := open(ctx, cfg, controlLimit, true)
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, control: control}
	if err := s.check(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// check makes sure that it is a MariaDB and notes when it started.
func (s *Server) check(ctx context.Context) error {
	answer, err := s.control.values(ctx, "SELECT VERSION(), "+
		"(SELECT COUNT(*) FROM information_schema.SYSTEM_VARIABLES WHERE VARIABLE_NAME = 'ARIA_BLOCK_SIZE')")
	if number(err) == erUnknownTable || err == nil && answer.at(1) == "0" && !strings.Contains(answer.at(0), "MariaDB") {
		return hint.Wrap(fmt.Errorf("connect as %s: %w", s.cfg, ErrNotMariaDB), "mbk backs up MariaDB 10.5 and later only")
	}
	if err != nil {
		return fmt.Errorf("connect as %s: read the server's version: %w", s.cfg, err)
	}
	if s.started, err = s.startTime(ctx); err != nil {
		return fmt.Errorf("connect as %s: %w", s.cfg, err)
	}
	return nil
}

// Started is when the server started, or up to a second before.
func (s *Server) Started() time.Time { return s.started.Add(-time.Second) }

// startTime computes when the server started, to about a second.
func (s *Server) startTime(ctx context.Context) (time.Time, error) {
	uptime, err := s.status(ctx, "Uptime")
	if err != nil {
		return time.Time{}, fmt.Errorf("read the server's uptime: %w", err)
	}
	d, err := time.ParseDuration(uptime["uptime"] + "s")
	if err != nil {
		return time.Time{}, fmt.Errorf("read the server's uptime: %w", err)
	}
	return time.Now().Add(-d), nil
}

// status reads global status variables; pattern is that of SHOW STATUS LIKE. The
// names of the answer are in lower case.
func (s *Server) status(ctx context.Context, pattern string) (map[string]string, error) {
	return s.control.pairs(ctx, "SHOW GLOBAL STATUS LIKE ?", pattern)
}

// pairs runs a query of two columns and returns them as a map, the names in
// lower case.
func (s *session) pairs(ctx context.Context, text string, args ...any) (map[string]string, error) {
	all, err := s.rows(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	m := make(map[string]string, len(all))
	for _, r := range all {
		m[strings.ToLower(r.at(0))] = r.at(1)
	}
	return m, nil
}

// Close ends the control connection. Stages, Locker and Watch are closed by
// whoever made them.
func (s *Server) Close() {
	s.control.close()
}

// Ping asks the server for a sign of life.
func (s *Server) Ping(ctx context.Context) error {
	if err := s.control.exec(ctx, "DO 1"); err != nil {
		return fmt.Errorf("ping the server: %w", err)
	}
	return nil
}

// peer returns the process at the other end of the control connection's socket,
// and the connection's id.
func (s *Server) peer(ctx context.Context) (at peer, id uint64, err error) {
	err = s.control.do(ctx, func(context.Context, *sql.Conn) error {
		at, id = s.control.link.peer, s.control.link.id
		return nil
	})
	return at, id, err
}
