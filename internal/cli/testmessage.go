package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"mbk/internal/cli/options"
	"mbk/internal/hint"
	"mbk/internal/job"
	"mbk/internal/repo"
)

type notifyTestOptions struct {
	repository
	notifications notifications
}

func (o *notifyTestOptions) bind(s *options.Set, p *program) {
	o.repository.bind(s, p.ui)
	o.notifications.bind(s, p)
	fileOptions(s)
	outputOptions(s, p.ui)
}

func notifyTestCommand(p *program) *command {
	var o notifyTestOptions
	return &command{
		name: "notify-test", summary: "send a message as after a backup, to see it arrive",
		usage:    "mbk notify-test --mail-to ADDRESS | --webhook URL [OPTIONS]",
		examples: "mbk notify-test --mail-to dba@example.com --mail-server mail.example.com:587",
		options:  bind(func(s *options.Set) { o.bind(s, p) }),
		run: func(ctx context.Context) error {
			n, err := o.notifications.resolve()
			if err == nil && o.path != "" {
				err = o.named() // it will be in the message
			}
			if err != nil {
				return err
			}
			return runNotifyTest(ctx, n, o.path, p)
		},
	}
}

// notifyTestDocument is what "notify-test --json" prints.
type notifyTestDocument struct {
	OK            bool                `json:"ok"`
	Notifications []repo.Notification `json:"notifications"`
}

// errNotSent is returned if a test message could not be sent everywhere. Warnings have
// told why.
var errNotSent = errors.New("not everybody was told")

func runNotifyTest(ctx context.Context, n *job.Notifications, repository string, p *program) error {
	if !n.Any() {
		return hint.Wrap(usagef("there is nobody to tell"),
			"name somebody with "+hint.Option("mail-to")+" or "+hint.Option("webhook"))
	}
	now := time.Now().UTC()
	notice := job.Notice{
		Event: job.EventTest, Outcome: repo.OutcomeOK, Text: "mbk: a test message from " + job.Hostname(),
		Tool: tool(), Hostname: job.Hostname(), Repo: repository,
		Started: now, Finished: &now, Hints: []string{}, Hooks: []repo.Hook{}, Copies: []repo.Copy{},
	}
	text := fmt.Sprintf("This is a test. After backups and verifications %s tells you here: %s.\n", tool(), n.When)
	d := notifyTestDocument{OK: true, Notifications: n.Send(ctx, notice, text, job.Pages{}, p.warnOf)}
	for _, one := range d.Notifications {
		d.OK = d.OK && one.Error == ""
	}
	err := p.ui.Result(d, func() error { return p.ui.Rows(job.Lines(repo.Around{Notifications: d.Notifications})) })
	if !d.OK {
		err = errors.Join(errNotSent, err)
	}
	return err
}
