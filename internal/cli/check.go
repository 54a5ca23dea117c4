package cli

import (
	"context"
	"errors"
	"time"

	"mbk/backup"
	"mbk/backup/preflight"
	"mbk/internal/cli/options"
	"mbk/internal/hint"
	"mbk/internal/ui"
)

type checkOptions struct {
	repository
	connection
	source    source
	increment increment
	minFree   minFree
	freshness freshness
	copies    copies
}

func (o *checkOptions) bind(s *options.Set, p *program) {
	o.repository.bind(s, p.ui)
	o.source.bindDatadir(s)
	o.source.bindCompress(s, "expect a backup with `CODEC`: zstd, zstd:LEVEL, s2 or none")
	o.minFree.bind(s)
	o.increment.bindKind(s)
	o.increment.bind(s)
	o.source.bindUnsupported(s, "tables of engines that cannot be copied are no error")
	o.source.bindNewServer(s)
	o.copies.bind(s, p.ui, "can a backup be copied to `REPO`? may be repeated")
	o.source.bindHistoryTable(s, "may the account write into `TABLE`?")
	o.source.filters.bind(s)
	o.freshness.bind(s)
	o.connection.bind(s, p)
	outputOptions(s, p.ui)
}

func checkCommand(p *program) *command {
	var o checkOptions
	return &command{
		name: "check", summary: "can a backup run here now? is the newest one young enough?",
		usage:    "mbk check --repo REPO [OPTIONS]",
		examples: "mbk check --repo /backup/db1 --json\nmbk check --repo /backup/db1 --max-age 26h --max-verify-age 8d",
		options:  bind(func(s *options.Set) { o.bind(s, p) }),
		run:      func(ctx context.Context) error { return runCheck(ctx, &o, p.ui) },
	}
}

// checkDocument is what "check --json" prints.
type checkDocument struct {
	OK       bool                `json:"ok"`
	Findings []preflight.Finding `json:"findings"`
}

func runCheck(ctx context.Context, o *checkOptions, u *ui.UI) error {
	ages, err := o.freshness.limits()
	if err != nil {
		return err
	}
	if ages != (ageLimits{}) {
		return checkFreshness(ctx, o, ages, u)
	}
	if err := o.copies.check(o.repository); err != nil {
		return err
	}
	b := backup.Options{Tool: tool(), Logger: u.Logger()}
	b.Increment = o.increment.options()
	b.Increment.Told = !b.Increment.Wanted
	if err := errors.Join(o.source.apply(&b, u), o.minFree.apply(&b)); err != nil {
		return err
	}
	if b.Repository, err = o.repository.openOrNew(ctx); err != nil {
		if _, missing := errors.AsType[*configError](err); !missing {
			return err
		}
		b.Repository, b.NoRepository = nil, err
	}
	if b.Server, err = o.connection.connect(ctx); err != nil {
		return errors.Join(b.NoRepository, err)
	}
	defer b.Server.Close()
	found, err := preflight.Check(ctx, b.Options)
	if err != nil {
		return err
	}
	if b.Repository != nil {
		o.copies.examine(ctx, b.Repository, found)
	}
	failed := found.Errors()
	return errors.Join(failed, printFindings(u, found.Findings, failed == nil))
}

// checkFreshness checks ages only, for a monitoring system.
func checkFreshness(ctx context.Context, o *checkOptions, ages ageLimits, u *ui.UI) error {
	if name := o.source.filters.typed(); name != "" {
		return usagef("%s asks the server, and with %s or %s only the repository is looked at: leave one of them out",
			hint.Option(name), hint.Option("max-age"), hint.Option("max-verify-age"))
	}
	r, err := o.repository.open(ctx)
	if err != nil {
		return err
	}
	found, err := judgeFreshness(ctx, r, ages, time.Now())
	if err != nil {
		return err
	}
	var all []error
	for _, f := range found {
		if f.Grade != preflight.GradeError {
			continue
		}
		var failed error = &staleError{f.Check + ": " + f.Text}
		for _, h := range f.Hints {
			failed = hint.Wrap(failed, h)
		}
		all = append(all, failed)
	}
	return errors.Join(append(all, printFindings(u, found, len(all) == 0))...)
}

// printFindings prints findings as a document or as one line each. Hints on warnings
// follow them; those on errors go to stderr with the errors.
func printFindings(u *ui.UI, found []preflight.Finding, ok bool) error {
	var lines []string
	for _, f := range found {
		lines = append(lines, f.Grade+"\t"+f.Check+"\t"+f.Text)
		for _, h := range f.Hints {
			if f.Grade == preflight.GradeWarning {
				lines = append(lines, "hint\t"+f.Check+"\t"+h.String())
			}
		}
	}
	return u.Result(checkDocument{OK: ok, Findings: found}, func() error { return u.Rows(lines) })
}
