// Package browser shows pages in a headless Chromium, for tests. It speaks the DevTools
// protocol through a pipe: messages of JSON with a NUL after each.
package browser

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// patience is how long the browser may take for one answer.
const patience = 60 * time.Second

// Browser is a running Chromium. It belongs to one goroutine.
type Browser struct {
	t       testing.TB
	to      *os.File
	from    *os.File
	reader  *bufio.Reader
	number  int
	session string
	page    *Page // that shows what happens now
}

// Page is what the browser did with a page.
type Page struct {
	Problems []string // messages of the console, errors, and what the page's policy forbade
	Requests []string // everything that was loaded, but for the page itself

	browser *Browser
}

// Start starts Chromium, and ends it with the test. A machine without one skips the test.
func Start(t testing.TB) *Browser {
	t.Helper()
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip(err)
	}
	theirs, to := pipe(t)
	from, ours := pipe(t)
	cmd := exec.Command(program, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
		"--remote-debugging-pipe", "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
		"--user-data-dir="+t.TempDir(), "about:blank")
	cmd.ExtraFiles = []*os.File{theirs, ours} // as descriptors 3 and 4
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b := &Browser{t: t, to: to, from: from, reader: bufio.NewReader(from)}
	t.Cleanup(func() {
		b.call("Browser.close", nil, nil)
		_ = cmd.Wait() // it was told to end
		for _, f := range []*os.File{theirs, to, from, ours} {
			_ = f.Close() // only pipes
		}
	})
	var target struct{ TargetID string }
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		b.call(domain+".enable", nil, nil)
	}
	return b
}

func pipe(t testing.TB) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return r, w
}

// Open shows the page in a file, in a window of that width, and waits until it is loaded.
func (b *Browser) Open(file string, width int) *Page {
	b.t.Helper()
	b.page = &Page{browser: b}
	b.call("Emulation.setDeviceMetricsOverride",
		map[string]any{"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}, nil)
	b.call("Page.navigate", map[string]any{"url": "file://" + file}, nil)
	for begun := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		var state string
		b.page.Evaluate("document.readyState + ' ' + decodeURI(location.pathname)", &state)
		if state == "complete "+file {
			return b.page
		}
		if time.Since(begun) > patience {
			b.t.Fatalf("%s is not shown: %s", file, state)
		}
	}
}

// Evaluate evaluates an expression of JavaScript in the page, and decodes its value.
func (p *Page) Evaluate(expression string, into any) {
	p.browser.t.Helper()
	var answer struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	p.browser.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true}, &answer)
	if answer.ExceptionDetails != nil {
		p.browser.t.Fatalf("%s: %s", expression, answer.ExceptionDetails)
	}
	if err := json.Unmarshal(answer.Result.Value, into); err != nil {
		p.browser.t.Fatalf("%s is %s: %v", expression, answer.Result.Value, err)
	}
}

// message is one in either direction.
type message struct {
	ID        int             `json:"id,omitempty"`
	SessionID string          `json:"sessionId,omitempty"`
	Method    string          `json:"method,omitempty"`
	Params    any             `json:"params,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	Error     json.RawMessage `json:"error,omitempty"`
}

// call calls a method of the protocol and waits for its result.
func (b *Browser) call(method string, params, result any) {
	b.t.Helper()
	b.number++
	text, err := json.Marshal(message{ID: b.number, SessionID: b.session, Method: method, Params: params})
	if err == nil {
		_, err = b.to.Write(append(text, 0))
	}
	if err == nil {
		err = b.from.SetReadDeadline(time.Now().Add(patience))
	}
	for err == nil {
		if text, err = b.reader.ReadBytes(0); err != nil {
			break
		}
		params := json.RawMessage{}
		m := message{Params: &params}
		if err = json.Unmarshal(bytes.TrimSuffix(text, []byte{0}), &m); err != nil {
			break
		}
		if m.ID != b.number {
			b.note(m.Method, params)
			continue
		}
		if m.Error != nil {
			b.t.Fatalf("%s: %s", method, m.Error)
		}
		if result != nil {
			err = json.Unmarshal(m.Result, result)
		}
		break
	}
	if err != nil && method != "Browser.close" {
		b.t.Fatalf("%s: %v", method, err)
	}
}

// note notes an event.
func (b *Browser) note(method string, params json.RawMessage) {
	if b.page == nil {
		return
	}
	switch method {
	case "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded", "Network.loadingFailed":
		b.page.Problems = append(b.page.Problems, fmt.Sprintf("%s: %s", method, params))
	case "Network.requestWillBeSent":
		var sent struct {
			Type    string
			Request struct{ URL string }
		}
		err := json.Unmarshal(params, &sent)
		if err != nil || sent.Type != "Document" || !strings.HasPrefix(sent.Request.URL, "file://") {
			b.page.Requests = append(b.page.Requests, sent.Type+" "+sent.Request.URL)
		}
	}
}
