package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"mbk/internal/binlog"
	"mbk/internal/cli/options"
	"mbk/internal/datadir/filter"
	"mbk/internal/events"
	"mbk/internal/hint"
	"mbk/internal/input/period"
	"mbk/internal/moment"
	"mbk/internal/ui"
)

type eventsOptions struct {
	repository
	dir      string
	from, to string
	tables   []string
	kinds    []string
	minRows  int
	limit    int
}

func (o *eventsOptions) bind(s *options.Set, u *ui.UI) {
	o.repository.bind(s, u)
	s.String(&o.dir, "binlog-dir", "", "search the files of a server's binary log in `DIR`, instead of the archive")
	s.String(&o.from, "from", "",
		"only of this `TIME` or later: such as \"2026-11-30 11:59:00\", or so long ago, such as 2h")
	s.String(&o.to, "to", "", "only before this `TIME`")
	s.Strings(&o.tables, "table", "only what changes tables that match `PATTERN`, such as shop.order*; repeatable")
	s.Strings(&o.kinds, "kind", "only of this `KIND`: "+kindNames()+"; repeatable")
	s.Int(&o.minRows, "min-rows", 0, "only what changes `N` rows or more")
	s.Int(&o.limit, "limit", events.DefaultLimit, "find `N` transactions at most").AtMost(events.MaxLimit)
	o.bindIdentities(s)
	fileOptions(s)
	outputOptions(s, u)
}

// kindNames lists the kinds of transactions.
func kindNames() string {
	var names []string
	for _, k := range binlog.Kinds() {
		names = append(names, string(k))
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}

func eventsCommand(p *program) *command {
	var o eventsOptions
	return &command{
		name: "events", summary: "search the archive of binary logs for who changed what, and when",
		usage: "mbk events --repo REPO [OPTIONS]\n   mbk events --binlog-dir DIR [OPTIONS]",
		examples: "mbk events --repo /backup/db1 --from \"2026-11-30 11:00\" --kind drop\n" +
			"mbk events --repo /db1 --table shop.orders --kind delete --min-rows 99 -v",
		options: bind(func(s *options.Set) { o.bind(s, p.ui) }),
		run:     func(ctx context.Context) error { return runEvents(ctx, &o, p.ui) },
	}
}

func runEvents(ctx context.Context, o *eventsOptions, u *ui.UI) error {
	what, err := o.resolve(time.Now())
	if err != nil {
		return err
	}
	what.Statements = u.Verbose
	if o.dir != "" {
		if what.Log, err = openLog("binlog-dir", o.dir); err != nil {
			return err
		}
		defer what.Log.Close() //nolint:errcheck // it was only read
	} else if what.Repository, err = o.open(ctx); err != nil {
		return err
	}
	result, err := events.Find(ctx, what)
	if err != nil && (result == nil || len(result.Transactions) == 0) {
		return err
	}
	err = errors.Join(err, u.Result(result, func() error { return printEvents(u, result) }))
	if !u.JSON {
		o.tell(result, u)
	}
	return err
}

// resolve returns what is searched for.
func (o *eventsOptions) resolve(now time.Time) (what events.Options, err error) {
	if o.dir != "" && o.path != "" && o.name == "" {
		return what, usagef("%s and %s: one of them is searched", hint.Option("repo"), hint.Option("binlog-dir"))
	}
	what.MinRows, what.Limit = int64(o.minRows), o.limit
	if what.From, err = eventTime("from", o.from, now); err != nil {
		return what, err
	}
	if what.To, err = eventTime("to", o.to, now); err != nil {
		return what, err
	}
	if !what.To.IsZero() && !what.From.Before(what.To) {
		return what, usagef("%s %s is not before %s %s", hint.Option("from"), o.from, hint.Option("to"), o.to)
	}
	if what.Tables, err = filter.ParseTables(o.tables); err != nil {
		return what, usagef("%s: %w", hint.Option("table"), err)
	}
	for _, text := range o.kinds {
		kind := binlog.Kind(strings.ToLower(text))
		if !slices.Contains(binlog.Kinds(), kind) {
			return what, usagef("%s is %s, not %q", hint.Option("kind"), kindNames(), text)
		}
		what.Kinds = append(what.Kinds, kind)
	}
	return what, nil
}

// eventTime parses a time, or how long ago it is.
func eventTime(option, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := period.Parse(text); err == nil {
		return now.Add(-ago), nil
	}
	t, err := moment.ParseTime(text, now.Location())
	if err != nil {
		return t, usagef("%s %q: %w: give a time such as \"2026-11-30 11:59:00\", or how long ago it is, such as 2h",
			hint.Option(option), text, err)
	}
	return t, nil
}

// printEvents prints the transactions that were found, with the statements under each.
func printEvents(u *ui.UI, r *events.Result) error {
	if len(r.Transactions) == 0 {
		_, err := fmt.Fprintf(u.Stdout, "nothing found in %s\n", ui.Count(int(r.Searched), "transaction"))
		return err
	}
	list := &ui.Table{Columns: []ui.Column{
		{Title: "TIME"}, {Title: "GTID"}, {Title: "KIND"}, {Title: "ROWS", Rank: 1}, {Title: "THREAD", Rank: 2},
		{Title: "TABLES"},
	}}
	for i := range r.Transactions {
		t := &r.Transactions[i]
		rows := fmt.Sprint(t.Rows)
		if !t.RowsKnown {
			rows += "+?"
		}
		thread := "-"
		if t.Thread != 0 {
			thread = fmt.Sprint(t.Thread)
		}
		list.Add(t.Time.UTC().Format(time.RFC3339), t.GTID, strings.Join(t.Kinds, ","), rows, thread, tableNames(t))
		for _, text := range t.Statements {
			list.Under(text)
		}
	}
	return u.Table(list)
}

// shownTables is how many tables of a transaction are shown.
const shownTables = 8

// tableNames lists the tables of a transaction.
func tableNames(t *events.Transaction) string {
	var names []string
	for i := range t.Tables {
		if i == shownTables {
			names = append(names, fmt.Sprintf("and %d more", len(t.Tables)-i))
			break
		}
		names = append(names, ui.OneLine(t.Tables[i].Name))
	}
	if !t.TablesKnown {
		names = append(names, "?")
	}
	return strings.Join(names, ", ")
}

// tell says what was not searched, and what to do with what was found.
func (o *eventsOptions) tell(r *events.Result, u *ui.UI) {
	for _, text := range r.Warnings {
		u.Warn(text)
	}
	if r.More {
		u.Note("there are more; look at a shorter time with --from and --to, or at more with --limit")
	}
	if n := len(r.Transactions); n > 0 && o.dir == "" {
		gtid := r.Transactions[n-1].GTID
		if n > 1 {
			gtid = "GTID"
		}
		u.Note("to restore to just before one: mbk restore latest --repo %s --target DIR --until before-gtid:%s",
			o.shown(), gtid)
	}
}
