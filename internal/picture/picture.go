// Package picture draws a backup, and the history of a repository: as pages for a browser
// and as text for a terminal. A page is one file that loads nothing, runs nothing, and says
// in tables what it shows in pictures. The package gets its data from its caller, reads no
// repository, and trusts no text in them.
package picture

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"time"

	"mbk/internal/ui"
	"mbk/internal/ui/printable"
)

//go:embed *.html style.css
var files embed.FS

// page is what all pages have in common.
type page struct {
	Title   string
	Tool    string
	Made    moment
	Zone    string // of all times
	Style   template.CSS
	Policy  string // Content-Security-Policy
	Content any
}

// moment is a time in a page.
type moment struct{ UTC, Text string }

// at formats a time in the zone of the page.
func (p *page) at(t time.Time, zone *time.Location) moment {
	if t.IsZero() {
		return moment{Text: "not known"}
	}
	return moment{t.UTC().Format(time.RFC3339), t.In(zone).Format(time.DateTime)}
}

// write writes a page by the template of that name.
func (p *page) write(w io.Writer, name string, made time.Time) error {
	style, err := files.ReadFile("style.css")
	if err != nil {
		return err
	}
	sum := sha256.Sum256(style)
	p.Style = template.CSS(style) //nolint:gosec // it is ours
	p.Policy = fmt.Sprintf("default-src 'none'; style-src 'sha256-%s'; img-src data:; base-uri 'none'; form-action 'none'",
		base64.StdEncoding.EncodeToString(sum[:]))
	p.Made = p.at(made, made.Location())
	p.Zone, _ = made.Zone()
	all, err := template.ParseFS(files, "*.html")
	if err != nil {
		return err
	}
	return all.ExecuteTemplate(w, name, p)
}

// clean makes a text of a server or a repository fit to be shown: nothing in it can move
// the cursor, hide or turn around other text.
func clean(s string) string { return printable.Text(s) }

// oneLine is clean for a text of several lines.
func oneLine(s string) string { return ui.OneLine(s) }
