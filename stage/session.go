package stage

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"golang.org/x/sys/unix"

	"mbk/internal/hint"
)

// session is one connection to the server, used by one statement at a time.
// Methods may be called from several goroutines.
type session struct {
	cfg   Config
	limit time.Duration // for one statement

	// again lets a session that holds nothing on the server reconnect when it
	// finds its connection dead, and repeat the statement.
	again bool

	turn chan struct{} // holds a token while a statement runs; guards link
	link *link         // nil after the connection was lost
}

// link is a session's present connection.
type link struct {
	db   *sql.DB // a pool of this one connection, only there to be closed
	conn *sql.Conn
	raw  net.Conn // what conn speaks on
	id   uint64   // CONNECTION_ID()
	peer peer     // at the other end of the socket
}

// initialization is run on every new connection. Each setting undoes a global value that
// could cut an answer short, end an idle connection, or change the meaning of a
// statement. A connection that holds stages or locks has its own wait_timeout later. A
// statement whose answer we do not take may keep a table from others, so the server
// waits for a minute only.
const initialization = `SET NAMES utf8mb4, SESSION wait_timeout=31536000, net_read_timeout=60, net_write_timeout=60,
	lock_wait_timeout=10, max_statement_time=0, sql_mode='', autocommit=1,
	sql_select_limit=18446744073709551615, sql_big_selects=1`

// open connects a new session. limit bounds each of its statements.
func open(ctx context.Context, cfg Config, limit time.Duration, again bool) (*session, error) {
	l, err := dial(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return &session{cfg: cfg, limit: limit, again: again, turn: make(chan struct{}, 1), link: l}, nil
}

// dial makes one connection and initializes it.
func dial(ctx context.Context, cfg Config) (*link, error) {
	if cfg.user() == "" {
		return nil, hint.Wrap(fmt.Errorf("%w: user %d, who runs mbk, has no name on this system", ErrNoUser, os.Geteuid()),
			"name the account with "+hint.Option("user"))
	}
	l := &link{}
	driverConfig, err := cfg.driver(l)
	if err != nil {
		return nil, err
	}
	within, cancel := context.WithTimeout(ctx, cfg.timeout())
	defer cancel()
	for try := 0; ; try++ {
		err = l.connect(within, driverConfig)
		if err == nil {
			return l, nil
		}
		// The driver takes a zero at the end of ed25519's random challenge for
		// padding, about once in 256 log-ins. The next challenge is another one.
		const tries = 3
		if !errors.Is(err, mysql.ErrMalformPkt) || try == tries {
			break
		}
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("connect as %s: %w", cfg, ctx.Err())
	}
	if within.Err() != nil {
		err = fmt.Errorf("%w within %s", ErrUnreachable, cfg.timeout())
	}
	return nil, connectError(cfg, err)
}

// connect opens and initializes the connection.
func (l *link) connect(ctx context.Context, cfg *mysql.Config) error {
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return err
	}
	l.db = sql.OpenDB(connector)
	l.db.SetMaxOpenConns(1)
	if l.conn, err = l.db.Conn(ctx); err != nil {
		return errors.Join(err, l.db.Close())
	}
	if err := l.initialize(ctx); err != nil {
		l.close()
		return err
	}
	return nil
}

// driver translates the configuration. The connection's peer is noted in l.
func (c Config) driver(l *link) (*mysql.Config, error) {
	d := mysql.NewConfig()
	d.Net, d.Addr = c.address()
	d.User, d.Passwd = c.user(), c.Password
	d.InterpolateParams = true // the text protocol, always: BACKUP STAGE knows no other
	d.Logger = &mysql.NopLogger{}
	d.ConnectionAttributes = "program_name:mbk"
	var err error
	if d.TLS, d.AllowFallbackToPlaintext, err = c.tlsConfig(d.Net); err != nil {
		return nil, hint.Wrap(fmt.Errorf("%w: %w", ErrTLS, err), "check "+hint.Option("ssl-ca")+", "+
			hint.Option("ssl-capath")+", "+hint.Option("ssl-cert")+" and "+hint.Option("ssl-key"))
	}
	return d, c.watchPeer(d, l)
}

// expects reports whether the process at the other end may be the server. A kernel that
// does not tell who that is is believed.
func (c Config) expects(p peer) bool {
	if c.ServerGroup == 0 || p.user == nil {
		return true
	}
	group, err := unix.Getpgid(p.pid)
	return p.pid != 0 && err == nil && group == c.ServerGroup
}

// initialize prepares a new connection and reads its id.
func (l *link) initialize(ctx context.Context) error {
	if _, err := l.conn.ExecContext(ctx, initialization); err != nil {
		return err
	}
	// On a cluster node reads would wait for the other nodes. Servers without
	// Galera do not know the variable.
	_, err := l.conn.ExecContext(ctx, "SET SESSION wsrep_sync_wait=0")
	if err != nil && number(err) != erUnknownSystemVar {
		return err
	}
	return l.conn.QueryRowContext(ctx, "SELECT CONNECTION_ID()").Scan(&l.id)
}

// close ends the connection. Nothing can be lost by it, so errors say nothing.
func (l *link) close() {
	_ = l.conn.Close()
	_ = l.db.Close()
}

// close ends the session after the running statement.
func (s *session) close() {
	s.turn <- struct{}{}
	defer func() { <-s.turn }()
	s.drop()
}

// drop closes the connection; the caller has the turn.
func (s *session) drop() {
	if s.link != nil {
		s.link.close()
		s.link = nil
	}
}

// do runs f on the connection when it is free. f may be run a second time, on a
// new connection, if the session is of that kind. When ctx ends while a statement
// runs, the driver closes the connection.
func (s *session) do(ctx context.Context, f func(ctx context.Context, c *sql.Conn) error) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for try := 0; ; try++ {
		fresh := s.link == nil
		if fresh && !s.again {
			return errGone
		}
		err := s.once(ctx, f)
		if err == nil || !lost(err) {
			return refused(err)
		}
		s.drop()
		if fresh || !s.again || ctx.Err() != nil || errors.Is(err, errSlow) {
			return cause(err)
		}
	}
}

// errGone is the error of a session that lost its connection and may not make a
// new one; errSlow that of a statement that ran into the session's limit.
var (
	errGone = errors.New("the connection is gone")
	errSlow = errors.New("no answer from the server")
)

// once runs f under the session's limit, connecting first if need be.
func (s *session) once(ctx context.Context, f func(ctx context.Context, c *sql.Conn) error) error {
	if s.link == nil {
		l, err := dial(ctx, s.cfg)
		if err != nil {
			return err
		}
		s.link = l
	}
	within := ctx
	if s.limit > 0 {
		var cancel context.CancelFunc
		within, cancel = context.WithTimeout(ctx, s.limit)
		defer cancel()
	}
	err := f(within, s.link.conn)
	if err != nil && ctx.Err() == nil && within.Err() != nil {
		return fmt.Errorf("%w within %s", errSlow, s.limit)
	}
	return err
}

// exec runs a statement without a result.
func (s *session) exec(ctx context.Context, text string) error {
	return s.do(ctx, func(ctx context.Context, c *sql.Conn) error {
		_, err := c.ExecContext(ctx, text)
		return err
	})
}

// row is one row of an answer as text.
type row struct {
	names  []string
	values []sql.NullString
}

// at returns column i, "" for NULL.
func (r row) at(i int) string { return r.values[i].String }

// get returns the column of that name, "" for NULL and for no such column.
func (r row) get(name string) string {
	for i, n := range r.names {
		if n == name {
			return r.values[i].String
		}
	}
	return ""
}

// rows runs a query and returns its whole answer.
func (s *session) rows(ctx context.Context, text string, args ...any) ([]row, error) {
	var all []row
	err := s.do(ctx, func(ctx context.Context, c *sql.Conn) error {
		all = nil
		var err error
		all, err = queryRows(ctx, c, text, args...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// queryRows runs a query on a connection and returns its whole answer.
func queryRows(ctx context.Context, c *sql.Conn, text string, args ...any) ([]row, error) {
	var all []row
	answer, err := c.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer answer.Close()
	names, err := answer.Columns()
	if err != nil {
		return nil, err
	}
	targets := make([]any, len(names))
	for answer.Next() {
		r := row{names: names, values: make([]sql.NullString, len(names))}
		for i := range targets {
			targets[i] = &r.values[i]
		}
		if err := answer.Scan(targets...); err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, answer.Err()
}

// values runs a query of one row and returns its columns.
func (s *session) values(ctx context.Context, text string, args ...any) (row, error) {
	all, err := s.rows(ctx, text, args...)
	if err != nil {
		return row{}, err
	}
	if len(all) != 1 {
		return row{}, fmt.Errorf("%d rows in place of one", len(all))
	}
	return all[0], nil
}

// Advice on accounts with a method of authentication that is not spoken here.
const (
	spoken   = "mbk speaks unix_socket, mysql_native_password and ed25519: give it an account of one of these kinds"
	firstWay = "of an account with several ways in (VIA ... OR ...) mbk may get only the first way: " +
		"let that be one that it speaks, with the password that it has"
)

// connectError classifies a connection error and adds advice.
func connectError(cfg Config, err error) error {
	say := func(kind error, advice ...hint.Text) error {
		if !errors.Is(err, kind) {
			err = fmt.Errorf("%w: %w", kind, err)
		}
		return hint.Wrap(fmt.Errorf("connect as %s: %w", cfg, err), advice...)
	}
	var network *net.OpError
	if _, stranger := errors.AsType[*strangerError](err); stranger {
		return say(ErrUnreachable, "start the server, or name the socket if it is the server's: "+hint.Option("socket"))
	}
	switch n := number(err); {
	case n == erAccessDenied || n == erAccessDeniedNoPass:
		advice := "check " + hint.Option("user") +
			" and the password; the local root account usually needs neither when mbk runs as root"
		if network, _ := cfg.address(); network == "unix" && cfg.TLS == (TLS{}) {
			advice += "; an account that demands encryption (REQUIRE SSL) wants " + hint.Option("ssl") + ", at a socket too"
		}
		return say(ErrDenied, advice)
	case n == erUserLimitReached && !errors.Is(limited(err), ErrTooManyConnections):
		return fmt.Errorf("connect as %s: %w", cfg, limited(err))
	case n == erNotReady:
		return fmt.Errorf("connect as %s: %w", cfg, refused(err))
	case n == erAbortingConnection || n == erForcingClose && strings.Contains(err.Error(), "init_connect"):
		return say(ErrDenied, "the server runs init_connect for this account, and that fails: "+
			"correct it, or give the account CONNECTION ADMIN, for which it is not run")
	case n == erHostNotPrivileged || n == erHostIsBlocked:
		return say(ErrDenied, "the server admits no account from this host; connect through its socket or create one")
	case n == erMustChangePassword || n == erMustChangeLogin:
		return say(ErrDenied, "the account's password has expired: change it with ALTER USER")
	case n == erAccountLocked:
		return say(ErrDenied, "unlock the account: ALTER USER ... ACCOUNT UNLOCK")
	case n == erConCount || n == erTooManyUserConns || n == erUserLimitReached:
		return say(ErrTooManyConnections,
			"mbk needs five connections: raise max_connections or the account's limit, or try again later")
	case cfg.withheld(err):
		err = errWithheld // the driver's words speak of its own settings
		return say(ErrDenied, hint.Textf("the server asks for the password itself, as PAM does: "+
			"verify who it is (%s and %s), or allow it all the same: %s",
			hint.Option("ssl-ca"), hint.Option("ssl-verify-server-cert"), hint.Option("enable-cleartext-plugin")))
	case n == erNotSupportedAuthMode || errors.Is(err, mysql.ErrUnknownPlugin) ||
		errors.Is(err, mysql.ErrOldPassword) || errors.Is(err, mysql.ErrMalformPkt):
		if errors.Is(err, mysql.ErrMalformPkt) || errors.Is(err, mysql.ErrUnknownPlugin) {
			return say(ErrDenied, firstWay, spoken)
		}
		return say(ErrDenied, spoken)
	case errors.Is(err, mysql.ErrNoTLS):
		return say(ErrTLS, "give the server a certificate, or connect without encryption: "+hint.Option("skip-ssl"))
	case isTLS(err):
		return say(ErrTLS, "compare "+hint.Option("ssl-ca")+" with the authority that signed the server's certificate")
	case errors.Is(err, ErrUnreachable):
		return say(ErrUnreachable,
			"something holds the port or socket but does not speak; is the server overloaded or stopped?")
	case errors.Is(err, os.ErrPermission):
		return say(ErrUnreachable, "this user may not reach the socket: run mbk as root or as the server's user")
	case errors.As(err, &network) && network.Op == "dial":
		return say(ErrUnreachable, hint.Textf("is mariadbd running here? its socket and port are named by %s, %s and %s",
			hint.Option("socket"), hint.Option("host"), hint.Option("port")))
	case n == 0 && lost(err):
		return say(ErrUnreachable, "the server hung up: is it starting or stopping, or is this another program's port?")
	}
	return fmt.Errorf("connect as %s: %w", cfg, err)
}
