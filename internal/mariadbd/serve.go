package mariadbd

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"mbk/internal/sys/fsuser"
	"mbk/stage"
)

// Server is a private server that accepts connections. The caller calls Close, after
// Stop if the files shall be clean.
type Server struct {
	SQL     *stage.Server // the connections to it
	Account string        // with Instance.Grants, the account of these: "'mbk-...'@'localhost'"; drop it in the end

	instance Instance
	process  *process
	log      *errorLog
	socket   string
	login    login
	remove   func() error // of the socket's folder
}

// Serve starts the server for connections. If it does not come up the error is a
// *RunError.
func (i Instance) Serve(ctx context.Context, options ...string) (_ *Server, err error) {
	s := &Server{instance: i}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	if s.socket, s.remove, err = i.socketPath(); err != nil {
		return nil, err
	}
	if s.log, err = i.newLog(nil); err != nil {
		return nil, err
	}
	args := append(i.common(i.Settings.LogSize), "--socket="+s.socket, "--max-connections=50")
	if i.Grants {
		if s.login, err = i.makeAccount(); err != nil {
			return nil, err
		}
		s.Account = s.login.account()
		args = append(args, "--skip-grant-tables=0", "--init-file="+s.login.file)
	}
	if s.process, err = start(i.command(append(args, options...)), s.log); err != nil {
		return nil, err
	}
	if s.SQL, err = s.connect(ctx, s.socket, s.login); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		s.process.kill()
		return nil, i.failed(s.log, fmt.Errorf("the server did not start: %w", err))
	}
	return s, nil
}

// connect waits until the server lets us in.
func (s *Server) connect(ctx context.Context, socket string, login login) (*stage.Server, error) {
	// The socket's folder belongs to the server's user, who could put a link to another
	// server's socket there; that would let us in as root.
	cfg := stage.Config{Protocol: stage.ProtocolSocket, Socket: socket, User: cmp.Or(login.user, "root"),
		Password:    login.password,
		ServerGroup: s.process.cmd.Process.Pid}
	for {
		server, err := stage.Connect(ctx, cfg)
		if err == nil {
			s.log.patience.satisfied()
			return server, nil
		}
		if errors.Is(err, stage.ErrOtherServer) {
			return nil, err
		}
		select {
		case <-s.process.ended:
			return nil, cmp.Or(s.process.err, errors.New("it ended at once"))
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// login is an account that exists as long as the server runs.
type login struct {
	user, password string
	file           string // with the statements that make it
}

// account returns the account as SQL writes it.
func (l login) account() string { return "'" + l.user + "'@'localhost'" }

// makeAccount writes the statements that make an account, with a random name and password, into
// a file that the server reads when it starts.
func (i Instance) makeAccount() (l login, err error) {
	var random [20]byte
	rand.Read(random[:]) // never fails
	l.user = "mbk-" + hex.EncodeToString(random[:4])
	l.password = "Mbk-" + hex.EncodeToString(random[4:]) + "-Z9" // which pleases who wants all kinds of characters
	l.file = filepath.Join(i.Temp, "account.sql")
	text := "CREATE USER " + l.account() + " IDENTIFIED BY '" + l.password + "';\n" +
		"GRANT ALL ON *.* TO " + l.account() + " WITH GRANT OPTION;\n"
	err = i.Owner.Do(func() error { return os.WriteFile(l.file, []byte(text), 0o600) })
	if err != nil {
		return l, fmt.Errorf("make an account for the private server: %w", err)
	}
	return l, nil
}

// Blame returns the error of the server's end, if that is why err happened, else
// err.
func (s *Server) Blame(err error) error {
	select {
	case <-s.process.ended:
		return s.instance.failed(s.log,
			fmt.Errorf("the server ended: %w: %w", cmp.Or(s.process.err, errors.New("without an error")), err))
	case <-time.After(2 * time.Second):
		return err
	}
}

// Stop shuts the server down. An error is a *RunError, or that of ctx.
func (s *Server) Stop(ctx context.Context) error {
	s.SQL.Close()
	if err := s.process.stop(ctx); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return s.instance.failed(s.log, fmt.Errorf("the server did not shut down: %w", err))
	}
	return nil
}

// Close ends the server, if it is running, and releases what it used.
func (s *Server) Close() {
	if s.SQL != nil {
		s.SQL.Close()
	}
	if s.process != nil {
		s.process.kill()
	}
	if s.log != nil {
		s.log.close()
	}
	if s.remove != nil {
		_ = s.remove() // a folder of an empty socket
	}
}

// Ended returns a channel that is closed when the server has ended.
func (s *Server) Ended() <-chan struct{} { return s.process.ended }

// Kill ends the server at once, if it runs. Its log is whole then.
func (s *Server) Kill() { s.process.kill() }

// Lacked reports whether the server lacked something, so that what it says of tables is
// not to be believed: one that may open no more files finds that a tablespace is missing.
// It is called when the server has ended, as are Damage, Known and Failed.
func (s *Server) Lacked() bool {
	return s.log.evidence[CauseShortage] || s.log.evidence[CauseAccess] || s.log.evidence[CauseKey]
}

// Damage returns the lines of the log that speak of damage.
func (s *Server) Damage() []string { return s.log.damage }

// Known returns the known tables of which the log speaks.
func (s *Server) Known() []string { return slices.Sorted(maps.Keys(s.log.met)) }

// Failed makes an error of what the server has left, for a reason.
func (s *Server) Failed(reason error) *RunError { return s.instance.failed(s.log, reason) }

// socketPath makes a private folder for the server's socket: the path of a socket
// may have 107 bytes only. Containers may have no /tmp that can be written to.
func (i Instance) socketPath() (path string, remove func() error, err error) {
	if path = filepath.Join(i.Temp, "socket"); len(path) <= 100 {
		return path, func() error { return nil }, nil
	}
	user := i.Owner
	var failed error
	for _, parent := range []string{"/tmp", "/var/tmp"} {
		dir, err := fsuser.Value(user, func() (string, error) { return os.MkdirTemp(parent, "mbk-") })
		if err == nil {
			return filepath.Join(dir, "s"), func() error { return user.Do(func() error { return os.RemoveAll(dir) }) }, nil
		}
		failed = errors.Join(failed, err)
	}
	return "", nil, fmt.Errorf("make a folder for a socket: %w", failed)
}
