package cli

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/urfave/cli/v2"

	"mbk/internal/hint"
	"mbk/repo"
	"mbk/repo/store"
)

// tool is what mbk calls itself in what it writes.
func tool() string { return "mbk " + Version }

// repoFlag is the flag of every command that needs a repository.
func repoFlag() cli.Flag {
	return &cli.StringFlag{Name: "repo", Aliases: []string{"r"}, EnvVars: []string{"MBK_REPO"}, Usage: "repository of this server's backups: `FOLDER`"}
}

// repoPath comes from the flag, the environment or an option file.
func repoPath(c *cli.Context, s settings) (string, error) {
	path := s.text(c, "repo")
	if path == "" {
		return "", hint.Wrap(usagef("no repository"), "name it with --repo FOLDER, in $MBK_REPO, or as repo= in group [mbk] of an option file")
	}
	return path, nil
}

// openRepository opens an existing repository.
func openRepository(c *cli.Context, s settings) (*repo.Repository, error) {
	path, err := repoPath(c, s)
	if err != nil {
		return nil, err
	}
	st, err := openFolder(path)
	if err != nil {
		return nil, err
	}
	r, err := repo.Open(c.Context, st)
	if errors.Is(err, repo.ErrNotRepository) {
		err = hint.Wrap(err, "check --repo; the first \"mbk backup\" into an empty folder makes it a repository")
	}
	return r, err
}

// openFolder opens the folder of a repository.
func openFolder(path string) (*store.Folder, error) {
	st, err := store.OpenFolder(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, hint.Wrap(&usageError{message: err.Error()}, fmt.Sprintf("check that its disk is mounted; if the repository is new, make the folder: mkdir -m 700 -p %s", path))
	}
	if err != nil {
		return nil, &usageError{message: err.Error()}
	}
	return st, nil
}

// openOrInit is openRepository for a backup: an empty folder becomes a new
// repository. A missing one does not, because it may be a disk that is not
// mounted.
func openOrInit(c *cli.Context, env Env, s settings) (*repo.Repository, error) {
	r, err := openRepository(c, s)
	if !errors.Is(err, repo.ErrNotRepository) {
		return r, err
	}
	path, pathErr := repoPath(c, s)
	if pathErr != nil {
		return nil, pathErr
	}
	st, openErr := openFolder(path)
	if openErr != nil {
		return nil, openErr
	}
	r, initErr := repo.Init(c.Context, st, tool())
	if errors.Is(initErr, repo.ErrNotEmpty) {
		return nil, err
	}
	if initErr != nil {
		return nil, initErr
	}
	say(env, c, "%s is a new repository", path)
	return r, nil
}
