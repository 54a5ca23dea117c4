package cli

import (
	"errors"
	"strings"

	"github.com/urfave/cli/v2"

	"mbk/repo"
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
	plan, err := r.Expire(c.Context, policy, c.Bool("dry-run"))
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return document(env, plan)
	}
	verb := "removed"
	if c.Bool("dry-run") {
		verb = "would remove"
	}
	var lines []string
	for _, k := range plan.Keep {
		lines = append(lines, "kept\t"+k.ID+"\t"+strings.Join(k.Reasons, ", "))
	}
	for _, s := range plan.Remove {
		lines = append(lines, verb+"\t"+s.ID+"\t"+size(s.BytesStored))
	}
	return rows(env, lines)
}
