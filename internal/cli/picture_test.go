package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"mbk/internal/repo/repotest"
	"mbk/internal/repo/store/folder"
)

// A history is drawn as a page and in the terminal, from one repository and with the numbers of
// its JSON.
func TestHistoryIsDrawn(t *testing.T) {
	t.Parallel()
	repository := t.TempDir()
	st, err := folder.Open(repository)
	if err != nil {
		t.Fatal(err)
	}
	repotest.Chains(t, st, [2]string{"20261101T003000Z-full", ""},
		[2]string{"20261102T003000Z-incr", "20261101T003000Z-full"}, [2]string{"20261103T003000Z-full", ""})
	must(t, "verify", "20261103T003000Z-full", "--repo", repository, "--depth", "stored")
	page := filepath.Join(t.TempDir(), "backups.html")
	type history struct {
		Attempts []struct {
			Read int64 `json:"bytes_read"`
		}
	}
	d := document[history](t, "history", "--repo", repository, "--html", page)
	html, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(html), `data-field="bytes_read" value="66560"`); n != len(d.Attempts) || n != 3 ||
		d.Attempts[0].Read != 66560 {
		t.Errorf("the page has %d of the attempts %+v", n, d)
	}
	for _, want := range []string{"November 2026", "2026-11-03: 1 proven", "2026-11-01: 1 kept", "Room"} {
		if !strings.Contains(string(html), want) {
			t.Errorf("the page has no %q", want)
		}
	}
	for _, c := range []struct {
		locale, columns, mark string
		width                 int
	}{{"C.UTF-8", "100", "●", 100}, {"C", "40", "@", 40}, {"de_DE.utf8", "", "●", 80}} {
		o := in(t, []string{"LC_ALL=" + c.locale, "COLUMNS=" + c.columns}, "history", "--repo", repository, "--graph")
		if o.code != 0 || !strings.Contains(o.stdout, c.mark+" proven") || !strings.Contains(o.stdout, "3 attempts since") {
			t.Errorf("%+v: code %d, %s\n%s", c, o.code, o.stderr, o.stdout)
		}
		for line := range strings.Lines(o.stdout) {
			if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > c.width {
				t.Errorf("%+v: a line of %d: %s", c, n, line)
			}
		}
	}
	if o := mbk(t, "history", "latest", "--repo", repository, "--graph"); o.code != 2 {
		t.Errorf("a graph of one attempt: code %d, %s", o.code, o.stderr)
	}
	must(t, "history", "latest", "--repo", repository, "--html", page)
	if html, err = os.ReadFile(page); err != nil || !strings.Contains(string(html), "proven at depth stored") {
		t.Errorf("the page of the newest attempt, %v:\n%s", err, html)
	}
}
