package cli

import (
	"fmt"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"

	"mbk/internal/repo"
)

func listCommand(env Env) *cli.Command {
	return &cli.Command{
		Name: "list", Usage: "list the backups of a repository and how far each is proven",
		UsageText: "mbk list --repo FOLDER\n\nmbk list --repo /backup/db1 --json",
		Flags:     append([]cli.Flag{repoFlag()}, append(fileFlags(), outputFlags()...)...),
		Action:    func(c *cli.Context) error { return runList(c, env) },
	}
}

// listDocument is what "list --json" prints.
type listDocument struct {
	Repository string         `json:"repository"`
	Backups    []repo.Summary `json:"backups"` // newest last
	Failed     *repo.Attempt  `json:"failed"`  // the attempt that ended last, if it failed
}

func runList(c *cli.Context, env Env) error {
	if err := noArguments(c); err != nil {
		return err
	}
	r, err := openRepository(c)
	if err != nil {
		return err
	}
	list, err := r.List(c.Context)
	if err != nil {
		return err
	}
	attempts, err := r.Attempts(c.Context)
	if err != nil {
		return err
	}
	failed := repo.NewestAttempt(attempts)
	if failed != nil && failed.Outcome != repo.OutcomeFailed {
		failed = nil
	}
	if c.Bool("json") {
		if list == nil {
			list = []repo.Summary{}
		}
		return document(env, listDocument{Repository: r.String(), Backups: list, Failed: failed})
	}
	if err := printList(env, r, list); err != nil {
		return err
	}
	if failed != nil {
		warn(env, fmt.Sprintf("the newest attempt, %s, failed: %s (see \"mbk history %s\")", failed.ID, shorten(failed.Error, 200), failed.ID))
	}
	return nil
}

// printList prints the backups for people.
func printList(env Env, r *repo.Repository, list []repo.Summary) error {
	if len(list) == 0 {
		fmt.Fprintf(env.Stdout, "no backups in %s\n", r)
		return nil
	}
	lines := []string{"ID\tSTARTED\tTOOK\tREAD\tSTORED\tLOCKED\tTABLES\tPROVEN"}
	for _, b := range list {
		lines = append(lines, fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s", b.ID, b.Started.Local().Format("2006-01-02 15:04"),
			took(&b.Attempt), size(b.BytesRead), size(b.BytesStored), milliseconds(b.LockMS), heldTables(b), proven(b)))
	}
	return rows(env, lines)
}

// took is how long an attempt took, "-" if that is not known.
func took(a *repo.Attempt) string {
	if a.Finished.IsZero() {
		return "-"
	}
	return span(duration(a))
}

// heldTables says how many tables a backup holds, and of how many if it was made
// with a filter.
func heldTables(b repo.Summary) string {
	if b.Filter == nil {
		return strconv.Itoa(b.Tables)
	}
	return fmt.Sprintf("%d of %d", b.Tables, b.Tables+b.LeftOut)
}

// proven says how a backup stands, in a few words.
func proven(b repo.Summary) string {
	switch v := b.Verified; {
	case b.Denied:
		return "not readable: " + b.Problem
	case b.Problem != "":
		return "DAMAGED: " + b.Problem
	case v == nil:
		return "never verified"
	case !v.OK:
		return fmt.Sprintf("DAMAGED: %s at depth %s, %s", count(v.FindingCount, "finding"), v.Depth, v.Time.Local().Format(time.DateOnly))
	default:
		return fmt.Sprintf("%s, %s", v.Depth, v.Time.Local().Format("2006-01-02 15:04"))
	}
}
