package cli

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"mbk/internal/restore"
	"mbk/internal/ui/printable"
)

func extractCommand(env Env) *cli.Command {
	flags := []cli.Flag{
		repoFlag(),
		&cli.StringFlag{Name: "to", Usage: "write the files below `FOLDER`"},
		threadsFlag("extract with `N` threads (default: one for each CPU)"),
	}
	return &cli.Command{
		Name: "extract", Usage: "get files of single tables out of a backup, as they were copied",
		UsageText: "mbk extract ID|latest PATTERN... --repo FOLDER --to FOLDER\n\nmbk extract latest 'shop.*' mysql.proc --repo /backup/db1 --to /tmp/files",
		ArgsUsage: "ID|latest DATABASE.TABLE|FILE...",
		Flags:     append(append(flags, fileFlags()...), progressFlags()...),
		Action:    func(c *cli.Context) error { return runExtract(c, env) },
	}
}

func runExtract(c *cli.Context, env Env) error {
	if c.Args().Len() < 2 {
		return usagef("mbk extract needs the id of a backup and at least one table (database.table) or file")
	}
	if c.String("to") == "" {
		return usagef("mbk extract needs --to FOLDER")
	}
	o, shown, err := restoreOptions(c, env, c.Args().First())
	if err != nil {
		return err
	}
	r, err := restore.Extract(c.Context, o, c.Args().Tail(), c.String("to"))
	shown.end()
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return document(env, r)
	}
	for _, f := range r.Files {
		fmt.Fprintln(env.Stdout, printable.Text(f))
	}
	for _, n := range r.Notes {
		say(env, c, "%s", n)
	}
	return nil
}
