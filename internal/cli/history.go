package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"mbk/internal/repo"
	"mbk/stage"
)

func historyCommand(env Env) *cli.Command {
	flags := []cli.Flag{
		repoFlag(),
		&cli.BoolFlag{Name: "failed", Usage: "only attempts that failed"},
		&cli.IntFlag{Name: "last", Usage: "only the `N` newest of them"},
		&cli.StringFlag{Name: "since", Usage: "only those begun since `WHEN`: a time such as 2026-11-20 or \"2026-11-20 15:04\", or so long ago, such as 7d or 36h"},
	}
	return &cli.Command{
		Name: "history", Usage: "list all attempts, failed ones too, or show one",
		UsageText: "mbk history [ID|latest] --repo FOLDER [OPTIONS]\n\nmbk history --repo /backup/db1 --failed --since 7d\nmbk history latest --repo /backup/db1",
		ArgsUsage: "[ID|latest]",
		Flags:     append(flags, append(fileFlags(), outputFlags()...)...),
		Action:    func(c *cli.Context) error { return runHistory(c, env) },
	}
}

// Options about what is noted of a run.
const (
	categoryRecords    = "Records"
	historyTableOption = "history-table"
)

// historyTableFlag is of commands that write into the server's table of attempts.
func historyTableFlag() cli.Flag {
	return &cli.StringFlag{Name: historyTableOption, Category: categoryRecords, Usage: "at the end, failed or not, write a row into `TABLE` (database.table) of the server (without a value: " + stage.DefaultHistoryTable + ")"}
}

// historyTable reads that option.
func historyTable(c *cli.Context) (stage.HistoryTable, error) {
	text := c.String(historyTableOption)
	if text == "" {
		return stage.HistoryTable{}, nil
	}
	table, err := stage.ParseHistoryTable(text)
	if err != nil {
		err = usagef("--history-table: %v", err)
	}
	return table, err
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

func runHistory(c *cli.Context, env Env) error {
	if c.Args().Present() {
		return runHistoryOf(c, env)
	}
	if err := checkNumbers(c, "last"); err != nil {
		return err
	}
	since, err := parseSince(c.String("since"), time.Now())
	if err != nil {
		return err
	}
	r, err := openRepository(c)
	if err != nil {
		return err
	}
	all, err := r.Attempts(c.Context)
	if err != nil {
		return err
	}
	backups, err := r.IDs(c.Context)
	if err != nil {
		return err
	}
	kept := map[string]bool{}
	for _, id := range backups {
		kept[id] = true
	}
	d := historyDocument{Repository: r.String(), Attempts: []historyAttempt{}}
	for _, a := range all {
		if c.Bool("failed") && a.Outcome != repo.OutcomeFailed || a.Started.Before(since) {
			continue
		}
		d.Attempts = append(d.Attempts, historyAttempt{a, kept[a.ID]})
	}
	if last := c.Int("last"); last > 0 {
		d.Attempts = d.Attempts[max(len(d.Attempts)-last, 0):]
	}
	if c.Bool("json") {
		return document(env, d)
	}
	return printHistory(env, d)
}

// parseSince reads a time of this machine's zone, or how long ago.
func parseSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, nil
		}
	}
	if ago, err := parseAge("since", text); err == nil {
		return now.Add(-ago), nil
	}
	return time.Time{}, usagef("--since %q is neither a time such as \"2026-11-20 15:04\" nor a duration such as 7d or 36h", text)
}

// shownError is how much of an error a list of attempts shows.
const shownError = 100

func printHistory(env Env, d historyDocument) error {
	if len(d.Attempts) == 0 {
		_, err := fmt.Fprintf(env.Stdout, "no such attempt in %s\n", d.Repository)
		return err
	}
	lines := []string{"ID\tSTARTED\tTOOK\tOUTCOME\tREAD\tLOCKED\tERROR"}
	for _, a := range d.Attempts {
		outcome := a.Outcome
		if outcome == repo.OutcomeOK && !a.Kept {
			outcome = "ok, expired"
		}
		lines = append(lines, strings.TrimRight(fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s\t%s", a.ID, a.Started.Local().Format("2006-01-02 15:04"), took(&a.Attempt),
			outcome, size(a.BytesRead), milliseconds(a.LockMS), shorten(oneLine(a.Error), shownError)), "\t"))
	}
	return rows(env, lines)
}

// runHistoryOf shows one attempt.
func runHistoryOf(c *cli.Context, env Env) error {
	for _, name := range []string{"failed", "last", "since"} {
		if c.IsSet(name) {
			return usagef("--%s chooses among all attempts, but the attempt %q was named", name, c.Args().First())
		}
	}
	_, d, err := chosenAttempt(c)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return document(env, d)
	}
	return printAttempt(env, d)
}

// printAttempt prints what the history has of an attempt, for people.
func printAttempt(env Env, d attemptDocument) error {
	a := &d.Attempt
	outcome := a.Outcome
	if outcome == repo.OutcomeOK && !d.Kept {
		outcome = "ok; the backup has been removed since"
	}
	lines := []string{"attempt\t" + a.ID, "outcome\t" + outcome, "started\t" + a.Started.Local().Format(time.DateTime)}
	if a.Finished.IsZero() {
		lines = append(lines, "ended\tnot known")
	} else {
		lines = append(lines, fmt.Sprintf("ended\t%s, after %s", a.Finished.Local().Format(time.DateTime), span(duration(a))))
	}
	if a.Error != "" {
		lines = append(lines, "error\t"+oneLine(a.Error))
	}
	for _, h := range a.Hints {
		lines = append(lines, "hint\t"+oneLine(h))
	}
	if a.ServerVersion != "" {
		lines = append(lines, fmt.Sprintf("server\tMariaDB %s at %s, %s", a.ServerVersion, a.Hostname, a.Datadir))
	}
	if a.BytesRead > 0 {
		lines = append(lines, fmt.Sprintf("size\t%s read, %s stored (%s)", size(a.BytesRead), size(a.BytesStored), a.Codec))
	}
	lines = append(lines, "locked\t"+milliseconds(a.LockMS)+" (BLOCK_DDL to END)")
	for _, w := range a.Warnings {
		lines = append(lines, "warning\t"+oneLine(w))
	}
	for _, h := range a.Hooks {
		lines = append(lines, fmt.Sprintf("hook\t%s, %s: %s", h.When, h.Program, oneLine(orDefault(h.Error, "ok"))))
	}
	for _, n := range a.Notifications {
		lines = append(lines, fmt.Sprintf("notified\t%s, %s: %s", n.Channel, n.To, oneLine(orDefault(n.Error, "ok"))))
	}
	if err := rows(env, lines); err != nil {
		return err
	}
	if err := printSteps(env, a.Steps); err != nil {
		return err
	}
	if err := printStages(env, a.Stages); err != nil {
		return err
	}
	return printProofs(env, d.Verifications)
}

func printSteps(env Env, steps []repo.Step) error {
	var lines []string
	for _, s := range steps {
		lines = append(lines, fmt.Sprintf("step\t%s\t%s", s.Name, milliseconds(s.MS)))
	}
	return rows(env, lines)
}
