// Package job runs a backup with hooks before and after it, has it copied to other
// repositories, sends notifications about the outcome, and records all that in the
// history. It takes no backup itself and reads no options.
package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"mbk/backup"
	"mbk/internal/hint"
	"mbk/internal/input/limit"
	"mbk/internal/job/report"
	"mbk/internal/repo"
	"mbk/internal/sys/interrupt"
	"mbk/internal/ui"
)

// Time limits of what is still done after the first signal, counted from the signal.
// What hangs by then, in an open(2) or in the repository's file system, is abandoned.
const (
	stopTime   = 12 * time.Second // the backup itself, which unlocks the server and cleans up
	recordTime = 15 * time.Second // the history
	hookTime   = 22 * time.Second // hooks
	NoticeTime = 26 * time.Second // notifications
	lastTime   = 28 * time.Second // the record of both
)

// Options are what a job needs from its caller.
type Options struct {
	Tool          string // "mbk 0.1.0"
	Repo          string // where the repository is, a folder with its full path
	RepoName      string // its name in an option file, "" if it has none
	Hooks         Hooks
	Notifications *Notifications
	Copies        []Target
	UI            *ui.UI
	Interrupted   *interrupt.Interruption

	// Open opens the repository, which must exist.
	Open func(context.Context) (*repo.Repository, error)
	// ExitCode returns the exit code for an error.
	ExitCode func(context.Context, error) int
	// Advice returns hints about an error.
	Advice func(error) []string
	// Refused reports whether an error from before the backup began means that there was
	// no attempt, so that the history has none.
	Refused func(context.Context, error) bool
	// Card returns the restore card of a backup, which mails contain. nil: none
	Card func(context.Context, *repo.Manifest) string
	// Result returns what the command prints as JSON.
	Result func(m *repo.Manifest, label string, around repo.Around) any
}

// Job is one backup with its hooks and notifications.
type Job struct {
	Options

	started time.Time
	attempt repo.Attempt   // its outcome is empty until the backup is over
	whole   *repo.Manifest // nil unless the backup succeeded
	code    int            // exit code
	last    *repo.Attempt  // the previous attempt; nil if there is none or it does not matter
	around  repo.Around
	missing error  // of copies
	event   *Event // nil: it is about an attempt
}

// New returns a job that starts now.
func New(o Options) *Job { return &Job{Options: o, started: time.Now().UTC()} }

// Backup runs the hooks, take, the copies, and the notifications. The outcome is that of
// take: copies that fail are in Missing, and hooks that fail after it and notifications that
// cannot be sent are warnings, because they change nothing about the backup.
func (j *Job) Backup(
	ctx context.Context, o *backup.Options, take func() (*repo.Manifest, error),
) (*repo.Manifest, error) {
	o.Unrecorded = func(err error) bool { return j.Refused(ctx, err) }
	// The first hook may mount the repository's disk.
	err := j.runHooks(ctx, repo.HookBefore)
	if err == nil {
		err = j.take(ctx, o, take)
	}
	if err == nil { // the hooks that run now may unmount the repository
		j.copyAll(ctx, o.Repository)
	}
	j.code = j.ExitCode(ctx, errors.Join(err, j.missing))
	when := repo.HookSuccess
	if err != nil {
		j.failed(ctx, o, err)
		when = repo.HookFailure
	}
	var repository *repo.Repository
	if !errors.Is(err, interrupt.ErrHangs) { // otherwise it may be what hangs
		repository = o.Repository
	}
	// The hooks that run now may unmount that disk.
	j.last = finally(ctx, j, recordTime, func(ctx context.Context) (*repo.Attempt, error) {
		return j.previous(ctx, repository)
	})
	// Hooks and notifications have time limits of their own.
	finally(ctx, j, hookTime, func(ctx context.Context) (any, error) { return nil, j.runHooks(ctx, when) })
	// Notifications include failed hooks.
	if j.attempt.ID != "" || !j.UI.Typed || !j.Refused(ctx, err) { // a person at the terminal knows
		finally(ctx, j, NoticeTime, func(ctx context.Context) (any, error) { return nil, j.notify(ctx) })
	}
	finally(ctx, j, lastTime, func(ctx context.Context) (any, error) { return nil, j.record(ctx, repository) })
	return j.whole, err
}

// Label returns the hash of the label of the backup, "" if there is none.
func (j *Job) Label() string { return j.attempt.Label }

// Around returns the record of hooks, copies and notifications so far.
func (j *Job) Around() repo.Around { return j.around }

// take takes the backup. After a signal it waits no longer than stopTime.
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

// finally calls do even after a signal, within the time limit. Its failure is a
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

// warn prints an error as a warning, with its hints.
func (j *Job) warn(err error) {
	j.UI.Warn(err.Error())
	for _, step := range j.Advice(err) {
		j.UI.Hint(step)
	}
}

// failed completes the record of a failed attempt. An attempt that failed before it
// began is added to the history, unless it was refused.
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
				b.repository, _ = j.Open(ctx) // if this fails too, cause matters more
			}
			if b.repository != nil {
				other.Repository, other.Attempted = b.repository, func(made repo.Attempt) { b.attempt = made }
				// Where the options were set that cause speaks of belongs into the history too.
				backup.NotBegun(ctx, other, j.started, hint.Wrap(cause, hint.Plain(j.Advice(cause)...)...))
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

// previous returns the last attempt before this run, if the notifications depend on it.
// A run that starts over makes several attempts.
func (j *Job) previous(ctx context.Context, r *repo.Repository) (*repo.Attempt, error) {
	if j.Notifications.When != WhenChange || r == nil {
		return nil, nil
	}
	return r.LastAttempt(ctx, j.started)
}

// record adds hooks, copies and notifications to the history, if there were any and the attempt
// is in the history.
func (j *Job) record(ctx context.Context, r *repo.Repository) error {
	nothing := len(j.around.Hooks)+len(j.around.Copies)+len(j.around.Notifications) == 0
	if nothing || j.attempt.ID == "" || r == nil || r.New() {
		return nil
	}
	// If its disk has been unmounted, the path may now be an empty folder or missing.
	still, err := j.Open(ctx)
	if err != nil || still.Config().ID != r.Config().ID {
		j.UI.Note("what ran around the backup is not recorded: %s is no longer there", r)
		return nil
	}
	j.around.ID = j.attempt.ID
	return r.PutAround(ctx, j.around)
}

// hostname returns the name of the server's host, or of this machine if that is not
// known.
func (j *Job) hostname() string { return cmp.Or(j.attempt.Hostname, Hostname()) }

// Hostname returns the name of this machine.
func Hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	return name
}

// Lines describe hooks, copies and notifications, one a line.
func Lines(around repo.Around) []string {
	var lines []string
	for _, h := range around.Hooks {
		took := ui.Milliseconds(h.MS)
		lines = append(lines, fmt.Sprintf("hook\t%s\t%s\t%s\t%s", h.When, h.Program, took, cmp.Or(h.Error, "ok")))
	}
	for _, c := range around.Copies {
		lines = append(lines, fmt.Sprintf("copied\t%s\t%s", c.To, report.CopyText(c)))
	}
	for _, n := range around.Notifications {
		lines = append(lines, fmt.Sprintf("notified\t%s\t%s\t%s", n.Channel, n.To, cmp.Or(n.Error, "ok")))
	}
	return lines
}
