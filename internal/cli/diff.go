package cli

import (
	"context"
	"fmt"
	"strings"

	"mbk/internal/cli/options"
	"mbk/internal/contents"
	"mbk/internal/datadir/filter"
	"mbk/internal/ui"
	"mbk/internal/ui/printable"
)

type diffOptions struct {
	repository
	ids []string
}

func (o *diffOptions) bind(s *options.Set, u *ui.UI) {
	o.repository.bind(s, u)
	o.bindIdentities(s)
	fileOptions(s)
	outputOptions(s, u)
}

func diffCommand(p *program) *command {
	var o diffOptions
	return &command{
		name: "diff", summary: "compare the tables of two backups",
		usage: "mbk diff ID|latest ID|latest --repo REPO", examples: "mbk diff latest~1 latest --repo /backup/db1",
		arguments: "ID|latest ID|latest", args: &o.ids, options: bind(func(s *options.Set) { o.bind(s, p.ui) }),
		run: func(ctx context.Context) error { return runDiff(ctx, &o, p.ui) },
	}
}

func runDiff(ctx context.Context, o *diffOptions, u *ui.UI) error {
	if len(o.ids) != 2 {
		return usagef("mbk diff needs the ids of two backups, the earlier one first, and %d were given", len(o.ids))
	}
	r, err := o.open(ctx)
	if err != nil {
		return err
	}
	from, err := r.Manifest(ctx, o.ids[0])
	if err != nil {
		return err
	}
	to, err := r.Manifest(ctx, o.ids[1])
	if err != nil {
		return err
	}
	d := contents.Compare(from, to)
	return u.Result(d, func() error { return printDifference(u, d) })
}

// printDifference prints a line for each table that is different, and the sums.
func printDifference(u *ui.UI, d *contents.Difference) error {
	t := &ui.Table{Columns: []ui.Column{
		{Title: "TABLE"}, {Title: "BEFORE", Rank: 2}, {Title: "AFTER", Rank: 3}, {Title: "MORE", Rank: 1}, {Title: "CHANGE"},
	}}
	for _, name := range d.Databases.Came {
		t.Add(printable.Text(name), "", "", "", "database came")
	}
	for _, name := range d.Databases.Went {
		t.Add(printable.Text(name), "", "", "", "database went")
	}
	for i := range d.Tables {
		c := &d.Tables[i]
		before, after := ui.Size(c.BytesWas), ui.Size(c.Bytes)
		switch c.Changes[0] {
		case contents.Came, contents.TakenIn:
			before = "-"
		case contents.Went, contents.LeftOut:
			after = "-"
		}
		t.Add(printable.Text(filter.Name{Database: c.Database, Table: c.Name}.String()), before, after,
			more(c.Bytes-c.BytesWas), changeText(c))
	}
	if len(t.Rows) > 0 {
		if err := u.Table(t); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(u.Stdout, "%s\n%s\n%s\n", sideText(&d.From), sideText(&d.To), differenceText(d))
	return err
}

// more formats how many bytes more there are: "+1.2 MiB", "-8.0 KiB", "0".
func more(bytes int64) string {
	switch {
	case bytes > 0:
		return "+" + ui.Size(bytes)
	case bytes < 0:
		return "-" + ui.Size(-bytes)
	}
	return "0"
}

// changeText says what has become of a table.
func changeText(c *contents.Change) string {
	text := strings.Join(c.Changes, ", ")
	if c.Was != nil {
		text += ", was " + filter.Name{Database: c.Was.Database, Table: c.Was.Name}.String()
	}
	if c.WasWith != "" {
		text += ", " + c.WasWith + " to " + c.Engine
	}
	if c.Reason != "" {
		text += ": " + c.Reason
	}
	return text
}

func sideText(s *contents.Side) string {
	return fmt.Sprintf("%s  %s, %s", s.ID, ui.Count(s.Tables, "table"), ui.Size(s.Bytes))
}

// differenceText says how many tables have changed in which way.
func differenceText(d *contents.Difference) string {
	n := &d.Counts
	var parts []string
	for _, part := range []struct {
		count int
		what  string
	}{
		{n.Came, contents.Came}, {n.Went, contents.Went}, {n.LeftOut, contents.LeftOut}, {n.TakenIn, contents.TakenIn},
		{n.Renamed, contents.Renamed}, {n.Redefined, contents.Redefined}, {n.Rebuilt, contents.Rebuilt},
		{n.Grew, contents.Grew}, {n.Shrank, contents.Shrank}, {d.Unchanged, "unchanged"},
	} {
		if part.count > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", part.count, part.what))
		}
	}
	return strings.Join(append(parts, more(d.To.Bytes-d.From.Bytes)), ", ")
}
