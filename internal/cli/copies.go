package cli

import (
	"cmp"
	"context"
	"fmt"

	"mbk/backup/preflight"
	"mbk/internal/cli/options"
	"mbk/internal/hint"
	"mbk/internal/job"
	"mbk/internal/repo"
	"mbk/internal/transfer"
	"mbk/internal/ui"
)

// copies holds the option for the repositories that get a copy of each backup.
type copies struct {
	names []string
	to    []repository
}

// copiesOption names a repository that gets a copy.
const copiesOption = "copy-after-backup"

func (o *copies) bind(s *options.Set, u *ui.UI, usage string) {
	s.Strings(&o.names, copiesOption, usage)
	s.Finally(func() (err error) {
		o.to, err = eachOf(s, &repository{option: copiesOption, ui: u}, o.names)
		return err
	})
}

// check returns an error for what cannot be a repository, and for the one that the copies are
// of.
func (o *copies) check(of repository) error {
	if err := allNamed(o.to); err != nil {
		return err
	}
	for _, to := range o.to {
		if to.path == of.path {
			return usagef("%s %s is the repository of the backup itself", hint.Option(copiesOption), of.path)
		}
	}
	return nil
}

// targets returns the repositories as a job needs them.
func (o *copies) targets() []job.Target {
	var all []job.Target
	for _, to := range o.to {
		all = append(all, job.Target{
			To: cmp.Or(to.name, to.path),
			Copy: func(ctx context.Context, from *repo.Repository, id string) (backups int, bytes int64, err error) {
				result, err := to.receive(ctx, transfer.Options{From: from, ID: id})
				for _, b := range result.Backups {
					if !b.Present {
						backups++
					}
				}
				return backups, result.BytesWritten, err
			},
		})
	}
	return all
}

// examine adds a finding for each repository that gets copies: can it be used?
func (o *copies) examine(ctx context.Context, from *repo.Repository, found *preflight.Report) {
	for _, to := range o.to {
		name := cmp.Or(to.name, to.path)
		r, err := to.openCopyOf(ctx, from)
		if err == nil {
			err = r.WouldTake(from)
		}
		if err == nil {
			err = r.Writable(ctx)
		}
		if err != nil {
			found.Add("copy", preflight.GradeError, fmt.Sprintf("no backup can be copied to %s: %v", name, err),
				hint.Attached(err)...)
			continue
		}
		found.Add("copy", preflight.GradeOK, "backups can be copied to "+name)
	}
}
