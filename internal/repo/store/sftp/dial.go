package sftp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/crypto/ssh"

	"mbk/internal/fault"
	"mbk/internal/hint"
)

const (
	// defaultSilence is how long nothing may come from a server, which is asked four times
	// in that time.
	defaultSilence = time.Minute

	// exitTime is how long the ssh program may take to end when its input has.
	exitTime = 2 * time.Second
)

// errProgram is the error of a program that cannot be run.
var errProgram = fault.New(fault.Config, "the SFTP command cannot be run")

// dialer returns how to connect.
func (o *Options) dialer() (func(context.Context) (*transport, error), error) {
	if len(o.Command) > 0 {
		command := o.command()
		return func(ctx context.Context) (*transport, error) { return runCommand(ctx, command) }, nil
	}
	home, err := homeDirectory()
	if err != nil {
		return nil, err
	}
	hosts, err := newHostKeys(o.Target, o.KnownHosts, home)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (*transport, error) { return o.dialSSH(ctx, hosts, home) }, nil
}

// homeDirectory is that of the user, which a service may not have in its environment.
func homeDirectory() (string, error) {
	if home, err := os.UserHomeDir(); err == nil {
		return home, nil
	}
	u, err := user.Current()
	if err != nil {
		return "", fmt.Errorf("look for keys and known hosts: %w", err)
	}
	return u.HomeDir, nil
}

// dialSSH connects, logs in, and asks for SFTP.
func (o *Options) dialSSH(ctx context.Context, hosts *hostKeys, home string) (*transport, error) {
	login, err := o.Target.login()
	if err != nil {
		return nil, err
	}
	keys, err := findKeys(o.Key, home)
	if err != nil {
		return nil, err
	}
	defer keys.close()
	if len(keys.signers) == 0 {
		return nil, keys.refused(login, o.Target.Host)
	}
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", o.Target.address())
	if err != nil {
		return nil, err
	}
	conn := &watchedConn{Conn: raw, limit: cmp.Or(o.silence, defaultSilence)}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() }) // the handshake returns with an error
	defer stop()
	client, channels, requests, err := ssh.NewClientConn(conn, o.Target.address(), &ssh.ClientConfig{
		User: login, Auth: []ssh.AuthMethod{ssh.PublicKeys(keys.signers...)},
		HostKeyCallback: hosts.callback, HostKeyAlgorithms: hosts.algorithms(),
	})
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, errors.Join(context.Cause(ctx), raw.Close())
	case err != nil && notLoggedIn(err):
		return nil, errors.Join(keys.refused(login, o.Target.Host), raw.Close())
	case err != nil:
		return nil, errors.Join(err, raw.Close())
	}
	t, err := subsystem(ssh.NewClient(client, channels, requests), conn)
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	return t, nil
}

// notLoggedIn reports whether a handshake failed because the server wants another key. Neither
// case has a type of its own.
func notLoggedIn(err error) bool {
	return strings.Contains(err.Error(), "unable to authenticate") ||
		strings.Contains(err.Error(), "Too many authentication failures")
}

// subsystem begins SFTP on a connection, which it keeps alive.
func subsystem(client *ssh.Client, conn *watchedConn) (*transport, error) {
	session, err := client.NewSession()
	if err != nil {
		return nil, err
	}
	t := &transport{end: func() error {
		_ = client.Close() // whatever it says, it is over
		return conn.silent()
	}}
	if t.out, err = session.StdinPipe(); err != nil {
		return nil, err
	}
	if t.in, err = session.StdoutPipe(); err != nil {
		return nil, err
	}
	if err := session.RequestSubsystem("sftp"); err != nil {
		return nil, hint.Wrap(fmt.Errorf("%w: %v", errNoSFTP, err),
			"switch it on in the server's sshd_config: Subsystem sftp internal-sftp")
	}
	go keepAlive(client, conn.limit/4) // ends with the connection
	return t, nil
}

// errNoSFTP is returned for a server that has SSH only.
var errNoSFTP = fault.New(fault.Config, "the server offers no SFTP")

// keepAlive makes the server say something from time to time.
func keepAlive(client *ssh.Client, every time.Duration) {
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for range ticker.C {
		// An answer of any kind will do; without one watchedConn ends the connection.
		if _, _, err := client.SendRequest("keepalive@openssh.com", true, nil); err != nil {
			return
		}
	}
}

// watchedConn is a connection that ends when nothing was received, or could be sent, for a
// time: one whose other end has vanished, or that a firewall has forgotten.
type watchedConn struct {
	net.Conn
	limit time.Duration

	mu  sync.Mutex
	err error // that it was silent
}

func (c *watchedConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.limit)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	c.note(err)
	return n, err
}

func (c *watchedConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.limit)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(p)
	c.note(err)
	return n, err
}

// note keeps that the other end is silent: what SSH makes of it does not say so.
func (c *watchedConn) note(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.err = fmt.Errorf("the server was silent for %s", c.limit)
	}
}

// silent returns an error if the connection ended because the other end was silent.
func (c *watchedConn) silent() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// command returns the program that leads to the SFTP server, with its arguments.
func (o *Options) command() []string {
	if len(o.Command) > 1 {
		return o.Command
	}
	args := append(o.Command, "-oBatchMode=yes", "-oServerAliveInterval=15", "-oServerAliveCountMax=4")
	if o.Target.Port != 0 {
		args = append(args, "-p", strconv.Itoa(o.Target.Port))
	}
	if o.Target.User != "" {
		args = append(args, "-l", o.Target.User)
	}
	return append(args, "-s", "--", o.Target.Host, "sftp")
}

// runCommand starts a program whose standard input and output lead to an SFTP server.
func runCommand(ctx context.Context, command []string) (*transport, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	said := &tail{}
	cmd := exec.Command(command[0], command[1:]...)
	// A session of its own: it asks nobody at a terminal, and a signal from there that ends
	// mbk lets it clean up first.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Stderr, cmd.WaitDelay = said, exitTime
	in, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w: %v", errProgram, err)
	}
	end := sync.OnceValue(func() error {
		_ = out.Close() // it has ended, or ends now
		timer := time.AfterFunc(exitTime, func() { _ = cmd.Process.Kill() })
		defer timer.Stop()
		err := cmd.Wait()
		if text := said.String(); err != nil && text != "" {
			err = fmt.Errorf("%s: %w, and said: %s", command[0], err, text)
		}
		return err
	})
	return &transport{in: in, out: out, end: end}, nil
}

// tail keeps the end of what a program says.
type tail struct {
	mu   sync.Mutex
	text []byte
}

var _ io.Writer = (*tail)(nil)

const maxSaid = 1000 // bytes

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p[max(0, len(p)-maxSaid):]...)
	t.text = t.text[max(0, len(t.text)-maxSaid):]
	return len(p), nil
}

// String returns it on one line, without control characters.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(strings.FieldsFunc(strings.ToValidUTF8(string(t.text), "?"), func(r rune) bool {
		return r < ' ' || r == 0x7f
	}), " ")
}
