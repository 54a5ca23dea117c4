package cli

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"mbk/internal/cli/options"
	"mbk/internal/hint"
	"mbk/internal/job/hook"
	"mbk/internal/repo/store"
	"mbk/internal/repo/store/sftp"
)

// sftpOptions are the options of repositories on an SSH server. They count for URLs that
// begin with sftp:// only.
type sftpOptions struct {
	key, knownHosts, command string
}

// sftpCommandOption is the option for the program in place of mbk's own SSH.
const sftpCommandOption = "sftp-command"

func (o *sftpOptions) bind(s *options.Set) {
	s = s.In(categorySFTP)
	s.String(&o.key, "ssh-key", "", "log in with the private key in `FILE` (default: the agent's keys, ~/.ssh/id_*)")
	s.String(&o.knownHosts, "ssh-known-hosts", "", "trust the host keys in `FILE` (default: ~/.ssh/known_hosts)")
	s.String(&o.command, sftpCommandOption, "",
		"connect by `COMMAND`, such as ssh or \"ssh -J gate -s host sftp\", with its configuration")
}

// openSFTP opens the store on an SSH server.
func (o repository) openSFTP(ctx context.Context) (store.Store, error) {
	target, err := sftp.ParseURL(o.path)
	if err != nil {
		return nil, err
	}
	resolved := sftp.Options{Target: target, Key: o.sftp.key, KnownHosts: o.sftp.knownHosts}
	if o.sftp.command != "" {
		command, err := hook.Parse(o.sftp.command)
		if err != nil {
			return nil, &configError{hint.Errorf("%s: %w", hint.Option(sftpCommandOption), err)}
		}
		resolved.Command = command.Words()
	}
	st, err := sftp.Open(ctx, resolved)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, hint.Wrap(&configError{err}, hint.Textf("check %s, and that the disk is mounted there; if the "+
			"repository is new, make the folder there: mkdir -m 700 -p %s", hint.Option(o.option), target.Path))
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, fs.ErrPermission):
		return nil, hint.Wrap(&configError{err}, "check "+hint.Option(o.option)+", and which user logs in there")
	case err != nil:
		return nil, err
	}
	return st, nil
}
