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
)

// Webhook is a web address that takes messages.
type Webhook struct {
	URL     string        // may hold a secret, and is never shown but for its host
	Agent   string        // "mbk 0.1.0"
	Timeout time.Duration // of a try, 0: ten seconds
	Pause   time.Duration // before the second try, three times as long before the third; 0: two seconds
}

// tries is how often a message is sent until the other side has taken it.
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

// String is the address without what may be secret in it.
func (w *Webhook) String() string {
	u, err := url.Parse(w.URL)
	if err != nil {
		return "..."
	}
	return u.Scheme + "://" + u.Host + "/..."
}

// Post sends the JSON of a message, after Validate. It tries again if the other
// side is not there, is busy, or has failed.
func (w *Webhook) Post(ctx context.Context, msg Message) error {
	pause := w.Pause
	for try := 1; ; try++ {
		again, err := w.post(ctx, msg.JSON)
		if err == nil {
			return nil
		}
		if try == tries || !again {
			return hint.Wrap(fmt.Errorf("webhook %s: %w", w, err),
				"check the address; mbk sends a POST with a JSON document, and expects a status from 200 to 299")
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return fmt.Errorf("webhook %s: %w", w, errors.Join(err, ctx.Err()))
		}
		pause *= 3
	}
}

// post is one try. Again reports whether another one may succeed.
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
		// A POST that follows a redirection becomes a GET as a rule.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	defer client.CloseIdleConnections()
	answer, err := client.Do(request)
	if err != nil {
		var whole *url.Error
		if errors.As(err, &whole) {
			err = whole.Err // without the address
		}
		if ctx.Err() != nil {
			err = fmt.Errorf("no answer within %s", w.Timeout)
		}
		return true, err
	}
	defer answer.Body.Close() //nolint:errcheck // nothing of it matters but the beginning
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

// firstLine is the beginning of what a server says, for people. Many a server
// says which address it does not know, so whatever is of ours is taken out.
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

// secrets are the parts of the address that may be secret, the longest first:
// one may hold another.
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
