package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"mbk/internal/cli/options"
	"mbk/internal/repo"
	"mbk/internal/transfer"
	"mbk/internal/ui"
)

type receiveOptions struct {
	repository
}

func (o *receiveOptions) bind(s *options.Set, u *ui.UI) {
	o.repository.bind(s, u)
	o.bindIdentities(s)
	o.bindLock(s)
	fileOptions(s)
	progressOptions(s, u)
}

func receiveCommand(p *program) *command {
	var o receiveOptions
	return &command{
		name: "receive", summary: "store the backups of a stream from standard input in a repository",
		usage:    "mbk receive --repo REPO",
		examples: "ssh db1 mbk backup --to - | mbk receive --repo /backup/db1",
		changes:  true, routine: true, options: bind(func(s *options.Set) { o.bind(s, p.ui) }),
		run: func(ctx context.Context) error { return runReceive(ctx, &o, p.ui) },
	}
}

func runReceive(ctx context.Context, o *receiveOptions, u *ui.UI) error {
	if err := o.named(); err != nil {
		return err
	}
	in, err := streamIn(ctx, u)
	if err != nil {
		return err
	}
	result, _, err := receiveInto(ctx, o.repository, in, u)
	if err != nil {
		return err
	}
	return u.Result(result, func() error { return u.Rows(receivedLines(result)) })
}

// receiveInto stores the backups of a stream in a repository, which may be new.
func receiveInto(
	ctx context.Context, into repository, in io.Reader, u *ui.UI,
) (result *transfer.Result, to *repo.Repository, err error) {
	unlock := func() error { return nil }
	shown := u.NewProgress()
	result, err = transfer.Receive(ctx, transfer.ReceiveOptions{
		In: in, Name: standardInput, OnProgress: showTransfer(shown),
		Open: func(ctx context.Context, from *repo.Repository) (*repo.Repository, error) {
			if to, err = into.openCopyOf(ctx, from); err != nil {
				return nil, err
			}
			release, err := to.Lock(ctx)
			if err != nil {
				return nil, err
			}
			unlock = release
			// What another one has left that was killed. Interrupted backups stay.
			if _, err := to.Sweep(ctx, repo.SweepOptions{Resumable: math.MaxInt64}); err != nil && ctx.Err() == nil {
				u.Warn(fmt.Sprintf("what was left by one that was interrupted cannot be removed: %v", err))
			}
			return to, nil
		},
	})
	shown.End()
	return result, to, errors.Join(err, unlock())
}
