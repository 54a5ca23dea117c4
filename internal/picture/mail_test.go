package picture

import (
	"io"
	"os"
	"strings"
	"testing"

	"mbk/internal/test/browser"
)

// What a mail program shows runs nothing, needs neither SVG nor a style sheet, and draws each step
// and what was locked as a coloured cell, also on a phone.
func TestMailInABrowser(t *testing.T) {
	b := browser.Start(t)
	r := sampleReport()
	text := "REPORT " + hostile + "\n" + strings.Repeat("long ", 100)
	path := written(t, "mail", func(w io.Writer) error { return r.Mail(w, text) })
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, none := range []string{"<svg", "<script", "<style", "<link", "<img", "class=", "ZgotmplZ"} {
		if strings.Contains(string(page), none) {
			t.Errorf("the mail has %q", none)
		}
	}
	for _, width := range []int{375, 1280} {
		p := b.Open(path, width)
		var found struct {
			Width, Strip, Cells, Narrow, Bars int
			Colors                            int
			Report                            string
		}
		p.Evaluate(`(() => {
			const tables = [...document.querySelectorAll("table[role=presentation]")];
			const cells = [...tables[0].rows[0].cells];
			return {width: document.documentElement.scrollWidth, strip: Math.round(tables[0].getBoundingClientRect().width),
				cells: cells.length, narrow: cells.filter(c => c.getBoundingClientRect().width < 2).length,
				bars: tables.length - 1, report: document.querySelector("pre").textContent,
				colors: new Set(cells.map(c => getComputedStyle(c).backgroundColor)).size}})()`, &found)
		if found.Width > width || found.Strip < 300 || found.Cells != len(r.Attempt.Steps) || found.Narrow > 0 ||
			found.Bars != 3 || found.Colors != 4 || !strings.HasPrefix(found.Report, "REPORT ") {
			t.Errorf("at %d: %+v", width, found)
		}
		if len(p.Problems)+len(p.Requests) > 0 {
			t.Errorf("at %d: problems %q, requests %q", width, p.Problems, p.Requests)
		}
	}
}
