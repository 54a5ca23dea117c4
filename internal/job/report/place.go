package report

import (
	"fmt"
	"strings"

	"mbk/internal/repo"
	"mbk/internal/ui"
	"mbk/internal/ui/printable"
)

// Row is a line of a description: what it is about, and a text.
type Row struct{ Label, Text string }

// Place says what kind of backup an attempt made or tried to make, and what it has of
// earlier ones. It says nothing of a plain full backup.
func Place(a *repo.Attempt) []Row {
	var rows []Row
	add := func(label, format string, args ...any) { rows = append(rows, Row{label, fmt.Sprintf(format, args...)}) }
	switch {
	case a.Kind == repo.KindIncremental && a.Parent == "":
		add("kind", "increment")
	case a.Kind == repo.KindIncremental && a.Chain > 0:
		add("kind", "increment %d of its chain, on %s", a.Chain, a.Parent)
	case a.Kind == repo.KindIncremental:
		add("kind", "increment on %s", a.Parent)
	case len(a.ConsolidatedFrom) > 0:
		add("kind", "full, made of %s", printable.List(a.ConsolidatedFrom))
	case a.FullReason != "":
		add("kind", "full: %s", a.FullReason)
	}
	if u := a.Unchanged; u != nil && u.Files > 0 {
		add("not read", "%s, %s: as in the parent", ui.Count(u.Files, "file"), ui.Size(u.Bytes))
	}
	if p := a.Pages; p != nil && p.Examined > 0 {
		add("pages", "%d of %d changed", p.Changed, p.Examined)
	}
	if r := a.Resumed; r != nil {
		add("resumed", "%s, %s stored by %s", ui.Count(r.Files, "file"), ui.Size(r.Bytes), strings.Join(r.IDs, ", "))
	}
	return rows
}
