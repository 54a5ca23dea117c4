package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/urfave/cli/v2"

	"mbk/internal/hint"
	"mbk/internal/repo"
	"mbk/internal/repo/store"
	"mbk/internal/repo/store/folder"
)

// tool is what mbk calls itself in what it writes.
func tool() string { return "mbk " + Version }

// mostWarnings is how many objects of a repository are named in warnings.
const mostWarnings = 10

// warner tells warnings of a repository, as long as there are not too many.
func warner(c *cli.Context) func(string) {
	json, _ := inJSON(c) // checked before the command ran
	env := Env{Stderr: c.App.ErrWriter, messages: &messages{json: json}}
	told := 0
	return func(text string) {
		switch told++; {
		case told <= mostWarnings:
			warn(env, text)
		case told == mostWarnings+1:
			warn(env, "there are more objects in the repository that cannot be read; they are not named")
		}
	}
}

// repoFlag is the flag of every command that needs a repository.
func repoFlag() cli.Flag {
	return &cli.StringFlag{Name: "repo", Aliases: []string{"r"}, Usage: "`FOLDER` that holds this server's backups"}
}

// openRepository opens an existing repository.
func openRepository(c *cli.Context) (*repo.Repository, error) {
	return openWith(c, repo.Open)
}

// openOrNew is openRepository for a backup: an empty folder becomes a new
// repository when the first backup begins. A missing one does not, because it
// may be a disk that is not mounted.
func openOrNew(c *cli.Context) (*repo.Repository, error) {
	return openWith(c, func(ctx context.Context, st store.Store) (*repo.Repository, error) {
		return repo.OpenOrNew(ctx, st, tool())
	})
}

// repoPath is the repository as the options name it.
func repoPath(c *cli.Context) (string, error) {
	path := c.String("repo")
	if path == "" {
		return "", hint.Wrap(usagef("no repository is named"), "name it with --repo FOLDER, in $MBK_REPO, or as repo= in group [mbk] of an option file")
	}
	return path, nil
}

// openWith opens the repository that the options name.
func openWith(c *cli.Context, open func(context.Context, store.Store) (*repo.Repository, error)) (*repo.Repository, error) {
	path, err := repoPath(c)
	if err != nil {
		return nil, err
	}
	st, err := folder.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, hint.Wrap(&configError{fmt.Errorf("repository: %w", err)}, hint.Text("check that its disk is mounted; if the repository is new, make the folder: mkdir -m 700 -p "+path))
	}
	if len(hint.Of(err)) > 0 {
		return nil, &configError{fmt.Errorf("repository: %w", err)}
	}
	if err != nil {
		return nil, hint.Wrap(&configError{fmt.Errorf("repository: %w", err)}, "check --repo, and who may read that folder")
	}
	r, err := open(c.Context, st)
	if err == nil {
		r.OnWarning(warner(c))
	}
	switch {
	case errors.Is(err, repo.ErrNotRepository):
		err = hint.Wrap(err, "check --repo; the first \"mbk backup\" into an empty folder makes it a repository")
	case errors.Is(err, repo.ErrNewerFormat):
		err = hint.Wrap(err, "use the mbk that made it, or a newer one")
	case errors.Is(err, repo.ErrDamaged):
		err = hint.Wrap(err, "bring mbk-repository.json back from a copy of the repository, or write it by hand, without the line of its checksum; no backup depends on it")
	case errors.Is(err, fs.ErrPermission):
		err = hint.Wrap(&configError{err}, "run mbk as the user who owns the repository")
	}
	return r, err
}
