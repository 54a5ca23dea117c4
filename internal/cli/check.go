package cli

import (
	"errors"
	"time"

	"github.com/urfave/cli/v2"

	"mbk/backup"
	"mbk/internal/hint"
	"mbk/stage"
)

func checkCommand(env Env) *cli.Command {
	flags := []cli.Flag{
		repoFlag(), datadirFlag(),
		&cli.StringFlag{Name: "compress", Value: "zstd", Usage: "expect a backup with `CODEC`: zstd, zstd:LEVEL, s2 or none"},
		minFreeFlag(""),
		&cli.BoolFlag{Name: "skip-unsupported", Usage: "tables of engines that cannot be copied are no error"},
		newServerFlag(),
		&cli.StringFlag{Name: historyTableOption, Category: categoryRecords, Usage: "may the account write into `TABLE`? (without a value: " + stage.DefaultHistoryTable + ")"},
	}
	flags = append(append(append(flags, filterFlags()...), freshnessFlags()...), connectionFlags()...)
	return &cli.Command{
		Name: "check", Usage: "can a backup run here now? is the newest one young enough?",
		UsageText: "mbk check --repo FOLDER [OPTIONS]\n\nmbk check --repo /backup/db1 --json\nmbk check --repo /backup/db1 --max-age 26h --max-verify-age 8d",
		Flags:     append(flags, outputFlags()...),
		Action:    func(c *cli.Context) error { return runCheck(c, env) },
	}
}

// checkDocument is what "check --json" prints.
type checkDocument struct {
	OK       bool             `json:"ok"`
	Findings []backup.Finding `json:"findings"`
}

func runCheck(c *cli.Context, env Env) error {
	if err := noArguments(c); err != nil {
		return err
	}
	maxAge, err := parseAge("max-age", c.String("max-age"))
	if err != nil {
		return err
	}
	maxVerifyAge, err := parseAge("max-verify-age", c.String("max-verify-age"))
	if err != nil {
		return err
	}
	if maxAge > 0 || maxVerifyAge > 0 {
		return runFreshnessCheck(c, env, maxAge, maxVerifyAge)
	}
	o, err := backupOptions(c, env)
	if err != nil {
		return err
	}
	if o.Repository, err = openOrNew(c); err != nil {
		if _, missing := errors.AsType[*configError](err); !missing {
			return err
		}
		o.Repository, o.NoRepository = nil, err
	}
	if o.Server, err = connect(c, env); err != nil {
		return errors.Join(o.NoRepository, err)
	}
	defer o.Server.Close()
	found, err := backup.Check(c.Context, o)
	if err != nil {
		return err
	}
	failed := found.Errors()
	return errors.Join(failed, printFindings(c, env, found.Findings, failed == nil))
}

// runFreshnessCheck answers a monitoring system.
func runFreshnessCheck(c *cli.Context, env Env, maxAge, maxVerifyAge time.Duration) error {
	for _, f := range filterFlags() {
		if name := f.Names()[0]; env.sources[name].strength == byFlag {
			return usagef("--%s asks the server, and with --max-age or --max-verify-age only the repository is looked at: leave one of them out", name)
		}
	}
	r, err := openRepository(c)
	if err != nil {
		return err
	}
	found, err := checkFreshness(c.Context, r, maxAge, maxVerifyAge, time.Now())
	if err != nil {
		return err
	}
	var all []error
	for _, f := range found {
		if f.Grade != backup.GradeError {
			continue
		}
		var failed error = &staleError{f.Check + ": " + f.Text}
		for _, h := range f.Hints {
			failed = hint.Wrap(failed, h)
		}
		all = append(all, failed)
	}
	return errors.Join(append(all, printFindings(c, env, found, len(all) == 0))...)
}

// printFindings prints findings as a document or as a line each. Advice on warnings
// has lines of its own; that on errors goes to stderr with them.
func printFindings(c *cli.Context, env Env, found []backup.Finding, ok bool) error {
	if c.Bool("json") {
		return document(env, checkDocument{OK: ok, Findings: found})
	}
	var lines []string
	for _, f := range found {
		lines = append(lines, f.Grade+"\t"+f.Check+"\t"+f.Text)
		for _, h := range f.Hints {
			if f.Grade == backup.GradeWarning {
				lines = append(lines, "hint\t"+f.Check+"\t"+h.String())
			}
		}
	}
	return rows(env, lines)
}
