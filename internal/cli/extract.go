package cli

import (
	"context"
	"fmt"

	"mbk/internal/cli/options"
	"mbk/internal/hint"
	"mbk/internal/restore"
	"mbk/internal/ui"
	"mbk/internal/ui/printable"
)

type extractOptions struct {
	repository
	args    []string // the backup, and tables or files
	to      string
	threads int
}

func (o *extractOptions) bind(s *options.Set, u *ui.UI) {
	o.repository.bind(s, u)
	o.bindIdentities(s)
	s.String(&o.to, "to", "", "write the files below `FOLDER`")
	threadsOption(s, &o.threads, "extract with `N` threads (default: one for each CPU)")
	fileOptions(s)
	progressOptions(s, u)
}

func extractCommand(p *program) *command {
	var o extractOptions
	return &command{
		name: "extract", summary: "get files of single tables out of a backup, as they were copied",
		usage:     "mbk extract ID|latest PATTERN... --repo REPO --to FOLDER",
		examples:  "mbk extract latest 'shop.*' mysql.proc --repo /backup/db1 --to /tmp/files",
		arguments: "ID|latest DATABASE.TABLE|FILE...", args: &o.args, options: bind(func(s *options.Set) { o.bind(s, p.ui) }),
		run: func(ctx context.Context) error { return runExtract(ctx, &o, p.ui) },
	}
}

func runExtract(ctx context.Context, o *extractOptions, u *ui.UI) error {
	if len(o.args) < 2 {
		return usagef("mbk extract needs the id of a backup and at least one table (database.table) or file")
	}
	if o.to == "" {
		return usagef("mbk extract needs %s FOLDER", hint.Option("to"))
	}
	r, err := preparationFrom(ctx, o.repository, serverProgram{}, o.args[0], o.threads)
	if err != nil {
		return err
	}
	shown := showProgress(u, &r)
	extracted, err := restore.Extract(ctx, r, o.args[1:], o.to)
	shown.End()
	if err != nil {
		return err
	}
	return u.Result(extracted, func() error {
		for _, f := range extracted.Files {
			fmt.Fprintln(u.Stdout, printable.Text(f))
		}
		for _, n := range extracted.Notes {
			u.Note("%s", n)
		}
		return nil
	})
}
