// Package notify sends notifications: mail through an SMTP server, and a POST to a URL.
// The caller provides the content. Errors contain no secrets.
package notify

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	netmail "net/mail"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/wneessen/go-mail"

	"mbk/internal/hint"
)

// TLS is how the connection to a mail server is protected.
type TLS string

// The kinds of TLS.
const (
	TLSAuto     TLS = ""         // TLSImplicit on port 465, TLSNone to this machine without a login, else TLSStart
	TLSStart    TLS = "starttls" // STARTTLS; nothing is sent if the server does not support it
	TLSImplicit TLS = "tls"      // from the first byte
	TLSNone     TLS = "none"     // a password is not sent then
)

// Mail sends notifications by mail.
type Mail struct {
	Server   string // HOST or HOST:PORT; "" is this machine. The port's default is 465 with TLSImplicit, else 25
	TLS      TLS
	From     string   // "" is mbk at this machine
	To       []string // each gets a mail of their own, so that one wrong address does not affect the others
	User     string   // "": no login
	Password string
	Roots    *x509.CertPool // nil: those of the system
	Timeout  time.Duration  // for everything, 0: 30 s

	host string
	port int
}

// Message is the content of a notification.
type Message struct {
	Subject string
	Text    string
	JSON    []byte // attached to a mail, and the body of a POST
	HTML    []byte // of a mail, in place of the text; nil: none
	Page    []byte // a page for a browser, attached to a mail as report.html; nil: none
}

// Validate completes and checks what can be checked without a connection.
func (m *Mail) Validate() error {
	if len(m.To) == 0 {
		return errors.New("mail: nobody to send it to")
	}
	if m.From == "" {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("mail: name a sender: %w", err)
		}
		m.From = "mbk@" + name
	}
	for _, address := range append([]string{m.From}, m.To...) {
		if _, err := netmail.ParseAddress(address); err != nil {
			return fmt.Errorf("mail: %q is not an address", address)
		}
	}
	if m.Timeout == 0 {
		m.Timeout = 30 * time.Second
	}
	return m.chooseServer()
}

// chooseServer sets the defaults of host, port and TLS.
func (m *Mail) chooseServer() error {
	m.host, m.port = strings.Trim(m.Server, "[]"), 0
	if host, port, err := net.SplitHostPort(m.Server); err == nil {
		if m.port, err = strconv.Atoi(port); err != nil || m.port < 1 || m.port > 65535 {
			return fmt.Errorf("mail server %q: the port is not a number from 1 to 65535", m.Server)
		}
		m.host = host
	}
	if m.host == "" {
		m.host = "localhost"
	}
	if strings.ContainsAny(m.host, " /@") {
		return fmt.Errorf("mail server %q is not HOST:PORT", m.Server)
	}
	switch m.TLS {
	case TLSStart, TLSImplicit, TLSNone:
	case TLSAuto:
		ip := net.ParseIP(m.host)
		switch {
		case m.port == 465:
			m.TLS = TLSImplicit
		case m.User == "" && (m.host == "localhost" || ip != nil && ip.IsLoopback()):
			m.TLS = TLSNone
		default:
			m.TLS = TLSStart
		}
	default:
		return fmt.Errorf("mail: TLS is %s, %s or %s, not %q", TLSStart, TLSImplicit, TLSNone, m.TLS)
	}
	if m.port == 0 {
		m.port = 25
		if m.TLS == TLSImplicit {
			m.port = 465
		}
	}
	return nil
}

// Send sends a message to every address. Call Validate first. The error names the
// addresses that failed.
func (m *Mail) Send(ctx context.Context, msg Message) error {
	ctx, cancel := context.WithTimeout(ctx, m.Timeout)
	defer cancel()
	if err := m.send(ctx, msg); err != nil {
		return advise(fmt.Errorf("mail server %s: %w", net.JoinHostPort(m.host, strconv.Itoa(m.port)), err))
	}
	return nil
}

func (m *Mail) send(ctx context.Context, msg Message) error {
	client, err := mail.NewClient(m.host, m.options(ctx)...)
	if err != nil {
		return err
	}
	all := make([]*mail.Msg, len(m.To))
	for i, to := range m.To {
		if all[i], err = m.compose(to, msg); err != nil {
			return err
		}
	}
	if err := client.DialWithContext(ctx); err != nil {
		return err
	}
	failed := client.Send(all...)
	var errs []error
	for i, one := range all {
		if err := one.SendError(); err != nil {
			errs = append(errs, fmt.Errorf("to %s: %w", m.To[i], err))
		}
	}
	if failed != nil && len(errs) == 0 {
		errs = append(errs, failed)
	}
	closed := client.Close()
	if len(errs) == 0 && closed != nil && ctx.Err() != nil {
		errs = append(errs, closed) // otherwise the server has accepted everything, and only QUIT failed
	}
	return errors.Join(errs...)
}

// options returns the options of the connection.
func (m *Mail) options(ctx context.Context) []mail.Option {
	deadline, _ := ctx.Deadline() // Send sets one
	options := []mail.Option{
		mail.WithPort(m.port), mail.WithTimeout(max(time.Until(deadline), time.Second)),
		mail.WithTLSConfig(&tls.Config{ServerName: m.host, RootCAs: m.Roots, MinVersion: tls.VersionTLS12}),
	}
	switch m.TLS {
	case TLSImplicit:
		options = append(options, mail.WithSSL())
	case TLSNone:
		options = append(options, mail.WithTLSPolicy(mail.NoTLS))
	default:
		options = append(options, mail.WithTLSPolicy(mail.TLSMandatory))
	}
	if m.User != "" {
		options = append(options, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover),
			mail.WithUsername(m.User), mail.WithPassword(m.Password))
	}
	return options
}

// compose makes the mail for one address.
func (m *Mail) compose(to string, msg Message) (*mail.Msg, error) {
	one := mail.NewMsg()
	if err := one.From(m.From); err != nil {
		return nil, err
	}
	if err := one.To(to); err != nil {
		return nil, err
	}
	one.Subject(msg.Subject)
	one.SetDate()
	one.SetMessageID()
	// No automatic replies, please.
	one.SetGenHeader("Auto-Submitted", "auto-generated")
	one.SetBodyString(mail.TypeTextPlain, msg.Text)
	if len(msg.HTML) > 0 { // mail programs show this rather than the text, which comes first
		one.AddAlternativeString(mail.TypeTextHTML, string(msg.HTML))
	}
	if len(msg.JSON) > 0 {
		one.AttachReadSeeker("mbk.json", bytes.NewReader(msg.JSON), mail.WithFileContentType("application/json"))
	}
	if len(msg.Page) > 0 {
		one.AttachReadSeeker("report.html", bytes.NewReader(msg.Page), mail.WithFileContentType("text/html"))
	}
	return one, nil
}

// advise adds a hint to common errors.
func advise(err error) error {
	var (
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		record  tls.RecordHeaderError
		refused *net.OpError
	)
	switch text := err.Error(); {
	case errors.As(err, &unknown):
		return hint.Wrap(err,
			"install the authority that signed its certificate on this machine, or name it in $SSL_CERT_FILE")
	case errors.As(err, &name):
		return hint.Wrap(err, "name the server as its certificate does")
	case errors.As(err, &record), strings.Contains(text, "first record does not look like a TLS handshake"):
		return hint.Wrap(err, "the server does not begin with TLS on this port: use starttls")
	case strings.Contains(text, "STARTTLS"):
		return hint.Wrap(err, "the server does not offer STARTTLS on this port: use tls, on port 465 as a rule, "+
			"or none for a server that you reach without leaving your network")
	case strings.Contains(text, "AUTH"):
		return hint.Wrap(err, "check the user and the password of the mail account; passwords are sent over TLS only")
	case errors.As(err, &refused):
		return hint.Wrap(err, "check host and port of the mail server")
	}
	return hint.Wrap(err, "see the mail server's log")
}
