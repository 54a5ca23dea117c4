package mariadbtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/go-sql-driver/mysql"
)

// Counts says how often something was done, by its name.
type Counts map[string]int64

// Total adds all counts up.
func (c Counts) Total() int64 {
	var sum int64
	for _, n := range c {
		sum += n
	}
	return sum
}

// Load is work going on in a server, started by Write or Storm. Counts may be
// called at any time from any goroutine; Stop once.
type Load struct {
	name    string
	server  *Server
	halt    context.CancelFunc // no new unit of work begins
	cancel  context.CancelFunc // the running statements are given up
	group   sync.WaitGroup
	cleanup func(context.Context) error

	mu     sync.Mutex
	counts Counts
	errs   []error
}

// Counts returns what has been done so far.
func (l *Load) Counts() Counts {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.counts)
}

// Stop lets every session finish its current unit of work, waits for the end
// (30 seconds; then the statements are given up) and returns what has been done.
// The error says what failed while the load ran: a session that has met an
// error does not go on.
func (l *Load) Stop() (Counts, error) {
	l.halt()
	timer := time.AfterFunc(30*time.Second, func() {
		l.fail(fmt.Errorf("%s: still busy 30 s after Stop: %s", l.name, l.server.processes()))
		l.cancel()
	})
	l.group.Wait()
	timer.Stop()
	l.cancel()
	if l.cleanup != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if err := l.cleanup(ctx); err != nil {
			l.fail(err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.counts), errors.Join(l.errs...)
}

// newLoad makes a Load without sessions. Its context ends when ctx does.
func newLoad(ctx context.Context, s *Server, name string) (l *Load, halted, running context.Context) {
	l = &Load{name: name, server: s, counts: Counts{}}
	running, l.cancel = context.WithCancel(ctx)
	halted, l.halt = context.WithCancel(running)
	return l, halted, running
}

// session is one connection of a load, used by one goroutine.
type session struct {
	*rand.Rand
	ctx  context.Context // of the statements
	conn *sql.Conn
	load *Load
}

// unit is a piece of work, done over and over by a session.
type unit func(x *session) error

// run starts a session that does units in turn, as pick says, with a pause
// after each.
func (l *Load) run(halted, running context.Context, seed uint64, pause time.Duration, pick func(x *session) unit) {
	l.group.Go(func() {
		err := l.server.withSession(running, seed, l, func(x *session) error {
			// DDL that waits for a transaction which waits for a row is a
			// deadlock that nobody detects.
			if err := x.exec("SET SESSION innodb_lock_wait_timeout=2"); err != nil {
				return err
			}
			for halted.Err() == nil {
				if err := pick(x)(x); err != nil {
					return err
				}
				select {
				case <-halted.Done():
				case <-time.After(pause):
				}
			}
			return nil
		})
		// A cancelled context of the caller is not a failure of the load.
		if err != nil && running.Err() == nil {
			l.fail(fmt.Errorf("%s: %w", l.name, err))
		}
	})
}

// withSession calls f with a session of its own. A nil Load is counted in nowhere.
func (s *Server) withSession(ctx context.Context, seed uint64, l *Load, f func(x *session) error) error {
	return s.withConn(ctx, func(conn *sql.Conn) error {
		return f(&session{Rand: rand.New(rand.NewPCG(seed, 0)), ctx: ctx, conn: conn, load: l})
	})
}

// processes describes what the server's connections are doing, for an error.
func (s *Server) processes() string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	rows, err := s.query(ctx,
		"SELECT ID, TIME_MS, IFNULL(STATE, ''), IFNULL(INFO, '') FROM information_schema.PROCESSLIST WHERE COMMAND NOT IN "+
			"('Daemon', 'Sleep')")
	if err != nil {
		return err.Error()
	}
	var lines []string
	for _, row := range rows {
		row[3] = shorten(row[3])
		lines = append(lines, strings.Join(row, " | "))
	}
	return strings.Join(lines, "\n")
}

func (l *Load) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errs = append(l.errs, err)
}

func (l *Load) count(name string) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[name]++
}

// exec runs one statement.
func (x *session) exec(query string, args ...any) error {
	if _, err := x.conn.ExecContext(x.ctx, query, args...); err != nil {
		return fmt.Errorf("%s: %w", shorten(query), err)
	}
	return nil
}

// all runs statements one after another and counts them as one thing done. A
// lock conflict ends them early, as it does in a transaction.
func (x *session) all(name string, queries ...string) error {
	for _, q := range queries {
		err := x.exec(q)
		if isLockConflict(err) {
			x.load.count("lock conflict")
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	x.load.count(name)
	return nil
}

// transaction runs f between BEGIN and COMMIT. A deadlock or lock wait timeout
// is what happens to busy clients: it is counted and rolled back.
func (x *session) transaction(name string, f func() error) error {
	if err := x.exec("BEGIN"); err != nil {
		return err
	}
	err := f()
	if err == nil {
		err = x.exec("COMMIT")
	}
	if err == nil {
		x.load.count(name)
		return nil
	}
	if !isLockConflict(err) {
		return fmt.Errorf("%s: %w", name, err)
	}
	x.load.count("lock conflict")
	return x.exec("ROLLBACK")
}

// isLockConflict reports a deadlock, a lock wait timeout or a table that was
// altered between the begin of a transaction and its first use in it.
func isLockConflict(err error) bool {
	var e *mysql.MySQLError
	return errors.As(err, &e) && (e.Number == 1213 || e.Number == 1205 || e.Number == 1412)
}

// text returns n or some more bytes of text that compresses to about a third.
func (x *session) text(n int) string {
	words := []string{
		"backup ", "checkpoint ", "redo ", "page ", "undo ", "purge ", "latch ", "Größe ",
		"tablespace ", "commit ", "binlog ", "mariadb ", "extent ", "0123456789 ",
	}
	var b strings.Builder
	for b.Len() < n {
		if x.IntN(3) == 0 {
			fmt.Fprintf(&b, "%x ", x.Uint64())
		} else {
			b.WriteString(words[x.IntN(len(words))])
		}
	}
	return b.String()
}

// noise returns n bytes that do not compress.
func (x *session) noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(x.Uint32())
	}
	return b
}
