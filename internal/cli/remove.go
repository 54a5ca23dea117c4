package cli

import (
	"context"
	"slices"

	"mbk/internal/cli/options"
	"mbk/internal/repo"
	"mbk/internal/ui"
)

type removeOptions struct {
	repository
	id         string
	dependents bool
	dryRun     bool
	metrics    metricsFile
}

func (o *removeOptions) bind(s *options.Set, u *ui.UI) {
	o.repository.bind(s, u)
	s.Bool(&o.dependents, "with-dependents", "remove the backups that need it, too, and these first")
	s.Bool(&o.dryRun, "dry-run", "print what would be removed, change nothing")
	o.metrics.bind(s)
	o.bindLock(s)
	fileOptions(s)
	outputOptions(s, u)
}

func removeCommand(p *program) *command {
	var o removeOptions
	return &command{
		name: "remove", summary: "remove one backup, or what an interrupted one has left",
		usage:     "mbk remove ID --repo REPO",
		examples:  "mbk remove 20261122T0006 --repo /backup/db1 --dry-run",
		arguments: "ID", id: &o.id, changes: true, routine: true, options: bind(func(s *options.Set) { o.bind(s, p.ui) }),
		run: func(ctx context.Context) error {
			return o.metrics.after(ctx, o.repository, runRemove(ctx, &o, p.ui))
		},
	}
}

func runRemove(ctx context.Context, o *removeOptions, u *ui.UI) error {
	if o.id == repo.Latest { // twice in the history of a shell, and two backups are gone
		return usagef("mbk remove needs the id of a backup; %q is not the same backup the next time", o.id)
	}
	r, release, err := o.openToChange(ctx, o.dryRun)
	if err != nil {
		return err
	}
	defer release()
	id, err := r.RemovableID(ctx, o.id)
	if err != nil {
		return err
	}
	removal, err := r.Remove(ctx, id, repo.RemoveOptions{DryRun: o.dryRun, Dependents: o.dependents})
	if err != nil {
		return err
	}
	if removal.Left == 0 {
		u.Warn("the repository has no other good backup")
	}
	return u.Result(removal, func() error {
		var lines []string
		for _, s := range removal.Remove {
			verb := "would remove"
			if slices.Contains(removal.Removed, s.ID) {
				verb = "removed"
			}
			lines = append(lines, verb+"\t"+s.ID+"\t"+ui.Size(s.BytesStored))
		}
		return u.Rows(lines)
	})
}
