package cli

import (
	"context"
	"errors"
	"fmt"

	"mbk/internal/cli/options"
	"mbk/internal/consolidate"
	"mbk/internal/repo"
	"mbk/internal/ui"
	"mbk/internal/ui/meter"
)

type consolidateOptions struct {
	repository
	id      string
	dryRun  bool
	threads int
	metrics metricsFile
}

func (o *consolidateOptions) bind(s *options.Set, u *ui.UI) {
	o.repository.bind(s, u)
	o.bindIdentities(s)
	s.Bool(&o.dryRun, "dry-run", "print what would be made, change nothing")
	threadsOption(s, &o.threads, "copy with `N` threads (default: one for each CPU)")
	o.metrics.bind(s)
	o.bindLock(s)
	fileOptions(s)
	progressOptions(s, u)
}

func consolidateCommand(p *program) *command {
	var o consolidateOptions
	return &command{
		name: "consolidate", summary: "make a full backup of an increment and what it needs",
		usage:    "mbk consolidate ID|latest --repo REPO",
		examples: "mbk consolidate latest --repo /backup/db1",
		changes:  true, routine: true, arguments: "ID|latest", id: &o.id,
		options: bind(func(s *options.Set) { o.bind(s, p.ui) }),
		run: func(ctx context.Context) error {
			return o.metrics.after(ctx, o.repository, runConsolidate(ctx, &o, p.ui))
		},
	}
}

func runConsolidate(ctx context.Context, o *consolidateOptions, u *ui.UI) error {
	r, release, err := o.openToChange(ctx, o.dryRun)
	if err != nil {
		return err
	}
	defer release()
	if err := errors.Join(o.retainable(), r.Writable(ctx)); err != nil && !o.dryRun {
		return err
	}
	shown := u.NewProgress()
	result, err := consolidate.Run(ctx, consolidate.Options{
		Repository: r, ID: o.id, Tool: tool(), Workers: o.threads, DryRun: o.dryRun,
		Card: o.cards(func() *repo.Repository { return r }),
		OnProgress: func(p meter.Progress) {
			if p.Done == 0 {
				shown.Step(phaseName(p.Phase))
			}
			shown.At(p.Done, p.Total)
		},
	})
	shown.End()
	if err != nil {
		return err
	}
	return u.Result(result, func() error {
		fmt.Fprintln(u.Stdout, consolidated(result))
		return nil
	})
}

// consolidated says what was made, or would be.
func consolidated(r *consolidate.Result) string {
	newest := r.From[0]
	switch {
	case len(r.From) == 1:
		return newest + " is a full backup already; there is nothing to do"
	case r.DryRun:
		return fmt.Sprintf("%s would become a full backup of at most %s, out of %d backups",
			newest, ui.Size(r.BytesNeeded), len(r.From))
	}
	return fmt.Sprintf("%s  made of %s and the %d that it needs, %s", r.ID, newest, len(r.From)-1, ui.Size(r.BytesStored))
}
