package mariadbd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"mbk/internal/sys/fsuser"
	"mbk/stage"
)

// UpgradeTool finds the mariadb-upgrade of a server: beside it, or in the bin folder
// beside its folder. The owner of the files runs it.
func (f Found) UpgradeTool(ctx context.Context, owner fsuser.User) (string, error) {
	paths := []string{f.Path}
	if real, err := filepath.EvalSymlinks(f.Path); err == nil && real != f.Path {
		paths = append(paths, real)
	}
	var other string
	for _, p := range paths {
		for _, dir := range []string{filepath.Dir(p), filepath.Join(filepath.Dir(filepath.Dir(p)), "bin")} {
			for _, name := range []string{"mariadb-upgrade", "mysql_upgrade"} {
				path := filepath.Join(dir, name)
				if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
					continue
				}
				version, err := toolVersion(ctx, path, owner)
				if err == nil && Series(version) == Series(f.Release) {
					return path, nil
				}
				other = fmt.Sprintf("%s is not of %s", path, Series(f.Release))
				if err != nil {
					other = err.Error()
				}
			}
		}
	}
	if other == "" {
		other = fmt.Sprintf("there is no mariadb-upgrade beside %s", f.Path)
	}
	return "", fmt.Errorf("find mariadb-upgrade: %s", other)
}

// toolVersion asks a client program for its version: "Ver 2.1 Distrib
// 11.8.9-MariaDB, for ...", in other releases "from 11.8.9-MariaDB".
func toolVersion(ctx context.Context, path string, owner fsuser.User) (stage.Version, error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "--no-defaults", "--version")
	cmd.Env = Environment(os.Environ())
	cmd.Dir, cmd.SysProcAttr = "/", owner.RunAs()
	cmd.WaitDelay = time.Second
	out, err := cmd.Output() // some releases answer, and end with 1
	text := regexp.MustCompile(`\d+\.\d+\.\d+-MariaDB`).FindString(string(out))
	if text == "" {
		return stage.Version{}, fmt.Errorf("ask %s for its version: %w", path, cmp.Or(err, errors.New("it does not tell")))
	}
	return stage.ParseVersion(text)
}

// Upgrade starts the server with options, runs mariadb-upgrade on it, and stops it. tell
// hears every line that mariadb-upgrade writes.
func (i Instance) Upgrade(ctx context.Context, tool string, tell func(line string), options ...string) error {
	s, err := i.Serve(ctx, options...)
	if err != nil {
		return err
	}
	defer s.Close()
	// Option files of the user's must not decide which server it talks to. It keeps what
	// it has done in a file of the data directory, which may say that of this release
	// already; so it is forced.
	cmd := i.run(tool, "--no-defaults", "--loose-skip-ssl", "--user=root", "--protocol=socket",
		"--socket="+s.socket, "--tmpdir="+i.Beside(), "--force", "--verbose")
	log, err := i.newLog(tell)
	if err != nil {
		return err
	}
	defer log.close()
	p, err := start(cmd, log)
	if err != nil {
		return err
	}
	if err := p.wait(ctx); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return s.Blame(fmt.Errorf("%s: %w: %s", tool, err, strings.Join(log.last, " | ")))
	}
	return s.Stop(ctx)
}
