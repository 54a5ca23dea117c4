package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"

	"golang.org/x/term"

	"mbk/backup"
	"mbk/internal/cli/options"
	"mbk/internal/hint"
	"mbk/internal/repo"
	"mbk/internal/repo/store/stream"
	"mbk/internal/sys/pipe"
	"mbk/internal/transfer"
	"mbk/internal/ui"
)

// This file holds what the commands share that write or read streams.

// Names of the ends of a stream in messages, and the value of the options that mean them.
const (
	standardOutput = "standard output"
	standardInput  = "standard input"
	standard       = "-"
)

// streamTarget holds the options of a backup that goes to standard output.
type streamTarget struct {
	to         string
	recipients []string
	files      []string // of recipients
	set        *options.Set
}

func (o *streamTarget) bind(s *options.Set) {
	o.set = s
	s.String(&o.to, "to", "", "write the backup as a stream to standard output (`-`), without a repository")
	s.Strings(&o.recipients, "recipient", "with --to: encrypt it to `RECIPIENT`, as mbk init does; may be repeated")
	s.Strings(&o.files, "recipients-file", "with --to: encrypt it to each recipient in `FILE`; may be repeated")
}

// typed reports whether an option is on the command line. What option files and the
// environment say is for other calls, too.
func (o *streamTarget) typed(name string) bool { return o.set.Source(name).Strength == options.ByFlag }

// wanted reports whether the backup is to go to standard output.
func (o *streamTarget) wanted() bool { return o.typed("to") }

// withoutRepository lists the options of a backup that make sense with a repository only.
func withoutRepository() []string {
	return []string{"repo", "incremental", "full-every", "max-chain", "read-all", "resume-within", "no-resume",
		"new-server", "metrics-file", "copy-after-backup"}
}

// check refuses what cannot be combined.
func (o *streamTarget) check() error {
	if !o.wanted() {
		for _, name := range []string{"recipient", "recipients-file"} {
			if o.typed(name) {
				return hint.Wrap(usagef("%s is for %s -", hint.Option(name), hint.Option("to")),
					`a repository has the recipients that "mbk init" or "mbk recipients" gave it`)
			}
		}
		return nil
	}
	if o.to != standard {
		return hint.Wrap(usagef("%s takes %q only, which is standard output", hint.Option("to"), standard),
			"name a repository with "+hint.Option("repo"))
	}
	var wrong []hint.Text
	for _, name := range withoutRepository() {
		if o.typed(name) {
			wrong = append(wrong, hint.Option(name))
		}
	}
	if len(wrong) > 0 {
		return usagef("%s - makes a full backup without a repository: it cannot be combined with %s",
			hint.Option("to"), hint.Join(wrong, ", "))
	}
	return nil
}

// apply sets the options of a backup.
func (o *streamTarget) apply(b *backup.Options) {
	b.ResumeWithin, b.NoResume, b.NewServer = 0, true, false
	b.Increment.Wanted, b.Increment.Parent = false, ""
	if b.Workers == 0 {
		b.Workers = runtime.GOMAXPROCS(0)
	}
	b.Workers = min(b.Workers, stream.MaxOpen-4) // the others write the redo log and small objects
}

// taking returns what takes the backup. From then on results go to stderr.
func (o *streamTarget) taking(
	ctx context.Context, all *backupOptions, b *backup.Options, u *ui.UI,
) (func() (*repo.Manifest, error), error) {
	to, err := chosenRecipients(o.recipients, o.files)
	if err != nil {
		return nil, err
	}
	out, err := streamOut(ctx, u)
	if err != nil {
		return nil, err
	}
	return func() (*repo.Manifest, error) {
		st := transfer.NewStream(out, standardOutput)
		b.Repository = repo.Fresh(st, tool(), to)
		defer func() { b.Repository = nil }() // it has no history
		m, err := takeBackup(ctx, all, b, u)
		return m, transfer.EndStream(ctx, st, err)
	}, nil
}

// noHistory is how the repository of a stream is opened to read its history.
func noHistory(context.Context) (*repo.Repository, error) {
	return nil, errors.New("a stream has no history")
}

// streamOut takes standard output for a stream. Results go to stderr from now on.
func streamOut(ctx context.Context, u *ui.UI) (io.Writer, error) {
	out := u.TakeStdout()
	f, isFile := out.(*os.File)
	if !isFile {
		return out, nil
	}
	if term.IsTerminal(int(f.Fd())) {
		return nil, hint.Wrap(usagef("standard output is a terminal, which cannot take a stream"),
			`lead it into "mbk receive", "mbk restore --from -" or a file`)
	}
	return pipe.Writer(ctx, f), nil
}

// streamIn returns standard input, for a stream.
func streamIn(ctx context.Context, u *ui.UI) (io.Reader, error) {
	f, isFile := u.Stdin.(*os.File)
	if !isFile {
		return u.Stdin, nil
	}
	if term.IsTerminal(int(f.Fd())) {
		return nil, hint.Wrap(usagef("standard input is a terminal, which has no stream"),
			`lead one here from "mbk backup --to -", "mbk send" or a file`)
	}
	return pipe.Reader(ctx, f), nil
}

// receivedLines says what was received.
func receivedLines(r *transfer.Result) []string {
	var lines []string
	for _, b := range r.Backups {
		text := ui.Size(b.Bytes)
		if b.Present {
			text += fmt.Sprintf("; it was in %s already", r.To)
		}
		lines = append(lines, "received\t"+b.ID+"\t"+text)
	}
	return lines
}
