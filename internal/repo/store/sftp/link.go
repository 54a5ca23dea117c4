package sftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"time"

	"github.com/pkg/sftp"

	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/sys/pause"
)

// Limits of what the server may take for one request. A server that answers nothing at all
// is noticed earlier, by the connection; these are for one whose disk hangs.
const (
	dataLimit = 5 * time.Minute  // a write of some megabytes, or an fsync, beside those of others
	lockLimit = 20 * time.Second // a request for a lock
)

// Sizes of requests in bytes.
const (
	largePacket = 255 << 10 // what OpenSSH takes
	plainPacket = 32 << 10  // what every server takes
)

// ConnectionError is the error of a connection that cannot be made, or ended.
type ConnectionError struct {
	Where string // the host
	Err   error
}

// Error names the host and the cause.
func (e *ConnectionError) Error() string {
	return fmt.Sprintf("connection to %s: %v", e.Where, e.Err)
}

// Unwrap returns the cause.
func (e *ConnectionError) Unwrap() error { return e.Err }

// Fault answers for the cause, except for one that has to be changed.
func (e *ConnectionError) Fault() fault.Kind {
	if fault.Of(e.Err) == fault.Config {
		return fault.Config
	}
	return fault.Failed
}

// Hints says where to look.
func (e *ConnectionError) Hints() []hint.Text {
	if fault.Of(e.Err) == fault.Config {
		return nil
	}
	return []hint.Text{"look at the network to that host, and at the log of its sshd"}
}

// transport is a way to the SFTP server.
type transport struct {
	in  io.Reader
	out io.WriteCloser
	end func() error // closes it at once, and says why it ended if that is known
}

// requests is the way out of a transport. What cannot be sent is an *unsentError: the
// connection is lost, though nothing that was read has told of it yet.
type requests struct{ io.WriteCloser }

// Write sends a part of a request.
func (r requests) Write(p []byte) (int, error) {
	n, err := r.WriteCloser.Write(p)
	if err != nil {
		err = &unsentError{err}
	}
	return n, err
}

// unsentError says why a request could not be sent.
type unsentError struct{ err error }

func (e *unsentError) Error() string { return e.err.Error() }

func (e *unsentError) Unwrap() error { return e.err }

// session is one connection to the SFTP server. When it is lost it stays so.
type session struct {
	where  string
	client *sftp.Client
	end    func() error
	gone   chan struct{} // closed when the connection has ended

	mu    sync.Mutex
	err   error           // why it ended
	known map[string]bool // folders that were there, by their names in the repository

	posixRename, fsync, statvfs bool // what the server can do
}

// newSession begins an SFTP session with large requests if the server takes them.
func newSession(ctx context.Context, where string, dial func(context.Context) (*transport, error)) (*session, error) {
	s, err := begin(ctx, where, dial, largePacket)
	if err != nil {
		return nil, err
	}
	// OpenSSH says so since 8.5. Another server may cut off what is larger than it has to take.
	if _, large := s.client.HasExtension("limits@openssh.com"); large {
		return s, nil
	}
	s.close(errors.New("small requests are needed"))
	return begin(ctx, where, dial, plainPacket)
}

// begin connects.
func begin(ctx context.Context, where string, dial func(context.Context) (*transport, error), packet int,
) (*session, error) {
	t, err := dial(ctx)
	if err != nil {
		return nil, &ConnectionError{where, err}
	}
	s := &session{where: where, end: t.end, gone: make(chan struct{}), known: map[string]bool{}}
	stop := context.AfterFunc(ctx, func() { _ = t.end() }) // the answer shows it
	defer stop()
	s.client, err = sftp.NewClientPipe(t.in, requests{t.out},
		sftp.UseConcurrentWrites(true), sftp.MaxPacketUnchecked(packet))
	if err != nil {
		return nil, &ConnectionError{where, errors.Join(context.Cause(ctx), fmt.Errorf("begin SFTP: %w", err), t.end())}
	}
	_, s.posixRename = s.client.HasExtension("posix-rename@openssh.com")
	_, s.fsync = s.client.HasExtension("fsync@openssh.com")
	_, s.statvfs = s.client.HasExtension("statvfs@openssh.com")
	go func() { // ends with the connection
		err := s.client.Wait()
		s.close(err)
		close(s.gone)
	}()
	return s, nil
}

// close ends the connection, because of err. What ended it first counts.
func (s *session) close(err error) {
	s.mu.Lock()
	first := s.err == nil
	if first {
		s.err = err
	}
	s.mu.Unlock()
	why := s.end()
	s.mu.Lock()
	defer s.mu.Unlock()
	if first && why != nil {
		s.err = why
	}
}

// lost returns why the connection ended, nil if it has not.
func (s *session) lost() error {
	select {
	case <-s.gone:
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.err == nil || errors.Is(s.err, io.EOF) {
			return &ConnectionError{s.where, errors.New("it was closed by the other end")}
		}
		return &ConnectionError{s.where, s.err}
	default:
		return nil
	}
}

// isLost reports whether an error says that the connection ended.
func isLost(err error) bool {
	_, lost := errors.AsType[*ConnectionError](err)
	return lost
}

// answer is what a request returns.
type answer[T any] struct {
	value T
	err   error
}

// ask makes a request and waits for its answer, but no longer than limit. If ctx ends
// before, the request goes on alone: what it was given may not be used again.
func ask[T any](
	ctx context.Context, s *session, limit time.Duration, request func(*sftp.Client) (T, error),
) (T, error) {
	var none T
	if err := ctx.Err(); err != nil {
		return none, err
	}
	done := make(chan answer[T], 1)
	go func() {
		value, err := request(s.client)
		done <- answer[T]{value, err}
	}()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case a := <-done:
		return a.value, s.explain(a.err)
	case <-ctx.Done():
		return none, ctx.Err()
	case <-timer.C:
		s.close(fmt.Errorf("no answer within %s", limit))
		<-s.gone
		return none, s.lost()
	}
}

// explain tells an error of the connection from one of the server.
func (s *session) explain(err error) error {
	if err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return err
	}
	if _, answered := errors.AsType[*sftp.StatusError](err); answered {
		return err
	}
	if _, unsent := errors.AsType[*unsentError](err); unsent {
		s.close(err)
		<-s.gone
	}
	if errors.Is(err, sftp.ErrSSHFxConnectionLost) {
		<-s.gone
	}
	if lost := s.lost(); lost != nil {
		return lost
	}
	return err
}

// do is ask for a request that returns nothing but an error.
func do(ctx context.Context, s *session, limit time.Duration, request func(*sftp.Client) error) error {
	_, err := ask(ctx, s, limit, func(c *sftp.Client) (struct{}, error) { return struct{}{}, request(c) })
	return err
}

// link is a connection that is made again when it was lost.
type link struct {
	where string
	dial  func(context.Context) (*transport, error)

	turn    chan struct{} // whoever connects holds its only element
	current *session
}

func newLink(where string, dial func(context.Context) (*transport, error)) *link {
	l := &link{where: where, dial: dial, turn: make(chan struct{}, 1)}
	l.turn <- struct{}{}
	return l
}

// connectTime bounds a connection, with the login.
const connectTime = time.Minute

// get returns a session that is not known to be lost.
func (l *link) get(ctx context.Context) (*session, error) {
	select {
	case <-l.turn:
		defer func() { l.turn <- struct{}{} }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if l.current != nil && l.current.lost() == nil {
		return l.current, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	s, err := newSession(ctx, l.where, l.dial)
	if err != nil {
		return nil, err
	}
	l.current = s
	return s, nil
}

// reconnects is how often something is begun again whose connection was lost.
const reconnects = 3

// again calls try with a session, and once more with a new one whenever the connection was
// lost meanwhile. What try does must be harmless to repeat.
func again[T any](ctx context.Context, l *link, try func(*session) (T, error)) (value T, err error) {
	for n := 1; ; n++ {
		var s *session
		if s, err = l.get(ctx); err == nil {
			value, err = try(s)
		}
		if !isLost(err) || fault.Of(err) == fault.Config || n == reconnects || ctx.Err() != nil {
			return value, err
		}
		if pause.For(ctx, time.Duration(n)*time.Second) != nil {
			return value, err
		}
	}
}
