package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"mbk/backup"
	"mbk/internal/input/limit"
	"mbk/internal/repo"
)

// night is what surrounds a backup: programs that run before and after it, the
// messages that tell how it went, and the record of both.
type night struct {
	c     *cli.Context
	env   Env
	repo  string // as the user names it; a folder from the root on
	hooks hooks
	news  *news

	started time.Time
	attempt repo.Attempt   // how it went; its outcome is empty before
	whole   *repo.Manifest // nil unless the backup succeeded
	code    int            // exit code
	last    *repo.Attempt  // the one before, nil if there is none or nobody wants to know
	around  repo.Around
}

// newNight reads all options of it, and finds programs and receivers.
func newNight(c *cli.Context, env Env) (*night, error) {
	n := &night{c: c, env: env, started: time.Now().UTC()}
	var err error
	if n.repo, err = repoPath(c); err != nil {
		return nil, err
	}
	if !strings.Contains(n.repo, "://") {
		if n.repo, err = filepath.Abs(n.repo); err != nil {
			return nil, err
		}
	}
	if n.hooks, err = newHooks(c); err != nil {
		return nil, err
	}
	n.news, err = newNews(c, env)
	return n, err
}

// remaining is a context for what must be done whatever has happened, until so long
// after a signal. As long as nobody has interrupted us, it can be interrupted like
// everything else.
func remaining(ctx context.Context, env Env, limit time.Duration) (context.Context, context.CancelFunc) {
	if ctx.Err() == nil {
		return context.WithCancel(ctx)
	}
	return context.WithDeadline(context.WithoutCancel(ctx), env.interrupted.since().Add(limit))
}

// surround takes a backup with all that belongs to it. What take returns is the
// outcome: programs that run after it and messages that cannot be sent are
// warnings, since the backup is there, or not, whatever becomes of them.
func (n *night) surround(o *backup.Options, take func() (*repo.Manifest, error)) (*repo.Manifest, error) {
	o.Unrecorded = n.refused
	// A program that runs first may mount the disk of the repository.
	err := n.run(n.c.Context, repo.HookBefore)
	if err == nil {
		err = n.take(o, take)
	}
	n.code = exitCode(n.c.Context, err)
	when := repo.HookSuccess
	if err != nil {
		n.failed(o, err)
		when = repo.HookFailure
	}
	var repository *repo.Repository
	if !errors.Is(err, errHangs) { // else it may be what hangs, and is in use
		repository = o.Repository
	}
	// The programs that run now may unmount the disk again.
	n.last = finally(n, recordTime, func(ctx context.Context) (*repo.Attempt, error) { return n.lookBack(ctx, repository) })
	// They, and messages, hang by themselves only, and have limits.
	finally(n, hookTime, func(ctx context.Context) (any, error) { return nil, n.run(ctx, when) })
	// Messages tell of programs that have failed.
	if n.attempt.ID != "" || !n.env.Typed || !n.refused(err) { // else whoever typed the command knows
		finally(n, noticeTime, func(ctx context.Context) (any, error) { return nil, n.tell(ctx) })
	}
	finally(n, lastTime, func(ctx context.Context) (any, error) { return nil, n.record(ctx, repository) })
	return n.whole, err
}

// take takes the backup. After a signal it is not waited for longer than
// stopTime.
func (n *night) take(o *backup.Options, take func() (*repo.Manifest, error)) error {
	type taken struct {
		whole   *repo.Manifest
		attempt repo.Attempt
	}
	var latest repo.Attempt
	o.Attempted = func(a repo.Attempt) { latest = a }
	t, err := await(n.c.Context, n.env.interrupted, stopTime, func() (taken, error) {
		m, err := take()
		return taken{m, latest}, err
	})
	if errors.Is(err, errHangs) {
		return fmt.Errorf("the backup did not end within %s after a signal: %w; what it has begun in the repository is removed by the next one", span(stopTime), err)
	}
	n.whole, n.attempt = t.whole, t.attempt
	return err
}

// finally does something whether or not we are interrupted. Its failure is a
// warning.
func finally[T any](n *night, until time.Duration, do func(context.Context) (T, error)) T {
	ctx, cancel := remaining(n.c.Context, n.env, until)
	defer cancel()
	value, err := await(n.c.Context, n.env.interrupted, until+time.Second, func() (T, error) { return do(ctx) })
	if err != nil {
		warnOf(n.env, limit.Explain(err, until))
	}
	return value
}

// failed completes what is known of an attempt that failed. The history has one
// that never began, too, unless it was refused.
func (n *night) failed(o *backup.Options, cause error) {
	n.whole = nil
	hangs := errors.Is(cause, errHangs)
	if n.attempt.ID == "" {
		var known *repo.Repository
		other := backup.Options{Tool: o.Tool, Logger: o.Logger, Advice: o.Advice, Unrecorded: o.Unrecorded}
		if !hangs {
			known, other = o.Repository, *o
		}
		type begun struct {
			repository *repo.Repository
			attempt    repo.Attempt
		}
		b := finally(n, recordTime, func(ctx context.Context) (b begun, _ error) {
			if b.repository = known; known == nil {
				b.repository, _ = openRepository(within(ctx, n.c)) // if it cannot be opened, cause is what the user must know
			}
			if b.repository != nil {
				other.Repository, other.Attempted = b.repository, func(made repo.Attempt) { b.attempt = made }
				backup.NotBegun(ctx, other, n.started, cause)
			}
			return b, nil
		})
		n.attempt = b.attempt
		if !hangs {
			o.Repository = b.repository
		}
	}
	if n.attempt.Outcome != repo.OutcomeFailed {
		n.attempt.Kind, n.attempt.Tool, n.attempt.Started, n.attempt.Finished = repo.KindFull, tool(), n.started, time.Now().UTC()
		n.attempt.Outcome, n.attempt.Error, n.attempt.Hints = repo.OutcomeFailed, oneLine(cause.Error()), advice(n.env, cause)
	}
}

// refused reports whether an error that came before the backup could begin makes no
// attempt of it. What the call names and is not there is the caller's mistake. To a
// person who has typed the command, so is all that takes another call, and that another
// mbk is at work; for a timer it is a night without a backup.
func (n *night) refused(err error) bool {
	var finding *backup.FindingError
	if isUsage(err) || errors.As(err, &finding) && finding.Finding.Check == "filter" {
		return true
	}
	code := exitCode(n.c.Context, err)
	return n.env.Typed && (code == exitUsage || code == exitBusy)
}

// within is c with another context.
func within(ctx context.Context, c *cli.Context) *cli.Context {
	other := *c
	other.Context = ctx
	return &other
}

// lookBack finds out how the attempt before this run ended, if somebody wants to
// know. A run that starts over makes several.
func (n *night) lookBack(ctx context.Context, r *repo.Repository) (*repo.Attempt, error) {
	if n.news.when != notifyChange || r == nil {
		return nil, nil
	}
	return r.LastAttempt(ctx, n.started)
}

// record keeps what ran around an attempt, if anything did and the attempt is in
// the history.
func (n *night) record(ctx context.Context, r *repo.Repository) error {
	if len(n.around.Hooks)+len(n.around.Notifications) == 0 || n.attempt.ID == "" || r == nil || r.New() {
		return nil
	}
	// Where its disk was mounted there may be an empty folder now, or nothing.
	still, err := openRepository(within(ctx, n.c))
	if err != nil || still.Config().ID != r.Config().ID {
		say(n.env, n.c, "what ran around the backup is not recorded: %s is no longer there", r)
		return nil
	}
	n.around.ID = n.attempt.ID
	return r.PutAround(ctx, n.around)
}

// hookFailed returns the first program that failed, nil if none did.
func (n *night) hookFailed() *repo.Hook {
	for i := range n.around.Hooks {
		if n.around.Hooks[i].Error != "" {
			return &n.around.Hooks[i]
		}
	}
	return nil
}

// aroundLines are the lines of what ran around an attempt.
func aroundLines(around repo.Around) []string {
	var lines []string
	for _, h := range around.Hooks {
		lines = append(lines, fmt.Sprintf("hook\t%s\t%s\t%s\t%s", h.When, h.Program, milliseconds(h.MS), orDefault(h.Error, "ok")))
	}
	for _, n := range around.Notifications {
		lines = append(lines, fmt.Sprintf("notified\t%s\t%s\t%s", n.Channel, n.To, orDefault(n.Error, "ok")))
	}
	return lines
}

// hostname is the name of this machine, for what is told when no server has said
// its own.
func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return name
}
