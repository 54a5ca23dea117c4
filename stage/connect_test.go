package stage_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbk/internal/hint"
	"mbk/internal/test/mariadbtest"
	"mbk/stage"
)

// refusal checks an error of Connect: its kind, that it advises something, and
// that the password is not in it.
func refusal(t *testing.T, err, kind error, parts ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Fatalf("Connect: %v, want %v", err, kind)
	}
	if len(hint.Attached(err)) == 0 {
		t.Errorf("no hint with %v", err)
	}
	contains(t, err.Error(), parts...)
	if strings.Contains(err.Error(), "secret") {
		t.Errorf("the password is in %q", err)
	}
}

// try connects and closes again.
func try(ctx context.Context, cfg stage.Config) error {
	s, err := stage.Connect(ctx, cfg)
	if err == nil {
		s.Close()
	}
	return err
}

func TestConnectNobodyThere(t *testing.T) {
	dir := t.TempDir()
	stale := filepath.Join(dir, "stale.sock")
	listener, err := net.Listen("unix", stale)
	if err != nil {
		t.Fatal(err)
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	listener.Close()

	t.Run("no socket", func(t *testing.T) {
		err := try(t.Context(), stage.Config{Socket: filepath.Join(dir, "none.sock")})
		refusal(t, err, stage.ErrUnreachable, "none.sock", "no such file or directory")
	})
	t.Run("socket left behind", func(t *testing.T) {
		refusal(t, try(t.Context(), stage.Config{Socket: stale}), stage.ErrUnreachable, "connection refused")
	})
	t.Run("port closed", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		l.Close()
		err = try(t.Context(), stage.Config{Host: "127.0.0.1", Port: port, User: "u", Password: "secret"})
		refusal(t, err, stage.ErrUnreachable, fmt.Sprintf("user u at port 127.0.0.1:%d", port))
	})
	t.Run("listener that says nothing", func(t *testing.T) {
		l := listen(t, func(net.Conn) {})
		err := try(t.Context(), stage.Config{Host: "127.0.0.1", Port: l, ConnectTimeout: 300 * time.Millisecond})
		refusal(t, err, stage.ErrUnreachable, "within 300ms")
	})
	t.Run("listener that hangs up", func(t *testing.T) {
		l := listen(t, func(c net.Conn) { c.Close() })
		refusal(t, try(t.Context(), stage.Config{Host: "127.0.0.1", Port: l}), stage.ErrUnreachable)
	})
	t.Run("another program", func(t *testing.T) {
		l := listen(t, func(c net.Conn) {
			_, _ = c.Write([]byte("SSH-2.0-OpenSSH_9.2\r\n")) // the client may be gone
			c.Close()
		})
		if err := try(t.Context(), stage.Config{Host: "127.0.0.1", Port: l}); err == nil {
			t.Error("connected")
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		l := listen(t, func(net.Conn) {})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		err := try(ctx, stage.Config{Host: "127.0.0.1", Port: l})
		if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, stage.ErrUnreachable) {
			t.Errorf("Connect: %v, want the context's error", err)
		}
	})
}

// listen accepts connections on a port and gives them to f until the test ends.
func listen(t *testing.T, f func(net.Conn)) (port int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			f(c)
		}
	}()
	return l.Addr().(*net.TCPAddr).Port
}

func TestConnect(t *testing.T) {
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	onEach(t, func(t *testing.T, srv *mariadbtest.Server) {
		srv.MustExec(t, "INSTALL SONAME 'auth_ed25519'")
		account := func(name, identified string) stage.Config {
			srv.MustExec(t, "CREATE USER "+name+"@localhost "+identified)
			return stage.Config{Socket: srv.Socket, User: name, Password: "secret"}
		}
		good := []struct{ name, identified string }{
			{"native", "IDENTIFIED BY 'secret'"},
			{"ed", "IDENTIFIED VIA ed25519 USING PASSWORD('secret')"},
			{"ed_or_native", "IDENTIFIED VIA ed25519 USING PASSWORD('secret') OR mysql_native_password USING PASSWORD('other')"},
			{"native_or_ed", "IDENTIFIED VIA mysql_native_password USING PASSWORD('other') OR ed25519 USING PASSWORD('secret')"},
		}
		for _, g := range good {
			t.Run(g.name, func(t *testing.T) {
				cfg := account(g.name, g.identified)
				if err := try(t.Context(), cfg); err != nil {
					t.Errorf("Connect: %v", err)
				}
				cfg.Password = "wrong"
				refusal(t, try(t.Context(), cfg), stage.ErrDenied, "user "+g.name+" at socket "+srv.Socket)
			})
		}
		t.Run("no such user", func(t *testing.T) {
			refusal(t, try(t.Context(), stage.Config{Socket: srv.Socket, User: "nobody", Password: "secret"}), stage.ErrDenied)
		})
		t.Run("locked", func(t *testing.T) {
			refusal(t, try(t.Context(), account("locked", "IDENTIFIED BY 'secret' ACCOUNT LOCK")), stage.ErrDenied, "locked")
		})
		t.Run("password expired", func(t *testing.T) {
			refusal(t, try(t.Context(), account("expired", "IDENTIFIED BY 'secret' PASSWORD EXPIRE")), stage.ErrDenied)
		})
		t.Run("no connection left", func(t *testing.T) {
			cfg := account("few", "IDENTIFIED BY 'secret' WITH MAX_USER_CONNECTIONS 1")
			s, err := stage.Connect(t.Context(), cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			refusal(t, try(t.Context(), cfg), stage.ErrTooManyConnections)
			if _, err := s.Watch(t.Context()); !errors.Is(err, stage.ErrTooManyConnections) {
				t.Errorf("Watch: %v, want ErrTooManyConnections", err)
			}
		})
		t.Run("parsec", func(t *testing.T) {
			if strings.HasPrefix(srv.Dist.Series, "10.") || srv.Dist.Series == "11.4" {
				t.Skip("this server has no parsec")
			}
			srv.MustExec(t, "INSTALL SONAME 'auth_parsec'")
			refusal(t, try(t.Context(), account("parsec", "IDENTIFIED VIA parsec USING PASSWORD('secret')")), stage.ErrDenied)
		})
		t.Run("the account's limits", func(t *testing.T) {
			cfg := account("seldom", "IDENTIFIED BY 'secret' WITH MAX_QUERIES_PER_HOUR 2")
			refusal(t, try(t.Context(), cfg), stage.ErrAccountLimit, "max_queries_per_hour")
		})
		t.Run("encryption is demanded", func(t *testing.T) {
			err := try(t.Context(), account("encrypted", "IDENTIFIED BY 'secret' REQUIRE SSL"))
			refusal(t, err, stage.ErrDenied)
			contains(t, hint.Join(hint.Attached(err), "\n").String(), "--ssl")
		})
		t.Run("init_connect fails", func(t *testing.T) {
			srv.MustExec(t, "SET GLOBAL init_connect='SELECT 1 FROM no.such_table'")
			defer srv.MustExec(t, "SET GLOBAL init_connect=''")
			err := try(t.Context(), account("greeted", "IDENTIFIED BY 'secret'"))
			refusal(t, err, stage.ErrDenied, "init_connect")
		})
		t.Run("two ways in, the first with another password", func(t *testing.T) {
			err := try(t.Context(),
				account("two_ways",
					"IDENTIFIED VIA ed25519 USING PASSWORD('other') OR mysql_native_password USING PASSWORD('secret')"))
			refusal(t, err, stage.ErrDenied)
			contains(t, hint.Join(hint.Attached(err), "\n").String(), "only the first way")
		})
		// Last: it changes root. This is how Debian sets it up.
		t.Run("debian's root", func(t *testing.T) {
			srv.MustExec(t, "CREATE OR REPLACE USER "+me.Username+
				"@localhost IDENTIFIED VIA mysql_native_password USING 'invalid' OR unix_socket",
				"GRANT ALL ON *.* TO "+me.Username+"@localhost WITH GRANT OPTION")
			if err := try(t.Context(), stage.Config{Socket: srv.Socket}); err != nil {
				t.Errorf("Connect with nothing but a socket: %v", err)
			}
			srv.MustExec(t, "CREATE USER "+me.Username+"2@localhost IDENTIFIED VIA unix_socket")
			refusal(t, try(t.Context(), stage.Config{Socket: srv.Socket, User: me.Username + "2"}), stage.ErrDenied)
			srv.MustExec(t, "ALTER USER "+me.Username+"@localhost IDENTIFIED VIA unix_socket")
			if err := try(t.Context(), stage.Config{Socket: srv.Socket}); err != nil {
				t.Errorf("Connect with unix_socket alone: %v", err)
			}
		})
	})
}

func TestFacts(t *testing.T) {
	onEach(t, func(t *testing.T, srv *mariadbtest.Server) {
		s := connect(t, srv)
		f, err := s.Facts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if f.PeerPID != srv.Pid() {
			t.Errorf("PeerPID = %d, want %d", f.PeerPID, srv.Pid())
		}
		if want := srv.MustValue(t, "SELECT @@version"); f.Version.Text != want ||
			!strings.HasPrefix(want, fmt.Sprintf("%d.%d.%d-", f.Version.Major, f.Version.Minor, f.Version.Patch)) {
			t.Errorf("Version = %+v, want %s", f.Version, want)
		}
		if f.Socket != srv.Socket || filepath.Clean(f.Datadir) != srv.Datadir || f.ServerID != 1 ||
			f.Account != "root@localhost" || f.Hostname == "" || f.Comment == "" {
			t.Errorf("Facts = %+v", f)
		}
		if age := time.Since(f.Started); age < 0 || age > 5*time.Minute {
			t.Errorf("Started = %s, %s ago", f.Started, age)
		}
		if f.Variables["innodb_page_size"] != "16384" || len(f.Variables) < 500 {
			t.Errorf("%d variables, innodb_page_size = %q", len(f.Variables), f.Variables["innodb_page_size"])
		}
		engines := map[string]string{}
		for _, e := range f.Engines {
			engines[e.Name] = e.Support
		}
		if engines["InnoDB"] != "DEFAULT" || engines["Aria"] != "YES" {
			t.Errorf("Engines = %v", f.Engines)
		}
		found := false
		for _, p := range f.Plugins {
			found = found || p.Name == "InnoDB" && p.Type == "STORAGE ENGINE" && p.Status == "ACTIVE" && p.Library == ""
		}
		if !found {
			t.Errorf("no plugin InnoDB in %v", f.Plugins)
		}
	})
}

func TestTLS(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, dir, "ca")
	newAuthority(t, dir, "other")
	ca.issue(t, dir, "server", "db1.example")
	ca.issue(t, dir, "client", "client")
	file := func(name string) string { return filepath.Join(dir, name) }
	for _, series := range mariadbtest.Versions() {
		t.Run(series, func(t *testing.T) {
			t.Parallel()
			dist, err := mariadbtest.Get(t.Context(), series)
			if err != nil {
				t.Fatal(err)
			}
			srv, err := mariadbtest.Start(t.Context(),
				mariadbtest.Options{Dist: dist, Dir: t.TempDir(), Network: true, Args: []string{
					"--ssl-ca=" + file("ca.pem"), "--ssl-cert=" + file("server.pem"), "--ssl-key=" + file("server.key")}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := srv.Close(); err != nil {
					t.Error(err)
				}
			})
			srv.MustExec(t, "CREATE USER plain@'127.0.0.1' IDENTIFIED BY 'secret'",
				"CREATE USER coded@'127.0.0.1' IDENTIFIED BY 'secret' REQUIRE SSL",
				"CREATE USER signed@'127.0.0.1' IDENTIFIED BY 'secret' REQUIRE X509",
				"CREATE USER coded@localhost IDENTIFIED BY 'secret' REQUIRE SSL")
			tests := []struct {
				name string
				user string
				host string
				tls  stage.TLS
				kind string // "" for success, else a part of the error
			}{
				{"nothing said: encrypted if possible", "coded", "127.0.0.1", stage.TLS{}, ""},
				{"off", "plain", "127.0.0.1", stage.TLS{Mode: stage.TLSOff}, ""},
				{"off, account requires it", "coded", "127.0.0.1", stage.TLS{Mode: stage.TLSOff}, "access denied"},
				{"encrypt", "coded", "127.0.0.1", stage.TLS{Mode: stage.TLSEncrypt}, ""},
				{"ca given: chain verified, name not", "coded", "127.0.0.1", stage.TLS{CA: file("ca.pem")}, ""},
				{"another ca", "coded", "127.0.0.1", stage.TLS{CA: file("other.pem")}, "certificate signed by unknown authority"},
				{"verify-ca without ca: the system's", "coded", "127.0.0.1", stage.TLS{Mode: stage.TLSVerifyCA},
					"certificate signed by unknown authority"},
				{"verify, other name", "coded", "127.0.0.1", stage.TLS{Mode: stage.TLSVerify, CA: file("ca.pem")}, "certificate"},
				{"folder of authorities", "coded", "127.0.0.1", stage.TLS{CAPath: dir}, ""},
				{"client certificate", "signed", "127.0.0.1",
					stage.TLS{CA: file("ca.pem"), Cert: file("client.pem"), Key: file("client.key")}, ""},
				{"client certificate missing", "signed", "127.0.0.1", stage.TLS{}, "access denied"},
				{"ca file missing", "coded", "127.0.0.1", stage.TLS{CA: file("none.pem")}, "no such file"},
				{"ca file without certificate", "coded", "127.0.0.1", stage.TLS{CA: file("server.key")}, "no certificate in it"},
				{"certificate without key", "coded", "127.0.0.1", stage.TLS{Cert: file("client.pem")}, "belong together"},
				{"through the socket", "coded", "", stage.TLS{Mode: stage.TLSEncrypt}, ""},
				{"through the socket, verified", "coded", "", stage.TLS{CA: file("ca.pem")}, ""},
			}
			for _, tt := range tests {
				t.Run(tt.name, func(t *testing.T) {
					err := try(t.Context(), stage.Config{Host: tt.host, Port: srv.Port, Socket: srv.Socket, User: tt.user,
						Password: "secret", TLS: tt.tls})
					if tt.kind == "" && err != nil {
						t.Errorf("Connect: %v", err)
					}
					if tt.kind != "" && (err == nil || !strings.Contains(err.Error(), tt.kind)) {
						t.Errorf("Connect: %v, want %q", err, tt.kind)
					}
				})
			}
			t.Run("server of another process group", func(t *testing.T) {
				group, err := syscall.Getpgid(srv.Pid())
				if err != nil {
					t.Fatal(err)
				}
				link := filepath.Join(t.TempDir(), "socket")
				if err := os.Symlink(srv.Socket, link); err != nil {
					t.Fatal(err)
				}
				for g, want := range map[int]error{group: nil, 0: nil, os.Getppid() + 1<<22: stage.ErrOtherServer} {
					err := try(t.Context(), stage.Config{Socket: link, User: "coded", Password: "secret",
						TLS: stage.TLS{Mode: stage.TLSEncrypt}, ServerGroup: g})
					if !errors.Is(err, want) {
						t.Errorf("group %d: %v, want %v", g, err, want)
					}
				}
			})
			t.Run("peer of a network connection", func(t *testing.T) {
				s, err := stage.Connect(t.Context(),
					stage.Config{Host: "127.0.0.1", Port: srv.Port, User: "plain", Password: "secret"})
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				f, err := s.Facts(t.Context())
				if err != nil || f.PeerPID != 0 || f.Port != srv.Port {
					t.Errorf("Facts: PeerPID = %d, Port = %d, %v; want 0, %d", f.PeerPID, f.Port, err, srv.Port)
				}
			})
		})
	}
}

// authority signs certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// newAuthority makes an authority and writes its certificate to NAME.pem.
func newAuthority(t *testing.T, dir, name string) *authority {
	t.Helper()
	a := &authority{key: newKey(t)}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour),
		NotAfter:  time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.cert = sign(t, filepath.Join(dir, name+".pem"), template, template, a.key, a.key)
	return a
}

// issue writes NAME.pem and NAME.key, good for host.
func (a *authority) issue(t *testing.T, dir, name, host string) {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: host},
		DNSNames:  []string{host},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	sign(t, filepath.Join(dir, name+".pem"), template, a.cert, key, a.key)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, filepath.Join(dir, name+".key"), "PRIVATE KEY", der)
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t *testing.T, path string, template, parent *x509.Certificate, key, by *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, path, "CERTIFICATE", der)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o644); err != nil {
		t.Fatal(err)
	}
}
