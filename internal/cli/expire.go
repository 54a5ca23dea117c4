package cli

import (
	"errors"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"mbk/internal/hint"
	"mbk/internal/repo"
)

func expireCommand(env Env) *cli.Command {
	flags := []cli.Flag{
		repoFlag(),
		&cli.IntFlag{Name: "keep-last", Usage: "keep the `N` newest backups"},
		&cli.IntFlag{Name: "keep-days", Usage: "keep all backups of the `N` days before the newest"},
		&cli.IntFlag{Name: "keep-daily", Usage: "keep the newest of each of `N` days"},
		&cli.IntFlag{Name: "keep-weekly", Usage: "keep the newest of each of `N` weeks"},
		&cli.IntFlag{Name: "keep-monthly", Usage: "keep the newest of each of `N` months"},
		&cli.IntFlag{Name: "keep-yearly", Usage: "keep the newest of each of `N` years"},
		&cli.BoolFlag{Name: "dry-run", Usage: "print what would be removed, change nothing"},
		&cli.BoolFlag{Name: "force", Usage: "remove backups though the clock seems to have jumped"},
		metricsFlag(),
	}
	return &cli.Command{
		Name: "expire", Usage: "remove backups that no rule keeps",
		UsageText: "mbk expire --repo FOLDER --keep-... N\n\nmbk expire --repo /backup/db1 --keep-daily 7 --keep-weekly 4 --dry-run",
		Flags:     append(append(flags, fileFlags()...), outputFlags()...),
		Action:    measured(env, runExpire),
	}
}

func runExpire(c *cli.Context, env Env) (err error) {
	if err := noArguments(c); err != nil {
		return err
	}
	policy := repo.Policy{
		Last: c.Int("keep-last"), Days: c.Int("keep-days"), Daily: c.Int("keep-daily"),
		Weekly: c.Int("keep-weekly"), Monthly: c.Int("keep-monthly"), Yearly: c.Int("keep-yearly"),
	}
	if err := policy.Validate(); errors.Is(err, repo.ErrKeepsNothing) {
		return usagef("mbk expire needs at least one rule, such as --keep-daily 7")
	} else if err != nil {
		return &usageError{message: err.Error()}
	}
	r, err := openRepository(c)
	if err != nil {
		return err
	}
	if !c.Bool("dry-run") {
		release, err := r.Lock(c.Context)
		if err != nil {
			return err
		}
		defer release() //nolint:errcheck // the lock ends with the process at the latest
	}
	plan, err := r.Expire(c.Context, policy, repo.ExpireOptions{DryRun: c.Bool("dry-run"), Force: c.Bool("force")})
	var future *repo.FutureError
	if errors.As(err, &future) {
		err = hint.Wrap(hint.Wrap(err, "set the clock of this machine right"),
			hint.Text("if the clock was wrong when that backup was made: remove its folder, "+future.Where))
	}
	if err != nil {
		return err
	}
	for _, text := range plan.NotRemoved {
		warn(env, "not removed: "+text)
	}
	if plan.HeldBack != "" {
		warn(env, plan.HeldBack+"; nothing is removed")
		tell(env, messageHint, "if the clock is right, remove these backups with --force; without it they go when seven attempts have been made since")
	}
	if c.Bool("json") {
		return document(env, plan)
	}
	return printPlan(env, plan, c.Bool("dry-run"))
}

// printPlan prints what an expiry has done, or would do.
func printPlan(env Env, plan repo.Plan, dry bool) error {
	var lines []string
	for _, k := range plan.Keep {
		lines = append(lines, "kept\t"+k.ID+"\t"+strings.Join(k.Reasons, ", "))
	}
	for _, s := range plan.Remove {
		verb := "not removed"
		switch {
		case plan.HeldBack != "":
			verb = "held back"
		case dry:
			verb = "would remove"
		case slices.Contains(plan.Removed, s.ID):
			verb = "removed"
		}
		lines = append(lines, verb+"\t"+s.ID+"\t"+size(s.BytesStored))
	}
	return rows(env, lines)
}
