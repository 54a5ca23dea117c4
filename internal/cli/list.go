package cli

import (
	"context"
	"fmt"
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
	if u.JSON {
		return u.Document(listDocument{Repository: r.String(), Backups: append([]repo.Summary{}, list...), Failed: failed})
	}
	if err := printList(u, r, list); err != nil {
		return err
	}
	if failed != nil {
		u.Warn(fmt.Sprintf("the newest attempt, %s, failed: %s (see \"mbk history %s\")",
			failed.ID, ui.Shorten(failed.Error, 200), failed.ID))
	}
	return nil
}

// minutes is the format of times in lists.
const minutes = "2006-01-02 15:04"

// printList prints the backups as text.
func printList(u *ui.UI, r *repo.Repository, list []repo.Summary) error {
	if len(list) == 0 {
		fmt.Fprintf(u.Stdout, "no backups in %s\n", r)
		return nil
	}
	lines := []string{"ID\tSTARTED\tTOOK\tREAD\tSTORED\tLOCKED\tTABLES\tPROVEN"}
	for _, b := range list {
		lines = append(lines, strings.Join([]string{
			b.ID, b.Started.Local().Format(minutes), took(&b.Attempt),
			ui.Size(b.BytesRead), ui.Size(b.BytesStored), ui.Milliseconds(b.LockMS), heldTables(b), proven(b),
		}, "\t"))
	}
	return u.Rows(lines)
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
	case b.Denied:
		return "not readable: " + b.Problem
	case b.Newer:
		return "not readable: " + b.Problem
	case b.Problem != "":
		return "DAMAGED: " + b.Problem
	case b.Broken != "":
		return "DAMAGED: " + b.Broken
	case v == nil:
		return "never verified"
	case !v.OK:
		findings, day := ui.Count(v.FindingCount, "finding"), v.Time.Local().Format(time.DateOnly)
		return fmt.Sprintf("DAMAGED: %s at depth %s, %s", findings, v.Depth, day)
	default:
		return fmt.Sprintf("%s, %s", v.Depth, v.Time.Local().Format(minutes))
	}
}
