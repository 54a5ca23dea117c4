package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"

	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/repo/store"
	"mbk/internal/repo/store/lease"
	"mbk/internal/repo/store/storetest"
	"mbk/internal/test/executable"
	"mbk/internal/test/s3test"
)

// quick are limits with which nothing takes long.
func quick() limits {
	return limits{
		connect: time.Second, answer: time.Second, complete: time.Second, stall: time.Second,
		opening: time.Second, patience: 10 * time.Second, pause: 10 * time.Millisecond, longest: 200 * time.Millisecond,
		orphan: time.Hour, lookAgain: 100 * time.Millisecond,
		lease: lease.Times{
			Renew: 200 * time.Millisecond, Hold: 5 * time.Second, Dead: 6 * time.Second, Poll: 20 * time.Millisecond,
		},
	}
}

// environment has the credentials that a test server accepts, and nothing else that counts.
func environment(t *testing.T) {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", s3test.AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", s3test.SecretKey)
	for _, name := range []string{"AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION", "AWS_ENDPOINT_URL", "AWS_CA_BUNDLE"} {
		t.Setenv(name, "")
	}
}

// openAt opens a store at an endpoint of a server, below a prefix.
func openAt(t *testing.T, server *s3test.Server, endpoint, prefix string, change ...func(*Options, *limits)) *Store {
	t.Helper()
	o, l := Options{
		Endpoint: endpoint, AllowHTTP: true, PartSize: MinPartSize, Region: "us-east-1",
		CredentialsFile: server.CredentialsFile,
	}, quick()
	for _, c := range change {
		c(&o, &l)
	}
	s, err := open(t.Context(), "s3://"+s3test.Bucket+"/"+prefix, o, l)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	t.Parallel()
	server := s3test.New(t)
	n := 0
	next := func(t *testing.T) *Store {
		n++
		return openAt(t, server, server.Endpoint(), fmt.Sprint("suite/", n))
	}
	t.Run("with conditional writes", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) store.Store { return next(t) })
	})
	t.Run("without", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) store.Store {
			s := next(t)
			s.conditional = new(bool)
			return s
		})
	})
}

// content returns bytes that are not the same anywhere.
func content(size int) []byte {
	b := make([]byte, size)
	rand.Read(b) // never fails
	return b
}

// putPieces writes an object in pieces that do not fit its parts.
func putPieces(ctx context.Context, s *Store, name string, b []byte) error {
	return s.Put(ctx, name, func(w io.Writer) error {
		for rest := b; len(rest) > 0; {
			n, err := w.Write(rest[:min(len(rest), 700_001)])
			if err != nil {
				return err
			}
			rest = rest[n:]
		}
		return nil
	})
}

func wantContent(t *testing.T, s *Store, name string, want []byte) {
	t.Helper()
	got, err := store.ReadAll(t.Context(), s, name, 64<<20)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%s has %d bytes, %v; want the %d that were written", name, len(got), err, len(want))
	}
}

// wantNoUploads fails the test if there are parts of objects that are not complete.
func wantNoUploads(t *testing.T, s *Store) {
	t.Helper()
	if all, err := s.unfinished(t.Context(), s.root); err != nil || len(all) > 0 {
		t.Errorf("unfinished uploads: %d, %v", len(all), err)
	}
}

// Objects of all lengths around the parts.
func TestPutParts(t *testing.T) {
	t.Parallel()
	server := s3test.New(t)
	s := openAt(t, server, server.Endpoint(), "parts")
	for _, size := range []int{0, 1, MinPartSize - 1, MinPartSize, MinPartSize + 1, 3*MinPartSize + 12345} {
		want := content(size)
		if err := putPieces(t.Context(), s, "x", want); err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		wantContent(t, s, "x", want)
	}
	for _, checksum := range []string{ChecksumMD5, ChecksumNone} {
		other := openAt(t, server, server.Endpoint(), "parts", func(o *Options, _ *limits) { o.Checksum = checksum })
		for _, size := range []int{0, 1000, MinPartSize + 1} {
			want := content(size)
			if err := putPieces(t.Context(), other, "x", want); err != nil {
				t.Errorf("%d bytes, %s: %v", size, checksum, err)
			}
			wantContent(t, other, "x", want)
		}
	}
	wantNoUploads(t, s)
	if s.memory.used != 0 || len(s.uploads) != 0 {
		t.Errorf("after all is written: %d parts in memory, %d uploads", s.memory.used, len(s.uploads))
	}
}

// is matches requests by method and query: a part of an object has "partNumber".
func is(method, query string) func(*http.Request) bool {
	return func(r *http.Request) bool {
		asked := r.URL.RawQuery
		return r.Method == method && (query == asked || query != "" && strings.Contains(asked, query))
	}
}

// Whatever goes wrong once or twice with a request, the work is done, and right.
func TestFaults(t *testing.T) {
	t.Parallel()
	server := s3test.New(t)
	proxy := s3test.NewProxy(t, server)
	s := openAt(t, server, proxy.Endpoint, "faults", func(_ *Options, l *limits) {
		l.answer, l.complete, l.stall = 500*time.Millisecond, 500*time.Millisecond, 500*time.Millisecond
	})
	small, large := content(30_000), content(2*MinPartSize+54321)
	if err := putPieces(t.Context(), s, "large", large); err != nil {
		t.Fatal(err)
	}
	put := func(b []byte) func(t *testing.T) {
		return func(t *testing.T) {
			if err := putPieces(t.Context(), s, "new", b); err != nil {
				t.Errorf("Put: %v", err)
			}
			wantContent(t, s, "new", b)
		}
	}
	lost := []s3test.Fault{
		s3test.InternalError, s3test.SlowDown, s3test.BadGateway, s3test.Conflict, s3test.LoseAnswer, s3test.Hang,
	}
	sent := append([]s3test.Fault{s3test.CutRequest}, lost...)  // something with a body
	got := append([]s3test.Fault{s3test.CutAnswer}, lost...)    // something that is answered with a body
	made := append([]s3test.Fault{s3test.ErrorIn200}, got...)   // with a document
	read := append([]s3test.Fault{s3test.HangInAnswer}, got...) // with much
	for _, c := range []struct {
		name   string
		match  func(*http.Request) bool
		faults []s3test.Fault
		work   func(t *testing.T)
	}{
		{"put whole", is("PUT", ""), slices.Concat(sent, []s3test.Fault{s3test.ErrorIn200}), put(small)},
		{"begin an upload", is("POST", "uploads="), made, put(large)},
		{"send a part", is("PUT", "partNumber=2"), slices.Concat(sent, []s3test.Fault{s3test.ErrorIn200}), put(large)},
		{"send the last part", is("PUT", "partNumber=3"), sent, put(large)},
		{"complete an upload", is("POST", "uploadId="), made, put(large)},
		{"look at what was uploaded", is("HEAD", ""), lost, put(large)},
		{"read", is("GET", ""), append(read, s3test.Slow), func(t *testing.T) { wantContent(t, s, "large", large) }},
		{"list", is("GET", "list-type=2"), slices.Concat(read, []s3test.Fault{s3test.ErrorIn200}), func(t *testing.T) {
			if list, err := s.List(t.Context(), "l"); err != nil || len(list) != 1 || list[0].Size != int64(len(large)) {
				t.Errorf("List = %+v, %v", list, err)
			}
		}},
		{"delete", is("DELETE", ""), slices.Concat(lost, []s3test.Fault{s3test.ErrorIn200}), func(t *testing.T) {
			if err := s.Delete(t.Context(), "new"); err != nil {
				t.Errorf("Delete: %v", err)
			}
		}},
	} {
		for i, f := range c.faults {
			t.Run(c.name+": "+string(f), func(t *testing.T) {
				times := 1 + i%2
				if c.name == "complete an upload" {
					times = 1 // what was done is noticed
				}
				proxy.Break(f, times, c.match)
				c.work(t)
				if proxy.Hits() != times {
					t.Errorf("%d requests failed, want %d", proxy.Hits(), times)
				}
				if c.name == "begin an upload" { // some begin, and nobody knows
					sweeper := openAt(t, server, server.Endpoint(), "faults", func(_ *Options, l *limits) { l.orphan = 0 })
					if _, err := sweeper.SweepTemp(t.Context(), ""); err != nil {
						t.Error(err)
					}
				}
				wantNoUploads(t, s)
			})
		}
	}
}

// A failure that does not pass ends the work in time, and nothing is left of it.
func TestLastingFaults(t *testing.T) {
	t.Parallel()
	server := s3test.New(t)
	proxy := s3test.NewProxy(t, server)
	s := openAt(t, server, proxy.Endpoint, "lasting", func(_ *Options, l *limits) {
		// A store that is only slow must answer within them: else uploads begin of which nobody knows.
		l.answer, l.complete, l.stall = time.Second, time.Second, time.Second
		l.patience = 1500 * time.Millisecond
	})
	large := content(2*MinPartSize + 1)
	for _, f := range []s3test.Fault{s3test.SlowDown, s3test.Forbidden, s3test.CutRequest, s3test.Hang} {
		for name, match := range map[string]func(*http.Request) bool{
			"begin": is("POST", "uploads="), "part": is("PUT", "partNumber=1"), "complete": is("POST", "uploadId="),
		} {
			t.Run(name+": "+string(f), func(t *testing.T) {
				proxy.Break(f, 1000, match)
				err := putPieces(t.Context(), s, "x", large)
				var explained *Error
				if !errors.As(err, &explained) || !strings.Contains(err.Error(), "s3://backups/lasting") {
					t.Errorf("Put = %v", err)
				}
				advice := hint.Attached(err)
				config := fault.Of(err) == fault.Config
				if config != (f == s3test.Forbidden) || (advice == nil) != (f == s3test.SlowDown) {
					t.Errorf("Put = %v, of kind %v, with the advice %q", err, fault.Of(err), advice)
				}
				proxy.Break("", 0, nil)
				if list, err := s.List(t.Context(), ""); err != nil || len(list) > 0 {
					t.Errorf("List = %v, %v, want nothing", list, err)
				}
				wantNoUploads(t, s)
			})
		}
	}
	if err := putPieces(t.Context(), s, "x", large); err != nil {
		t.Fatal(err)
	}
	proxy.Break(s3test.CutRequest, 1000, is("GET", ""))
	if _, err := store.ReadAll(t.Context(), s, "x", 64<<20); err == nil || errors.Is(err, io.ErrUnexpectedEOF) ||
		fault.Of(err) == fault.Damage {
		t.Errorf("reading with cut connections: %v, of kind %v", err, fault.Of(err))
	}
}

// The store is killed in the middle of an upload and started again.
func TestRestartInUpload(t *testing.T) {
	t.Parallel()
	server := s3test.New(t)
	s := openAt(t, server, server.Endpoint(), "restart")
	started := make(chan struct{})
	want := content(4*MinPartSize + 99)
	err := s.Put(t.Context(), "x", func(w io.Writer) error {
		for i := range 4 {
			if _, err := w.Write(want[i*MinPartSize : (i+1)*MinPartSize]); err != nil {
				return err
			}
			if i == 1 {
				server.Kill()
				time.AfterFunc(500*time.Millisecond, func() {
					defer close(started)
					server.Start(t)
				})
			}
		}
		_, err := w.Write(want[4*MinPartSize:])
		return err
	})
	<-started
	if err != nil {
		t.Fatalf("Put: %v", err)
	}
	wantContent(t, s, "x", want)
}

// A store that is gone is waited for once, and not for each request.
func TestGone(t *testing.T) {
	t.Parallel()
	server := s3test.New(t)
	s := openAt(t, server, server.Endpoint(), "gone", func(_ *Options, l *limits) {
		l.patience, l.opening = 2*time.Second, 100*time.Millisecond
	})
	server.Kill()
	took := func() time.Duration {
		began := time.Now()
		if err := putPieces(t.Context(), s, "x", content(10)); err == nil {
			t.Error("Put succeeded")
		}
		return time.Since(began)
	}
	if first, second := took(), took(); first < 2*time.Second || second > first/2 {
		t.Errorf("Put fails after %v and then after %v", first, second)
	}
	server.Start(t)
	if err := putPieces(t.Context(), s, "x", content(10)); err != nil || s.gone.Load() {
		t.Errorf("Put = %v, gone: %v", err, s.gone.Load())
	}
}

// A store that is gone in the middle of a reading is waited for; an object that was
// replaced meanwhile is not read on.
func TestRestartInReading(t *testing.T) {
	t.Parallel()
	server := s3test.New(t)
	s := openAt(t, server, server.Endpoint(), "reading")
	want := content(24 << 20) // more than what the connection holds
	if err := putPieces(t.Context(), s, "x", want); err != nil {
		t.Fatal(err)
	}
	for _, replaced := range []bool{false, true} {
		r, err := s.Open(t.Context(), "x", 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		begin := make([]byte, 1<<20)
		if _, err := io.ReadFull(r, begin); err != nil {
			t.Fatal(err)
		}
		server.Kill()
		server.Start(t)
		if replaced {
			if err := putPieces(t.Context(), s, "x", content(24<<20)); err != nil {
				t.Fatal(err)
			}
		}
		rest, err := io.ReadAll(r)
		_ = r.Close()
		if same := bytes.Equal(append(begin, rest...), want); same == replaced || (err == nil) == replaced {
			t.Errorf("replaced %v: %d bytes, %v, as written: %v", replaced, len(rest), err, same)
		}
	}
}

// What a killed writer leaves is swept when nobody has worked on it for long enough.
func TestSweepTemp(t *testing.T) {
	t.Parallel()
	server := s3test.New(t)
	s := openAt(t, server, server.Endpoint(), "sweep")
	other := openAt(t, server, server.Endpoint(), "sweep")
	began := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { // never killed in a test: its process would be ours
		ended <- other.Put(ctx, "b/x", func(w io.Writer) error {
			_, err := w.Write(content(2*MinPartSize + 1))
			close(began)
			<-ctx.Done()
			return errors.Join(err, ctx.Err())
		})
	}()
	<-began
	wantSwept := func(by *Store, prefix string, want ...string) {
		t.Helper()
		got, err := by.SweepTemp(t.Context(), prefix)
		if err != nil || strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("SweepTemp(%q) = %q, %v; want %q", prefix, got, err, want)
		}
	}
	wantSwept(s, "")
	s.limits.orphan, other.limits.orphan = 0, 0
	wantSwept(other, "") // knows that it is at work
	wantSwept(s, "a/")
	wantSwept(s, "b/", "b/x")
	wantNoUploads(t, s)
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Put = %v", err)
	}
	if list, err := s.List(t.Context(), ""); err != nil || len(list) > 0 {
		t.Errorf("List = %v, %v", list, err)
	}
}

// Two stores race for an object, many times: one of them makes it.
func TestCreateRace(t *testing.T) {
	t.Parallel()
	server := s3test.New(t)
	a, b := openAt(t, server, server.Endpoint(), "race"), openAt(t, server, server.Endpoint(), "race")
	if can, err := a.probe(t.Context()); !can || err != nil {
		t.Fatalf("versitygw honours conditions: %v, %v", can, err)
	}
	for i := range 20 {
		won := make(chan error, 2)
		for _, s := range []*Store{a, b} {
			go func() { won <- s.create(t.Context(), s.key(fmt.Sprint("o", i)), []byte(fmt.Sprintf("%p", s))) }()
		}
		one, two := <-won, <-won
		if (one == nil) == (two == nil) || !errors.Is(errors.Join(one, two), fs.ErrExist) {
			t.Errorf("race %d: %v, %v; want one to win", i, one, two)
		}
	}
}

// Requests whose answers are wrong are noticed.
func TestWrongAnswers(t *testing.T) {
	r := reader{offset: 10, end: 20}
	for text, want := range map[string]int64{
		"bytes 10-19/100": 20, "bytes 10-12/13": 13, "": -1, "bytes 0-19/100": -1, "bytes 10-20/100": -1,
		"bytes 10-9/100": -1, "bytes */100": -1,
	} {
		end, err := r.answered(true, 5, http.Header{"Content-Range": {text}})
		if want < 0 && !errors.Is(err, errWrongAnswer) || want >= 0 && (end != want || err != nil) {
			t.Errorf("%q: %d, %v, want %d", text, end, err, want)
		}
	}
	if err := (&bounded{endless{}}).read(); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("an endless list: %v", err)
	}
}

// endless answers with a body that has no end.
type endless struct{}

func (endless) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Body: io.NopCloser(zeros{})}, nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func (b *bounded) read() error {
	r, err := http.NewRequest(http.MethodGet, "http://x/?list-type=2", nil)
	if err != nil {
		return err
	}
	answer, err := b.RoundTrip(r)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}

// What is wrong with the call is said at once, and no secret is in it.
func TestOpenErrors(t *testing.T) {
	environment(t)
	server := s3test.New(t)
	noHome := t.TempDir()
	for name, c := range map[string]struct {
		url    string
		change func(*Options)
		env    map[string]string
		want   string
		kind   fault.Kind
	}{
		"no bucket": {url: "s3://not-there/x", want: "NoSuchBucket", kind: fault.Config},
		"wrong key": {env: map[string]string{"AWS_ACCESS_KEY_ID": "nobody"}, want: "No user exists",
			kind: fault.Config},
		"wrong secret": {env: map[string]string{"AWS_SECRET_ACCESS_KEY": "hush-hush"}, want: "SignatureDoesNotMatch",
			kind: fault.Config},
		"plain http": {change: func(o *Options) { o.AllowHTTP = false }, want: "not encrypted", kind: fault.Config},
		"TLS expected": {change: func(o *Options) { o.Endpoint = server.Addr }, want: "HTTP response to HTTPS",
			kind: fault.Config},
		"nobody listens": {change: func(o *Options) { o.Endpoint = "http://127.0.0.1:1" }, want: "connection refused",
			kind: fault.Failed},
		"secrets in URL": {url: "s3://me:hush-hush@bucket/x", want: "more in it than a bucket", kind: fault.Config},
		"options in URL": {url: "s3://bucket/x?endpoint=hush-hush", want: "more in it than a bucket", kind: fault.Config},
		"secrets in server": {change: func(o *Options) { o.Endpoint = "https://me:hush-hush@host" }, want: "is not HOST",
			kind: fault.Config},
		"profile": {change: func(o *Options) { o.Profile = "night" }, want: `profile "night"`, kind: fault.Config},
		"missing file": {change: func(o *Options) { o.CredentialsFile = "/not/there" }, want: "no such file",
			kind: fault.Config},
		"nothing set": {env: map[string]string{"AWS_ACCESS_KEY_ID": "", "HOME": noHome, "AWS_EC2_METADATA_DISABLED": "true"},
			want: "tried $AWS_ACCESS_KEY_ID with $AWS_SECRET_ACCESS_KEY: not set; profile", kind: fault.Config},
	} {
		t.Run(name, func(t *testing.T) {
			o := Options{Endpoint: server.Endpoint(), AllowHTTP: true}
			if c.change != nil {
				c.change(&o)
			}
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			url := first(c.url, "s3://"+s3test.Bucket+"/x")
			began := time.Now()
			_, err := open(t.Context(), url, o, quick())
			if err == nil || !strings.Contains(err.Error(), c.want) || fault.Of(err) != c.kind {
				t.Fatalf("Open = %v, of kind %v; want %q", err, fault.Of(err), c.want)
			}
			told := err.Error() + fmt.Sprint(hint.Strings(hint.Attached(err)))
			if strings.Contains(told, "hush-hush") || strings.Contains(told, s3test.SecretKey) {
				t.Errorf("a secret is told: %s", told)
			}
			if c.kind == fault.Config && len(hint.Attached(err)) == 0 {
				t.Errorf("no advice on %v", err)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// A metadata service that does not answer is not waited for for long.
func TestCredentialsAreBounded(t *testing.T) {
	environment(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("HOME", t.TempDir())
	t.Setenv("AWS_EC2_METADATA_DISABLED", "")
	creds, err := Options{}.credentials()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_, err = creds.GetWithContext(nil)
	if err == nil || !strings.Contains(err.Error(), "the metadata service of EC2: ") {
		t.Errorf("credentials: %v", err)
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("it took %v", took)
	}
}

// The certificate of the store is verified, and who has signed it can be named.
func TestTLS(t *testing.T) {
	t.Parallel()
	server := s3test.New(t)
	proxy := s3test.NewTLSProxy(t, server)
	o := Options{Endpoint: proxy.Endpoint, CredentialsFile: server.CredentialsFile}
	_, err := open(t.Context(), "s3://"+s3test.Bucket, o, quick())
	if fault.Of(err) != fault.Config || !strings.Contains(fmt.Sprint(hint.Strings(hint.Attached(err))), "--s3-ca-file") {
		t.Errorf("Open = %v, of kind %v, with the advice %q", err, fault.Of(err), hint.Attached(err))
	}
	o.CAFile = server.CredentialsFile
	if _, err := open(t.Context(), "s3://"+s3test.Bucket, o, quick()); err == nil ||
		!strings.Contains(err.Error(), "no certificate in PEM format") {
		t.Errorf("Open = %v", err)
	}
	o.CAFile = proxy.CAFile
	s, err := open(t.Context(), "s3://"+s3test.Bucket, o, quick())
	if err != nil {
		t.Fatal(err)
	}
	want := content(MinPartSize + 1)
	if err := putPieces(t.Context(), s, "x", want); err != nil {
		t.Error(err)
	}
	wantContent(t, s, "x", want)
}

// What the options say of objects is in the requests that make them.
func TestHeaders(t *testing.T) {
	t.Parallel()
	server := s3test.New(t)
	proxy := s3test.NewProxy(t, server)
	for _, c := range []struct {
		options      Options
		small, large string // one of whole objects, one of those in parts
	}{
		{Options{}, "X-Amz-Storage-Class: |X-Amz-Server-Side-Encryption: |Content-Md5: ", "X-Amz-Checksum-Algorithm: CRC32C"},
		{Options{Checksum: ChecksumMD5}, "X-Amz-Checksum-Crc32c: ", "X-Amz-Checksum-Algorithm: "},
		{Options{Checksum: ChecksumNone}, "X-Amz-Checksum-Crc32c: |Content-Md5: ", "X-Amz-Checksum-Algorithm: "},
		{Options{StorageClass: "STANDARD_IA"}, "X-Amz-Storage-Class: ", "X-Amz-Storage-Class: STANDARD_IA"},
		{Options{Encryption: EncryptionAES256}, "X-Amz-Server-Side-Encryption: AES256",
			"X-Amz-Server-Side-Encryption: AES256"},
		{Options{Encryption: EncryptionKMS, KMSKey: "k1"}, "X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id: k1",
			"X-Amz-Server-Side-Encryption: aws:kms"},
	} {
		o := c.options
		o.Endpoint, o.AllowHTTP, o.CredentialsFile = proxy.Endpoint, true, server.CredentialsFile
		s, err := open(t.Context(), "s3://"+s3test.Bucket, o, quick())
		if err != nil {
			t.Fatal(err)
		}
		wantHeader := func(match func(*http.Request) bool, want string, size int) {
			var seen http.Header
			proxy.Break(s3test.Forbidden, 1, func(r *http.Request) bool { // what it would answer is of no interest
				if match(r) {
					seen = r.Header.Clone()
				}
				return match(r)
			})
			if err := putPieces(t.Context(), s, "x", content(size)); err == nil {
				t.Error("Put succeeded")
			}
			for one := range strings.SplitSeq(want, "|") {
				name, value, _ := strings.Cut(one, ": ")
				if got := seen.Get(name); got != value {
					t.Errorf("%+v: the header %s is %q, want %q", c.options, name, got, value)
				}
			}
		}
		wantHeader(is("PUT", ""), c.small, 10)
		wantHeader(is("POST", "uploads="), c.large, defaultPartSize)
	}
}

// A bucket that is gone is no reason to try again.
func TestBucketVanishes(t *testing.T) {
	t.Parallel()
	server := s3test.New(t)
	s := openAt(t, server, server.Endpoint(), "gone")
	if err := os.RemoveAll(filepath.Join(server.Dir, s3test.Bucket)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	err := putPieces(t.Context(), s, "x", content(10))
	took := time.Since(began)
	if fault.Of(err) != fault.Config || !strings.Contains(err.Error(), "NoSuchBucket") || took > 5*time.Second {
		t.Errorf("Put = %v, of kind %v, after %v", err, fault.Of(err), took)
	}
	if _, err := s.Open(t.Context(), "x", 0, -1); errors.Is(err, fs.ErrNotExist) || fault.Of(err) != fault.Config {
		t.Errorf("Open = %v: not that there is no such object", err)
	}
}

// Credentials come from a program, a file, or the service of a container, as their
// variables and files say.
func TestCredentialSources(t *testing.T) {
	environment(t)
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	const document = `"AccessKeyId": "id-%s", "SecretAccessKey": "hush-hush", "Expiration": "2100-01-01T00:00:00Z"`
	script := filepath.Join(dir, "process")
	err := executable.Write(script, []byte("#!/bin/sh\necho '{\"Version\": 1, "+fmt.Sprintf(document, "process")+"}'\n"))
	if err != nil {
		t.Fatal(err)
	}
	container := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "{"+document+`, "Token": "t"}`, "container")
	}))
	defer container.Close()
	file := filepath.Join(dir, "credentials")
	text := "[default]\ncredential_process = " + script + " x\n" +
		"[night]\naws_access_key_id = id-night\naws_secret_access_key = hush-hush\n" +
		"[half]\naws_access_key_id = id-half\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		options Options
		env     map[string]string
		want    string
	}{
		"environment": {want: s3test.AccessKey},
		"process": {env: map[string]string{"AWS_ACCESS_KEY_ID": "", "AWS_SHARED_CREDENTIALS_FILE": file},
			want: "id-process"},
		"profile by variable": {env: map[string]string{
			"AWS_ACCESS_KEY_ID": "", "AWS_SHARED_CREDENTIALS_FILE": file, "AWS_PROFILE": "night"}, want: "id-night"},
		"profile by option": {options: Options{Profile: "night", CredentialsFile: file}, want: "id-night"},
		"container": {env: map[string]string{
			"AWS_ACCESS_KEY_ID": "", "AWS_CONTAINER_CREDENTIALS_FULL_URI": container.URL}, want: "id-container"},
		"half a profile": {options: Options{Profile: "half", CredentialsFile: file}, want: "error: profile has partial"},
		"none":           {env: map[string]string{"AWS_ACCESS_KEY_ID": ""}, want: "error: no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			for name, value := range c.env {
				t.Setenv(name, value)
			}
			creds, err := c.options.credentials()
			if err != nil {
				t.Fatal(err)
			}
			got, err := creds.GetWithContext(nil)
			wrong, fails := strings.CutPrefix(c.want, "error: ")
			switch {
			case fails && (err == nil || !strings.Contains(err.Error(), wrong) || strings.Contains(err.Error(), "hush")):
				t.Errorf("credentials: %v, want %q", err, wrong)
			case !fails && (err != nil || got.AccessKeyID != c.want):
				t.Errorf("credentials of %q, %v; want %q", got.AccessKeyID, err, c.want)
			}
		})
	}
}

func TestURL(t *testing.T) {
	for text, want := range map[string]string{
		"s3://bucket": "bucket|", "s3://bucket/": "bucket|", "s3://bucket/a/b": "bucket|a/b/", "s3://bucket/a/": "bucket|a/",
		"s3://b1/": "", "s3://bucket//a": "", "s3://bucket/../a": "", "s3://": "", "s3:///a": "", "s3://Bucket/a": "",
		"s3://bucket:9000/a": "", "http://bucket/a": "", "s3://bucket/a b": "",
	} {
		bucket, prefix, err := ParseURL(text)
		if got := bucket + "|" + prefix; err == nil && got != want || err != nil && want != "" {
			t.Errorf("ParseURL(%q) = %q, %v; want %q", text, got, err, want)
		}
	}
}

func TestPartSizes(t *testing.T) {
	var total int64
	for n := range 10_000 {
		total += partSize(MinPartSize, n+1)
	}
	if one := partSize(defaultPartSize, 1000); one != 16<<20 || total < 4<<40 {
		t.Errorf("part 1000 has %d bytes, 10,000 parts have %d", one, total)
	}
	if largest := partSize(MaxPartSize, 9999); largest > 5<<30 {
		t.Errorf("a part of %d bytes", largest)
	}
	for objects, want := range map[int]int64{1: 16 << 20, mostParts: 16 << 20, mostParts + 1: 8 << 20} {
		if got := (Options{}).firstPart(objects); got != want {
			t.Errorf("the first part of %d objects has %d bytes, want %d", objects, got, want)
		}
	}
	if got := (Options{PartSize: MinPartSize}).firstPart(100); got != MinPartSize {
		t.Errorf("the smallest first part has %d bytes", got)
	}
}

func TestFull(t *testing.T) {
	s := &Store{bucket: "b"}
	for code, full := range map[string]bool{"QuotaExceeded": true, "XMinioStorageFull": true, "InternalError": false} {
		var none *store.NoSpaceError
		if err := s.explain("write x", minio.ErrorResponse{Code: code, StatusCode: 500}); errors.As(err, &none) != full {
			t.Errorf("%s: %v", code, err)
		}
	}
}

// BenchmarkPut writes packs of 256 MiB as the copier does. ms-cpu is what it costs this
// process, the store not counted.
func BenchmarkPut(b *testing.B) {
	server, err := s3test.Run(b.Context(), b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer server.Kill()
	o := Options{Endpoint: server.Endpoint(), AllowHTTP: true, CredentialsFile: server.CredentialsFile}
	s, err := Open(b.Context(), "s3://"+s3test.Bucket+"/bench", o)
	if err != nil {
		b.Fatal(err)
	}
	piece, pieces := content(512<<10), 512
	b.SetBytes(int64(len(piece) * pieces))
	before := cpuTime(b)
	for b.Loop() {
		err := s.Put(b.Context(), "x", func(w io.Writer) error {
			for range pieces {
				if _, err := w.Write(piece); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpuTime(b)-before).Milliseconds())/float64(b.N), "ms-cpu/op")
}

// cpuTime is what this process has used so far.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
