package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"mbk/internal/card"
	"mbk/internal/cli/options"
	"mbk/internal/repo"
	"mbk/internal/repo/store/s3"
	"mbk/internal/ui"
)

type cardOptions struct {
	repository
	ids []string
}

func (o *cardOptions) bind(s *options.Set, u *ui.UI) {
	o.repository.bind(s, u)
	o.bindIdentities(s)
	fileOptions(s)
	outputOptions(s, u)
}

func cardCommand(p *program) *command {
	var o cardOptions
	return &command{
		name: "card", summary: "print the commands that get the server back from a backup",
		usage: "mbk card [ID|latest] --repo REPO", examples: "mbk card --repo /backup/db1",
		arguments: "[ID|latest]", args: &o.ids, options: bind(func(s *options.Set) { o.bind(s, p.ui) }),
		run: func(ctx context.Context) error { return runCard(ctx, &o, p.ui) },
	}
}

func runCard(ctx context.Context, o *cardOptions, u *ui.UI) error {
	if len(o.ids) > 1 {
		return usagef("mbk card takes one id, but %q was given too", o.ids[1])
	}
	id := repo.Latest
	if len(o.ids) == 1 {
		id = o.ids[0]
	}
	r, err := o.open(ctx)
	if err != nil {
		return err
	}
	m, err := r.Manifest(ctx, id)
	if err != nil {
		return err
	}
	place, err := o.place()
	if err != nil {
		return err
	}
	c := card.New(m, place.In(ctx, r))
	return u.Result(c, func() error {
		_, err := fmt.Fprint(u.Stdout, c.Text())
		return err
	})
}

// place says for a card where the repository is, and how it is reached.
func (o repository) place() (card.Place, error) {
	path, err := o.fullPath()
	scheme, _, isURL := strings.Cut(path, "://")
	p := card.Place{Repository: path, Identities: o.identities}
	if !isURL {
		return p, err
	}
	p.Store = scheme
	set := func(option, value string) {
		if value != "" {
			p.Variables = append(p.Variables, options.Variable(option)+"="+value)
		}
	}
	switch scheme {
	case "s3":
		set("s3-endpoint", o.s3.Endpoint)
		set("s3-allow-http", map[bool]string{true: "on"}[o.s3.AllowHTTP])
		set("s3-region", o.s3.Region)
		set("s3-addressing-style", strings.TrimPrefix(cmp.Or(o.s3.Style, s3.StyleAuto), s3.StyleAuto))
		set("s3-ca-file", o.s3.CAFile)
		set("s3-profile", o.s3.Profile)
		set("s3-credentials-file", o.s3.CredentialsFile)
	case "sftp":
		set("ssh-key", o.sftp.key)
		set("ssh-known-hosts", o.sftp.knownHosts)
		set(sftpCommandOption, o.sftp.command)
	}
	return p, err
}

// cards returns what writes the card of a backup into a repository, and then into a mail about
// it: by then a hook may have unmounted the repository.
func (o repository) cards(r func() *repo.Repository) func(context.Context, *repo.Manifest) string {
	written := map[string]string{} // by id
	return func(ctx context.Context, m *repo.Manifest) string {
		if text, ok := written[m.ID]; ok {
			return text
		}
		var place card.Place
		if o.path != "" { // else it is a stream
			place, _ = o.place() // a folder whose path is not known is named by whoever restores
		}
		c := card.New(m, place.In(ctx, r()))
		written[m.ID] = c.Text()
		return written[m.ID]
	}
}
