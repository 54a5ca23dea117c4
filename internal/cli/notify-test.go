package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"mbk/internal/hint"
	"mbk/internal/repo"
)

func notifyTestCommand(env Env) *cli.Command {
	return &cli.Command{
		Name: "notify-test", Usage: "send a message as after a backup, to see it arrive",
		UsageText: "mbk notify-test --mail-to ADDRESS | --webhook URL [OPTIONS]\n\nmbk notify-test --mail-to dba@example.com --mail-server mail.example.com:587",
		Flags:     append(append([]cli.Flag{repoFlag()}, notificationFlags()...), append(fileFlags(), outputFlags()...)...),
		Action:    func(c *cli.Context) error { return runNotifyTest(c, env) },
	}
}

// notifyTestDocument is what "notify-test --json" prints.
type notifyTestDocument struct {
	OK            bool                `json:"ok"`
	Notifications []repo.Notification `json:"notifications"`
}

// errNotSent is the error of a test message that some did not get. Why is said
// already.
var errNotSent = errors.New("not everybody was told")

func runNotifyTest(c *cli.Context, env Env) error {
	if err := noArguments(c); err != nil {
		return err
	}
	n, err := newNews(c, env)
	if err != nil {
		return err
	}
	if n.mail == nil && n.webhook == nil {
		return hint.Wrap(usagef("there is nobody to tell"), "name somebody with --mail-to or --webhook")
	}
	now := time.Now().UTC()
	notice := noticeDocument{
		Event: eventTest, Outcome: repo.OutcomeOK, Text: "mbk: a test message from " + hostname(), Tool: tool(), Hostname: hostname(),
		Repo: c.String("repo"), Started: now, Finished: &now, Hints: []string{}, Hooks: []repo.Hook{},
	}
	text := fmt.Sprintf("This is a test. After backups and verifications %s tells you here: %s.\n", tool(), n.when)
	d := notifyTestDocument{OK: true, Notifications: n.send(c.Context, env, notice, text)}
	for _, one := range d.Notifications {
		d.OK = d.OK && one.Error == ""
	}
	if c.Bool("json") {
		err = document(env, d)
	} else {
		err = rows(env, aroundLines(repo.Around{Notifications: d.Notifications}))
	}
	if !d.OK {
		err = errors.Join(errNotSent, err)
	}
	return err
}
