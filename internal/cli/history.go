package cli

import (
	"context"
	"fmt"
	"time"

	"mbk/internal/cli/options"
	"mbk/internal/hint"
	"mbk/internal/repo"
	"mbk/internal/ui"
)

type historyOptions struct {
	repository
	ids    []string
	failed bool
	last   int
	since  string
	html   htmlFile
	graph  bool

	set    *options.Set
	getenv func(string) string
}

func (o *historyOptions) bind(s *options.Set, u *ui.UI) {
	o.set = s
	o.repository.bind(s, u)
	o.bindIdentities(s)
	s.Bool(&o.failed, "failed", "only attempts that failed")
	s.Int(&o.last, "last", 0, "only the `N` newest of them")
	s.String(&o.since, "since", "", "only those begun since `WHEN`: a time such as 2026-11-20 or \"2026-11-20 15:04\", "+
		"or so long ago, such as 7d or 36h")
	o.html.bind(s, "what can be gone back to, sizes, durations and locks over time, room")
	s.Bool(&o.graph, "graph", "draw the same in the terminal")
	fileOptions(s)
	outputOptions(s, u)
}

func historyCommand(p *program) *command {
	o := historyOptions{getenv: p.getenv}
	return &command{
		name: "history", summary: "list all attempts, failed ones too, or report one",
		usage:     "mbk history [ID|latest] --repo REPO [OPTIONS]",
		examples:  "mbk history --repo /backup/db1 --failed --since 7d\nmbk history --repo /backup/db1 --html backups.html",
		arguments: "[ID|latest]", args: &o.ids, options: bind(func(s *options.Set) { o.bind(s, p.ui) }),
		run: func(ctx context.Context) error { return runHistory(ctx, &o, p.ui) },
	}
}

// historyDocument is what "history --json" prints.
type historyDocument struct {
	Repository string           `json:"repository"`
	Attempts   []historyAttempt `json:"attempts"` // oldest first
}

// historyAttempt is an attempt in a list of them.
type historyAttempt struct {
	repo.Attempt
	Kept bool `json:"kept"` // the backup is in the repository
}

func runHistory(ctx context.Context, o *historyOptions, u *ui.UI) error {
	if len(o.ids) > 0 {
		return runHistoryOf(ctx, o, u)
	}
	since, err := parseSince(o.since, time.Now())
	if err != nil {
		return err
	}
	r, err := o.open(ctx)
	if err != nil {
		return err
	}
	all, err := r.Attempts(ctx)
	if err != nil {
		return err
	}
	backups, err := r.IDs(ctx)
	if err != nil {
		return err
	}
	kept := map[string]bool{}
	for _, id := range backups {
		kept[id] = true
	}
	d := historyDocument{Repository: r.String(), Attempts: []historyAttempt{}}
	for _, a := range all {
		if o.failed && a.Outcome != repo.OutcomeFailed || a.Started.Before(since) {
			continue
		}
		d.Attempts = append(d.Attempts, historyAttempt{a, kept[a.ID]})
	}
	if o.last > 0 {
		d.Attempts = d.Attempts[max(len(d.Attempts)-o.last, 0):]
	}
	if !o.graph && o.html == "" {
		return u.Result(d, func() error { return printHistory(u, d) })
	}
	return drawHistory(ctx, r, o, d, u)
}

// drawHistory draws the history in place of a list, besides JSON.
func drawHistory(ctx context.Context, r *repo.Repository, o *historyOptions, d historyDocument, u *ui.UI) error {
	h, err := pictureOf(ctx, r, d.Attempts, u)
	if err != nil {
		return err
	}
	if o.html != "" {
		if err := o.html.write(u, h.HTML); err != nil {
			return err
		}
	}
	if u.JSON {
		return u.Document(d)
	}
	if o.graph {
		_, err = fmt.Fprint(u.Stdout, h.Graph(u.Width(), showsUnicode(o.getenv)))
	}
	return err
}

// parseSince parses a local time, or a duration for how long ago.
func parseSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{
		time.RFC3339, time.DateTime, "2006-01-02 15:04", "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly,
	} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, nil
		}
	}
	if ago, err := parseAge("since", text); err == nil {
		return now.Add(-ago), nil
	}
	return time.Time{}, usagef("%s %q is neither a time such as \"2026-11-20 15:04\" nor a duration such as 7d or 36h",
		hint.Option("since"), text)
}

// shownError limits an error in a list of attempts, in characters.
const shownError = 100

func printHistory(u *ui.UI, d historyDocument) error {
	if len(d.Attempts) == 0 {
		_, err := fmt.Fprintf(u.Stdout, "no such attempt in %s\n", d.Repository)
		return err
	}
	t := &ui.Table{Columns: []ui.Column{
		{Title: "ID"}, {Title: "STARTED", Rank: 1}, {Title: "TOOK", Rank: 2}, {Title: "OUTCOME"},
		{Title: "READ", Rank: 4}, {Title: "LOCKED", Rank: 3}, {Title: "ERROR"},
	}}
	now := time.Now()
	for _, a := range d.Attempts {
		outcome := a.Outcome
		if outcome == repo.OutcomeOK && !a.Kept {
			outcome = "ok, expired"
		}
		row := t.Add(a.ID, ui.ShortTime(a.Started, now), took(&a.Attempt), outcome,
			ui.Size(a.BytesRead), ui.Milliseconds(a.LockMS), ui.Shorten(ui.OneLine(a.Error), shownError))
		row[3].Bad = a.Outcome == repo.OutcomeFailed
	}
	return u.Table(t)
}

// runHistoryOf prints one attempt, as report does.
func runHistoryOf(ctx context.Context, o *historyOptions, u *ui.UI) error {
	for _, name := range []string{"failed", "last", "since", "graph"} {
		if o.set.IsSet(name) {
			return usagef("%s chooses among all attempts, but the attempt %q was named", hint.Option(name), o.ids[0])
		}
	}
	if len(o.ids) > 1 {
		return usagef("mbk history takes one id, but %q was given too", o.ids[1])
	}
	r, err := o.open(ctx)
	if err != nil {
		return err
	}
	return printReportOf(ctx, r, o.ids[0], o.html, u)
}
