package cli

import (
	"errors"

	"github.com/urfave/cli/v2"

	"mbk/backup"
)

func checkCommand(env Env) *cli.Command {
	flags := []cli.Flag{
		repoFlag(), datadirFlag(),
		&cli.StringFlag{Name: "compress", Value: "zstd", Usage: "expect a backup with `CODEC`: zstd, zstd:LEVEL, s2 or none"},
		&cli.BoolFlag{Name: "leave-out-unsupported", Usage: "tables of engines that cannot be copied are no error"},
	}
	flags = append(append(flags, filterFlags()...), connectionFlags()...)
	return &cli.Command{
		Name: "check", Usage: "can a backup run here now? changes nothing",
		UsageText: "mbk check --repo FOLDER [OPTIONS]\n\nmbk check --repo /backup/db1 --json",
		Flags:     append(flags, outputFlags()...),
		Action:    func(c *cli.Context) error { return runCheck(c, env) },
	}
}

func runCheck(c *cli.Context, env Env) error {
	o, err := prepareBackup(c, env)
	if err != nil {
		return err
	}
	defer o.Server.Close()
	found, err := backup.Check(c.Context, o)
	if err != nil {
		return err
	}
	failed := found.Errors()
	if c.Bool("json") {
		err = document(env, struct {
			OK       bool             `json:"ok"`
			Findings []backup.Finding `json:"findings"`
		}{failed == nil, found.Findings})
	} else {
		var lines []string
		for _, f := range found.Findings {
			lines = append(lines, f.Grade+"\t"+f.Check+"\t"+f.Text)
		}
		err = rows(env, lines)
	}
	return errors.Join(failed, err)
}
