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

// Alarm is something that must be told at once, and is no attempt to take a backup.
type Alarm struct {
	Event string // EventArchive
	ID    string // what it is about
	Text  string // one line, for the subject of a mail
	Err   error
	Code  int // exit code of a run that ended with it
}

// Raise runs the programs of --hook-failure and sends the notifications, unless these are for
// successes only. What fails of that is a warning.
func (j *Job) Raise(ctx context.Context, a Alarm) {
	now := time.Now().UTC()
	j.alarm, j.code, j.started = &a, a.Code, now
	j.attempt = repo.Attempt{ID: a.ID, Started: now, Finished: now, Outcome: repo.OutcomeFailed,
		Error: ui.OneLine(a.Err.Error()), Hints: j.Advice(a.Err)}
	finally(ctx, j, hookTime, func(ctx context.Context) (any, error) {
		err := j.runHooks(ctx, repo.HookFailure)
		return nil, errors.Join(err, ctx.Err())
	})
	if !j.Notifications.Wanted(true, func() bool { return true }) {
		return
	}
	finally(ctx, j, NoticeTime, func(ctx context.Context) (any, error) {
		j.Notifications.Send(ctx, j.notice(), a.report(j), j.warn)
		return nil, nil
	})
}

// report is the text of a mail.
func (a *Alarm) report(j *Job) string {
	var b strings.Builder
	fmt.Fprintf(&b, "repository: %s\nerror: %s\n", j.Repo, j.attempt.Error)
	for _, step := range j.attempt.Hints {
		fmt.Fprintf(&b, "hint: %s\n", step)
	}
	return b.String()
}
