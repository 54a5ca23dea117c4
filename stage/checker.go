package stage

import (
	"context"
	"fmt"
	"strconv"
)

// Checker is a connection on which tables are checked: its statements may take
// as long as they need. It is for servers that nobody else uses, such as one that
// was started on a restored backup. One statement runs at a time.
type Checker struct {
	own *session
}

// Checker opens the connection. The caller calls Close.
func (s *Server) Checker(ctx context.Context) (*Checker, error) {
	own, err := open(ctx, s.cfg, 0, false)
	if err != nil {
		return nil, fmt.Errorf("open a connection to check tables: %w", err)
	}
	return &Checker{own: own}, nil
}

// Close ends the connection.
func (c *Checker) Close() { c.own.close() }

// CheckMessage is a line of CHECK TABLE's answer.
type CheckMessage struct {
	Type string // "status", "note", "warning", "error"
	Text string // "OK"
}

// Check runs CHECK TABLE and returns what the server says. The error is for a
// server that does not answer; what is wrong with the table is in the messages.
func (c *Checker) Check(ctx context.Context, db, table string, extended bool) ([]CheckMessage, error) {
	text := "CHECK TABLE " + quoteName(db) + "." + quoteName(table)
	if extended {
		text += " EXTENDED"
	}
	return c.check(ctx, text)
}

// CheckForUpgrade runs CHECK TABLE ... FOR UPGRADE, which reports whether a table was made
// by an older server in a form that this one wants changed.
func (c *Checker) CheckForUpgrade(ctx context.Context, db, table string) ([]CheckMessage, error) {
	return c.check(ctx, "CHECK TABLE "+quoteName(db)+"."+quoteName(table)+" FOR UPGRADE")
}

// check runs a CHECK TABLE.
func (c *Checker) check(ctx context.Context, text string) ([]CheckMessage, error) {
	all, err := c.own.rows(ctx, text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", text, err)
	}
	messages := make([]CheckMessage, len(all))
	for i, r := range all {
		messages[i] = CheckMessage{Type: r.get("Msg_type"), Text: r.get("Msg_text")}
	}
	return messages, nil
}

// Rows counts the rows of a table.
func (c *Checker) Rows(ctx context.Context, db, table string) (int64, error) {
	text := "SELECT COUNT(*) FROM " + quoteName(db) + "." + quoteName(table)
	row, err := c.own.values(ctx, text)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", text, err)
	}
	n, err := strconv.ParseInt(row.at(0), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", text, err)
	}
	return n, nil
}

// History returns the length of InnoDB's history list: transactions whose old
// row versions purge has not yet removed.
func (c *Checker) History(ctx context.Context) (int64, error) {
	status, err := c.own.pairs(ctx, "SHOW GLOBAL STATUS LIKE 'Innodb_history_list_length'")
	if err != nil {
		return 0, fmt.Errorf("read the length of the history list: %w", err)
	}
	n, err := strconv.ParseInt(status["innodb_history_list_length"], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read the length of the history list: %w", err)
	}
	return n, nil
}
