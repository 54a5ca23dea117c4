package job

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"mbk/internal/repo"
	"mbk/internal/ui"
)

// Event is something to be told that is no attempt to take a backup, such as a gap of the
// archive or a drill.
type Event struct {
	Kind    string    // EventArchive, EventDrill
	ID      string    // what it is about
	Text    string    // one line, for the subject of a mail
	Started time.Time // zero: now
	Err     error     // nil: it is a success
	Code    int       // exit code of a run that ended with it
	Result  any       // what the command prints with --json, nil if it prints nothing
	Report  string    // the text of a mail, before the error and the hints
	// Changed reports whether the one before it ended otherwise; nil: it did.
	Changed func() bool
}

// Tell runs the programs of --hook-success or --hook-failure and sends the notifications, if they
// are wanted. What fails of that is a warning.
func (j *Job) Tell(ctx context.Context, e Event) {
	now := time.Now().UTC()
	j.event, j.code, j.started = &e, e.Code, now
	if !e.Started.IsZero() {
		j.started = e.Started
	}
	j.attempt = repo.Attempt{ID: e.ID, Started: j.started, Finished: now, Outcome: repo.OutcomeOK}
	when := repo.HookSuccess
	if e.Err != nil {
		j.attempt.Outcome, when = repo.OutcomeFailed, repo.HookFailure
		j.attempt.Error, j.attempt.Hints = ui.OneLine(e.Err.Error()), j.Advice(e.Err)
	}
	finally(ctx, j, hookTime, func(ctx context.Context) (any, error) {
		err := j.runHooks(ctx, when)
		return nil, errors.Join(err, ctx.Err())
	})
	changed := e.Changed
	if changed == nil {
		changed = func() bool { return true }
	}
	if !j.Notifications.Wanted(e.Err != nil || j.hookFailed() != nil, changed) {
		return
	}
	finally(ctx, j, NoticeTime, func(ctx context.Context) (any, error) {
		j.Notifications.Send(ctx, j.notice(), e.report(j), Pages{}, j.warn)
		return nil, nil
	})
}

// report is the text of a mail.
func (e *Event) report(j *Job) string {
	var b strings.Builder
	fmt.Fprintf(&b, "repository: %s\n%s", j.Repo, e.Report)
	if j.attempt.Error != "" {
		fmt.Fprintf(&b, "error: %s\n", j.attempt.Error)
	}
	for _, step := range j.attempt.Hints {
		fmt.Fprintf(&b, "hint: %s\n", step)
	}
	return b.String()
}
