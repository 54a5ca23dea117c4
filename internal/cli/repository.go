package cli

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"mbk/internal/cli/options"
	"mbk/internal/hint"
	"mbk/internal/repo"
	"mbk/internal/repo/store"
	"mbk/internal/repo/store/folder"
	"mbk/internal/repo/store/s3"
	"mbk/internal/repo/store/sftp"
	"mbk/internal/ui"
)

// repository is the option of commands that need a repository.
type repository struct {
	path       string   // as the user names it: a folder or a URL
	name       string   // of the group [mbk repo=NAME] that describes it, "" if none does
	option     string   // that names it: "repo", "to"
	identities []string // files of identities, of commands that read what may be encrypted
	waitLock   time.Duration
	s3         s3Options
	sftp       sftpOptions
	ui         *ui.UI
}

// bindLock adds the option of commands that take the lock of a repository.
func (o *repository) bindLock(s *options.Set) {
	s.Duration(&o.waitLock, "wait-lock", 0,
		"wait so long, `DURATION`, for another mbk that works on the repository, instead of ending with 4 at once")
}

func (o *repository) bind(s *options.Set, u *ui.UI) {
	o.ui = u
	o.bindPlace(s)
	s.Finally(func() error {
		place, err := o.take(s)
		if err == nil && o.name != "" {
			s.TakeSources(place)
		}
		return err
	})
}

// bindEach adds the options of a command that takes several repositories. The first is o, and
// others are set to the rest.
func (o *repository) bindEach(s *options.Set, u *ui.UI, names *[]string, others *[]repository) {
	o.ui, o.option = u, options.NamedOption
	s.Strings(names, o.option, repositoryUsage+"; may be repeated").WithShort("r").LastLine()
	o.s3.bind(s)
	o.sftp.bind(s)
	s.Finally(func() error {
		of, err := eachOf(s, o, *names)
		if err == nil && len(of) > 0 {
			*o, *others = of[0], of[1:]
		}
		return err
	})
}

// eachOf returns the repositories of an option that may be repeated, with the rest as in of.
func eachOf(s *options.Set, of *repository, names []string) ([]repository, error) {
	all := make([]repository, len(names))
	for i, name := range names {
		all[i] = repository{path: name, option: of.option, ui: of.ui}
		if _, err := all[i].take(s); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// allNamed returns an error unless each of several repositories is named.
func allNamed(all []repository) error {
	var errs []error
	for _, one := range all {
		errs = append(errs, one.named())
	}
	return errors.Join(errs...)
}

// bindPlace adds the options that say where a repository is and how it is reached.
func (o *repository) bindPlace(s *options.Set) {
	o.option = options.NamedOption
	s.String(&o.path, o.option, "", repositoryUsage).WithShort("r")
	o.s3.bind(s)
	o.sftp.bind(s)
}

// repositoryUsage describes the option that names a repository.
const repositoryUsage = "`REPO` holds the backups: a folder, s3://BUCKET/PREFIX, sftp://USER@HOST/PATH or a name"

// bindTarget adds the option of a second repository, which is written to.
func (o *repository) bindTarget(s *options.Set, u *ui.UI, usage string) {
	o.ui, o.option = u, "to"
	s.String(&o.path, o.option, "", usage)
	s.Finally(func() error {
		_, err := o.take(s)
		return err
	})
}

// take finds out where the repository is if o.path is a name, and how it is reached: as the
// command line says, else the group of that name, else what is set for all. It returns the
// options of the repository.
func (o *repository) take(s *options.Set) (*options.Set, error) {
	var of repository
	place := options.NewSet()
	of.bindPlace(place)
	of.bindIdentities(place)
	if o.path == "" {
		return place, nil
	}
	found, err := s.TakeNamed(o.path, place)
	if err != nil {
		return nil, err
	}
	if found {
		o.name, o.path = o.path, of.path
	}
	o.s3, o.sftp = of.s3, of.sftp
	if reads, _ := s.Find("identity"); reads != nil && o.option == options.NamedOption {
		o.identities = of.identities
	}
	return place, nil
}

// opener opens the store of a repository that is named by a URL.
type opener struct {
	check func(url string) error // says whether it is one, without any secret in the message
	open  func(o repository, ctx context.Context) (store.Store, error)
}

// openers returns how repositories are opened, by the scheme of their URL. What has none
// is a folder.
func openers() map[string]opener {
	return map[string]opener{
		"s3":   {func(url string) error { _, _, err := s3.ParseURL(url); return err }, repository.openS3},
		"sftp": {func(url string) error { _, err := sftp.ParseURL(url); return err }, repository.openSFTP},
	}
}

// bindIdentities adds the option of commands that read what may be encrypted.
func (o *repository) bindIdentities(s *options.Set) {
	s.Strings(&o.identities, "identity",
		"decrypt with the identity in `FILE`; repeatable")
}

// mostWarnings limits warnings about objects of a repository.
const mostWarnings = 10

// warner returns a function that prints warnings of a repository, up to mostWarnings.
func warner(u *ui.UI) func(string) {
	told := 0
	return func(text string) {
		switch told++; {
		case told <= mostWarnings:
			u.Warn(text)
		case told == mostWarnings+1:
			u.Warn("there are more objects in the repository that cannot be read; they are not named")
		}
	}
}

// open opens a repository, which must exist.
func (o repository) open(ctx context.Context) (*repo.Repository, error) {
	return o.openWith(ctx, repo.Open)
}

// openToChange opens a repository, and locks it unless nothing is to be changed. release
// gives the lock back; it ends with the process in any case.
func (o repository) openToChange(ctx context.Context, dryRun bool) (r *repo.Repository, release func(), err error) {
	if r, err = o.open(ctx); err != nil || dryRun {
		return r, func() {}, err
	}
	unlock, err := r.Lock(ctx)
	if err != nil {
		return nil, nil, err
	}
	return r, func() { _ = unlock() }, nil
}

// openOrNew opens the repository for a backup: an empty folder becomes a repository when
// the first backup begins. A missing folder is an error, because it may be a disk that is
// not mounted.
func (o repository) openOrNew(ctx context.Context) (*repo.Repository, error) {
	if err := o.retainable(); err != nil {
		return nil, err
	}
	return o.openWith(ctx, func(ctx context.Context, st store.Store) (*repo.Repository, error) {
		return repo.OpenOrNew(ctx, st, tool())
	})
}

// named returns an error unless a repository is named, by a path or by a URL that mbk knows.
func (o repository) named() error {
	if o.path == "" {
		return hint.Wrap(usagef("no repository is named with %s", hint.Option(o.option)),
			"name it with "+hint.Option(o.option)+" REPO, in $"+hint.Text(options.Variable(o.option))+", or as "+
				hint.Text(o.option)+"= in group [mbk] of an option file")
	}
	scheme, _, isURL := strings.Cut(o.path, "://")
	if !isURL {
		return nil
	}
	kind, known := openers()[scheme]
	if !known {
		return hint.Wrap(usagef("%s: mbk has no repositories at %q", hint.Option(o.option), scheme+"://"),
			hint.Text("name a folder, or a URL that begins with "+
				strings.Join(slices.Sorted(maps.Keys(openers())), ":// or ")+"://"))
	}
	if err := kind.check(o.path); err != nil {
		return options.Usage(err)
	}
	return nil
}

// retainable returns an error if objects are to be retained where they cannot be.
func (o repository) retainable() error {
	if o.s3.objectLock == 0 || strings.HasPrefix(o.path, "s3://") {
		return nil
	}
	return hint.Wrap(usagef("%s is for repositories in an object store, and %s is none",
		hint.Option(objectLockOption), o.path),
		"set it in the group [mbk repo=NAME] of the repository that is in one, or leave it out")
}

// fullPath returns the absolute path of a folder, and a URL unchanged.
func (o repository) fullPath() (string, error) {
	if strings.Contains(o.path, "://") {
		return o.path, nil
	}
	return filepath.Abs(o.path)
}

// shown is how the repository was named.
func (o *repository) shown() string {
	if o.name != "" {
		return o.name
	}
	return o.path
}

// called says which repository an error is about.
func (o repository) called() string {
	if o.name == "" {
		return "repository"
	}
	return "repository " + o.name
}

// store opens the store in which the repository is or will be.
func (o repository) store(ctx context.Context) (store.Store, error) {
	if scheme, _, isURL := strings.Cut(o.path, "://"); isURL {
		st, err := openers()[scheme].open(o, ctx)
		if err != nil {
			return nil, hint.Errorf("%s: %w", o.called(), err)
		}
		return st, nil
	}
	st, err := folder.Open(o.path)
	if errors.Is(err, fs.ErrNotExist) {
		steps := []hint.Text{
			hint.Text("check that its disk is mounted; if the repository is new, make the folder: mkdir -m 700 -p " + o.path)}
		if host, path, ok := strings.Cut(o.path, ":"); ok && options.IsName(host) { // as scp and rsync have it
			steps = []hint.Text{hint.Textf("for a folder on an SSH server write sftp://%s/%s, for a bucket s3://BUCKET/PREFIX",
				host, strings.TrimPrefix(path, "/"))}
		}
		if options.IsName(o.path) {
			steps = append(steps, hint.Text("if that is a name: no option file has a group [mbk repo="+o.path+"]"))
		}
		return nil, hint.Wrap(&configError{hint.Errorf("%s: %w", o.called(), err)}, steps...)
	}
	if len(hint.Attached(err)) > 0 {
		return nil, &configError{hint.Errorf("%s: %w", o.called(), err)}
	}
	if err != nil {
		return nil, hint.Wrap(&configError{hint.Errorf("%s: %w", o.called(), err)},
			"check "+hint.Option(o.option)+", and who may read that folder")
	}
	return st, nil
}

// openWith opens the repository, and adds hints to errors.
func (o repository) openWith(
	ctx context.Context, open func(context.Context, store.Store) (*repo.Repository, error),
) (*repo.Repository, error) {
	if err := o.named(); err != nil {
		return nil, err
	}
	st, err := o.store(ctx)
	if err != nil {
		return nil, err
	}
	with, err := readIdentities(ctx, o.identities, o.ui)
	if err != nil {
		return nil, err
	}
	r, err := open(ctx, st)
	if err == nil {
		r.OnWarning(warner(o.ui))
		r.UseIdentities(with)
		r.WaitForLock(o.waitLock)
	}
	switch {
	case errors.Is(err, repo.ErrNotRepository):
		err = hint.Wrap(err,
			"check "+hint.Option(o.option)+"; the first \"mbk backup\" into an empty one makes it a repository")
	case errors.Is(err, repo.ErrNewerFormat):
		err = hint.Wrap(err, "use the mbk that made it, or a newer one")
	case errors.Is(err, repo.ErrDamaged):
		err = hint.Wrap(err, "bring mbk-repository.json back from a copy of the repository, "+
			"or write it by hand, without the line of its checksum; no backup depends on it")
	case errors.Is(err, fs.ErrPermission):
		err = hint.Wrap(&configError{err}, "run mbk as the user who owns the repository")
	}
	return r, err
}
