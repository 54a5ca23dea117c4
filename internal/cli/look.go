package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"mbk/internal/cli/options"
	"mbk/internal/hint"
	"mbk/internal/restore"
	"mbk/internal/ui"
)

// looking holds the options of a look at what a restore has made, before it is placed.
type looking struct {
	port      int
	loginFile string
}

func (o *looking) bind(s *options.Set) {
	s.Int(&o.port, "keep-running-on", 0, "let the recovered server run on `PORT` of 127.0.0.1, read only, for a look; "+
		"Enter, or the signal USR1, then places the result")
	s.In(categoryRare).String(&o.loginFile, "login-file", "",
		"write to `FILE` how clients log in to it, as an option file (default: a new file)")
}

// look returns what the restore does, nil if nobody wants to look.
func (o *looking) look(target string, u *ui.UI) (*restore.Look, error) {
	switch {
	case o.port == 0 && o.loginFile != "":
		return nil, usagef("%s is for %s", hint.Option("login-file"), hint.Option("keep-running-on"))
	case o.port == 0:
		return nil, nil
	case o.port < 1 || o.port > 65535:
		return nil, usagef("%s is a port, 1 to 65535, not %d", hint.Option("keep-running-on"), o.port)
	}
	if o.loginFile != "" {
		if _, err := os.Lstat(o.loginFile); err == nil {
			return nil, &configError{hint.Errorf("%s: %s exists already", hint.Option("login-file"), o.loginFile)}
		}
	}
	return &restore.Look{Port: o.port, While: func(ctx context.Context, at restore.Running) error {
		return o.wait(ctx, at, target, u)
	}}, nil
}

// wait tells how to log in, and waits for the decision.
func (o *looking) wait(ctx context.Context, at restore.Running, target string, u *ui.UI) (err error) {
	place := make(chan os.Signal, 1)
	signal.Notify(place, syscall.SIGUSR1) // before anybody can know of the server
	defer signal.Stop(place)
	path, remove, err := o.writeLogin(at)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	tell := func(format string, args ...any) { // also with --quiet: without it nobody could answer
		u.Tell(fmt.Sprintf(format, args...))
	}
	tell("MariaDB %s runs on 127.0.0.1:%d, read only, at %s", at.Version, at.Port, gtidOrNone(at.GTID))
	tell("log in with: mariadb --defaults-file=%s", path)
	pid := os.Getpid()
	tell("Enter places it in %s, and \"discard\" does not; or kill -USR1 %d, and kill -TERM %d", target, pid, pid)
	answers := o.answers(u.Stdin)
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-place:
			return nil
		case text, more := <-answers:
			switch {
			case !more: // nobody is there to type
				answers = nil
			case text == "" || strings.EqualFold(text, "place"):
				return nil
			case strings.EqualFold(text, "discard"):
				return restore.ErrDiscarded
			default:
				tell("%.40q is no answer: Enter places it, and \"discard\" does not", text)
			}
		}
	}
}

// answers returns the lines that come from standard input. Its goroutine lives as long as that.
func (o *looking) answers(in io.Reader) <-chan string {
	lines := make(chan string)
	go func() {
		defer close(lines)
		for s := bufio.NewScanner(in); s.Scan(); {
			lines <- strings.TrimSpace(s.Text())
		}
	}()
	return lines
}

// writeLogin writes the option file. It is only complete when it has its name.
func (o *looking) writeLogin(at restore.Running) (path string, remove func() error, err error) {
	text := fmt.Sprintf("[client]\nprotocol=tcp\nhost=127.0.0.1\nport=%d\nuser=%s\npassword=%s\nskip-ssl\n", at.Port,
		at.User, at.Password)
	if o.loginFile == "" {
		dir, err := os.MkdirTemp("", "mbk-look-")
		if err != nil {
			return "", nil, err
		}
		path, remove = filepath.Join(dir, "my.cnf"), func() error { return os.RemoveAll(dir) }
	} else {
		path, remove = o.loginFile, func() error { return os.Remove(o.loginFile) }
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", nil, err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err != nil {
		err = errors.Join(err, remove())
	}
	return path, remove, err
}
