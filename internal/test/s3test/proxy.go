package s3test

import (
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Fault is something that goes wrong between a client and a store.
type Fault string

// The faults. Those with a status answer by themselves, and the store sees nothing.
const (
	InternalError Fault = "500 InternalError"
	SlowDown      Fault = "503 SlowDown"
	BadGateway    Fault = "502 of a proxy, in HTML"
	Conflict      Fault = "409 ConditionalRequestConflict"
	Forbidden     Fault = "403 AccessDenied"
	ErrorIn200    Fault = "200 with an error in it"
	CutRequest    Fault = "the connection is cut in the middle of the request"
	CutAnswer     Fault = "the connection is cut in the middle of the answer"
	LoseAnswer    Fault = "the request is carried out, and the answer is lost"
	Hang          Fault = "nothing is answered, and the connection stays"
	HangInAnswer  Fault = "the answer stands still in the middle, and the connection stays"
	Slow          Fault = "a few bytes at a time"
	SlowRequest   Fault = "the request arrives with 1 MiB/s at most"
)

// Proxy stands between a client and a store, and does what it is told to a number of
// requests. It ends with the test.
type Proxy struct {
	Endpoint string // its URL
	CAFile   string // PEM of the certificate that it shows, "" if it speaks no TLS

	pass  *httputil.ReverseProxy
	ended chan struct{} // closed at the end of the test

	mu    sync.Mutex
	match func(*http.Request) bool
	fault Fault
	left  int
	hit   int

	latency atomic.Int64 // time.Duration before each request is passed on
	read    atomic.Int64 // bytes of answers that were passed on
}

// countedBody is an answer of which the bytes are counted.
type countedBody struct {
	io.ReadCloser
	n *atomic.Int64
}

// Read counts.
func (b countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}

// NewProxy starts a proxy in front of a server.
func NewProxy(t testing.TB, s *Server) *Proxy {
	t.Helper()
	return newProxy(t, s, httptest.NewServer)
}

// NewTLSProxy starts a proxy that speaks TLS.
func NewTLSProxy(t testing.TB, s *Server) *Proxy {
	t.Helper()
	var shown []byte
	p := newProxy(t, s, func(handler http.Handler) *httptest.Server {
		listening := httptest.NewUnstartedServer(handler)
		listening.Config.ErrorLog = log.New(io.Discard, "", 0) // of clients that do not trust it
		listening.StartTLS()
		shown = listening.Certificate().Raw
		return listening
	})
	p.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: shown})
	if err := os.WriteFile(p.CAFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func newProxy(t testing.TB, s *Server, serve func(http.Handler) *httptest.Server) *Proxy {
	t.Helper()
	target, err := url.Parse(s.Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{ended: make(chan struct{})}
	p.pass = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = r.In.Host // it is signed
		},
		ModifyResponse: func(r *http.Response) error {
			r.Body = countedBody{r.Body, &p.read}
			return nil
		},
		FlushInterval: -1,
		ErrorHandler:  func(w http.ResponseWriter, _ *http.Request, _ error) { cut(w) },
		ErrorLog:      log.New(io.Discard, "", 0),
	}
	listening := serve(p)
	t.Cleanup(func() {
		close(p.ended)
		listening.CloseClientConnections()
		listening.Close()
	})
	p.Endpoint = listening.URL
	return p
}

// Break makes the next n requests for which match is true fail.
func (p *Proxy) Break(f Fault, n int, match func(*http.Request) bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault, p.left, p.match, p.hit = f, n, match, 0
}

// Delay makes each request from now on take so much longer.
func (p *Proxy) Delay(d time.Duration) { p.latency.Store(int64(d)) }

// Read is how many bytes of answers were passed on so far.
func (p *Proxy) Read() int64 { return p.read.Load() }

// Hits is how many requests have failed since Break.
func (p *Proxy) Hits() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hit
}

// next returns the fault of a request, "" for none.
func (p *Proxy) next(r *http.Request) Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left == 0 || !p.match(r) {
		return ""
	}
	p.left--
	p.hit++
	return p.fault
}

// ServeHTTP passes a request on, or not.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	time.Sleep(time.Duration(p.latency.Load()))
	switch f := p.next(r); f {
	case "":
		p.pass.ServeHTTP(w, r)
	case InternalError, SlowDown, Conflict, Forbidden:
		status, code, _ := strings.Cut(string(f), " ")
		answer(w, int(status[0]-'0')*100+int(status[2]-'0'), code)
	case ErrorIn200:
		answer(w, http.StatusOK, "InternalError")
	case BadGateway:
		http.Error(w, "<html><body>bad gateway</body>", http.StatusBadGateway)
	case CutRequest:
		_, _ = io.CopyN(io.Discard, r.Body, r.ContentLength/2) // whatever it has
		cut(w)
	case LoseAnswer:
		p.pass.ServeHTTP(discard{w.Header().Clone()}, r)
		cut(w)
	case SlowRequest:
		r.Body = slowBody{r.Body}
		p.pass.ServeHTTP(w, r)
	case CutAnswer, HangInAnswer, Slow:
		p.pass.ServeHTTP(&half{ResponseWriter: w, p: p, r: r, fault: f}, r)
	case Hang:
		p.wait(r)
		cut(w)
	}
}

// wait waits until the client gives up. That is not noticed before its body is read.
func (p *Proxy) wait(r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-p.ended:
	}
}

// cut closes the connection.
func cut(w http.ResponseWriter) {
	if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_ = c.Close() // nobody waits for it
	}
}

// answer answers as S3 does.
func answer(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>`+code+
		`</Code><Message>made by a test</Message></Error>`) // the client may be gone
}

// slowBody is a body that arrives slowly.
type slowBody struct{ io.ReadCloser }

func (b slowBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p[:min(len(p), 32<<10)])
	time.Sleep(time.Duration(n) * time.Second >> 20)
	return n, err
}

// discard takes an answer that nobody gets.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

// half passes on a part of an answer's body.
type half struct {
	http.ResponseWriter
	p     *Proxy
	r     *http.Request
	fault Fault
	ended bool
}

// FlushError is for http.ResponseController, which flushes after each Write.
func (h *half) FlushError() error {
	if h.ended {
		return net.ErrClosed
	}
	return http.NewResponseController(h.ResponseWriter).Flush()
}

// Write passes on the first half of p, and then does what the fault is.
func (h *half) Write(p []byte) (int, error) {
	flush := func(p []byte) {
		_, _ = h.ResponseWriter.Write(p) // the client may be gone
		_ = h.FlushError()
	}
	if h.fault == Slow {
		for i := 0; i < len(p); i += 16 << 10 {
			flush(p[i:min(len(p), i+16<<10)])
			time.Sleep(2 * time.Millisecond)
		}
		return len(p), nil
	}
	flush(p[:len(p)/2])
	if h.fault == HangInAnswer {
		h.p.wait(h.r)
	}
	h.ended = true
	cut(h.ResponseWriter)
	return 0, net.ErrClosed
}
