package stage

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"golang.org/x/sys/unix"

	"mbk/internal/fsuser"
	"mbk/internal/hint"
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

// askForPassword is a false server: it greets, and has the client switch to clear
// text. It returns all that the client has sent.
func askForPassword(conn net.Conn) []byte {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second)) //nolint:errcheck // of a socket
	packet := func(number byte, b []byte) { conn.Write(append([]byte{byte(len(b)), 0, 0, number}, b...)) }
	greeting := []byte("\x0a10.11.0-MariaDB\x00\x01\x00\x00\x00abcdefgh\x00\x00\x82\x2d\x02\x00\x08\x00\x15")
	greeting = append(append(greeting, make([]byte, 10)...), "abcdefghijkl\x00mysql_native_password\x00"...)
	packet(0, greeting)
	b := make([]byte, 4096)
	n, _ := conn.Read(b)
	packet(2, []byte("\xfemysql_clear_password\x00"))
	m, _ := conn.Read(b[n:])
	return b[:n+m]
}

// Whoever listened at the place of a server's socket was told the password.
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
	for _, tt := range []struct {
		name      string
		uid       int
		cleartext bool
		told      bool
	}{
		{"a stranger", 64999, false, false},
		{"a stranger, and it was asked for", 64999, true, true},
		{"root", 0, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(dir, tt.name)
			l, got := listenAs(t, tt.uid, path), make(chan []byte, 1)
			go func() {
				conn, err := l.Accept()
				if err == nil {
					got <- askForPassword(conn)
				}
			}()
			_, err := dial(t.Context(), Config{Socket: path, User: "bk", Password: "S3cretPw!", Cleartext: tt.cleartext, ConnectTimeout: 5 * time.Second})
			if err == nil {
				t.Fatal("connected")
			}
			if told := bytes.Contains(<-got, []byte("S3cretPw!")); told != tt.told {
				t.Errorf("told: %v, want %v (%v)", told, tt.told, err)
			}
			if !tt.told && (!errors.Is(err, ErrDenied) || len(hint.Of(err)) == 0) {
				t.Errorf("the error is %v, with hints %q", err, hint.Of(err))
			}
		})
	}
}

func TestTellsPassword(t *testing.T) {
	verify := func(tls.ConnectionState) error { return nil }
	for name, tt := range map[string]struct {
		d    mysql.Config
		peer peer
		want bool
	}{
		"TCP":                         {d: mysql.Config{Net: "tcp"}},
		"TLS if the server can":       {d: mysql.Config{Net: "tcp", TLS: &tls.Config{}, AllowFallbackToPlaintext: true}},
		"TLS with any certificate":    {d: mysql.Config{Net: "tcp", TLS: &tls.Config{InsecureSkipVerify: true}}},
		"TLS with an authority":       {d: mysql.Config{Net: "tcp", TLS: &tls.Config{InsecureSkipVerify: true, VerifyConnection: verify}}, want: true},
		"TLS with a name":             {d: mysql.Config{Net: "tcp", TLS: &tls.Config{}}, want: true},
		"socket of nobody knows whom": {d: mysql.Config{Net: "unix"}},
		"socket of a stranger":        {d: mysql.Config{Net: "unix"}, peer: peer{user: &fsuser.User{UID: 64998}}},
		"socket of root":              {d: mysql.Config{Net: "unix"}, peer: peer{user: &fsuser.User{}}, want: true},
		"socket of our own":           {d: mysql.Config{Net: "unix"}, peer: peer{user: &fsuser.User{UID: os.Geteuid()}}, want: true},
		"a stranger at a port":        {d: mysql.Config{Net: "tcp"}, peer: peer{user: &fsuser.User{}}},
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
		if refused := unconnected(tt.c, err); err != nil && (!errors.Is(refused, ErrUnreachable) || len(hint.Of(refused)) == 0) {
			t.Errorf("%s: %v", name, refused)
		}
	}
}
