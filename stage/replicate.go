package stage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

	"mbk/internal/binlog"
)

// Replication says what a server is to replicate, from a primary on this machine.
type Replication struct {
	Port     int // of 127.0.0.1
	User     string
	Password string
	From     binlog.Position // what the server has already
	To       binlog.Position // where it ends

	Failure  func() error          // why the primary cannot go on, nil as long as it can
	Progress func(binlog.Position) // what the server has; may be nil
}

// ReplicationError is returned by Server.Replicate if the server could not apply a transaction.
type ReplicationError struct {
	Number uint16
	Text   string          // in the server's words
	At     binlog.Position // what the server has applied
	Thread string          // "SQL" or "IO"
}

// Error says where it has stopped.
func (e *ReplicationError) Error() string {
	return fmt.Sprintf("the server stopped after %s: error %d of its %s thread: %s", orBeginning(e.At), e.Number,
		e.Thread, e.Text)
}

// How often Replicate looks how far the server is.
const replicationPoll = 100 * time.Millisecond

// Replicate has the server replicate a part of the log of another one, and then forget the other
// one. What the server has in the end is exactly what was asked for, or there is an error.
func (s *Server) Replicate(ctx context.Context, r Replication) error {
	var failed error
	err := s.control.do(ctx, func(_ context.Context, c *sql.Conn) error {
		// The limit of the session is one for a statement; this takes as long as it takes. And
		// it is not tried again on another connection.
		failed = replicate(ctx, c, r)
		return nil
	})
	return errors.Join(err, failed)
}

func replicate(ctx context.Context, c *sql.Conn, r Replication) error {
	for _, text := range []string{
		"SET GLOBAL gtid_slave_pos='" + r.From.String() + "'",
		fmt.Sprintf("CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=%d, MASTER_USER=%s, MASTER_PASSWORD=%s, "+
			"MASTER_SSL=0, MASTER_CONNECT_RETRY=1, MASTER_HEARTBEAT_PERIOD=0, MASTER_USE_GTID=slave_pos",
			r.Port, quoteText(r.User), quoteText(r.Password)),
		"START SLAVE UNTIL master_gtid_pos='" + r.To.String() + "'",
	} {
		if _, err := c.ExecContext(ctx, text); err != nil {
			return fmt.Errorf("begin to replicate: %w", err)
		}
	}
	if err := replicated(ctx, c, r); err != nil {
		return err
	}
	for _, text := range []string{"STOP SLAVE", "RESET SLAVE ALL"} {
		if _, err := c.ExecContext(ctx, text); err != nil {
			return fmt.Errorf("end the replication: %w", err)
		}
	}
	return nil
}

// SetReplicated says what the server has replicated, if it got that otherwise.
func (s *Server) SetReplicated(ctx context.Context, p binlog.Position) error {
	if err := s.control.exec(ctx, "SET GLOBAL gtid_slave_pos='"+p.String()+"'"); err != nil {
		return fmt.Errorf("set the position of the replication: %w", err)
	}
	return nil
}

// replicated waits until the server has stopped to replicate, and compares where it is.
func replicated(ctx context.Context, c *sql.Conn, r Replication) error {
	for {
		at, status, err := replicationState(ctx, c)
		if err != nil {
			return err
		}
		if r.Progress != nil {
			r.Progress(at)
		}
		switch {
		case at.Equal(r.To) && status.get("Slave_SQL_Running") == "No" && status.get("Last_SQL_Errno") == "0":
			return nil
		case status.get("Last_SQL_Errno") != "0":
			return replicationError(status, "SQL", at)
		case status.get("Slave_SQL_Running") == "No":
			return fmt.Errorf("the server stopped to replicate after %s, want %s", orBeginning(at), orBeginning(r.To))
		case r.Failure() != nil:
			return r.Failure()
		case status.get("Slave_IO_Running") == "No" && status.get("Last_IO_Errno") != "0":
			return replicationError(status, "IO", at)
		}
		select {
		case <-time.After(replicationPoll):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func replicationError(status row, thread string, at binlog.Position) error {
	n, _ := strconv.ParseUint(status.get("Last_"+thread+"_Errno"), 10, 16) // 0 says less
	return &ReplicationError{Number: uint16(n), Text: status.get("Last_" + thread + "_Error"), At: at, Thread: thread}
}

// replicationState reads what a replica has applied, and the state of its threads.
func replicationState(ctx context.Context, c *sql.Conn) (binlog.Position, row, error) {
	status, err := oneRow(ctx, c, "SHOW SLAVE STATUS")
	if err != nil {
		return nil, row{}, fmt.Errorf("read the state of replication: %w", err)
	}
	pos, err := oneRow(ctx, c, "SELECT @@gtid_slave_pos") // after the state: that may say that it has ended
	if err != nil {
		return nil, row{}, fmt.Errorf("read the state of replication: %w", err)
	}
	at, err := binlog.ParsePosition(pos.at(0))
	return at, status, err
}

// oneRow runs a query of one row.
func oneRow(ctx context.Context, c *sql.Conn, text string) (row, error) {
	all, err := queryRows(ctx, c, text)
	if err == nil && len(all) != 1 {
		err = fmt.Errorf("%s: %d rows in place of one", text, len(all))
	}
	if err != nil {
		return row{}, err
	}
	return all[0], nil
}

// DisabledEvents returns the names of events that run on a replica only when it is promoted, as
// SQL writes them.
func (s *Server) DisabledEvents(ctx context.Context) ([]string, error) {
	all, err := s.control.rows(ctx, "SELECT db, name FROM mysql.event WHERE status = 'SLAVESIDE_DISABLED' ORDER BY 1, 2")
	if err != nil {
		return nil, fmt.Errorf("list events: %w", err)
	}
	names := make([]string, len(all))
	for i, r := range all {
		names[i] = quoteName(r.at(0)) + "." + quoteName(r.at(1))
	}
	return names, nil
}

// MakeReader makes an account for connections from 127.0.0.1 that may read everything, and change
// nothing: it has not even the privilege to run a routine. It returns the account as SQL writes it.
func (s *Server) MakeReader(ctx context.Context, user, password string) (string, error) {
	account := quoteText(user) + "@'127.0.0.1'"
	for _, text := range []string{
		"CREATE USER " + account + " IDENTIFIED BY " + quoteText(password),
		"GRANT SELECT, SHOW DATABASES, SHOW VIEW, LOCK TABLES, TRIGGER, EVENT, PROCESS ON *.* TO " + account,
	} {
		if err := s.control.exec(ctx, text); err != nil {
			return "", fmt.Errorf("make the account %s: %w", account, err)
		}
	}
	return account, nil
}

// DropAccount drops an account, as SQL writes it. Connections of it go on.
func (s *Server) DropAccount(ctx context.Context, account string) error {
	if err := s.control.exec(ctx, "DROP USER "+account); err != nil {
		return fmt.Errorf("drop the account %s: %w", account, err)
	}
	return nil
}
