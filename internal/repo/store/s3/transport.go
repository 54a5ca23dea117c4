package s3

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"mbk/internal/hint"
)

// maxAnswer bounds the body of an answer that is read as a whole, in bytes: lists, and
// errors. A list has up to 1000 entries with keys of up to 1 KiB.
const maxAnswer = 16 << 20

// transport returns the HTTP client's lower half.
func (o Options) transport(l limits) (http.RoundTripper, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if name := first(o.CAFile, os.Getenv("AWS_CA_BUNDLE")); name != "" {
		pool, err := trusted(name)
		if err != nil {
			return nil, hint.Wrap(&optionError{fmt.Errorf("certificates to trust: %w", err)},
				"name a file in PEM format with "+hint.Option("s3-ca-file"))
		}
		config.RootCAs = pool
	}
	return &bounded{&http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: l.connect, KeepAlive: 15 * time.Second}).DialContext,
		TLSClientConfig:       config,
		TLSHandshakeTimeout:   l.connect,
		ResponseHeaderTimeout: l.complete, // a watch is stricter where it can be
		IdleConnTimeout:       30 * time.Second,
		MaxIdleConnsPerHost:   64,
		WriteBufferSize:       64 << 10,
		ReadBufferSize:        64 << 10,
		DisableCompression:    true, // an object is what its bytes are
	}}, nil
}

// trusted returns the system's certificates and those in a file.
func trusted(name string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s has no certificate in PEM format", name)
	}
	return pool, nil
}

// bounded limits the bodies of all answers but those that are objects.
type bounded struct{ next http.RoundTripper }

// RoundTrip makes one request.
func (b *bounded) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := b.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	object := r.Method == http.MethodGet && r.URL.RawQuery == "" &&
		(answer.StatusCode == http.StatusOK || answer.StatusCode == http.StatusPartialContent)
	if !object {
		answer.Body = &boundedBody{answer.Body, maxAnswer}
		showError(answer)
	}
	return answer, nil
}

// showError gives an answer of success whose document is an error the status of one: a
// store may notice an error after it has sent the status. Without that a list would be
// empty, since nobody looks at the name of a document.
func showError(answer *http.Response) {
	if answer.StatusCode != http.StatusOK || answer.ContentLength == 0 || answer.Request.Method == http.MethodHead {
		return
	}
	body := bufio.NewReaderSize(answer.Body, 4<<10)
	head, _ := body.Peek(512) // whoever reads the body gets the error
	answer.Body = struct {
		io.Reader
		io.Closer
	}{body, answer.Body}
	if isError(head) {
		answer.StatusCode, answer.Status = http.StatusServiceUnavailable, "503 in an answer of 200"
	}
}

// isError reports whether a document begins as that of an error.
func isError(head []byte) bool {
	head = bytes.TrimSpace(bytes.TrimPrefix(head, []byte("\xef\xbb\xbf")))
	if bytes.HasPrefix(head, []byte("<?xml")) {
		_, head, _ = bytes.Cut(head, []byte("?>"))
		head = bytes.TrimSpace(head)
	}
	return bytes.HasPrefix(head, []byte("<Error>")) || bytes.HasPrefix(head, []byte("<Error "))
}

type boundedBody struct {
	io.ReadCloser
	left int64
}

// Read fails when the body is too large.
func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("an answer of more than %d bytes", maxAnswer)
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// errStalled is the cause of a request that was given up.
var errStalled = errors.New("nothing was transferred for too long")

// watch ends a request when nothing happens for some time.
type watch struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
}

// newWatch returns a watch that ends the request after d, unless allow is called before.
func newWatch(ctx context.Context, d time.Duration) *watch {
	w := &watch{}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.timer = time.AfterFunc(d, func() { w.cancel(errStalled) })
	return w
}

// allow gives the request another d until something has to happen.
func (w *watch) allow(d time.Duration) { w.timer.Reset(d) }

// pause stops the clock, while the request waits for its reader.
func (w *watch) pause() { w.timer.Stop() }

// end frees what the watch holds.
func (w *watch) end() {
	w.timer.Stop()
	w.cancel(nil)
}

// why returns errStalled instead of an error that only says that the request was ended.
func (w *watch) why(err error) error {
	if err != nil && errors.Is(context.Cause(w.ctx), errStalled) {
		return errStalled
	}
	return err
}

// within makes a request that has to be answered within d.
func (s *Store) within(ctx context.Context, d time.Duration, request func(w *watch) error) error {
	w := newWatch(ctx, d)
	defer w.end()
	return w.why(request(w))
}

// errEnded is what a request reads that has ended already.
var errEnded = errors.New("the request has ended")

// body is what a request sends. It may stand still for stall, and the answer has to come
// within answer. The HTTP client may read on after the request has failed: end stops that.
type body struct {
	limits limits
	w      *watch

	mu      sync.Mutex
	content io.ReadSeeker // nil after end
	left    int64         // bytes
}

// Read is called when the connection can take more.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.content == nil {
		return 0, errEnded
	}
	n, err := b.content.Read(p)
	if b.left -= int64(n); b.left > 0 {
		b.w.allow(b.limits.stall)
	} else {
		b.w.allow(b.limits.answer)
	}
	return n, err
}

// Seek is asked for by the library, which could send a body again.
func (b *body) Seek(offset int64, whence int) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.content == nil {
		return 0, errEnded
	}
	return b.content.Seek(offset, whence)
}

// end makes sure that nothing is read any more.
func (b *body) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.content = nil
}
