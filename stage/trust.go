package stage

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"github.com/go-sql-driver/mysql"

	"mbk/internal/fsuser"
)

// A server that is down leaves its socket's place free. Whoever listens there instead
// must not get to know the password, nor lead root to files.

// peer is the process at the other end of a socket, and its user.
type peer struct {
	pid  int          // 0 if unknown
	user *fsuser.User // nil if unknown
}

// peerOf asks the kernel who listens at the other end of a socket.
func peerOf(conn *net.UnixConn) (p peer) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return peer{}
	}
	err = raw.Control(func(fd uintptr) {
		if cred, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); err == nil {
			p = peer{pid: int(cred.Pid), user: &fsuser.User{UID: int(cred.Uid), GID: int(cred.Gid)}}
		}
	})
	if err != nil {
		return peer{}
	}
	return p
}

// trusted reports whether the peer is root's, the user mysql's, or of the user who runs
// this program.
func (p peer) trusted() bool {
	if p.user == nil {
		return false
	}
	if p.user.UID == 0 || p.user.UID == os.Geteuid() {
		return true
	}
	server, err := user.Lookup("mysql")
	return err == nil && server.Uid == strconv.Itoa(p.user.UID)
}

// strangerError is returned for a peer that is not trusted at a place where anybody
// can make a socket, if nobody has named that place.
type strangerError struct {
	socket string
	peer   peer
}

func (e *strangerError) Error() string {
	if e.peer.user == nil {
		return e.socket + " is not trusted: it is not known who listens there"
	}
	return fmt.Sprintf("%s is not trusted: user %d listens there, who is neither root nor mysql", e.socket, e.peer.user.UID)
}

// admit looks at who is at the other end of a new connection.
func (c Config) admit(addr string, p peer) error {
	if !c.expects(p) {
		return fmt.Errorf("%w: process %d", ErrOtherServer, p.pid)
	}
	if addr == publicSocket && c.Socket == "" && !p.trusted() {
		return &strangerError{socket: addr, peer: p}
	}
	return nil
}

// tellsPassword reports whether a server that asks for the password itself, as PAM
// does, is given it: one whose certificate is verified, or a trusted peer. d has the
// settings of the encryption.
func (c Config) tellsPassword(d *mysql.Config, p peer) bool {
	verified := d.TLS != nil && !d.AllowFallbackToPlaintext && (!d.TLS.InsecureSkipVerify || d.TLS.VerifyConnection != nil)
	return c.Cleartext || verified || d.Net == "unix" && p.trusted()
}

// watchPeer has d note in l who is at the other end of each connection, and treat him
// accordingly.
func (c Config) watchPeer(d *mysql.Config, l *link) error {
	present := d // the settings of the connection that is being made
	d.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		if u, ok := conn.(*net.UnixConn); ok {
			l.peer = peerOf(u)
			if err := c.admit(addr, l.peer); err != nil {
				return nil, errors.Join(err, conn.Close())
			}
		}
		present.AllowCleartextPasswords = c.tellsPassword(d, l.peer)
		return conn, nil
	}
	return d.Apply(mysql.BeforeConnect(func(_ context.Context, own *mysql.Config) error {
		present = own
		return nil
	}))
}
