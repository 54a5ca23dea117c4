package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"mbk/internal/hint"
	"mbk/internal/job/notify"
	"mbk/internal/repo"
	"mbk/internal/ui/printable"
)

const categoryNotification = "Notification"

// mailPasswordVariable is how the password of a mail account reaches mbk without
// a file.
const mailPasswordVariable = "MBK_MAIL_PASSWORD"

// notificationFlags name who is told how a run went.
func notificationFlags() []cli.Flag {
	flags := []cli.Flag{
		&cli.StringFlag{Name: "notify", Value: notifyFailure, Usage: "send a message at `WHAT`: failure, success, always, change (of one into the other) or never"},
		&cli.StringSliceFlag{Name: "mail-to", Usage: "mail it to `ADDRESS`; may be repeated"},
		&cli.StringFlag{Name: "mail-from", Usage: "mail it from `ADDRESS` (default: mbk at this machine)"},
		&cli.StringFlag{Name: "mail-server", Value: "localhost", Usage: "by way of the mail server `HOST[:PORT]`"},
		&cli.StringFlag{Name: "mail-tls", Usage: "protect that by `KIND`: starttls, tls or none (default: tls on port 465, none to this machine without a login, else starttls)"},
		&cli.StringFlag{Name: "mail-user", Usage: "log in there as `NAME`, with the password in $MBK_MAIL_PASSWORD"},
		&cli.StringFlag{Name: "mail-password-file", Usage: "or in `FILE`"},
		&cli.StringFlag{Name: "webhook", Usage: "send it as JSON to `URL`, by POST"},
	}
	for _, f := range flags {
		categorise(f, categoryNotification)
	}
	return flags
}

// What --notify may be.
const (
	notifyFailure = "failure"
	notifySuccess = "success"
	notifyAlways  = "always"
	notifyChange  = "change"
	notifyNever   = "never"
)

// news are the ways to tell people how a run went.
type news struct {
	when    string
	mail    *notify.Mail    // nil: none
	webhook *notify.Webhook // nil: none
}

// newNews reads the options of it, and checks what can be checked beforehand.
func newNews(c *cli.Context, env Env) (*news, error) {
	n := &news{when: strings.ToLower(c.String("notify"))}
	switch n.when {
	case notifyFailure, notifySuccess, notifyAlways, notifyChange, notifyNever:
	default:
		return nil, usagef("--notify is failure, success, always, change or never, not %q", n.when)
	}
	if len(c.StringSlice("mail-to")) > 0 {
		n.mail = &notify.Mail{
			Server: c.String("mail-server"), TLS: notify.TLS(strings.ToLower(c.String("mail-tls"))),
			From: c.String("mail-from"), User: c.String("mail-user"),
		}
		for _, text := range c.StringSlice("mail-to") {
			n.mail.To = append(n.mail.To, addresses(text)...)
		}
		if err := n.mail.Validate(); err != nil {
			return nil, hint.Wrap(&usageError{message: err.Error()}, "check --mail-to, --mail-from, --mail-server and --mail-tls")
		}
		var err error
		if n.mail.Password, err = mailPassword(c, env); err != nil {
			return nil, err
		}
	}
	if url := c.String("webhook"); url != "" {
		n.webhook = &notify.Webhook{URL: url, Agent: tool()}
		if err := n.webhook.Validate(); err != nil {
			return nil, hint.Wrap(&usageError{message: "--" + err.Error()}, "an address looks like https://hooks.example.com/path")
		}
	}
	if c.IsSet("notify") && n.when != notifyNever && n.mail == nil && n.webhook == nil {
		return nil, usagef("--notify %s has nobody to tell: name somebody with --mail-to or --webhook", n.when)
	}
	return n, nil
}

// addresses takes apart "a@b, c@d". A comma may also stand in a quoted name.
func addresses(text string) []string {
	var all []string
	quoted, begin := false, 0
	for i, r := range text + "," {
		switch {
		case r == '"':
			quoted = !quoted
		case r == ',' && !quoted:
			if one := strings.TrimSpace(text[begin:min(i, len(text))]); one != "" {
				all = append(all, one)
			}
			begin = i + 1
		}
	}
	return all
}

// mailPassword comes from a file or from the environment.
func mailPassword(c *cli.Context, env Env) (string, error) {
	if c.String("mail-user") == "" {
		if env.sources["mail-password-file"].strength > byDefault {
			return "", usagef("--mail-password-file %s is for nobody: name the account with --mail-user", c.String("mail-password-file"))
		}
		return "", nil
	}
	if file := c.String("mail-password-file"); file != "" {
		return readPassword(env, "mail-password-file", file)
	}
	if word := env.Getenv(mailPasswordVariable); word != "" {
		return word, nil
	}
	return "", hint.Wrap(&configError{fmt.Errorf("--mail-user %s has no password", c.String("mail-user"))}, "name a file that holds it with --mail-password-file, or put it into $"+mailPasswordVariable)
}

// noticeDocument is what a webhook and the programs behind --hook-before and
// --hook-failure are told. docs/manual/notification.md describes it; fields are added, never
// changed.
type noticeDocument struct {
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
	Result   any         `json:"result"` // what the command prints with --json
}

// What a notice is about.
const (
	eventBackup = "backup"
	eventVerify = "verify"
	eventTest   = "test"
)

// notice describes an attempt.
func (n *night) notice() noticeDocument {
	a := n.attempt
	d := noticeDocument{
		Event: eventBackup, Outcome: a.Outcome, Text: printable.Text(n.subject()), Tool: tool(), Hostname: orDefault(a.Hostname, hostname()),
		Repo: n.repo, ID: a.ID, Started: n.started, ExitCode: n.code, Error: a.Error, Hints: a.Hints, Hooks: n.around.Hooks,
	}
	if !a.Finished.IsZero() {
		d.Finished = &a.Finished
	}
	if d.Hints == nil {
		d.Hints = []string{}
	}
	if d.Hooks == nil {
		d.Hooks = []repo.Hook{}
	}
	if n.whole != nil {
		d.Result = n.result()
	}
	return d
}

// document is what a program reads on its standard input.
func (n *night) document(when string) any {
	if when == repo.HookSuccess {
		return n.result()
	}
	return n.notice()
}

// result is what "backup --json" prints.
func (n *night) result() backupDocument { return describe(n.whole, n.around) }

// maxSubject is how many letters of an error stand in a subject.
const maxSubject = 120

// subject says how it went in a line, for the subject of a mail.
func (n *night) subject() string {
	a := n.attempt
	host := orDefault(a.Hostname, hostname())
	switch failed := n.hookFailed(); {
	case a.Outcome == "":
		return fmt.Sprintf("mbk: backup of %s begins", host)
	case a.Outcome != repo.OutcomeOK:
		return fmt.Sprintf("mbk: backup of %s FAILED: %s", host, shorten(a.Error, maxSubject))
	case failed != nil:
		return fmt.Sprintf("mbk: backup of %s ok, but a hook FAILED: %s", host, shorten(failed.Error, maxSubject))
	}
	text := fmt.Sprintf("mbk: backup of %s ok, %s in %s, lock window %s", host, size(a.BytesRead), span(a.Finished.Sub(a.Started)), milliseconds(a.LockMS))
	if a.WarningCount > 0 {
		text += ", " + count(a.WarningCount, "warning")
	}
	return text
}

// tell sends the messages about a backup that are wanted, and notes what became
// of them. A hook that failed is bad news too.
func (n *night) tell(ctx context.Context) error {
	bad := badNews(n.attempt.Outcome, n.around.Hooks)
	changed := func() bool { return n.last == nil || badNews(n.last.Outcome, n.last.Hooks) != bad }
	if n.news.wanted(bad, changed) {
		a := n.attempt
		a.Hooks = n.around.Hooks
		n.around.Notifications = n.news.send(ctx, n.env, n.notice(), reportText(n.repo, a, nil))
	}
	return nil
}

// badNews reports whether somebody should look at an attempt.
func badNews(outcome string, hooks []repo.Hook) bool {
	return outcome != repo.OutcomeOK || slices.ContainsFunc(hooks, func(h repo.Hook) bool { return h.Error != "" })
}

// wanted reports whether news are to be told. changed is asked only if that matters.
func (n *news) wanted(bad bool, changed func() bool) bool {
	switch {
	case n.mail == nil && n.webhook == nil:
		return false
	case n.when == notifyFailure:
		return bad
	case n.when == notifySuccess:
		return !bad
	case n.when == notifyChange:
		return changed()
	}
	return n.when == notifyAlways
}

// send sends a message every way there is, and returns what became of it. What
// fails is a warning.
func (n *news) send(ctx context.Context, env Env, notice noticeDocument, text string) []repo.Notification {
	message := notify.Message{Subject: notice.Text, Text: text}
	var sent []repo.Notification
	note := func(channel, to string, err error) {
		one := repo.Notification{Channel: channel, To: to, Time: time.Now().UTC()}
		if err != nil {
			one.Error = oneLine(err.Error())
			warnOf(env, err)
		}
		sent = append(sent, one)
	}
	body, err := json.MarshalIndent(notice, "", "  ")
	if err != nil {
		warn(env, err.Error()) // the text can do without
	}
	message.JSON = body
	if n.mail != nil {
		note("mail", strings.Join(n.mail.To, ", "), n.mail.Send(ctx, message))
	}
	if n.webhook != nil {
		note("webhook", n.webhook.String(), n.webhook.Post(ctx, message))
	}
	return sent
}
