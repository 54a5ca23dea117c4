package job

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"mbk/internal/job/notify"
	"mbk/internal/job/report"
	"mbk/internal/picture"
	"mbk/internal/repo"
	"mbk/internal/ui"
	"mbk/internal/ui/printable"
)

// When notifications are sent.
const (
	WhenFailure = "failure"
	WhenSuccess = "success"
	WhenAlways  = "always"
	WhenChange  = "change" // of success into failure, or of failure into success
	WhenNever   = "never"
)

// Notifications are the channels by which people learn the outcome of a run.
type Notifications struct {
	When    string          // one of the constants above
	Mail    *notify.Mail    // nil: none
	Webhook *notify.Webhook // nil: none
}

// Any reports whether there is a channel.
func (n *Notifications) Any() bool { return n.Mail != nil || n.Webhook != nil }

// Wanted reports whether a notification must be sent. It calls changed only with
// WhenChange.
func (n *Notifications) Wanted(bad bool, changed func() bool) bool {
	switch {
	case !n.Any():
		return false
	case n.When == WhenFailure:
		return bad
	case n.When == WhenSuccess:
		return !bad
	case n.When == WhenChange:
		return changed()
	}
	return n.When == WhenAlways
}

// Send sends a notification by every channel and returns the outcomes. It passes errors
// to warn. A mail shows what pages has of it.
func (n *Notifications) Send(
	ctx context.Context, notice Notice, text string, pages Pages, warn func(error),
) []repo.Notification {
	message := notify.Message{Subject: notice.Text, Text: text, HTML: pages.Mail, Page: pages.Browser}
	var sent []repo.Notification
	note := func(channel, to string, err error) {
		one := repo.Notification{Channel: channel, To: to, Time: time.Now().UTC()}
		if err != nil {
			one.Error = ui.OneLine(err.Error())
			warn(err)
		}
		sent = append(sent, one)
	}
	body, err := json.MarshalIndent(notice, "", "  ")
	if err != nil {
		warn(err) // the mail needs no JSON
	}
	message.JSON = body
	if n.Mail != nil {
		note("mail", strings.Join(n.Mail.To, ", "), n.Mail.Send(ctx, message))
	}
	if n.Webhook != nil {
		note("webhook", n.Webhook.String(), n.Webhook.Post(ctx, message))
	}
	return sent
}

// Pages are a notification as HTML; nil: there is none.
type Pages struct {
	Mail    []byte // what mail programs show in place of the text
	Browser []byte // attached to the mail
}

// Notice is the JSON document that webhooks and the programs of --hook-before and
// --hook-failure get. The manual describes it; fields are added, never changed.
type Notice struct {
	Event    string      `json:"event"`
	Outcome  string      `json:"outcome"`
	Text     string      `json:"text"`
	Tool     string      `json:"tool"`
	Hostname string      `json:"hostname"`
	Repo     string      `json:"repository"`
	ID       string      `json:"id"`
	Started  time.Time   `json:"started"`
	Finished *time.Time  `json:"finished,omitempty"`
	ExitCode int         `json:"exit_code"`
	Error    string      `json:"error"`
	Hints    []string    `json:"hints"`
	Hooks    []repo.Hook `json:"hooks"`
	Copies   []repo.Copy `json:"copies"`
	Result   any         `json:"result"` // what the command prints with --json
}

// The events of notices.
const (
	EventBackup = "backup"
	EventVerify = "verify"
	EventTest   = "test"

	EventArchive = "archive" // a gap
	EventDrill   = "drill"
)

// notice describes the attempt.
func (j *Job) notice() Notice {
	a := j.attempt
	n := Notice{
		Event: EventBackup, Outcome: a.Outcome, Text: printable.Text(j.subject()), Tool: j.Tool, Hostname: j.hostname(),
		Repo: j.Repo, ID: a.ID, Started: j.started, ExitCode: j.code, Error: a.Error,
		Hints: append([]string{}, a.Hints...), Hooks: append([]repo.Hook{}, j.around.Hooks...),
		Copies: append([]repo.Copy{}, j.around.Copies...),
	}
	if !a.Finished.IsZero() {
		n.Finished = &a.Finished
	}
	if e := j.event; e != nil {
		n.Event, n.Text, n.Result = e.Kind, printable.Text(e.Text), e.Result
	}
	if j.whole != nil {
		n.Result = j.Result(j.whole, j.attempt.Label, j.around)
	}
	return n
}

// MaxSubject is the maximum length of an error in a subject, in characters.
const MaxSubject = 120

// subject describes the outcome in one line, for the subject of a mail.
func (j *Job) subject() string {
	a := j.attempt
	host := j.hostname()
	switch failed := j.hookFailed(); {
	case a.Outcome == "":
		return fmt.Sprintf("mbk: backup of %s begins", host)
	case a.Outcome != repo.OutcomeOK:
		return fmt.Sprintf("mbk: backup of %s FAILED: %s", host, ui.Shorten(a.Error, MaxSubject))
	case j.missing != nil:
		return fmt.Sprintf("mbk: backup of %s ok, but NOT COPIED to %s", host,
			ui.Shorten(printable.List(j.notCopied()), MaxSubject))
	case failed != nil:
		return fmt.Sprintf("mbk: backup of %s ok, but a hook FAILED: %s", host, ui.Shorten(failed.Error, MaxSubject))
	}
	text := fmt.Sprintf("mbk: backup of %s ok, %s in %s, lock window %s",
		host, ui.Size(a.BytesRead), ui.Span(a.Finished.Sub(a.Started)), ui.Milliseconds(a.LockMS))
	switch {
	case a.Kind == repo.KindIncremental:
		text += fmt.Sprintf(", increment %d", a.Chain)
	case a.FullReason != "":
		text += ", full: " + ui.Shorten(a.FullReason, MaxSubject)
	}
	if a.Resumed != nil {
		text += ", resumed"
	}
	if a.WarningCount > 0 {
		text += ", " + ui.Count(a.WarningCount, "warning")
	}
	return text
}

// notify sends the notifications about the backup and records them. A failed hook counts
// as a failure here, and so does a copy that failed.
func (j *Job) notify(ctx context.Context) error {
	a := j.attempt
	a.Hooks, a.Copies = j.around.Hooks, j.around.Copies
	bad := isBad(&a)
	changed := func() bool { return j.last == nil || isBad(j.last) != bad }
	if j.Notifications.Wanted(bad, changed) {
		text := report.Text(j.Repo, a, nil)
		if j.whole != nil && j.Card != nil {
			text += "\n\n" + j.Card(ctx, j.whole)
		}
		j.around.Notifications = j.Notifications.Send(ctx, j.notice(), text, j.pages(a, text), j.warn)
	}
	return nil
}

// pages draws the attempt, of which the report is text, if somebody gets a mail.
func (j *Job) pages(a repo.Attempt, text string) (p Pages) {
	if j.Notifications.Mail == nil {
		return p
	}
	r := picture.Report{
		Repository: j.Repo, Attempt: a, Kept: a.Outcome == repo.OutcomeOK, Made: time.Now(), Tool: j.Tool,
	}
	var mail, browser bytes.Buffer
	if err := errors.Join(r.Mail(&mail, text), r.HTML(&browser)); err != nil {
		j.warn(fmt.Errorf("the mail has no page: %w", err))
		return p
	}
	return Pages{Mail: mail.Bytes(), Browser: browser.Bytes()}
}

// isBad reports whether an attempt, one of its hooks or one of its copies failed.
func isBad(a *repo.Attempt) bool {
	return a.Outcome != repo.OutcomeOK ||
		slices.ContainsFunc(a.Hooks, func(h repo.Hook) bool { return h.Error != "" }) ||
		slices.ContainsFunc(a.Copies, func(c repo.Copy) bool { return c.Error != "" })
}
