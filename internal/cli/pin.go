package cli

import (
	"context"
	"errors"
	"os"
	"os/user"
	"time"

	"mbk/internal/cli/options"
	"mbk/internal/hint"
	"mbk/internal/repo"
	"mbk/internal/ui"
)

type pinOptions struct {
	repository
	id     string
	reason string
	dryRun bool
}

func (o *pinOptions) bind(s *options.Set, u *ui.UI) {
	o.repository.bind(s, u)
	s.Bool(&o.dryRun, "dry-run", "print what would be done, change nothing")
	fileOptions(s)
	outputOptions(s, u)
}

func pinCommand(p *program) *command {
	var o pinOptions
	return &command{
		name: "pin", summary: "keep one backup, and what it needs, until it is unpinned",
		usage:     "mbk pin ID|latest --repo REPO [--reason TEXT]",
		examples:  `mbk pin latest --repo /backup/db1 --reason "before the upgrade to 11.8"`,
		arguments: "ID|latest", id: &o.id, changes: true,
		options: bind(func(s *options.Set) {
			o.bind(s, p.ui)
			s.String(&o.reason, "reason", "", "why, as `TEXT` for those who wonder later")
		}),
		run: func(ctx context.Context) error { return runPin(ctx, &o, p.ui) },
	}
}

func unpinCommand(p *program) *command {
	var o pinOptions
	return &command{
		name: "unpin", summary: "let the rules of expire decide about a backup again",
		usage: "mbk unpin ID|latest --repo REPO", examples: "mbk unpin 20261122T000658Z --repo /backup/db1",
		arguments: "ID|latest", id: &o.id, changes: true, options: bind(func(s *options.Set) { o.bind(s, p.ui) }),
		run: func(ctx context.Context) error { return runUnpin(ctx, &o, p.ui) },
	}
}

// pinDocument is what "pin --json" and "unpin --json" print.
type pinDocument struct {
	ID    string    `json:"id"`
	Pin   *repo.Pin `json:"pin"`   // as it is now; null: none
	Was   *repo.Pin `json:"was"`   // as it was before
	Keeps []string  `json:"keeps"` // the backups that a pin of this one keeps, the full one first
}

func runPin(ctx context.Context, o *pinOptions, u *ui.UI) error {
	r, err := o.open(ctx)
	if err != nil {
		return err
	}
	d := pinDocument{}
	if d.ID, err = r.Resolve(ctx, o.id); err != nil {
		return err
	}
	backup, err := summaryOf(ctx, r, d.ID)
	if err != nil {
		return err
	}
	d.Was, d.Keeps = backup.Pin, backup.Needs.IDs
	if o.dryRun {
		d.Pin = &repo.Pin{FormatVersion: repo.FormatVersion, ID: d.ID, Reason: o.reason, Created: time.Now().UTC(), By: me()}
	} else if d.Pin, err = r.Pin(ctx, d.ID, o.reason, me()); errors.Is(err, repo.ErrReason) {
		return usagef("%s: %v", hint.Option("reason"), err)
	} else if err != nil {
		return err
	}
	if backup.Broken != "" {
		u.Warn("backup " + d.ID + " cannot be restored: " + backup.Broken)
	}
	return u.Result(d, func() error {
		verb := "pinned"
		if o.dryRun {
			verb = "would pin"
		}
		lines := []string{verb + "\t" + d.ID + "\t" + ui.OneLine(o.reason)}
		for _, id := range d.Keeps[:len(d.Keeps)-1] {
			lines = append(lines, "needs\t"+id)
		}
		return u.Rows(lines)
	})
}

func runUnpin(ctx context.Context, o *pinOptions, u *ui.UI) error {
	r, err := o.open(ctx)
	if err != nil {
		return err
	}
	d := pinDocument{Keeps: []string{}}
	if d.ID, err = r.PinnedID(ctx, o.id); err != nil {
		return err
	}
	if backup, err := summaryOf(ctx, r, d.ID); err == nil { // else only its pin is left
		d.Keeps = backup.Needs.IDs
	}
	verb := "unpinned"
	if o.dryRun {
		verb = "would unpin"
		var pins map[string]*repo.Pin
		pins, err = r.Pins(ctx)
		d.Was = pins[d.ID]
		d.Pin = d.Was
	} else {
		d.Was, err = r.Unpin(ctx, d.ID)
	}
	if err != nil {
		return err
	}
	if d.Was == nil {
		verb = "was not pinned"
	}
	return u.Result(d, func() error { return u.Rows([]string{verb + "\t" + d.ID}) })
}

// summaryOf returns a backup as it is in the list of all.
func summaryOf(ctx context.Context, r *repo.Repository, id string) (*repo.Summary, error) {
	list, err := r.List(ctx)
	if err != nil {
		return nil, err
	}
	for i := range list {
		if list[i].ID == id {
			return &list[i], nil
		}
	}
	return nil, hint.Wrap(errors.Join(repo.ErrRemoved), "mbk list")
}

// me names the user and the machine: "root at db1".
func me() string {
	name, host := "unknown", "unknown"
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if h, err := os.Hostname(); err == nil {
		host = h
	}
	return name + " at " + host
}
