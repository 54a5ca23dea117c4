package cli

import (
	"cmp"
	"context"
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

type listOptions struct{ repository }

func (o *listOptions) bind(s *options.Set, u *ui.UI) {
	o.repository.bind(s, u)
	fileOptions(s)
	outputOptions(s, u)
}

func listCommand(p *program) *command {
	var o listOptions
	return &command{
		name: "list", summary: "list the backups of a repository and how far each is proven",
		usage: "mbk list --repo FOLDER", examples: "mbk list --repo /backup/db1 --json",
		options: bind(func(s *options.Set) { o.bind(s, p.ui) }),
		run:     func(ctx context.Context) error { return runList(ctx, &o, p.ui) },
	}
}

// listDocument is what "list --json" prints.
type listDocument struct {
	Repository string         `json:"repository"`
	Backups    []repo.Summary `json:"backups"` // newest last
	Failed     *repo.Attempt  `json:"failed"`  // the attempt that ended last, if it failed

	Unfinished []repo.Unfinished `json:"unfinished"` // what interrupted attempts have left
}

func runList(ctx context.Context, o *listOptions, u *ui.UI) error {
	r, err := o.open(ctx)
	if err != nil {
		return err
	}
	list, err := r.List(ctx)
	if err != nil {
		return err
	}
	attempts, err := r.Attempts(ctx)
	if err != nil {
		return err
	}
	failed := repo.NewestAttempt(attempts)
	if failed != nil && failed.Outcome != repo.OutcomeFailed {
		failed = nil
	}
	unfinished, err := r.Unfinished(ctx)
	if err != nil {
		return err
	}
	if u.JSON {
		return u.Document(listDocument{
			Repository: r.String(), Backups: append([]repo.Summary{}, list...), Failed: failed, Unfinished: unfinished,
		})
	}
	if err := printList(u, r, list); err != nil {
		return err
	}
	if failed != nil {
		why := ui.Shorten(failed.Error, 200)
		if failed.Encrypted {
			why = "why is encrypted"
		}
		u.Warn(fmt.Sprintf("the newest attempt, %s, failed: %s (see \"mbk history %s\")", failed.ID, why, failed.ID))
	}
	for _, a := range unfinished {
		if a.Running {
			u.Note("%s may be under way: %s so far", a.ID, ui.Size(a.Bytes))
			continue
		}
		u.Note("the interrupted attempt %s has left %s, for the next backup to continue on; \"mbk remove %s\" removes it",
			a.ID, ui.Size(a.Bytes), a.ID)
	}
	return nil
}

// minutes is the format of times in lists.
const minutes = "2006-01-02 15:04"

// printList prints the backups as text: each full backup, and under it its increments.
func printList(u *ui.UI, r *repo.Repository, list []repo.Summary) error {
	if len(list) == 0 {
		fmt.Fprintf(u.Stdout, "no backups in %s\n", r)
		return nil
	}
	return u.Rows(listLines(list))
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
		return fmt.Sprintf("%s, %s", v.Depth, v.Time.Local().Format(minutes))
	}
}
