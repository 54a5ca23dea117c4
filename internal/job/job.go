// Package job is what surrounds a backup: programs that run before and after it,
// messages that tell how it went, and the record of both. It makes no backup itself,
// and reads no option.
package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"mbk/backup"
	"mbk/internal/input/limit"
	"mbk/internal/repo"
	"mbk/internal/sys/interrupt"
	"mbk/internal/ui"
)

// What is still done after the first signal, each until so long after it. Whatever
// hangs then, an open(2) or a repository's file system, is left alone.
const (
	stopTime   = 12 * time.Second // the backup itself: it frees the server and cleans up
	recordTime = 15 * time.Second // the history
	hookTime   = 22 * time.Second // programs for a failure
	NoticeTime = 26 * time.Second // messages
	lastTime   = 28 * time.Second // the record of both
)

// Options are what a job needs of the program that runs it.
type Options struct {
	Tool          string // what mbk calls itself
	Repo          string // the repository as the user names it; a folder from the root on
	Hooks         Hooks
	Notifications *Notifications
	UI            *ui.UI
	Interrupted   *interrupt.Interruption

	// Open opens the repository, which must be there.
	Open func(context.Context) (*repo.Repository, error)
	// ExitCode is the one with which an error ends the program.
	ExitCode func(context.Context, error) int
	// Advice is what a person can do about an error.
	Advice func(error) []string
	// Refused reports whether an error that came before the backup could begin makes no
	// attempt of it.
	Refused func(context.Context, error) bool
	// Result is what the command prints as JSON.
	Result func(*repo.Manifest, repo.Around) any
}

// Job is one backup with what surrounds it.
type Job struct {
	Options

	started time.Time
	attempt repo.Attempt   // how it went; its outcome is empty before
	whole   *repo.Manifest // nil unless the backup succeeded
	code    int            // exit code
	last    *repo.Attempt  // the one before, nil if there is none or nobody wants to know
	around  repo.Around
}

// New returns a job that begins now.
func New(o Options) *Job { return &Job{Options: o, started: time.Now().UTC()} }

// Backup takes a backup with all that belongs to it. What take returns is the
// outcome: programs that run after it and messages that cannot be sent are
// warnings, since the backup is there, or not, whatever becomes of them.
func (j *Job) Backup(
	ctx context.Context, o *backup.Options, take func() (*repo.Manifest, error),
) (*repo.Manifest, error) {
	o.Unrecorded = func(err error) bool { return j.Refused(ctx, err) }
	// A program that runs first may mount the disk of the repository.
	err := j.runHooks(ctx, repo.HookBefore)
	if err == nil {
		err = j.take(ctx, o, take)
	}
	j.code = j.ExitCode(ctx, err)
	when := repo.HookSuccess
	if err != nil {
		j.failed(ctx, o, err)
		when = repo.HookFailure
	}
	var repository *repo.Repository
	if !errors.Is(err, interrupt.ErrHangs) { // else it may be what hangs, and is in use
		repository = o.Repository
	}
	// The programs that run now may unmount the disk again.
	j.last = finally(ctx, j, recordTime, func(ctx context.Context) (*repo.Attempt, error) {
		return j.previous(ctx, repository)
	})
	// They, and messages, hang by themselves only, and have limits.
	finally(ctx, j, hookTime, func(ctx context.Context) (any, error) { return nil, j.runHooks(ctx, when) })
	// Messages tell of programs that have failed.
	if j.attempt.ID != "" || !j.UI.Typed || !j.Refused(ctx, err) { // else whoever typed the command knows
		finally(ctx, j, NoticeTime, func(ctx context.Context) (any, error) { return nil, j.notify(ctx) })
	}
	finally(ctx, j, lastTime, func(ctx context.Context) (any, error) { return nil, j.record(ctx, repository) })
	return j.whole, err
}

// Around is what ran around the backup, so far.
func (j *Job) Around() repo.Around { return j.around }

// take takes the backup. After a signal it is not waited for longer than
// stopTime.
func (j *Job) take(ctx context.Context, o *backup.Options, take func() (*repo.Manifest, error)) error {
	type taken struct {
		whole   *repo.Manifest
		attempt repo.Attempt
	}
	var latest repo.Attempt
	o.Attempted = func(a repo.Attempt) { latest = a }
	t, err := interrupt.Await(ctx, j.Interrupted, stopTime, func() (taken, error) {
		m, err := take()
		return taken{m, latest}, err
	})
	if errors.Is(err, interrupt.ErrHangs) {
		return fmt.Errorf("the backup did not end within %s after a signal: %w; "+
			"what it has begun in the repository is removed by the next one", ui.Span(stopTime), err)
	}
	j.whole, j.attempt = t.whole, t.attempt
	return err
}

// finally does something whether or not we are interrupted. Its failure is a
// warning.
func finally[T any](ctx context.Context, j *Job, until time.Duration, do func(context.Context) (T, error)) T {
	within, cancel := j.Interrupted.Remaining(ctx, until)
	defer cancel()
	value, err := interrupt.Await(ctx, j.Interrupted, until+time.Second, func() (T, error) { return do(within) })
	if err != nil {
		j.warn(limit.Explain(err, until))
	}
	return value
}

// warn tells an error as a warning, with its advice.
func (j *Job) warn(err error) {
	j.UI.Warn(err.Error())
	for _, step := range j.Advice(err) {
		j.UI.Hint(step)
	}
}

// failed completes what is known of an attempt that failed. The history has one
// that never began, too, unless it was refused.
func (j *Job) failed(ctx context.Context, o *backup.Options, cause error) {
	j.whole = nil
	hangs := errors.Is(cause, interrupt.ErrHangs)
	if j.attempt.ID == "" {
		var known *repo.Repository
		other := backup.Options{Tool: o.Tool, Logger: o.Logger, Unrecorded: o.Unrecorded}
		if !hangs {
			known, other = o.Repository, *o
		}
		type begun struct {
			repository *repo.Repository
			attempt    repo.Attempt
		}
		b := finally(ctx, j, recordTime, func(ctx context.Context) (b begun, _ error) {
			if b.repository = known; known == nil {
				b.repository, _ = j.Open(ctx) // if it cannot be opened, cause is what the user must know
			}
			if b.repository != nil {
				other.Repository, other.Attempted = b.repository, func(made repo.Attempt) { b.attempt = made }
				backup.NotBegun(ctx, other, j.started, cause)
			}
			return b, nil
		})
		j.attempt = b.attempt
		if !hangs {
			o.Repository = b.repository
		}
	}
	if a := &j.attempt; a.Outcome != repo.OutcomeFailed {
		a.Kind, a.Tool, a.Started, a.Finished = repo.KindFull, j.Tool, j.started, time.Now().UTC()
		a.Outcome, a.Error, a.Hints = repo.OutcomeFailed, ui.OneLine(cause.Error()), j.Advice(cause)
	}
}

// previous finds out how the attempt before this run ended, if somebody wants to
// know. A run that starts over makes several.
func (j *Job) previous(ctx context.Context, r *repo.Repository) (*repo.Attempt, error) {
	if j.Notifications.When != WhenChange || r == nil {
		return nil, nil
	}
	return r.LastAttempt(ctx, j.started)
}

// record notes what ran around an attempt, if anything did and the attempt is in
// the history.
func (j *Job) record(ctx context.Context, r *repo.Repository) error {
	if len(j.around.Hooks)+len(j.around.Notifications) == 0 || j.attempt.ID == "" || r == nil || r.New() {
		return nil
	}
	// Where its disk was mounted there may be an empty folder now, or nothing.
	still, err := j.Open(ctx)
	if err != nil || still.Config().ID != r.Config().ID {
		j.UI.Note("what ran around the backup is not recorded: %s is no longer there", r)
		return nil
	}
	j.around.ID = j.attempt.ID
	return r.PutAround(ctx, j.around)
}

// hostname is that of the server, or of this machine as long as no server has said
// its own.
func (j *Job) hostname() string { return cmp.Or(j.attempt.Hostname, Hostname()) }

// Hostname is the name of this machine.
func Hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return name
}

// Lines tell people what ran around an attempt.
func Lines(around repo.Around) []string {
	var lines []string
	for _, h := range around.Hooks {
		took := ui.Milliseconds(h.MS)
		lines = append(lines, fmt.Sprintf("hook\t%s\t%s\t%s\t%s", h.When, h.Program, took, cmp.Or(h.Error, "ok")))
	}
	for _, n := range around.Notifications {
		lines = append(lines, fmt.Sprintf("notified\t%s\t%s\t%s", n.Channel, n.To, cmp.Or(n.Error, "ok")))
	}
	return lines
}
