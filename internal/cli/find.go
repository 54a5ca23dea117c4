package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mbk/internal/cli/options"
	"mbk/internal/contents"
	"mbk/internal/datadir/filter"
	"mbk/internal/hint"
	"mbk/internal/ui"
	"mbk/internal/ui/printable"
)

type findOptions struct {
	repository
	patterns []string
}

func (o *findOptions) bind(s *options.Set, u *ui.UI) {
	o.repository.bind(s, u)
	o.bindIdentities(s)
	fileOptions(s)
	outputOptions(s, u)
}

func findCommand(p *program) *command {
	var o findOptions
	return &command{
		name: "find", summary: "find the backups that hold a table",
		usage: "mbk find TABLE... --repo REPO", examples: "mbk find shop.orders 'crm.*' --repo /backup/db1",
		arguments: "TABLE...", args: &o.patterns, options: bind(func(s *options.Set) { o.bind(s, p.ui) }),
		run: func(ctx context.Context) error { return runFind(ctx, &o, p.ui) },
	}
}

func runFind(ctx context.Context, o *findOptions, u *ui.UI) error {
	if len(o.patterns) == 0 {
		return usagef("mbk find needs a table (database.table), or a pattern such as 'shop.*'")
	}
	if _, err := filter.ParseTables(o.patterns); err != nil {
		return options.Usage(err)
	}
	r, err := o.open(ctx)
	if err != nil {
		return err
	}
	found, unmatched, err := contents.Find(ctx, r, o.patterns, o.restoreCommand)
	if err != nil {
		return err
	}
	if !u.JSON {
		for _, b := range found.Unread {
			u.Warn(fmt.Sprintf("%s is not searched: %s", b.ID, ui.OneLine(b.Reason)))
		}
	}
	if len(found.Tables) > 0 || u.JSON {
		err = u.Result(found, func() error { return printFound(u, found, time.Now()) })
	}
	for _, one := range unmatched {
		err = errors.Join(err, notFound(one, found))
	}
	return err
}

// restoreCommand is the command that gets a table back. Those of the server itself are not
// restored into a running one.
func (o *findOptions) restoreCommand(id string, table filter.Name) string {
	where := " --into-server"
	if filter.Own(table.Database) {
		where = " --target DIR"
	}
	return "mbk restore " + id + " --repo " + printable.Word(o.shown()) + " --table " +
		printable.Word(table.String()) + where
}

// notFound says that no backup holds a table, and what may have been meant.
func notFound(err error, found *contents.Found) error {
	advice := hint.Text("\"mbk show ID --tables\" lists the tables of a backup")
	if e, ok := errors.AsType[*filter.UnmatchedError](err); ok && len(e.Nearest) > 0 {
		advice = hint.Text(e.Advice())
	}
	return hint.Wrap(&configError{fmt.Errorf("%w in %s of %s", err, ui.Count(found.Searched, "backup"),
		found.Repository)}, advice)
}

// shownCommands is for how many tables the command that gets them back is shown.
const shownCommands = 3

// printFound prints the backups that hold each table, and what follows from them.
func printFound(u *ui.UI, found *contents.Found, now time.Time) error {
	t := &ui.Table{Columns: []ui.Column{
		{Title: "TABLE"}, {Title: "ID"}, {Title: "STARTED", Rank: 2}, {Title: "SIZE", Rank: 1}, {Title: "ENGINE", Rank: 3},
		{Title: "LSN", Rank: 4}, {Title: "PROVEN"},
	}}
	var notes []note
	for i := range found.Tables {
		one := &found.Tables[i]
		name := printable.Text(filter.Name{Database: one.Database, Table: one.Name}.String())
		for _, h := range one.Held {
			short, _ := proven(*h.Summary(), now)
			row := t.Add(name, h.ID, ui.ShortTime(h.Started, now), ui.Size(h.Bytes), kindOf(h.Engine, h.Type),
				fmt.Sprint(h.LSN), short)
			row[len(row)-1].Bad = h.Damaged
			if h.Problem != "" {
				notes = append(notes, note{h.ID, name + ": " + ui.OneLine(h.Problem), true})
			}
		}
		for _, b := range one.LeftOut {
			notes = append(notes, note{b.ID, name + " is not in it: " + ui.OneLine(b.Reason), false})
		}
	}
	if len(t.Rows) > 0 {
		if err := u.Table(t); err != nil {
			return err
		}
	}
	for _, n := range notes {
		if err := n.print(u); err != nil {
			return err
		}
	}
	for i := range found.Tables {
		if _, err := fmt.Fprintln(u.Stdout, foundLine(&found.Tables[i], found.Searched)); err != nil {
			return err
		}
	}
	tellRestore(u, found)
	return nil
}

// foundLine says in how many backups a table is, and since when.
func foundLine(f *contents.Findings, searched int) string {
	name := printable.Text(filter.Name{Database: f.Database, Table: f.Name}.String())
	text := fmt.Sprintf("%s is in %d of %s", name, len(f.Held), ui.Count(searched, "backup"))
	switch {
	case len(f.Held) == 0:
	case f.Last:
		text += ", since " + f.Since.Local().Format(minutes)
	default:
		text += ", from " + f.Since.Local().Format(minutes) + " until " + f.Until.Local().Format(minutes)
	}
	return text
}

// tellRestore says how to get back what was found.
func tellRestore(u *ui.UI, found *contents.Found) {
	for i := range found.Tables[:min(len(found.Tables), shownCommands)] {
		if command := found.Tables[i].Restore; command != "" {
			u.Note("to get it back: %s", command)
		}
	}
	if more := len(found.Tables) - shownCommands; more > 0 {
		u.Note("and for %s more in the same way", ui.Count(more, "table"))
	}
}
