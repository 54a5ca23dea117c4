package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"mbk/internal/cli/options"
	"mbk/internal/hint"
	"mbk/internal/input/inputfile"
	"mbk/internal/repo"
	"mbk/internal/repo/agefile"
	"mbk/internal/repo/store"
	"mbk/internal/ui"
)

type initOptions struct {
	repository
	recipients  []string
	files       []string // of recipients
	newIdentity string
	classic     bool

	set *options.Set
}

func (o *initOptions) bind(s *options.Set, u *ui.UI) {
	o.set = s
	o.repository.bind(s, u)
	s.Strings(&o.recipients, "recipient",
		"encrypt everything to `RECIPIENT`: age1..., or \"ssh-ed25519 ...\"; may be repeated")
	s.Strings(&o.files, "recipients-file", "encrypt everything to each recipient in `FILE`, one a line; may be repeated")
	s.String(&o.newIdentity, "new-identity", "", "make no repository, but an identity in the new file `FILE`, "+
		"and print its recipient")
	s.Bool(&o.classic, "classic", "with --new-identity: one that age before 1.3 can use, and quantum computers may break")
	fileOptions(s)
	outputOptions(s, u)
}

func initCommand(p *program) *command {
	var o initOptions
	return &command{
		name: "init", summary: "make a repository, encrypted or not, or an identity for one",
		usage: "mbk init --repo REPO [--recipient RECIPIENT]...\n   mbk init --new-identity FILE",
		examples: "mbk init --new-identity backup.key\n" +
			"mbk init --repo /backup/db1 --recipients-file backup.pub",
		changes: true, options: bind(func(s *options.Set) { o.bind(s, p.ui) }),
		run: func(ctx context.Context) error { return runInit(ctx, &o, p.ui) },
	}
}

// initDocument is what "init --json" prints.
type initDocument struct {
	Repository string   `json:"repository,omitempty"`
	Existed    bool     `json:"existed"`      // and was left as it is
	ID         string   `json:"id,omitempty"` // of the repository
	Recipients []string `json:"recipients"`
	Identity   string   `json:"identity,omitempty"` // file of the new identity
}

func runInit(ctx context.Context, o *initOptions, u *ui.UI) error {
	if o.newIdentity != "" {
		if len(o.recipients)+len(o.files) > 0 {
			return usagef("%s makes an identity and no repository; %s and %s are for a repository",
				hint.Option("new-identity"), hint.Option("recipient"), hint.Option("recipients-file"))
		}
		return makeIdentity(o, u)
	}
	if o.classic {
		return usagef("%s is about %s", hint.Option("classic"), hint.Option("new-identity"))
	}
	to, err := chosenRecipients(o.recipients, o.files)
	if err != nil {
		return err
	}
	create := func(ctx context.Context, st store.Store) (*repo.Repository, error) { return repo.Init(ctx, st, tool()) }
	if to != nil {
		create = func(ctx context.Context, st store.Store) (*repo.Repository, error) {
			return repo.InitEncrypted(ctx, st, tool(), to)
		}
	}
	r, err := o.openWith(ctx, create)
	existed := errors.Is(err, repo.ErrNotEmpty)
	if existed {
		r, err = o.existing(ctx, to, err)
	}
	if err != nil {
		return err
	}
	exposed, err := r.Exposed(ctx)
	if err != nil {
		return err
	}
	for _, text := range exposed {
		u.Warn(text + ": whoever can write there can exchange or remove backups")
		u.Hint("leave a repository to one user: chmod -R go-w " + r.String())
	}
	d := initDocument{Repository: r.String(), Existed: existed, ID: r.Config().ID, Recipients: r.Config().Recipients}
	if err := u.Result(d, func() error { return u.Rows(initLines(d)) }); err != nil {
		return err
	}
	named := cmp.Or(o.name, o.path)
	if existed {
		u.Note("it is a repository already, and stays as it is; \"mbk repo --repo %s\" shows it", named)
		return nil
	}
	u.Note("next: \"mbk check --repo %s\" says whether a backup can run, and \"mbk backup --repo %s\" makes it",
		named, named)
	return nil
}

// existing opens the repository that is where one was to be made. It must be as it would have
// been made: encrypted to the same recipients, or not at all. Else the error is notEmpty.
func (o *initOptions) existing(ctx context.Context, to *agefile.Recipients, notEmpty error) (*repo.Repository, error) {
	r, err := o.open(ctx)
	switch {
	case errors.Is(err, repo.ErrNotRepository):
		return nil, hint.Wrap(&configError{notEmpty}, "name an empty folder")
	case err != nil:
		return nil, err
	}
	have := slices.Sorted(slices.Values(r.Config().Recipients))
	if to != nil && !slices.Equal(have, slices.Sorted(slices.Values(to.Texts()))) {
		return nil, hint.Wrap(&configError{notEmpty}, "name an empty folder; a repository in use stays as it is, and "+
			"\"mbk recipients\" changes to whom an encrypted one is encrypted")
	}
	return r, nil
}

func initLines(d initDocument) []string {
	lines := []string{"repository\t" + d.Repository}
	return append(lines, recipientLines(d.Recipients)...)
}

// chosenRecipients returns what --recipient and --recipients-file say, nil if nothing.
func chosenRecipients(texts, files []string) (*agefile.Recipients, error) {
	all, err := gatherRecipients(texts, "recipients-file", files)
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return agefile.NewRecipients(all)
}

// gatherRecipients returns recipients and those in files.
func gatherRecipients(texts []string, option string, files []string) ([]string, error) {
	all := append([]string{}, texts...)
	for _, file := range files {
		b, err := inputfile.Read(file)
		if err != nil {
			return nil, hint.Wrap(&configError{hint.Errorf("%s: %w", hint.Option(option), err)},
				"name a file with one recipient a line")
		}
		more, err := agefile.ReadRecipients(b)
		if err != nil {
			return nil, &configError{hint.Errorf("%s: %s: %w", hint.Option(option), file, err)}
		}
		all = append(all, more...)
	}
	return all, nil
}

// makeIdentity makes an identity in a new file.
func makeIdentity(o *initOptions, u *ui.UI) error {
	text, recipient, err := agefile.Identity(o.classic)
	if err == nil {
		err = writeNew(o.newIdentity, text)
	}
	if errors.Is(err, fs.ErrExist) {
		return hint.Wrap(&configError{hint.Errorf("%s: %w", hint.Option("new-identity"), err)},
			"name a file that does not exist: what an identity was made for can be read with no other")
	}
	if err != nil {
		return hint.Wrap(&configError{hint.Errorf("%s: %w", hint.Option("new-identity"), err)},
			"name a file in a folder in which this user can make one")
	}
	d := initDocument{Recipients: []string{recipient}, Identity: o.newIdentity}
	return u.Result(d, func() error {
		fmt.Fprintln(u.Stdout, recipient)
		u.Note("the identity is in %s: keep it away from the machine that makes the backups, and a copy of it elsewhere; "+
			"without it nobody can read a backup, and with it everybody can", o.newIdentity)
		u.Note("the line above is its recipient, for \"mbk init --recipient\"; it is no secret")
		return nil
	})
}

// writeNew writes a file that must not exist yet, for this user only. If it fails nothing is
// left.
func writeNew(path string, text []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
