package stage

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"strings"
	"sync/atomic"

	"github.com/go-sql-driver/mysql"
)

// Client is a connection for statements that no other type of this package has: those that
// export tables from a server and import them into another one. Its statements may take as
// long as they need, and what they set or lock ends with the connection, which is never
// made again. One statement runs at a time.
type Client struct {
	own *session
}

// Client opens the connection and runs statements on it that set it up. The caller calls
// Close.
func (s *Server) Client(ctx context.Context, setup ...string) (*Client, error) {
	own, err := open(ctx, s.cfg, 0, false)
	if err != nil {
		return nil, fmt.Errorf("open a connection: %w", err)
	}
	c := &Client{own}
	for _, text := range setup {
		if err := c.Exec(ctx, text); err != nil {
			c.Close()
			return nil, err
		}
	}
	return c, nil
}

// Close ends the connection.
func (c *Client) Close() { c.own.close() }

// Exec runs a statement without a result. The error has the statement, without values.
func (c *Client) Exec(ctx context.Context, text string) error {
	if err := c.own.exec(ctx, text); err != nil {
		return fmt.Errorf("%s: %w", shorten(text), err)
	}
	return nil
}

// Rows runs a query and returns its whole answer, "" for NULL.
func (c *Client) Rows(ctx context.Context, text string, args ...any) ([][]string, error) {
	all, err := c.own.rows(ctx, text, args...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", shorten(text), err)
	}
	found := make([][]string, len(all))
	for i, r := range all {
		found[i] = make([]string, len(r.values))
		for j := range r.values {
			found[i][j] = r.at(j)
		}
	}
	return found, nil
}

// Each runs a query and calls row with every row of its answer, as the bytes that the
// server sent; nil is NULL. They are valid during the call only. An error of row ends the
// query.
func (c *Client) Each(ctx context.Context, text string, row func(columns []sql.RawBytes) error) error {
	err := c.own.do(ctx, func(ctx context.Context, conn *sql.Conn) error {
		answer, err := conn.QueryContext(ctx, text)
		if err != nil {
			return err
		}
		defer answer.Close() //nolint:errcheck // Err tells
		names, err := answer.Columns()
		if err != nil {
			return err
		}
		columns := make([]sql.RawBytes, len(names))
		targets := make([]any, len(names))
		for i := range columns {
			targets[i] = &columns[i]
		}
		for answer.Next() {
			if err := answer.Scan(targets...); err != nil {
				return err
			}
			if err := row(columns); err != nil {
				return err
			}
		}
		return answer.Err()
	})
	if err != nil {
		return fmt.Errorf("%s: %w", shorten(text), err)
	}
	return nil
}

// loads numbers the readers that are registered with the driver.
var loads atomic.Uint64

// Load runs a LOAD DATA LOCAL INFILE whose file is read from r, and returns how many rows
// it has stored. The statement's first "?" stands for the name of the file.
func (c *Client) Load(ctx context.Context, text string, r io.Reader) (int64, error) {
	name := fmt.Sprintf("mbk-%d", loads.Add(1))
	mysql.RegisterReaderHandler(name, func() io.Reader { return r })
	defer mysql.DeregisterReaderHandler(name)
	var stored int64
	err := c.own.do(ctx, func(ctx context.Context, conn *sql.Conn) error {
		done, err := conn.ExecContext(ctx, strings.Replace(text, "?", quoteText("Reader::"+name), 1))
		if err != nil {
			return err
		}
		stored, err = done.RowsAffected()
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("%s: %w", shorten(text), err)
	}
	return stored, nil
}

// Number returns MariaDB's number of the error that a server has answered with, 0 if err is
// none of those.
func Number(err error) uint16 { return number(err) }

// QuoteName quotes an identifier.
func QuoteName(s string) string { return quoteName(s) }

// QuoteText quotes a string. The server's sql_mode must not have NO_BACKSLASH_ESCAPES,
// which no connection of this package has.
func QuoteText(s string) string { return quoteText(s) }

// QuoteAccount quotes "user@host", or a role.
func QuoteAccount(account string) string { return quoteAccount(account) }
