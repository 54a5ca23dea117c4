package restore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"mbk/internal/sys/fsuser"
	"mbk/stage"
)

// served is a private server that accepts connections. The caller calls close,
// after stop if the files shall be clean.
type served struct {
	engine  engine
	process *process
	log     *errorLog
	server  *stage.Server
	socket  string
	remove  func() error // of the socket's folder
}

// serve starts the server for connections. If it does not come up the error is a
// *RecoveryError.
func (e engine) serve(ctx context.Context, options ...string) (_ *served, err error) {
	s := &served{engine: e}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.socket, s.remove, err = socketPath(e); err != nil {
		return nil, err
	}
	if s.log, err = e.newLog(nil); err != nil {
		return nil, err
	}
	args := append(e.common(e.settings.logSize), "--socket="+s.socket, "--max-connections=50")
	if s.process, err = start(e.command(append(args, options...)), s.log); err != nil {
		return nil, err
	}
	if s.server, err = s.connect(ctx, s.socket); err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		s.process.kill()
		return nil, e.failed(s.log, fmt.Errorf("the server did not start: %w", err))
	}
	return s, nil
}

// connect waits until the server lets us in.
func (s *served) connect(ctx context.Context, socket string) (*stage.Server, error) {
	// The socket's folder belongs to the server's user, who could put a link to another
	// server's socket there; that would let us in as root.
	cfg := stage.Config{Protocol: stage.ProtocolSocket, Socket: socket, User: "root", ServerGroup: s.process.cmd.Process.Pid}
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

// blame returns the error of the server's end, if that is why err happened, else
// err.
func (s *served) blame(err error) error {
	select {
	case <-s.process.ended:
		return s.engine.failed(s.log, fmt.Errorf("the server ended: %w: %w", cmp.Or(s.process.err, errors.New("without an error")), err))
	case <-time.After(2 * time.Second):
		return err
	}
}

// stop shuts the server down. An error is a *RecoveryError, or that of ctx.
func (s *served) stop(ctx context.Context) error {
	s.server.Close()
	if err := s.process.stop(ctx); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return s.engine.failed(s.log, fmt.Errorf("the server did not shut down: %w", err))
	}
	return nil
}

// close ends the server, if it runs, and gives back what it used.
func (s *served) close() {
	if s.server != nil {
		s.server.Close()
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

// socketPath makes a private folder for the server's socket: the path of a socket
// may have 107 bytes only.
func socketPath(e engine) (path string, remove func() error, err error) {
	if path = filepath.Join(e.tmp, "socket"); len(path) <= 100 {
		return path, func() error { return nil }, nil
	}
	user := e.owner.user()
	dir, err := fsuser.Value(user, func() (string, error) { return os.MkdirTemp("/tmp", "mbk-") })
	if err != nil {
		return "", nil, fmt.Errorf("make a folder for a socket: %w", err)
	}
	return filepath.Join(dir, "s"), func() error { return user.Do(func() error { return os.RemoveAll(dir) }) }, nil
}
