package notify

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net"
	"net/http"
	"net/http/httptest"
	netmail "net/mail"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"mbk/internal/hint"
	"mbk/internal/test/smtptest"
)

// unused is an address where nobody listens.
func unused(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // it took no connection
	return l.Addr().String()
}

func TestMail(t *testing.T) {
	const user, password = "mbk@example.com", "geheim"
	for _, c := range []struct {
		name      string
		server    smtptest.Options
		tls       TLS
		user      string
		password  string
		distrust  bool
		to        []string
		encrypted bool
		got       []string // who gets it
		bad       string   // part of the error
		advice    string
	}{
		{name: "plain text to this machine", got: []string{"dba@example.com"}},
		{name: "two receivers, a mail each", to: []string{"a@example.com", "B <b@example.com>"},
			got: []string{"a@example.com", "b@example.com"}},
		{name: "STARTTLS with login", server: smtptest.Options{StartTLS: true, User: user, Password: password}, user: user,
			password: password, encrypted: true, got: []string{"dba@example.com"}},
		{name: "TLS with login", server: smtptest.Options{TLS: true, User: user, Password: password}, tls: TLSImplicit,
			user: user, password: password, encrypted: true, got: []string{"dba@example.com"}},
		{name: "STARTTLS without login", server: smtptest.Options{StartTLS: true}, tls: TLSStart, encrypted: true,
			got: []string{"dba@example.com"}},
		{name: "wrong password", server: smtptest.Options{StartTLS: true, User: user, Password: password}, user: user,
			password: "wrong-word", bad: "AUTH failed", advice: "check the user"},
		{name: "login where none is offered", server: smtptest.Options{StartTLS: true, User: user, Password: password},
			tls: TLSNone, user: user, password: password, bad: "AUTH", advice: "over TLS only"},
		{name: "no STARTTLS", tls: TLSStart, bad: "STARTTLS", advice: "use tls"},
		{name: "TLS to a plain server", tls: TLSImplicit, bad: "first record does not look like a TLS handshake",
			advice: "use starttls"},
		{name: "a certificate of nobody we know", server: smtptest.Options{StartTLS: true}, tls: TLSStart, distrust: true,
			bad: "certificate", advice: "SSL_CERT_FILE"},
		{name: "login is wanted", server: smtptest.Options{StartTLS: true, User: user, Password: password}, tls: TLSStart,
			bad: "authenticate", advice: "log"},
		{name: "one receiver is unknown", server: smtptest.Options{Refuse: "gone@example.com"},
			to: []string{"gone@example.com", "dba@example.com"}, got: []string{"dba@example.com"}, bad: "to gone@example.com",
			advice: "log"},
		{name: "a server that says nothing", server: smtptest.Options{Silent: true}, bad: "timeout", advice: "host and port"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			srv := smtptest.Start(t, c.server)
			m := &Mail{Server: srv.Addr, TLS: c.tls, From: "mbk@example.com", To: c.to, User: c.user, Password: c.password,
				Roots: srv.Roots}
			if c.to == nil {
				m.To = []string{"dba@example.com"}
			}
			if c.server.Silent {
				m.Timeout = 500 * time.Millisecond
			}
			if c.distrust {
				m.Roots = nil
			}
			if err := m.Validate(); err != nil {
				t.Fatal(err)
			}
			err := m.Send(t.Context(), Message{Subject: "s", Text: "t"})
			if c.bad == "" && err != nil || c.bad != "" &&
				(err == nil || !strings.Contains(err.Error(), c.bad) || !strings.Contains(err.Error(), srv.Addr)) {
				t.Errorf("Send = %v, want %q", err, c.bad)
			}
			if advice := hint.Join(hint.Attached(err), "; ").String(); !strings.Contains(advice, c.advice) || err != nil &&
				advice == "" {
				t.Errorf("hints %q of %v, want %q", advice, err, c.advice)
			}
			if err != nil && c.password != "" && strings.Contains(err.Error(), c.password) {
				t.Errorf("the error shows the password: %v", err)
			}
			var got []string
			for _, one := range srv.Mails() {
				got = append(got, one.To...)
				if one.Encrypted != c.encrypted || one.User != c.user || one.From != "mbk@example.com" {
					t.Errorf("mail of %q, login %q, encrypted %v", one.From, one.User, one.Encrypted)
				}
			}
			if slices.Sort(got); !slices.Equal(got, c.got) {
				t.Errorf("%q got it, want %q", got, c.got)
			}
		})
	}
}

// What is in a mail arrives as it was, whatever letters it has.
func TestMailContent(t *testing.T) {
	srv := smtptest.Start(t, smtptest.Options{})
	m := &Mail{Server: srv.Addr, To: []string{"dba@example.com"}}
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	subject := "mbk: backup of dbü FAILED: " + strings.Repeat("x", 200) + "\r\nBcc: all@example.com"
	text := "table `größe`\n.\nend\n" + strings.Repeat("long ", 400)
	page := "<!DOCTYPE html>\n<p>ü " + strings.Repeat("long ", 400)
	message := Message{Subject: subject, Text: text, JSON: []byte(`{"id": "ü"}`), Page: []byte(page)}
	if err := m.Send(t.Context(), message); err != nil {
		t.Fatal(err)
	}
	mails := srv.Mails()
	if len(mails) != 1 || !slices.Equal(mails[0].To, []string{"dba@example.com"}) ||
		!strings.HasPrefix(mails[0].From, "mbk@") {
		t.Fatalf("got %+v", mails)
	}
	msg, err := netmail.ReadMessage(strings.NewReader(mails[0].Data))
	if err != nil {
		t.Fatal(err)
	}
	got, err := new(mime.WordDecoder).DecodeHeader(msg.Header.Get("Subject"))
	if err != nil || strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(subject), " ") {
		t.Errorf("subject %q, %v", got, err)
	}
	if msg.Header.Get("Bcc") != "" || msg.Header.Get("Auto-Submitted") != "auto-generated" ||
		msg.Header.Get("Date") == "" || msg.Header.Get("Message-ID") == "" {
		t.Errorf("headers %v", msg.Header)
	}
	_, params, err := mime.ParseMediaType(msg.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	parts := multipart.NewReader(msg.Body, params["boundary"])
	body, err := parts.NextPart() // decodes quoted-printable
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(body)
	if err != nil || strings.ReplaceAll(strings.TrimSpace(string(b)), "\r\n", "\n") != strings.TrimSpace(text) {
		t.Errorf("text %q, %v", b, err)
	}
	attached, err := parts.NextPart()
	if err != nil {
		t.Fatal(err)
	}
	b, err = io.ReadAll(base64.NewDecoder(base64.StdEncoding, attached))
	if err != nil || string(b) != `{"id": "ü"}` || attached.FileName() != "mbk.json" ||
		!strings.HasPrefix(attached.Header.Get("Content-Type"), "application/json") {
		t.Errorf("attached %q, %q, %v, %v", attached.FileName(), b, attached.Header, err)
	}
	if attached, err = parts.NextPart(); err != nil {
		t.Fatal(err)
	}
	b, err = io.ReadAll(base64.NewDecoder(base64.StdEncoding, attached))
	if err != nil || string(b) != page || attached.FileName() != "report.html" ||
		!strings.HasPrefix(attached.Header.Get("Content-Type"), "text/html") {
		t.Errorf("attached %q, %q, %v, %v", attached.FileName(), b, attached.Header, err)
	}
}

func TestMailOptions(t *testing.T) {
	to := []string{"dba@example.com"}
	for _, c := range []struct {
		name string
		mail Mail
		host string
		port int
		tls  TLS
		bad  string
	}{
		{name: "this machine", mail: Mail{To: to}, host: "localhost", port: 25, tls: TLSNone},
		{name: "this machine with a login", mail: Mail{To: to, User: "u"}, host: "localhost", port: 25, tls: TLSStart},
		{name: "this machine by its address", mail: Mail{To: to, Server: "[::1]:2525"}, host: "::1", port: 2525,
			tls: TLSNone},
		{name: "another machine", mail: Mail{To: to, Server: "mail.example.com"}, host: "mail.example.com", port: 25,
			tls: TLSStart},
		{name: "port of submission", mail: Mail{To: to, Server: "mail.example.com:587"}, host: "mail.example.com", port: 587,
			tls: TLSStart},
		{name: "port of TLS", mail: Mail{To: to, Server: "mail.example.com:465"}, host: "mail.example.com", port: 465,
			tls: TLSImplicit},
		{name: "TLS without a port", mail: Mail{To: to, Server: "mail.example.com", TLS: TLSImplicit},
			host: "mail.example.com", port: 465, tls: TLSImplicit},
		{name: "none to another machine, if so asked", mail: Mail{To: to, Server: "relay", TLS: TLSNone}, host: "relay",
			port: 25, tls: TLSNone},
		{name: "an address with a name", mail: Mail{To: []string{"The DBAs <dba@example.com>"}}, host: "localhost", port: 25,
			tls: TLSNone},
		{name: "nobody", mail: Mail{}, bad: "nobody"},
		{name: "not an address", mail: Mail{To: []string{"dba"}}, bad: `"dba" is not an address`},
		{name: "not a sender", mail: Mail{To: to, From: "me at home"}, bad: `"me at home" is not an address`},
		{name: "not a port", mail: Mail{To: to, Server: "relay:smtp"}, bad: "port"},
		{name: "a port out of range", mail: Mail{To: to, Server: "relay:70000"}, bad: "port"},
		{name: "an address of the web", mail: Mail{To: to, Server: "smtp://relay"}, bad: "smtp://relay"},
		{name: "no kind of TLS", mail: Mail{To: to, TLS: "ssl"}, bad: `not "ssl"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := c.mail
			err := m.Validate()
			if c.bad != "" {
				if err == nil || !strings.Contains(err.Error(), c.bad) {
					t.Errorf("Validate = %v, want %q", err, c.bad)
				}
				return
			}
			if err != nil || m.host != c.host || m.port != c.port || m.TLS != c.tls {
				t.Errorf("Validate = %v, host %s port %d TLS %q, want %s %d %q", err, m.host, m.port, m.TLS, c.host, c.port, c.tls)
			}
		})
	}
}

// hall is a web server that answers as it is told, and keeps what it gets.
type hall struct {
	mu     sync.Mutex
	status []int // of the answers to come; the last one stays
	got    []string
}

func (h *hall) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" || !json.Valid(b) {
		h.got = append(h.got, fmt.Sprintf("%s %q %v", r.Method, b, r.Header))
	} else {
		h.got = append(h.got, r.URL.Path+" "+r.UserAgent()+" "+string(b))
	}
	status := h.status[0]
	if len(h.status) > 1 {
		h.status = h.status[1:]
	}
	if status == 0 {
		h.mu.Unlock()
		<-r.Context().Done() // until the client gives up
		h.mu.Lock()
		return
	}
	w.Header().Set("Location", "/elsewhere")
	w.WriteHeader(status)
	fmt.Fprint(w, "no \x1b[31mtoken\nmore")
}

func TestWebhook(t *testing.T) {
	for _, c := range []struct {
		name   string
		status []int
		calls  int
		bad    string
	}{
		{name: "taken", status: []int{204}, calls: 1},
		{name: "busy at first", status: []int{503, 429, 200}, calls: 3},
		{name: "silent at first", status: []int{0, 200}, calls: 2},
		{name: "broken", status: []int{500}, calls: 3, bad: "answers 500 Internal Server Error: no [31mtoken"},
		{name: "refused", status: []int{403}, calls: 1, bad: "answers 403 Forbidden: no [31mtoken"},
		{name: "redirected", status: []int{302}, calls: 1, bad: "answers 302 Found"},
		{name: "silent", status: []int{0}, calls: 3, bad: "no answer within 300ms"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			h := &hall{status: c.status}
			srv := httptest.NewServer(h)
			defer srv.Close()
			w := &Webhook{URL: srv.URL + "/services/secret-token?key=secret-key", Agent: "mbk 1.0",
				Timeout: 300 * time.Millisecond, Pause: time.Millisecond}
			if err := w.Validate(); err != nil {
				t.Fatal(err)
			}
			err := w.Post(t.Context(), Message{JSON: []byte(`{"a":1}`)})
			if c.bad == "" && err != nil || c.bad != "" &&
				(err == nil || err.Error() != "webhook "+srv.URL+"/...: "+c.bad && c.bad != "answers 302 Found" ||
					!strings.Contains(err.Error(), c.bad)) {
				t.Errorf("Post = %v, want %q", err, c.bad)
			}
			if err != nil && (strings.Contains(err.Error(), "secret") || len(hint.Attached(err)) == 0) {
				t.Errorf("Post = %v, hints %q", err, hint.Attached(err))
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			if len(h.got) != c.calls {
				t.Errorf("%d calls, want %d: %q", len(h.got), c.calls, h.got)
			}
			for _, got := range h.got {
				if got != `/services/secret-token mbk/1.0 {"a":1}` {
					t.Errorf("got %q", got)
				}
			}
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		w := &Webhook{URL: "http://" + unused(t) + "/secret", Pause: time.Millisecond}
		if err := w.Validate(); err != nil {
			t.Fatal(err)
		}
		if err := w.Post(t.Context(), Message{}); err == nil || !strings.Contains(err.Error(), "connection refused") ||
			strings.Contains(err.Error(), "secret") {
			t.Errorf("Post = %v", err)
		}
	})
	t.Run("interrupted between two tries", func(t *testing.T) {
		srv := httptest.NewServer(&hall{status: []int{500}})
		defer srv.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		w := &Webhook{URL: srv.URL, Pause: time.Hour}
		if err := w.Validate(); err != nil {
			t.Fatal(err)
		}
		if err := w.Post(ctx, Message{}); err == nil || !strings.Contains(err.Error(), "answers 500") {
			t.Errorf("Post = %v", err)
		}
	})
}

// Many a server says which address it does not know.
func TestWebhookThatNamesItsAddress(t *testing.T) {
	for name, repeat := range map[string]int{"once": 1, "cut": 30} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.WriteHeader(http.StatusNotFound)
				fmt.Fprint(w, strings.Repeat("Cannot POST "+r.RequestURI+" or "+r.URL.Path+" ", repeat))
			}))
			defer srv.Close()
			w := &Webhook{URL: srv.URL + "/services/T0123456789/hush%20hush-abcdef?key=hidden-key"}
			if err := w.Validate(); err != nil {
				t.Fatal(err)
			}
			err := w.Post(t.Context(), Message{})
			if err == nil || !strings.Contains(err.Error(), "answers 404 Not Found: Cannot POST /.../.../...") {
				t.Fatalf("Post = %v, want the answer without what may be secret", err)
			}
			for _, secret := range []string{"T012", "hush", "hidden"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("Post = %v, which holds %q", err, secret)
				}
			}
		})
	}
}

func TestWebhookAddress(t *testing.T) {
	for _, bad := range []string{"", "hooks.example.com/x", "ftp://example.com/x", "https:///x", "http://[::1"} {
		w := &Webhook{URL: bad}
		if err := w.Validate(); err == nil || bad != "" && strings.Contains(err.Error(), bad) {
			t.Errorf("Validate of %q = %v", bad, err)
		}
	}
	w := &Webhook{URL: "https://user:word@hooks.example.com:8443/T0/B1/secret?x=y"}
	if err := w.Validate(); err != nil || w.String() != "https://hooks.example.com:8443/..." {
		t.Errorf("Validate = %v, String = %q", err, w.String())
	}
}

// A mail with a page has the text first, for those who read that, and the page after it.
func TestMailWithAPage(t *testing.T) {
	srv := smtptest.Start(t, smtptest.Options{})
	m := &Mail{Server: srv.Addr, To: []string{"dba@example.com"}}
	if err := m.Validate(); err != nil {
		t.Fatal(err)
	}
	message := Message{Subject: "s", Text: "the text", HTML: []byte("<p>the ü page</p>"), JSON: []byte("{}")}
	if err := m.Send(t.Context(), message); err != nil {
		t.Fatal(err)
	}
	msg, err := netmail.ReadMessage(strings.NewReader(srv.Mails()[0].Data))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	var walk func(kind string, body io.Reader)
	walk = func(kind string, body io.Reader) {
		kind, params, err := mime.ParseMediaType(kind)
		if err != nil {
			t.Fatal(err)
		}
		if got = append(got, kind); params["boundary"] == "" {
			b, err := io.ReadAll(body)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, strings.TrimSpace(string(b)))
			return
		}
		for parts := multipart.NewReader(body, params["boundary"]); ; {
			part, err := parts.NextPart()
			if err == io.EOF {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			walk(part.Header.Get("Content-Type"), part)
		}
	}
	walk(msg.Header.Get("Content-Type"), msg.Body)
	want := []string{"multipart/mixed", "multipart/alternative", "text/plain", "the text", "text/html",
		"<p>the ü page</p>", "application/json", "e30="}
	if !slices.Equal(got, want) {
		t.Errorf("the mail has %q, want %q", got, want)
	}
}
