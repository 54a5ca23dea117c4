package cli

import (
	"context"
	"errors"
	"slices"
	"strings"

	"mbk/internal/cli/options"
	"mbk/internal/hint"
	"mbk/internal/repo"
	"mbk/internal/ui"
	"mbk/internal/ui/printable"
)

type expireOptions struct {
	repository
	policy  repo.Policy
	dryRun  bool
	force   bool
	metrics metricsFile
}

func (o *expireOptions) bind(s *options.Set, u *ui.UI) {
	o.repository.bind(s, u)
	s.Int(&o.policy.Last, "keep-last", 0, "keep the `N` newest backups")
	s.Int(&o.policy.Full, "keep-full", 0, "keep the `N` newest full backups, and all increments on them")
	s.Int(&o.policy.Days, "keep-days", 0, "keep all backups of the `N` days before the newest")
	s.Int(&o.policy.Daily, "keep-daily", 0, "keep the newest of each of `N` days")
	s.Int(&o.policy.Weekly, "keep-weekly", 0, "keep the newest of each of `N` weeks")
	s.Int(&o.policy.Monthly, "keep-monthly", 0, "keep the newest of each of `N` months")
	s.Int(&o.policy.Yearly, "keep-yearly", 0, "keep the newest of each of `N` years")
	s.Bool(&o.dryRun, "dry-run", "print what would be removed, change nothing")
	s.Bool(&o.force, "force", "remove backups though the clock seems to have jumped")
	o.metrics.bind(s)
	o.bindLock(s)
	fileOptions(s)
	outputOptions(s, u)
}

func expireCommand(p *program) *command {
	var o expireOptions
	return &command{
		name: "expire", summary: "remove backups that no rule keeps",
		usage:    "mbk expire --repo REPO --keep-... N",
		examples: "mbk expire --repo /backup/db1 --keep-daily 7 --keep-weekly 4 --dry-run",
		changes:  true, routine: true, options: bind(func(s *options.Set) { o.bind(s, p.ui) }),
		run: func(ctx context.Context) error {
			return o.metrics.after(ctx, o.repository, runExpire(ctx, &o, p.ui))
		},
	}
}

func runExpire(ctx context.Context, o *expireOptions, u *ui.UI) (err error) {
	if err := o.policy.Validate(); errors.Is(err, repo.ErrKeepsNothing) {
		return usagef("mbk expire needs at least one rule, such as %s 7", hint.Option("keep-daily"))
	} else if err != nil {
		return options.Usage(err)
	}
	r, release, err := o.openToChange(ctx, o.dryRun)
	if err != nil {
		return err
	}
	defer release()
	plan, err := r.Expire(ctx, o.policy, repo.ExpireOptions{DryRun: o.dryRun, Force: o.force})
	var future *repo.FutureError
	if errors.As(err, &future) {
		err = hint.Wrap(hint.Wrap(err, "set the clock of this machine right"),
			hint.Text("if the clock was wrong when that backup was made: remove its folder, "+future.Where))
	}
	if err != nil {
		return err
	}
	for _, text := range plan.NotRemoved {
		u.Warn("not removed: " + text)
	}
	if plan.HeldBack != "" {
		u.Warn(plan.HeldBack + "; nothing is removed")
		u.Hint("if the clock is right, remove these backups with --force; " +
			"without it they go when seven attempts have been made since")
	}
	return u.Result(plan, func() error { return printPlan(u, plan, o.dryRun) })
}

// printPlan prints what expire has done, or would do, and why.
func printPlan(u *ui.UI, plan repo.Plan, dry bool) error {
	var lines []string
	for _, k := range plan.Keep {
		lines = append(lines, planLine("kept", &k.Summary, k.Reasons))
	}
	for _, s := range plan.Remove {
		verb := "not removed"
		switch {
		case s.RetainedUntil != nil:
			verb = "retained until " + s.RetainedUntil.Local().Format(minutes)
		case plan.HeldBack != "":
			verb = "held back"
		case dry:
			verb = "would remove"
		case slices.Contains(plan.Removed, s.ID):
			verb = "removed"
		}
		lines = append(lines, planLine(verb, &s.Summary, s.Reasons))
	}
	if plan.Segments > 0 {
		verb := "removed"
		if dry {
			verb = "would remove"
		}
		lines = append(lines, verb+"\tarchive\t"+printable.Count(plan.Segments, "segment")+"\tall backups are newer")
	}
	return u.Rows(lines)
}

func planLine(verb string, s *repo.Summary, reasons []string) string {
	return strings.Join([]string{verb, s.ID, ui.Size(s.BytesStored), ui.OneLine(strings.Join(reasons, "; "))}, "\t")
}
