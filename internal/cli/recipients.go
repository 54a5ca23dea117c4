package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"mbk/internal/cli/options"
	"mbk/internal/hint"
	"mbk/internal/repo"
	"mbk/internal/repo/agefile"
	"mbk/internal/ui"
)

type recipientsOptions struct {
	repository
	add    []string
	files  []string // of recipients to add
	remove []string
	rewrap bool
	dryRun bool
}

func (o *recipientsOptions) bind(s *options.Set, u *ui.UI) {
	o.repository.bind(s, u)
	s.Strings(&o.add, "add", "encrypt to `RECIPIENT` too; may be repeated")
	s.Strings(&o.files, "add-file", "encrypt to each recipient in `FILE`, too, one a line; may be repeated")
	s.Strings(&o.remove, "remove", "do not encrypt to `RECIPIENT`, or the one that begins so, any more; may be repeated")
	s.Bool(&o.rewrap, "rewrap", "encrypt the keys of all backups to the recipients as they are now; it needs --identity")
	o.bindIdentities(s)
	o.bindLock(s)
	s.Bool(&o.dryRun, "dry-run", "print what the recipients would be, change nothing")
	fileOptions(s)
	outputOptions(s, u)
}

func recipientsCommand(p *program) *command {
	var o recipientsOptions
	return &command{
		name: "recipients", summary: "list or change to whom a repository is encrypted",
		usage:    "mbk recipients --repo REPO [--add RECIPIENT] [--remove RECIPIENT]",
		examples: "mbk recipients --repo /backup/db1 --add-file new.pub --identity backup.key",
		changes:  true, options: bind(func(s *options.Set) { o.bind(s, p.ui) }),
		run: func(ctx context.Context) error { return runRecipients(ctx, &o, p.ui) },
	}
}

// recipientsDocument is what "recipients --json" prints.
type recipientsDocument struct {
	Repository string   `json:"repository"`
	Recipients []string `json:"recipients"` // as they are now, or would be
	repo.Rewrapped
}

func runRecipients(ctx context.Context, o *recipientsOptions, u *ui.UI) error {
	if o.rewrap && len(o.identities) == 0 {
		return usagef("%s needs %s FILE, the identity with which the keys can be opened now",
			hint.Option("rewrap"), hint.Option("identity"))
	}
	added, err := gatherRecipients(o.add, "add-file", o.files)
	if err != nil {
		return err
	}
	change := len(added)+len(o.remove) > 0 || o.rewrap
	r, release, err := o.openToChange(ctx, o.dryRun || !change)
	if err != nil {
		return err
	}
	defer release()
	d := recipientsDocument{Repository: r.String(), Recipients: r.Config().Recipients,
		Rewrapped: repo.Rewrapped{Done: []string{}, Left: []string{}}}
	if change && !r.Encrypted() {
		return hint.Wrap(fmt.Errorf("%s: %w", r, repo.ErrPlain),
			"make a new repository with \"mbk init --recipient\"; what is in this one would stay readable")
	}
	if change {
		if err := o.change(ctx, r, added, &d); err != nil {
			return err
		}
	}
	return u.Result(d, func() error { return o.print(u, d) })
}

// change changes the recipients, unless that is only planned.
func (o *recipientsOptions) change(
	ctx context.Context, r *repo.Repository, added []string, d *recipientsDocument,
) error {
	left, err := withoutRecipients(d.Recipients, o.remove)
	if err != nil {
		return err
	}
	to, err := agefile.NewRecipients(slices.Concat(left, added))
	if err != nil {
		return err
	}
	d.Recipients = to.Texts()
	if len(d.Recipients) == 0 {
		return usagef("%s would remove the last recipient, and nobody could read what is written then",
			hint.Option("remove"))
	}
	if o.dryRun {
		return nil
	}
	done, err := r.SetRecipients(ctx, to)
	if done != nil {
		d.Rewrapped = *done
	}
	return err
}

// withoutRecipients returns recipients without some that are named, or of which the beginning
// is.
func withoutRecipients(all, remove []string) ([]string, error) {
	left := slices.Clone(all)
	for _, text := range remove {
		begins := func(one string) bool { return strings.HasPrefix(one, strings.TrimSpace(text)) }
		i := slices.IndexFunc(left, begins)
		switch {
		case i < 0:
			return nil, hint.Wrap(usagef("%s: no recipient begins with %s", hint.Option("remove"), agefile.Name(text)),
				`"mbk recipients" lists them`)
		case slices.ContainsFunc(left[i+1:], begins):
			return nil, usagef("%s: several recipients begin with %s", hint.Option("remove"), agefile.Name(text))
		}
		left = slices.Delete(left, i, i+1)
	}
	return left, nil
}

// print prints the recipients, one a line, and what was done.
func (o *recipientsOptions) print(u *ui.UI, d recipientsDocument) error {
	for _, text := range d.Recipients {
		if _, err := fmt.Fprintln(u.Stdout, text); err != nil {
			return err
		}
	}
	if len(d.Recipients) == 0 {
		u.Note("%s is not encrypted", d.Repository)
	}
	if n := len(d.Done); n > 0 {
		u.Note("the keys of %s are encrypted to these recipients now", ui.Count(n, "backup"))
	}
	if n := len(d.Left); n > 0 {
		u.Warn(fmt.Sprintf("the keys of %s are encrypted to the recipients from before, %s first",
			ui.Count(n, "backup"), d.Left[0]))
		u.Hint("with an identity of one of these, \"mbk recipients --rewrap --identity FILE\" changes that")
	}
	if len(o.remove) > 0 && !o.dryRun {
		u.Note("who was removed can still read what he has copied before")
	}
	return nil
}
