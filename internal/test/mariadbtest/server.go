package mariadbtest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"
	"golang.org/x/sys/unix"
)

// Options say what Start starts.
type Options struct {
	// Dist is the server's release, from Get.
	Dist Dist
	// Dir is the server's own folder, made if it is missing: for the socket,
	// the error log, temporary files and a new data directory.
	Dir string
	// Datadir is a data directory that exists already, such as a restored one.
	// Empty: a new one is made, Dir/data, with the user root, who needs no
	// password, and without a database "test".
	Datadir string
	// Args are further options of mariadbd; they win over those of this
	// package. The ones that shape a data directory, such as
	// --innodb-page-size, also apply when it is made.
	Args []string
	// Network makes the server listen on a free port of 127.0.0.1.
	Network bool
	// UID is the user and group that the server runs as, if this process is root's and
	// it is not 0. He must be able to reach Dir. The programs may lie where only root
	// can go: the server may read everything.
	UID uint32
	// Timeout bounds the wait until the server accepts connections, recovery
	// included. 0 is one minute.
	Timeout time.Duration
}

// Validate checks what can be checked before anything is started.
func (o Options) Validate() error {
	if o.Dist.Version == "" {
		return errors.New("start server: no Dist")
	}
	if o.Dir == "" {
		return errors.New("start server: no Dir")
	}
	return nil
}

// Server is a MariaDB started by this package. Its fields do not change. DB,
// Exec and Value may be used concurrently; the methods that start and end the
// server may not. The server dies with the process that
// started it.
type Server struct {
	Dist     Dist
	Dir      string
	Datadir  string
	Socket   string // a Unix socket; root enters without a password
	Port     int    // on 127.0.0.1; 0 without Options.Network
	ErrorLog string // path; every start appends to it

	uid     uint32
	args    []string
	timeout time.Duration
	db      *sql.DB
	process *process
}

// process is one run of mariadbd.
type process struct {
	pid   int
	ended chan struct{} // closed at the end
	err   error         // of exec.Cmd.Wait, valid after ended
}

// Start starts a server and waits until it accepts connections. The caller ends
// it with Close, after Stop if the files shall be clean. If it does not come up, the error ends with the last
// lines of its log. Cancelling ctx ends the wait and the server.
func Start(ctx context.Context, o Options) (*Server, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("start server: %w", err)
	}
	s := &Server{
		Dist: o.Dist, Dir: dir, Datadir: o.Datadir, Socket: socketPath(dir),
		ErrorLog: filepath.Join(dir, "error.log"), timeout: o.Timeout, uid: o.UID,
	}
	if s.timeout == 0 {
		s.timeout = time.Minute
	}
	if err := os.MkdirAll(filepath.Join(dir, "tmp"), 0o755); err != nil {
		return nil, fmt.Errorf("start server: %w", err)
	}
	if o.Network {
		if s.Port, err = FreePort(); err != nil {
			return nil, fmt.Errorf("start server: %w", err)
		}
	}
	if s.Datadir, err = filepath.Abs(s.Datadir); err != nil {
		return nil, fmt.Errorf("start server: %w", err)
	}
	if o.Datadir == "" {
		s.Datadir = filepath.Join(dir, "data")
		if err := newDatadir(ctx, s.Dist, s.arguments(o.Args), s.Datadir); err != nil {
			return nil, err
		}
	}
	if s.uid != 0 {
		if err := giveAway(s.uid, dir, s.Datadir); err != nil {
			return nil, err
		}
	}
	s.args = s.arguments(o.Args)
	if s.db, err = openDB(s.Socket); err != nil {
		return nil, err
	}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(err, s.db.Close())
	}
	return s, nil
}

// arguments builds mariadbd's command line: small caches, since many servers
// share the machine, and a binary log in row format.
func (s *Server) arguments(more []string) []string {
	args := []string{
		"--no-defaults",
		"--datadir=" + s.Datadir,
		"--socket=" + s.Socket,
		"--pid-file=" + filepath.Join(s.Dir, "pid"),
		"--tmpdir=" + filepath.Join(s.Dir, "tmp"),
		"--server-id=1",
		"--log-bin=binlog",
		"--binlog-format=ROW",
		"--log-bin-trust-function-creators=ON",
		"--innodb-buffer-pool-size=64M",
		"--innodb-log-file-size=64M",
		"--innodb-log-buffer-size=2M",
		"--key-buffer-size=1M",
		"--aria-pagecache-buffer-size=8M",
		"--max-allowed-packet=64M",
		"--performance-schema=OFF",
	}
	if s.Port == 0 {
		args = append(args, "--skip-networking")
	} else {
		args = append(args, "--bind-address=127.0.0.1", "--port="+strconv.Itoa(s.Port))
	}
	if s.uid == 0 {
		args = append(args, userArgs()...)
	}
	return append(args, more...)
}

// giveAway gives folders and all that is in them to a user.
func giveAway(uid uint32, folders ...string) error {
	args := append([]string{"-R", fmt.Sprintf("%d:%d", uid, uid), "--"}, folders...)
	if out, err := exec.Command("chown", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("start server: %w: %s", err, out)
	}
	return nil
}

// DB returns a pool of connections as root, without a default database. It is
// the same pool for the life of the Server, over restarts too, and is closed by
// Close.
func (s *Server) DB() *sql.DB { return s.db }

// Exec runs statements one after another, as root, on one connection that is
// not used for anything else, without a default database. It stops at the first
// error.
func (s *Server) Exec(ctx context.Context, statements ...string) error {
	return s.withConn(ctx, func(conn *sql.Conn) error {
		for _, q := range statements {
			if _, err := conn.ExecContext(ctx, q); err != nil {
				return fmt.Errorf("%s: %w", shorten(q), err)
			}
		}
		return nil
	})
}

// withConn calls f with a connection that is closed, not reused, afterwards:
// the settings of its session must not leak into the pool.
func (s *Server) withConn(ctx context.Context, f func(*sql.Conn) error) error {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connect to test server: %w", err)
	}
	err = f(conn)
	_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // makes the pool close it
	return err
}

// query returns the result of a query as text.
func (s *Server) query(ctx context.Context, q string, args ...any) (found [][]string, err error) {
	err = s.withConn(ctx, func(conn *sql.Conn) error {
		found, err = queryText(ctx, conn, q, args...)
		return err
	})
	return found, err
}

// Value returns the first column of the first row of a query as text; NULL is "".
func (s *Server) Value(ctx context.Context, query string, args ...any) (string, error) {
	var v sql.NullString
	if err := s.db.QueryRowContext(ctx, query, args...).Scan(&v); err != nil {
		return "", fmt.Errorf("%s: %w", shorten(query), err)
	}
	return v.String, nil
}

// Pid returns the process id of the running mariadbd, 0 if it has ended.
func (s *Server) Pid() int {
	select {
	case <-s.process.ended:
		return 0
	default:
		return s.process.pid
	}
}

// Done returns a channel that is closed when the server of the last start has
// ended, for whatever reason.
func (s *Server) Done() <-chan struct{} { return s.process.ended }

// Stop shuts the server down cleanly and waits, a minute at most; then it kills
// the server and returns an error. A server that is not running is no error.
func (s *Server) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if s.Pid() == 0 {
		return nil
	}
	if err := s.signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-s.process.ended:
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("stop server: %w", ctx.Err()), s.Kill())
	}
	if s.process.err != nil {
		return fmt.Errorf("stop server: %w\n%s", s.process.err, s.logTail(10))
	}
	return nil
}

// Kill ends the server as a crash would, with SIGKILL, and waits for its end.
func (s *Server) Kill() error {
	if err := s.signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-s.process.ended
	return nil
}

// Restart starts a server again after Stop, Kill or a crash; a running one is
// stopped first. Args, if any, are added to those of Start for this run only.
func (s *Server) Restart(ctx context.Context, args ...string) error {
	if err := s.Stop(ctx); err != nil {
		return err
	}
	return s.start(ctx, args...)
}

// Close kills the server and gives back its connections. The server cannot be
// used any more. Its folder stays.
func (s *Server) Close() error {
	err := s.Kill()
	_ = s.db.Close() // its connections lead nowhere now, of which it complains
	return errors.Join(err, s.removeSocket())
}

// removeSocket removes what a killed server leaves behind, in the temporary
// folder perhaps.
func (s *Server) removeSocket() error {
	if err := os.Remove(s.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove socket: %w", err)
	}
	return nil
}

// start runs mariadbd and waits until it answers.
func (s *Server) start(ctx context.Context, more ...string) error {
	if err := s.spawn(more); err != nil {
		return fmt.Errorf("start server: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	for {
		if err := s.db.PingContext(ctx); err == nil {
			return nil
		}
		select {
		case <-s.process.ended:
			return fmt.Errorf("start server: ended with %v\n%s", s.process.err, s.logTail(30))
		case <-ctx.Done():
			err := fmt.Errorf("start server: not ready: %w\n%s", ctx.Err(), s.logTail(30))
			return errors.Join(err, s.Kill())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// spawn starts the process and a goroutine that waits for its end. The kernel
// sends the parent-death signal when the thread that forked ends, so that
// goroutine keeps its thread for as long as the server runs.
func (s *Server) spawn(more []string) error {
	if err := s.removeSocket(); err != nil {
		return err
	}
	out, err := os.OpenFile(s.ErrorLog, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	args := append(append([]string{}, s.args...), more...)
	cmd := exec.Command(s.Dist.Program("mariadbd"), args...)
	cmd.Dir = s.Dir
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if s.uid != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: s.uid, Gid: s.uid}
		cmd.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_DAC_READ_SEARCH}
	}
	p := &process{ended: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		if err == nil {
			p.pid = cmd.Process.Pid
		}
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.ended)
		}
	}()
	err = <-started
	err = errors.Join(err, out.Close())
	if err == nil {
		s.process = p
	}
	return err
}

// signal sends a signal to the server's own process unless it has ended.
func (s *Server) signal(sig syscall.Signal) error {
	if s.Pid() == 0 {
		return nil
	}
	if err := syscall.Kill(s.process.pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return fmt.Errorf("signal server: %w", err)
	}
	return nil
}

// logTail returns the last n lines of the error log, "" if there is none.
func (s *Server) logTail(n int) string {
	b, err := os.ReadFile(s.ErrorLog)
	if err != nil {
		return ""
	}
	return lastLines(b, n)
}

// openDB makes the pool. Parameters are put into the statement by the driver:
// most statements of a test run once.
func openDB(socket string) (*sql.DB, error) {
	c := mysql.NewConfig()
	c.User, c.Net, c.Addr = "root", "unix", socket
	c.InterpolateParams = true
	c.Logger = &mysql.NopLogger{} // a killed server is not news
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, fmt.Errorf("connect to test server: %w", err)
	}
	return sql.OpenDB(connector), nil
}

// socketPath returns a path short enough for a Unix socket (107 bytes), in dir
// if possible.
func socketPath(dir string) string {
	path := filepath.Join(dir, "mysqld.sock")
	if len(path) <= 100 {
		return path
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("mbk-%d-%x.sock", os.Getpid(), time.Now().UnixNano()))
}

// FreePort finds a TCP port that nobody uses at the moment.
func FreePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}

// shorten cuts a statement down for an error.
func shorten(q string) string {
	if len(q) > 120 {
		return q[:120] + "..."
	}
	return q
}
