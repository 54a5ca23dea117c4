package stage

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-sql-driver/mysql"

	"mbk/internal/sys/fsuser"
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
	return fmt.Sprintf("%s is not trusted: user %d listens there, who is neither root nor mysql",
		e.socket, e.peer.user.UID)
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

// errWithheld is the cause when a server was not told the password that it asked for.
var errWithheld = errors.New("the server asks to be told the password")

// noKey is the driver's name of a public key for which nothing can be encrypted.
const noKey = "mbk-none"

// withhold has the driver tell no server the password. mysql_clear_password has a setting
// for that. caching_sha2_password and sha256_password tell it over encryption, the former
// also at a socket, and else encrypt it for a key, which a server must not choose.
func withhold(own *mysql.Config, conn net.Conn) net.Conn {
	own.AllowCleartextPasswords = false
	if own.Net == "unix" {
		own.Net = "a socket" // which to the driver is as good as a network
	}
	if own.TLS == nil {
		return conn
	}
	verify := own.TLS.VerifyConnection
	own.TLS.VerifyConnection = func(state tls.ConnectionState) error {
		own.TLS = nil // the connection is encrypted, but the driver shall not rely on it
		if verify != nil {
			return verify(state)
		}
		return nil
	}
	return &greeted{Conn: conn}
}

// withheld reports whether an error is that of a password that was not told.
func (c Config) withheld(err error) bool {
	if errors.Is(err, mysql.ErrCleartextPassword) || errors.Is(err, errWithheld) {
		return true
	}
	// An error of noKey, for which crypto/rsa has no value.
	return !c.Cleartext && err != nil && strings.HasPrefix(err.Error(), "crypto/rsa: ")
}

// greeted is a connection that fails if the server names sha256_password in its greeting:
// that is answered before the driver can know who the server is.
type greeted struct {
	net.Conn
	greeting []byte
	over     bool
}

func (g *greeted) Read(b []byte) (int, error) {
	n, err := g.Conn.Read(b)
	if g.over {
		return n, err
	}
	g.greeting = append(g.greeting, b[:n]...)
	if bytes.Contains(g.greeting, []byte("sha256_password")) {
		return 0, errWithheld
	}
	return n, err
}

func (g *greeted) Write(b []byte) (int, error) {
	g.over, g.greeting = true, nil
	return g.Conn.Write(b)
}

// watchPeer has d note in l who is at the other end of each connection, and treat him
// accordingly.
func (c Config) watchPeer(d *mysql.Config, l *link) error {
	if !c.Cleartext {
		mysql.RegisterServerPubKey(noKey, &rsa.PublicKey{N: big.NewInt(3), E: 3})
		d.ServerPubKey = noKey
	}
	present := d // the settings of the connection that is being made
	d.DialFunc = func(ctx context.Context, _, _ string) (net.Conn, error) {
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, d.Net, d.Addr)
		if err != nil {
			return nil, err
		}
		l.raw = conn
		if u, ok := conn.(*net.UnixConn); ok {
			l.peer = peerOf(u)
			if err := c.admit(d.Addr, l.peer); err != nil {
				return nil, errors.Join(err, conn.Close())
			}
		}
		if !c.tellsPassword(d, l.peer) {
			return withhold(present, conn), nil
		}
		present.AllowCleartextPasswords = true
		return conn, nil
	}
	return d.Apply(mysql.BeforeConnect(func(_ context.Context, own *mysql.Config) error {
		present = own
		return nil
	}))
}
