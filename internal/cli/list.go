package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"mbk/internal/cli/options"
	"mbk/internal/job/report"
	"mbk/internal/repo"
	"mbk/internal/ui"
)

type listOptions struct {
	repository // the first
	names      []string
	others     []repository
}

func (o *listOptions) bind(s *options.Set, u *ui.UI) {
	o.repository.bindEach(s, u, &o.names, &o.others)
	fileOptions(s)
	outputOptions(s, u)
}

func listCommand(p *program) *command {
	var o listOptions
	return &command{
		name: "list", summary: "list the backups of a repository and how far each is proven",
		usage: "mbk list --repo REPO [--repo REPO]...", examples: "mbk list --repo /backup/db1 --json",
		options: bind(func(s *options.Set) { o.bind(s, p.ui) }),
		run:     func(ctx context.Context) error { return runList(ctx, &o, p.ui) },
	}
}

// listed is what "list --json" prints of one repository.
type listed struct {
	Repository string         `json:"repository"`
	Name       string         `json:"name,omitempty"`  // in an option file
	Error      string         `json:"error,omitempty"` // why it cannot be listed, if there are others
	Backups    []repo.Summary `json:"backups"`         // newest last
	Failed     *repo.Attempt  `json:"failed"`          // the attempt that ended last, if it failed

	Unfinished []repo.Unfinished `json:"unfinished"` // what interrupted attempts have left
}

// listDocument is what "list --json" prints: the first repository, and the others.
type listDocument struct {
	listed
	Others []listed `json:"others"`
}

func runList(ctx context.Context, o *listOptions, u *ui.UI) error {
	all := append([]repository{o.repository}, o.others...)
	if err := allNamed(all); err != nil {
		return err
	}
	lists, failed := make([]listed, len(all)), error(nil)
	for i, from := range all {
		one, err := listOf(ctx, from)
		if err != nil && len(all) == 1 || ctx.Err() != nil {
			return err
		}
		if err != nil { // the others are listed all the same
			place, _ := from.fullPath()
			one = listed{Repository: place, Error: ui.OneLine(err.Error()), Backups: []repo.Summary{},
				Unfinished: []repo.Unfinished{}}
			failed = errors.Join(failed, err)
		}
		one.Name = from.name
		lists[i] = one
	}
	if u.JSON {
		return errors.Join(failed, u.Document(listDocument{lists[0], append([]listed{}, lists[1:]...)}))
	}
	for i := range lists {
		if len(lists) > 1 {
			heading(u, i, &lists[i])
		}
		if lists[i].Error != "" {
			continue
		}
		if err := printList(u, &lists[i]); err != nil {
			return err
		}
		tellRest(u, &lists[i])
	}
	return failed
}

// heading begins the list of one of several repositories.
func heading(u *ui.UI, i int, l *listed) {
	if i > 0 {
		fmt.Fprintln(u.Stdout)
	}
	text := l.Repository
	if l.Name != "" {
		text = l.Name + ": " + text
	}
	if l.Error != "" {
		text += ": cannot be listed"
	}
	fmt.Fprintln(u.Stdout, text)
}

// listOf returns what there is to list of a repository.
func listOf(ctx context.Context, from repository) (listed, error) {
	r, err := from.open(ctx)
	if err != nil {
		return listed{}, err
	}
	read := r.ListLabels // all that is shown as text
	if from.ui.JSON {
		read = r.List
	}
	list, err := read(ctx)
	if err != nil {
		return listed{}, err
	}
	attempts, err := r.AttemptsBeside(ctx, list)
	if err != nil {
		return listed{}, err
	}
	for i := range list {
		attempts = append(attempts, list[i].Attempt)
	}
	failed := repo.NewestAttempt(attempts)
	if failed != nil && failed.Outcome != repo.OutcomeFailed {
		failed = nil
	}
	unfinished, err := r.Unfinished(ctx)
	if err != nil {
		return listed{}, err
	}
	return listed{
		Repository: r.String(), Backups: append([]repo.Summary{}, list...), Failed: failed, Unfinished: unfinished,
	}, nil
}

// tellRest tells of attempts that made no backup.
func tellRest(u *ui.UI, l *listed) {
	if failed := l.Failed; failed != nil {
		why := ui.Shorten(failed.Error, 200)
		if failed.Encrypted {
			why = "why is encrypted"
		}
		u.Warn(fmt.Sprintf("the newest attempt, %s, failed: %s (see \"mbk history %s\")", failed.ID, why, failed.ID))
	}
	for _, a := range l.Unfinished {
		if a.Running {
			u.Note("%s may be under way: %s so far", a.ID, ui.Size(a.Bytes))
			continue
		}
		u.Note("the interrupted attempt %s has left %s, for the next backup to continue on; \"mbk remove %s\" removes it",
			a.ID, ui.Size(a.Bytes), a.ID)
	}
}

// minutes is the format of times in lists.
const minutes = "2006-01-02 15:04"

// printList prints the backups as text: each full backup, and under it its increments.
func printList(u *ui.UI, l *listed) error {
	if len(l.Backups) == 0 {
		fmt.Fprintf(u.Stdout, "no backups in %s\n", l.Repository)
		return nil
	}
	return u.Rows(listLines(l.Backups))
}

// listLines draws the backups of a list.
func listLines(list []repo.Summary) []string {
	lines := []string{"ID\tSTARTED\tTOOK\tREAD\tSTORED\tNEEDS\tLOCKED\tTABLES\tPROVEN"}
	above := ""
	for _, b := range byChain(list) {
		id := b.ID
		if b.Kind != repo.KindFull {
			id = "  " + id
		}
		duration, locked := took(&b.Attempt), ui.Milliseconds(b.LockMS)
		if len(b.ConsolidatedFrom) > 0 { // what is on record is of the increment
			duration, locked = "-", "-"
		}
		lines = append(lines, strings.Join([]string{
			id, b.Started.Local().Format(minutes), duration, ui.Size(b.BytesRead), ui.Size(b.BytesStored),
			needs(b), locked, heldTables(*b), state(b, above),
		}, "\t"))
		above = b.ID
	}
	return lines
}

// byChain sorts backups by the full backups at the beginnings of their chains, and those
// with the same one by time.
func byChain(list []repo.Summary) []*repo.Summary {
	var sorted []*repo.Summary
	for i := range list {
		sorted = append(sorted, &list[i])
	}
	first := func(b *repo.Summary) string {
		if len(b.Needs.IDs) == 0 {
			return b.ID
		}
		return b.Needs.IDs[0]
	}
	slices.SortStableFunc(sorted, func(a, b *repo.Summary) int {
		return cmp.Or(cmp.Compare(first(a), first(b)), cmp.Compare(a.ID, b.ID))
	})
	return sorted
}

// needs formats what a backup needs: its whole chain.
func needs(b *repo.Summary) string {
	if b.Parent == "" {
		return "-"
	}
	return fmt.Sprintf("%s in %d", ui.Size(b.Needs.BytesStored), len(b.Needs.IDs))
}

// state describes in a few words what verifications found, on which backup an increment is
// if not on the one in the line above, and whether the backup is pinned.
func state(b *repo.Summary, above string) string {
	text := proven(*b)
	if b.Parent != "" && b.Parent != above && b.Broken == "" {
		text += "; on " + b.Parent
	}
	if b.Pin != nil {
		text += "; " + ui.OneLine(b.Pin.String())
	}
	return text
}

// took formats how long an attempt took, "-" if that is unknown.
func took(a *repo.Attempt) string {
	if a.Finished.IsZero() {
		return "-"
	}
	return ui.Span(report.Duration(a))
}

// heldTables formats the number of tables in a backup; with a filter, also of how many.
func heldTables(b repo.Summary) string {
	if b.Filter == nil {
		return strconv.Itoa(b.Tables)
	}
	return fmt.Sprintf("%d of %d", b.Tables, b.Tables+b.LeftOut)
}

// proven describes in a few words what verifications found.
func proven(b repo.Summary) string {
	switch v := b.Verified; {
	case b.Denied, b.Newer:
		return "not readable: " + b.Problem
	case b.Problem != "":
		return "DAMAGED: " + b.Problem
	case v != nil && !v.OK:
		findings, day := ui.Count(v.FindingCount, "finding"), v.Time.Local().Format(time.DateOnly)
		return fmt.Sprintf("DAMAGED: %s at depth %s, %s", findings, v.Depth, day)
	case b.BrokenUnread:
		return "not readable: " + b.Broken
	case b.Broken != "":
		return "BROKEN: " + b.Broken
	case v == nil:
		return "never verified"
	default:
		return fmt.Sprintf("%s, %s", v.Depth, v.Time.Local().Format(minutes)) + report.Until(v.Replay)
	}
}
