package stage

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"mbk/internal/hint"
	"mbk/internal/input/inputfile"
)

// Protocol chooses between socket and network, as MariaDB's --protocol does.
type Protocol string

// The protocols. With ProtocolAuto a host other than "localhost" means TCP and
// everything else the socket, as with MariaDB's own programs.
const (
	ProtocolAuto   Protocol = ""
	ProtocolTCP    Protocol = "tcp"
	ProtocolSocket Protocol = "socket"
)

// TLSMode says how much a connection has to be protected.
type TLSMode string

// The modes. TLSAuto verifies the chain if a CA is given, encrypts if a client
// certificate is given, else encrypts a TCP connection when the server can, and
// leaves a socket alone.
const (
	TLSAuto     TLSMode = ""
	TLSOff      TLSMode = "off"
	TLSEncrypt  TLSMode = "encrypt"   // whatever the server's certificate is
	TLSVerifyCA TLSMode = "verify-ca" // the certificate has to be signed by the CA
	TLSVerify   TLSMode = "verify"    // and to name the host
)

// TLS says how connections are encrypted. The zero value is TLSAuto.
type TLS struct {
	Mode   TLSMode
	CA     string // PEM file of the authorities; "": those of the system
	CAPath string // folder of such files
	Cert   string // PEM file of the client's certificate
	Key    string // and of its key
}

// Config says where the server is and who asks. The zero value means the local
// server's usual socket and the name of the operating system's user. Option
// files are read by the caller.
type Config struct {
	Protocol Protocol
	Socket   string // path; "": the first that exists of the usual places
	Host     string // "" and "localhost" mean the socket unless Protocol says otherwise
	Port     int    // 0: 3306
	User     string // "": the operating system's user
	Password string
	TLS      TLS

	// Cleartext gives the password to any server that asks for it in clear text, as
	// those with PAM do. Without it only one whose certificate is verified, or that
	// listens at a socket as root, mysql or our own user, gets to know it.
	Cleartext bool

	// ConnectTimeout bounds the making of one connection, log-in included; 0
	// means 10 s.
	ConnectTimeout time.Duration

	// ServerGroup is the process group of the server that must listen at the socket;
	// 0: any. Another one gets ErrOtherServer, and no login.
	ServerGroup int
}

// ErrOtherServer is returned when another process than that of Config.ServerGroup
// listens at the socket.
var ErrOtherServer = errors.New("another server listens at the socket")

// Where packagers put the socket, Debian first.
const socketPlaces = "/run/mysqld/mysqld.sock:/var/lib/mysql/mysql.sock:/run/mariadb/mariadb.sock:" + publicSocket

// publicSocket is the one of these places where anybody can make a socket.
const publicSocket = "/tmp/mysql.sock"

const (
	defaultPort           = 3306
	defaultConnectTimeout = 10 * time.Second
)

// Validate reports a configuration that can never connect.
func (c Config) Validate() error {
	switch c.Protocol {
	case ProtocolAuto, ProtocolTCP, ProtocolSocket:
	default:
		return fmt.Errorf("protocol %q: not one of tcp, socket", c.Protocol)
	}
	switch c.TLS.Mode {
	case TLSAuto, TLSOff, TLSEncrypt, TLSVerifyCA, TLSVerify:
	default:
		return fmt.Errorf("tls mode %q: not one of off, encrypt, verify-ca, verify", c.TLS.Mode)
	}
	if c.Port < 0 || c.Port > 65535 {
		return fmt.Errorf("port %d: out of range", c.Port)
	}
	if c.ConnectTimeout < 0 {
		return fmt.Errorf("connect timeout %s: negative", c.ConnectTimeout)
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		return errors.New("tls: a client certificate and its key belong together")
	}
	return nil
}

// String says who connects where. It never contains the password.
func (c Config) String() string {
	network, addr := c.address()
	if network == "tcp" {
		network = "port"
	} else {
		network = "socket"
	}
	return fmt.Sprintf("user %s at %s %s", c.user(), network, addr)
}

// GoString is String, so that %#v does not print the password either.
func (c Config) GoString() string { return c.String() }

// LogValue is String, for log/slog.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// address returns network ("unix" or "tcp") and address.
func (c Config) address() (network, addr string) {
	local := c.Host == "" || c.Host == "localhost"
	if c.Protocol == ProtocolSocket || c.Protocol == ProtocolAuto && local {
		return "unix", c.socket()
	}
	host, port := c.Host, c.Port
	if host == "" {
		host = "127.0.0.1"
	}
	if port == 0 {
		port = defaultPort
	}
	return "tcp", net.JoinHostPort(host, strconv.Itoa(port))
}

// socket returns the path of the socket.
func (c Config) socket() string {
	if c.Socket != "" {
		return c.Socket
	}
	places := filepath.SplitList(socketPlaces)
	for _, path := range places {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return places[0]
}

// user returns the account's name.
func (c Config) user() string {
	if c.User != "" {
		return c.User
	}
	if os.Geteuid() == 0 {
		return "root" // whatever $USER says under sudo or su
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return os.Getenv("USER")
}

// timeout returns the bound for one connection attempt.
func (c Config) timeout() time.Duration {
	if c.ConnectTimeout == 0 {
		return defaultConnectTimeout
	}
	return c.ConnectTimeout
}

// tlsConfig returns what the driver needs, nil for no encryption, and whether a
// server without TLS will do.
func (c Config) tlsConfig(network string) (_ *tls.Config, optional bool, err error) {
	mode := c.TLS.Mode
	if mode == TLSAuto {
		switch {
		case c.TLS.CA != "" || c.TLS.CAPath != "":
			mode = TLSVerifyCA
		case c.TLS.Cert != "":
			mode = TLSEncrypt
		case network == "tcp":
			mode, optional = TLSEncrypt, true
		default:
			mode = TLSOff
		}
	}
	if mode == TLSOff {
		return nil, false, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: c.Host}
	if t.ServerName == "" {
		t.ServerName = "localhost"
	}
	if t.RootCAs, err = c.TLS.authorities(); err != nil {
		return nil, false, err
	}
	if c.TLS.Cert != "" {
		pair, err := c.TLS.pair()
		if err != nil {
			return nil, false, fmt.Errorf("tls: client certificate %s: %w", c.TLS.Cert, err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	// The standard library verifies chain and name or nothing at all; the modes
	// between are verified by hand or not at all.
	t.InsecureSkipVerify = mode != TLSVerify
	if mode == TLSVerifyCA {
		t.VerifyConnection = func(state tls.ConnectionState) error { return verifyChain(state, t.RootCAs) }
	}
	return t, optional, nil
}

// verifyChain checks that the server's certificate leads to one of roots,
// whatever host it names.
func verifyChain(state tls.ConnectionState, roots *x509.CertPool) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("tls: the server sent no certificate")
	}
	between := x509.NewCertPool()
	for _, c := range state.PeerCertificates[1:] {
		between.AddCert(c)
	}
	_, err := state.PeerCertificates[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
	return err
}

// pair reads the client's certificate and its key.
func (t TLS) pair() (tls.Certificate, error) {
	cert, err := inputfile.Read(t.Cert)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := inputfile.Read(t.Key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(cert, key)
}

// authorities reads the CA files; nil means those of the system.
func (t TLS) authorities() (*x509.CertPool, error) {
	if t.CA == "" && t.CAPath == "" {
		return nil, nil
	}
	pool := x509.NewCertPool()
	if t.CA != "" {
		pem, err := inputfile.Read(t.CA)
		if err != nil {
			return nil, fmt.Errorf("tls: %w", err)
		}
		if !pool.AppendCertsFromPEM(pem) {
			return nil, hint.Wrap(fmt.Errorf("tls: %s: no certificate in it", t.CA), "the file has to be in PEM format")
		}
	}
	if t.CAPath == "" {
		return pool, nil
	}
	entries, err := os.ReadDir(t.CAPath)
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	for _, entry := range entries {
		if entry.IsDir() {
			continue
		}
		pem, err := inputfile.Read(filepath.Join(t.CAPath, entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("tls: %w", err)
		}
		pool.AppendCertsFromPEM(pem) // such folders hold revocation lists and notes too
	}
	return pool, nil
}

// isTLS reports whether err comes from setting up encryption.
func isTLS(err error) bool {
	var certificate *tls.CertificateVerificationError
	var header tls.RecordHeaderError
	var alert tls.AlertError
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	return errors.As(err, &certificate) || errors.As(err, &header) || errors.As(err, &alert) ||
		errors.As(err, &unknown) || errors.As(err, &name) || errors.As(err, &invalid)
}
