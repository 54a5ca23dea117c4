// Package smtptest is a mail server for tests: it speaks SMTP with TLS and logins
// as others do, and keeps what it is sent.
package smtptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// Options say what kind of server it is. Without TLS it speaks plain text only.
type Options struct {
	StartTLS bool   // it offers STARTTLS
	TLS      bool   // it begins with TLS
	User     string // who has to log in, "": nobody
	Password string
	Refuse   string // a receiver that it does not know
	Silent   bool   // it takes connections and says nothing
}

// Server is a running one. It ends with the test.
type Server struct {
	Addr     string // 127.0.0.1:PORT
	CertFile string // PEM of the certificate, which has signed itself
	Roots    *x509.CertPool

	opts  Options
	mu    sync.Mutex
	mails []Mail
}

// Mail is one that the server has taken.
type Mail struct {
	From      string
	To        []string
	Data      string // headers and body, as they came
	User      string // who had logged in
	Encrypted bool
}

// Start starts a server.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s := &Server{opts: o}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Addr = l.Addr().String()
	if o.Silent {
		t.Cleanup(func() { _ = l.Close() })
		return s // the kernel takes connections
	}
	config := s.certify(t)
	srv := smtp.NewServer(s)
	srv.Domain, srv.ReadTimeout, srv.WriteTimeout, srv.ErrorLog = "mail.test", 10*time.Second, 10*time.Second,
		log.New(io.Discard, "", 0)
	if o.StartTLS || o.TLS {
		srv.TLSConfig = config
	}
	if o.TLS {
		l = tls.NewListener(l, config)
	}
	done := make(chan struct{})
	go func() {
		_ = srv.Serve(l) // ends with Close
		close(done)
	}()
	t.Cleanup(func() {
		_ = srv.Close() // connections may be open
		<-done
	})
	return s
}

// certify makes a certificate for this machine.
func (s *Server) certify(t testing.TB) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail.test"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	s.CertFile = filepath.Join(t.TempDir(), "cert.pem")
	if err := os.WriteFile(s.CertFile, text, 0o644); err != nil {
		t.Fatal(err)
	}
	s.Roots = x509.NewCertPool()
	s.Roots.AppendCertsFromPEM(text)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// Mails returns what was taken so far.
func (s *Server) Mails() []Mail {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mails)
}

// NewSession is called by the library for each connection.
func (s *Server) NewSession(c *smtp.Conn) (smtp.Session, error) {
	return &session{server: s, conn: c}, nil
}

// session is a connection.
type session struct {
	server *Server
	conn   *smtp.Conn
	mail   Mail
	user   string
}

// AuthMechanisms lists the ways to log in.
func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

// Auth checks a login.
func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != s.server.opts.User || password != s.server.opts.Password {
			return smtp.ErrAuthFailed
		}
		s.user = user
		return nil
	}), nil
}

// Mail begins one.
func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	if s.server.opts.User != "" && s.user == "" {
		return smtp.ErrAuthRequired
	}
	_, encrypted := s.conn.TLSConnectionState()
	s.mail = Mail{From: from, User: s.user, Encrypted: encrypted}
	return nil
}

// Rcpt adds a receiver.
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if to == s.server.opts.Refuse {
		return &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such user"}
	}
	s.mail.To = append(s.mail.To, to)
	return nil
}

// Data takes the text.
func (s *session) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if len(s.mail.To) == 0 {
		return errors.New("nobody to send it to")
	}
	s.mail.Data = string(b)
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	s.server.mails = append(s.server.mails, s.mail)
	return nil
}

// Reset forgets a mail that was begun.
func (s *session) Reset() { s.mail = Mail{} }

// Logout ends the session.
func (s *session) Logout() error { return nil }
