package notify

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	"mbk/internal/hint"
	"mbk/internal/sys/pause"
)

// Webhook sends notifications to a URL.
type Webhook struct {
	URL     string        // may contain a secret; only its host is ever shown
	Agent   string        // "mbk 0.1.0"
	Timeout time.Duration // of each try, 0: 10 s
	Pause   time.Duration // before the second try, three times as long before the third; 0: 2 s
}

// tries is how often a message is sent until the server accepts it.
const tries = 3

// Validate completes and checks what can be checked without a connection.
func (w *Webhook) Validate() error {
	u, err := url.Parse(w.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return errors.New("webhook: the address does not look like https://host/path") // it may be secret
	}
	if w.Timeout == 0 {
		w.Timeout = 10 * time.Second
	}
	if w.Pause == 0 {
		w.Pause = 2 * time.Second
	}
	return nil
}

// String returns the URL without the parts that may be secret.
func (w *Webhook) String() string {
	u, err := url.Parse(w.URL)
	if err != nil {
		return "..."
	}
	return u.Scheme + "://" + u.Host + "/..."
}

// Post sends the JSON of a message. Call Validate first. It tries again if the server
// cannot be reached, is busy or fails.
func (w *Webhook) Post(ctx context.Context, msg Message) error {
	wait := w.Pause
	for try := 1; ; try++ {
		again, err := w.post(ctx, msg.JSON)
		if err == nil {
			return nil
		}
		if try == tries || !again {
			return hint.Wrap(fmt.Errorf("webhook %s: %w", w, err),
				"check the address; mbk sends a POST with a JSON document, and expects a status from 200 to 299")
		}
		if ended := pause.For(ctx, wait); ended != nil {
			return fmt.Errorf("webhook %s: %w", w, errors.Join(err, ended))
		}
		wait *= 3
	}
}

// post makes one try. again reports whether another one may succeed.
func (w *Webhook) post(ctx context.Context, body []byte) (again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, w.Timeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL, bytes.NewReader(body))
	if err != nil {
		return false, errors.New("not a usable address")
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", strings.ReplaceAll(w.Agent, " ", "/"))
	client := http.Client{
		// After a redirect, clients usually send a GET.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	defer client.CloseIdleConnections()
	answer, err := client.Do(request)
	if err != nil {
		var whole *url.Error
		if errors.As(err, &whole) {
			err = whole.Err // without the URL
		}
		if ctx.Err() != nil {
			err = fmt.Errorf("no answer within %s", w.Timeout)
		}
		return true, err
	}
	defer answer.Body.Close() //nolint:errcheck // only its beginning matters
	if answer.StatusCode >= 200 && answer.StatusCode < 300 {
		return false, nil
	}
	err = fmt.Errorf("answers %d %s", answer.StatusCode, http.StatusText(answer.StatusCode))
	if said := w.firstLine(answer.Body); said != "" {
		err = fmt.Errorf("%w: %s", err, said)
	}
	again = answer.StatusCode >= 500 ||
		answer.StatusCode == http.StatusTooManyRequests || answer.StatusCode == http.StatusRequestTimeout
	return again, err
}

// answerShown is how many bytes of an answer are shown.
const answerShown = 200

// firstLine returns the beginning of an answer. Servers often quote the URL that they do
// not know, so its secret parts are removed.
func (w *Webhook) firstLine(r io.Reader) string {
	limit := answerShown + len(w.URL)
	line, _ := bufio.NewReader(io.LimitReader(r, int64(limit))).ReadString('\n') // what there is
	cut := len(line) == limit
	for _, secret := range w.secrets() {
		line = strings.ReplaceAll(line, secret, "...")
	}
	if cut { // it may end within a secret
		line = line[:max(len(line)-len(w.URL), 0)]
	}
	line = line[:min(len(line), answerShown)]
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == unicode.ReplacementChar {
			return -1
		}
		return r
	}, line))
}

// secrets returns the parts of the URL that may be secret, the longest first, because
// one may contain another.
func (w *Webhook) secrets() []string {
	u, err := url.Parse(w.URL)
	if err != nil {
		return nil
	}
	whole := []string{u.Path, u.EscapedPath(), u.RawQuery, u.User.String()}
	if query, err := url.QueryUnescape(u.RawQuery); err == nil {
		whole = append(whole, query)
	}
	parts := strings.FieldsFunc(strings.Join(whole, "/"), func(r rune) bool { return strings.ContainsRune("/?&=:", r) })
	parts = slices.DeleteFunc(parts, func(part string) bool { return len(part) < 4 }) // "v1" is none
	slices.SortFunc(parts, func(a, b string) int { return len(b) - len(a) })
	return parts
}
