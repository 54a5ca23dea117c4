package picture

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mbk/internal/repo"
	"mbk/internal/test/browser"
)

// pages are all kinds of pages.
func pages() map[string]func(io.Writer) error {
	empty := &Report{Attempt: repo.Attempt{ID: "20261130T013000Z-failed", Outcome: repo.OutcomeUnknown}, Made: now()}
	return map[string]func(io.Writer) error{
		"report": sampleReport().HTML, "failure": sampleFailure().HTML, "unknown": empty.HTML,
		"history": sampleHistory(120).HTML, "long-history": sampleHistory(400).HTML,
		"no-history":   (&History{Made: now()}).HTML,
		"first-backup": sampleHistory(1).HTML,
	}
}

// written writes a page into a file. The pages are also left in $MBK_PICTURES, to be looked at.
func written(t *testing.T, name string, draw func(io.Writer) error) string {
	t.Helper()
	var b bytes.Buffer
	if err := draw(&b); err != nil {
		t.Fatal(err)
	}
	dir := os.Getenv("MBK_PICTURES")
	if dir == "" {
		dir = t.TempDir()
	}
	path := filepath.Join(dir, name+".html")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Pages load nothing, say nothing in the console, run nothing of what a server called its tables,
// and fit on a phone and on a desktop.
func TestPagesInABrowser(t *testing.T) {
	b := browser.Start(t)
	for name, draw := range pages() {
		path := written(t, name, draw)
		for _, width := range []int{320, 375, 1280} {
			p := b.Open(path, width)
			var found struct {
				Width, Scripts, Images, Untitled, Unnamed int
				Level                                     string
			}
			p.Evaluate(`({width: document.documentElement.scrollWidth, scripts: document.scripts.length,
				images: document.images.length,
				untitled: [...document.querySelectorAll("svg[role=img]")].filter(s =>
					!s.getAttribute("aria-label") &&
					!s.getAttribute("aria-labelledby").split(" ").every(id => document.getElementById(id)?.textContent)).length,
				unnamed: [...document.querySelectorAll("[tabindex]")].filter(e =>
					!e.getAttribute("aria-label") && e.tagName != "PRE").length,
				level: [...document.querySelectorAll("h1,h2,h3")].map(h => h.tagName[1]).join("")})`, &found)
			if found.Width > width || found.Scripts+found.Images+found.Untitled+found.Unnamed > 0 {
				t.Errorf("%s at %d: %+v", name, width, found)
			}
			if strings.Count(found.Level, "1") != 1 || strings.Contains(found.Level, "13") {
				t.Errorf("%s: the headings are %s", name, found.Level)
			}
			if len(p.Problems)+len(p.Requests) > 0 {
				t.Errorf("%s at %d: problems %q, requests %q", name, width, p.Problems, p.Requests)
			}
		}
	}
}

// A page whose policy is broken would be seen.
func TestBrowserSeesProblems(t *testing.T) {
	b := browser.Start(t)
	var page bytes.Buffer
	if err := sampleReport().HTML(&page); err != nil {
		t.Fatal(err)
	}
	bad := strings.Replace(page.String(), "</main>", `<script>document.title = "run"</script>
		<img src="http://127.0.0.1:1/x.png">
		<svg width="2000" height="1"></svg></main>`, 1)
	p := b.Open(written(t, "bad", func(w io.Writer) error { _, err := io.WriteString(w, bad); return err }), 375)
	var width int
	p.Evaluate("document.documentElement.scrollWidth", &width)
	var title string
	p.Evaluate("document.title", &title)
	if title == "run" || len(p.Problems) < 2 || width <= 375 {
		t.Errorf("title %q, width %d, problems %q, requests %q", title, width, p.Problems, p.Requests)
	}
}

// The numbers of a page are those of the JSON.
func TestNumbersOfAReport(t *testing.T) {
	r := sampleReport()
	var page bytes.Buffer
	if err := r.HTML(&page); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(r.Attempt)
	if err != nil {
		t.Fatal(err)
	}
	var record map[string]any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&record); err != nil {
		t.Fatal(err)
	}
	record["duration_ms"] = 271_400
	record["verifications"] = []any{map[string]any{"bytes": 24_120_775_296}, map[string]any{"bytes": 24_120_775_296}}
	numbers := numbersIn(t, page.String())
	for field, shown := range numbers {
		var want []string
		collect(record, field, &want)
		if fmt.Sprint(shown) != fmt.Sprint(want) && (field != "samples.headroom[]" || fmt.Sprint(append([]string{"-1"},
			shown...)) != fmt.Sprint(want)) {
			t.Errorf("%s: the page has %v, the record %v", field, shown, want)
		}
	}
	if len(numbers) < 15 {
		t.Errorf("the page has only the numbers %v", numbers)
	}
}

// numbersIn returns the values of a page by their fields, in order.
func numbersIn(t *testing.T, page string) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for part := range strings.SplitSeq(page, "<data data-field=\"") {
		if strings.HasPrefix(part, "<!DOCTYPE") {
			continue
		}
		field, rest, ok := strings.Cut(part, "\" value=\"")
		value, _, closed := strings.Cut(rest, "\">")
		if !ok || !closed {
			t.Fatalf("a number without a value: %.80s", part)
		}
		all[field] = append(all[field], value)
	}
	return all
}

// collect finds the values of a field such as "steps[].ms" in a document.
func collect(v any, field string, found *[]string) {
	if field == "" {
		*found = append(*found, fmt.Sprint(v))
		return
	}
	first, rest, _ := strings.Cut(field, ".")
	name, list := strings.CutSuffix(first, "[]")
	value := v.(map[string]any)[name]
	if !list {
		collect(value, rest, found)
		return
	}
	for _, one := range value.([]any) {
		collect(one, rest, found)
	}
}
