package cli

import (
	"context"
	"errors"
	"fmt"

	"mbk/internal/cli/options"
	"mbk/internal/repo"
	"mbk/internal/repo/store"
	"mbk/internal/transfer"
	"mbk/internal/ui"
	"mbk/internal/ui/printable"
)

type copyOptions struct {
	repository
	to     repository
	ids    []string
	all    bool
	dryRun bool
}

func (o *copyOptions) bind(s *options.Set, u *ui.UI) {
	o.repository.bind(s, u)
	o.to.bindTarget(s, u, "copy to the repository `REPO`: a folder, s3://..., sftp://... or a name")
	s.Bool(&o.all, "all", "copy all backups that the other repository does not have")
	s.Bool(&o.dryRun, "dry-run", "print what would be copied, change nothing")
	o.repository.bindIdentities(s)
	o.to.bindLock(s)
	fileOptions(s)
	progressOptions(s, u)
}

func copyCommand(p *program) *command {
	var o copyOptions
	return &command{
		name: "copy", summary: "copy backups to another repository, with those that they need",
		usage: "mbk copy ID|latest|--all --repo REPO --to REPO",
		examples: "mbk copy latest --repo /backup/db1 --to /mnt/usb/db1\n" +
			"mbk copy --all --repo /backup/db1 --to s3://backups/db1",
		changes: true, routine: true, arguments: "ID|latest|--all", args: &o.ids,
		options: bind(func(s *options.Set) { o.bind(s, p.ui) }),
		run:     func(ctx context.Context) error { return runCopy(ctx, &o, p.ui) },
	}
}

// chosen returns the id of the backup to copy, "" for all.
func (o *copyOptions) chosen() (string, error) {
	switch {
	case o.all && len(o.ids) > 0:
		return "", usagef("%s copies all backups, but %q was given too", "--all", o.ids[0])
	case o.all:
		return "", nil
	case len(o.ids) == 0:
		return "", usagef(`mbk copy needs the id of a backup, "latest" or --all`)
	case len(o.ids) > 1:
		return "", usagef("mbk copy takes one id, but %q was given too", o.ids[1])
	}
	return o.ids[0], nil
}

func runCopy(ctx context.Context, o *copyOptions, u *ui.UI) error {
	id, err := o.chosen()
	if err != nil {
		return err
	}
	if err := errors.Join(o.named(), o.to.named()); err != nil {
		return err
	}
	from, err := o.open(ctx)
	if err != nil {
		return err
	}
	result, err := o.to.receive(ctx, transfer.Options{From: from, ID: id, All: o.all, DryRun: o.dryRun})
	if left := (*transfer.LeftOutError)(nil); err != nil && !errors.As(err, &left) {
		return err
	}
	u.Silent = u.Silent && err == nil
	return errors.Join(err, u.Result(result, func() error { return u.Rows(copiedLines(result)) }))
}

// receive copies backups to this repository, which may be new, and shows the progress. The
// result is not nil, and empty if the copying did not begin.
func (o repository) receive(ctx context.Context, t transfer.Options) (result *transfer.Result, err error) {
	if t.To, err = o.openCopyOf(ctx, t.From); err != nil {
		return &transfer.Result{}, err
	}
	if !t.DryRun {
		if err := t.To.Writable(ctx); err != nil {
			return &transfer.Result{}, err
		}
		release, err := t.To.Lock(ctx)
		if err != nil {
			return &transfer.Result{}, err
		}
		defer release() //nolint:errcheck // it ends with the process
	}
	shown := o.ui.NewProgress()
	defer shown.End()
	t.OnProgress, t.Archive = showTransfer(shown), true
	return transfer.Run(ctx, t)
}

// openCopyOf opens the repository that gets copies of another one. It may be new.
func (o repository) openCopyOf(ctx context.Context, from *repo.Repository) (*repo.Repository, error) {
	if err := o.retainable(); err != nil {
		return nil, err
	}
	return o.openWith(ctx, func(ctx context.Context, st store.Store) (*repo.Repository, error) {
		return repo.OpenOrCopyOf(ctx, st, tool(), from)
	})
}

// copiedLines says what was copied, or would be.
func copiedLines(r *transfer.Result) []string {
	verb, there := "copied", 0
	if r.DryRun {
		verb = "would copy"
	}
	var lines []string
	var total int64
	for _, b := range r.Backups {
		if b.Present {
			there++
			continue
		}
		total += b.Bytes
		lines = append(lines, verb+"\t"+b.ID+"\t"+ui.Size(b.Bytes))
	}
	for _, l := range r.LeftOut {
		lines = append(lines, "left out\t"+l.ID+"\t"+ui.OneLine(l.Reason))
	}
	if n := r.Archive.Segments; n > 0 {
		lines = append(lines, fmt.Sprintf("%s\tarchive\t%s, %s", verb, printable.Count(n, "segment"),
			ui.Size(r.Archive.Bytes)))
	}
	for _, text := range r.Archive.Missing {
		lines = append(lines, "missing\tarchive\t"+text)
	}
	return append(lines, fmt.Sprintf("total\t%s\t%s; %s in %s already", printable.Count(len(r.Backups)-there, "backup"),
		ui.Size(total), printable.Count(there, "backup"), r.To))
}
