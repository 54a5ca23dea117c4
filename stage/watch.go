package stage

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"mbk/internal/innodb"
)

// watchLimit bounds a statement of a Watch. A server that does not answer for so
// long is stopped or swapped out.
const watchLimit = 30 * time.Second

// Watch is a connection for frequent small questions. It holds nothing on the
// server and connects again when its connection dies, once a call. Methods may
// be called from several goroutines and then wait for each other.
type Watch struct {
	own *session
}

// Watch opens the connection. The caller calls Close.
func (s *Server) Watch(ctx context.Context) (*Watch, error) {
	own, err := open(ctx, s.cfg, watchLimit, true)
	if err != nil {
		return nil, fmt.Errorf("open the watching connection: %w", err)
	}
	return &Watch{own: own}, nil
}

// Close ends the connection.
func (w *Watch) Close() { w.own.close() }

// Ping asks the server for a sign of life.
func (w *Watch) Ping(ctx context.Context) error {
	if err := w.own.exec(ctx, "DO 1"); err != nil {
		return fmt.Errorf("ping the server: %w", err)
	}
	return nil
}

// KillQuery ends the statement that connection id is running, if any; the
// connection lives on. No connection of that id is not an error.
func (w *Watch) KillQuery(ctx context.Context, id uint64) error {
	return w.own.kill(ctx, "QUERY", id)
}

// kill ends a statement (what is QUERY) or a connection (CONNECTION).
func (s *session) kill(ctx context.Context, what string, id uint64) error {
	err := s.exec(ctx, "KILL "+what+" "+strconv.FormatUint(id, 10))
	if err != nil && number(err) != erNoSuchThread {
		return fmt.Errorf("kill %s %d: %w", what, id, err)
	}
	return nil
}

// LSNs returns the present state of the redo log. It costs the server about a
// millisecond.
func (w *Watch) LSNs(ctx context.Context) (innodb.LSNs, error) {
	l, err := w.own.lsns(ctx)
	if err != nil {
		return innodb.LSNs{}, fmt.Errorf("read the redo log's position: %w", err)
	}
	return l, nil
}

// DirtyPages returns how many pages InnoDB has changed and not written yet. Some of the
// newer servers count pages that they have just written for a moment longer.
func (w *Watch) DirtyPages(ctx context.Context) (int64, error) {
	status, err := w.own.pairs(ctx, "SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_pages_dirty'")
	if err != nil {
		return 0, fmt.Errorf("read the number of dirty pages: %w", err)
	}
	n, err := strconv.ParseInt(status["innodb_buffer_pool_pages_dirty"], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read the number of dirty pages: %w", err)
	}
	return n, nil
}

// lsns reads the status variables, or what InnoDB prints where a server has not
// got them.
func (s *session) lsns(ctx context.Context) (innodb.LSNs, error) {
	status, err := s.pairs(ctx, "SHOW GLOBAL STATUS LIKE 'Innodb_lsn_%'")
	if err != nil {
		return innodb.LSNs{}, err
	}
	l, err := lsnsOf(status["innodb_lsn_current"], status["innodb_lsn_flushed"], status["innodb_lsn_last_checkpoint"])
	if err == nil {
		return l, nil
	}
	printed, err := s.values(ctx, "SHOW ENGINE INNODB STATUS")
	if err != nil {
		return innodb.LSNs{}, err
	}
	return parseStatus(printed.get("Status"))
}

// parseStatus finds the LSNs in the text of SHOW ENGINE INNODB STATUS.
func parseStatus(text string) (innodb.LSNs, error) {
	var found [3]string
	for i, label := range []string{"Log sequence number", "Log flushed up to", "Last checkpoint at"} {
		m := regexp.MustCompile(`(?m)^` + label + `\s+(\d+)\s*$`).FindStringSubmatch(text)
		if m != nil {
			found[i] = m[1]
		}
	}
	l, err := lsnsOf(found[0], found[1], found[2])
	if err != nil {
		return innodb.LSNs{}, fmt.Errorf("parse SHOW ENGINE INNODB STATUS: %w", err)
	}
	return l, nil
}

// lsnsOf converts three decimal numbers.
func lsnsOf(current, flushed, checkpoint string) (innodb.LSNs, error) {
	var n [3]uint64
	for i, text := range []string{current, flushed, checkpoint} {
		var err error
		if n[i], err = strconv.ParseUint(text, 10, 64); err != nil {
			return innodb.LSNs{}, fmt.Errorf("LSN %q: %w", text, err)
		}
	}
	return innodb.LSNs{Current: innodb.LSN(n[0]), Flushed: innodb.LSN(n[1]), Checkpoint: innodb.LSN(n[2])}, nil
}

// LSNs returns the present state of the redo log.
func (s *Server) LSNs(ctx context.Context) (innodb.LSNs, error) {
	l, err := s.control.lsns(ctx)
	if err != nil {
		return innodb.LSNs{}, fmt.Errorf("read the redo log's position: %w", err)
	}
	return l, nil
}
