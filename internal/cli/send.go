package cli

import (
	"context"

	"mbk/internal/cli/options"
	"mbk/internal/hint"
	"mbk/internal/transfer"
	"mbk/internal/ui"
	"mbk/internal/ui/meter"
)

type sendOptions struct {
	repository
	id         string
	to         string
	since      string
	recipients []string
	files      []string // of recipients
	set        *options.Set
}

func (o *sendOptions) bind(s *options.Set, u *ui.UI) {
	o.set = s
	o.repository.bind(s, u)
	s.String(&o.to, "to", standard, "where to: only standard output (`-`)")
	s.String(&o.since, "since", "", "leave out the backup `ID`, and those that it needs: the other end has them")
	s.Strings(&o.recipients, "recipient", "encrypt what is sent to `RECIPIENT`, as mbk init does; may be repeated")
	s.Strings(&o.files, "recipients-file", "encrypt what is sent to each recipient in `FILE`; may be repeated")
	o.repository.bindIdentities(s)
	fileOptions(s)
	progressOptions(s, u)
}

func sendCommand(p *program) *command {
	var o sendOptions
	return &command{
		name: "send", summary: "write a stored backup as a stream to standard output",
		usage: "mbk send ID|latest --repo REPO [--since ID] [--recipient RECIPIENT]",
		examples: "mbk send latest --repo /backup/db1 | ssh host2 mbk receive --repo /backup/db1\n" +
			"mbk send latest --repo /db1 | mbk restore --from - --target /var/lib/mysql\n" +
			"mbk send latest --repo /db1 --recipient age1... >/mnt/usb/db1.mbk",
		changes: true, routine: true, arguments: "ID|latest", id: &o.id,
		options: bind(func(s *options.Set) { o.bind(s, p.ui) }),
		run:     func(ctx context.Context) error { return runSend(ctx, &o, p.ui) },
	}
}

func runSend(ctx context.Context, o *sendOptions, u *ui.UI) error {
	if o.to != standard && o.set.Source("to").Strength == options.ByFlag {
		return hint.Wrap(usagef("%s takes %q only, which is standard output", hint.Option("to"), standard),
			`"mbk copy" copies into a repository`)
	}
	recipients, err := chosenRecipients(o.recipients, o.files)
	if err != nil {
		return err
	}
	from, err := o.open(ctx)
	if err != nil {
		return err
	}
	out, err := streamOut(ctx, u)
	if err != nil {
		return err
	}
	shown := u.NewProgress()
	result, err := transfer.Send(ctx, transfer.SendOptions{
		From: from, ID: o.id, Since: o.since, Recipients: recipients, Out: out, Name: standardOutput, Tool: tool(),
		OnProgress: showTransfer(shown),
	})
	shown.End()
	if err != nil {
		return err
	}
	return u.Result(result, func() error { return u.Rows(sentLines(result)) })
}

// showTransfer shows the progress of a copy.
func showTransfer(shown ui.Progress) func(meter.Progress) {
	return func(p meter.Progress) {
		if p.Done == 0 {
			shown.Step(phaseName(p.Phase))
		}
		shown.At(p.Done, p.Total)
	}
}

// sentLines says what was sent.
func sentLines(r *transfer.Result) []string {
	var lines []string
	for _, b := range r.Backups {
		lines = append(lines, "sent\t"+b.ID+"\t"+ui.Size(b.Bytes))
	}
	return lines
}
