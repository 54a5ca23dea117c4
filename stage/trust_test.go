package stage

import (
	"bytes"
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"golang.org/x/sys/unix"

	"mbk/internal/hint"
	"mbk/internal/sys/fsuser"
)

// listenAs makes a socket at which a user listens, as the kernel tells a client.
func listenAs(t *testing.T, uid int, path string) net.Listener {
	t.Helper()
	var l net.Listener
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		become := func(uid int) error { // of this thread alone
			if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), uintptr(uid), ^uintptr(0)); errno != 0 {
				return errno
			}
			return nil
		}
		err := become(uid)
		if err == nil {
			l, err = net.Listen("unix", path)
			if err = errors.Join(err, become(os.Getuid())); err == nil {
				runtime.UnlockOSThread()
			}
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// falseServer is one that wants to know the password.
type falseServer struct {
	greets string      // the way of logging in that it names first
	asks   string      // the one that it has the client switch to; "": none
	tls    *tls.Config // nil: none
	key    *rsa.PrivateKey
}

// serve talks to one client. It returns all that the client has sent, with what is
// encrypted for its key in clear text.
func (s falseServer) serve(conn net.Conn) []byte {
	defer func() { conn.Close() }()
	conn.SetDeadline(time.Now().Add(5 * time.Second)) //nolint:errcheck // of a socket
	const challenge = "abcdefghijklmnopqrst"
	var all []byte
	number := byte(0)
	say := func(b []byte) { // returns the answer in all
		conn.Write(append([]byte{byte(len(b)), byte(len(b) >> 8), 0, number}, b...))
	}
	hear := func() []byte {
		head := make([]byte, 4)
		if _, err := io.ReadFull(conn, head); err != nil {
			return nil
		}
		b := make([]byte, int(head[0])|int(head[1])<<8)
		io.ReadFull(conn, b) //nolint:errcheck // what has come counts
		number = head[3] + 1
		all = append(all, b...)
		if plain, err := rsa.DecryptOAEP(sha1.New(), nil, s.key, b, nil); err == nil {
			for i := range plain {
				plain[i] ^= challenge[i%len(challenge)]
			}
			all = append(all, plain...)
		}
		return b
	}
	capabilities := byte(0x82)
	if s.tls != nil {
		capabilities |= 0x08
	}
	greeting := []byte("\x0a10.11.0-MariaDB\x00\x01\x00\x00\x00abcdefgh\x00\x00")
	greeting = append(greeting, capabilities, 0x2d, 2, 0, 8, 0, 0x15)
	greeting = append(append(greeting, make([]byte, 10)...), "ijklmnopqrst\x00"+s.greets+"\x00"...)
	say(greeting)
	hear()
	if s.tls != nil {
		conn = tls.Server(conn, s.tls)
		hear()
	}
	plugin := s.greets
	if s.asks != "" {
		plugin = s.asks
		say([]byte("\xfe" + plugin + "\x00" + challenge + "\x00"))
		hear()
	}
	public, err := x509.MarshalPKIXPublicKey(&s.key.PublicKey)
	if err != nil {
		return all
	}
	key := append([]byte{1}, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})...)
	switch plugin {
	case "caching_sha2_password":
		say([]byte{1, 4})
		if b := hear(); len(b) == 1 && b[0] == 2 {
			say(key)
			hear()
		}
	case "sha256_password":
		say(key)
		hear()
	}
	return all
}

// certificate is one that nobody has signed.
func certificate(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// Whoever listened at the place of a server's socket, or at a port, was told the
// password, by each of the ways of logging in that tell it.
func TestPasswordIsNotToldToStrangers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir, err := os.MkdirTemp("/tmp", "trust")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o1777); err != nil {
		t.Fatal(err)
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	const native, clear, sha256, caching = "mysql_native_password", "mysql_clear_password", "sha256_password",
		"caching_sha2_password"
	stranger, root := listenAs(t, 64999, filepath.Join(dir, "stranger")), listenAs(t, 0, filepath.Join(dir, "root"))
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { port.Close() })
	encrypted := certificate(t)
	for _, at := range []struct {
		name     string
		listener net.Listener
		tls      *tls.Config
		trusted  bool
	}{
		{"a stranger's socket", stranger, nil, false},
		{"a stranger's socket, encrypted", stranger, encrypted, false},
		{"a port", port, nil, false},
		{"a port, encrypted", port, encrypted, false},
		{"root's socket", root, nil, true},
	} {
		for _, way := range []struct{ greets, asks string }{
			{native, clear}, {native, sha256}, {native, caching}, {sha256, ""}, {caching, ""}, {sha256, caching},
			{caching, sha256}, {"", caching},
		} {
			for _, cleartext := range []bool{false, true} {
				// sha256_password knows no trusted socket: MariaDB does not have it.
				want := cleartext || at.trusted && cmp.Or(way.asks, way.greets) != sha256
				t.Run(fmt.Sprintf("%s, %s, %s, asked for %v", at.name, way.greets, way.asks, cleartext), func(t *testing.T) {
					c := Config{User: "bk", Password: "S3cretPw!", Cleartext: cleartext, ConnectTimeout: 5 * time.Second}
					if addr, ok := at.listener.Addr().(*net.TCPAddr); ok {
						c.Host, c.Port = "127.0.0.1", addr.Port
					} else {
						c.Socket = at.listener.Addr().String()
					}
					if at.tls != nil {
						c.TLS.Mode = TLSEncrypt
					}
					got := make(chan []byte, 1)
					go func() {
						if conn, err := at.listener.Accept(); err == nil {
							got <- falseServer{way.greets, way.asks, at.tls, key}.serve(conn)
						}
					}()
					_, err := dial(t.Context(), c)
					if err == nil {
						t.Fatal("connected")
					}
					told := bytes.Contains(<-got, []byte(c.Password))
					if told != want {
						t.Errorf("told: %v, want %v (%v)", told, want, err)
					}
					if !want && way.greets != sha256 && (!errors.Is(err, ErrDenied) || len(hint.Attached(err)) == 0) {
						t.Errorf("the error is %v, with hints %q", err, hint.Attached(err))
					}
				})
			}
		}
	}
}

func TestTellsPassword(t *testing.T) {
	verify := func(tls.ConnectionState) error { return nil }
	for name, tt := range map[string]struct {
		d    mysql.Config
		peer peer
		want bool
	}{
		"TCP":                      {d: mysql.Config{Net: "tcp"}},
		"TLS if the server can":    {d: mysql.Config{Net: "tcp", TLS: &tls.Config{}, AllowFallbackToPlaintext: true}},
		"TLS with any certificate": {d: mysql.Config{Net: "tcp", TLS: &tls.Config{InsecureSkipVerify: true}}},
		"TLS with an authority": {d: mysql.Config{Net: "tcp",
			TLS: &tls.Config{InsecureSkipVerify: true, VerifyConnection: verify}}, want: true},
		"TLS with a name":             {d: mysql.Config{Net: "tcp", TLS: &tls.Config{}}, want: true},
		"socket of nobody knows whom": {d: mysql.Config{Net: "unix"}},
		"socket of a stranger":        {d: mysql.Config{Net: "unix"}, peer: peer{user: &fsuser.User{UID: 64998}}},
		"socket of root":              {d: mysql.Config{Net: "unix"}, peer: peer{user: &fsuser.User{}}, want: true},
		"socket of our own": {d: mysql.Config{Net: "unix"}, peer: peer{user: &fsuser.User{UID: os.Geteuid()}},
			want: true},
		"a stranger at a port": {d: mysql.Config{Net: "tcp"}, peer: peer{user: &fsuser.User{}}},
	} {
		if got := (Config{}).tellsPassword(&tt.d, tt.peer); got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
		if !(Config{Cleartext: true}).tellsPassword(&tt.d, tt.peer) {
			t.Errorf("%s: not told although it was asked for", name)
		}
	}
}

// A socket in /tmp may be anybody's.
func TestAdmit(t *testing.T) {
	stranger, root := peer{user: &fsuser.User{UID: 64998}}, peer{user: &fsuser.User{}}
	for name, tt := range map[string]struct {
		c       Config
		addr    string
		peer    peer
		refused bool
	}{
		"a stranger in /tmp":            {Config{}, publicSocket, stranger, true},
		"nobody knows who in /tmp":      {Config{}, publicSocket, peer{}, true},
		"root in /tmp":                  {Config{}, publicSocket, root, false},
		"a stranger, named by --socket": {Config{Socket: publicSocket}, publicSocket, stranger, false},
		"a server of another user":      {Config{}, "/run/mysqld/mysqld.sock", stranger, false},
	} {
		err := tt.c.admit(tt.addr, tt.peer)
		if (err != nil) != tt.refused {
			t.Errorf("%s: %v, want refused: %v", name, err, tt.refused)
		}
		if refused := connectError(tt.c, err); err != nil &&
			(!errors.Is(refused, ErrUnreachable) || len(hint.Attached(refused)) == 0) {
			t.Errorf("%s: %v", name, refused)
		}
	}
}
