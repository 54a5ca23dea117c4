package cli

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"mbk/repo"
	"mbk/restore"
)

func verifyCommand(env Env) *cli.Command {
	flags := []cli.Flag{
		repoFlag(),
		&cli.StringFlag{Name: "depth", Value: repo.DepthPages, Usage: "how `FAR`: stored (every object), pages (every page and the redo log) or boot (restore it, start a server, check all tables)"},
		&cli.BoolFlag{Name: "extended", Usage: "CHECK TABLE ... EXTENDED with --depth boot"},
		&cli.StringFlag{Name: "scratch", Usage: "restore into `FOLDER` with --depth boot; it needs room for all files (default: $TMPDIR or /var/tmp)"},
		&cli.IntFlag{Name: "threads", Usage: "check with `N` threads (default: one for each CPU)"},
		metricsFlag(),
	}
	flags = append(append(flags, serverFlags()...), fileFlags()...)
	return &cli.Command{
		Name: "verify", Usage: "prove that a backup restores",
		UsageText: "mbk verify ID|latest --repo FOLDER [--depth stored|pages|boot]\n\nmbk verify latest --repo /backup/db1 --depth boot",
		ArgsUsage: "ID|latest",
		Flags:     append(flags, progressFlags()...),
		Action:    measured(env, runVerify),
	}
}

// serverFlags choose the mariadbd that recovers files.
func serverFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "mariadbd", Usage: "recover with the server program `FILE` (default: the source's, else one in the usual places)"},
		&cli.StringSliceFlag{Name: "mariadbd-option", Usage: "give it a further `OPTION`, such as those of a key plugin; may be repeated"},
	}
}

func runVerify(c *cli.Context, env Env) error {
	id, err := oneID(c)
	if err != nil {
		return err
	}
	depth := strings.ToLower(c.String("depth"))
	if depth != repo.DepthStored && depth != repo.DepthPages && depth != repo.DepthBoot {
		return usagef("--depth is stored, pages or boot, not %q", c.String("depth"))
	}
	o, shown, err := restoreOptions(c, env, id)
	if err != nil {
		return err
	}
	o.Extended, o.Scratch = c.Bool("extended"), c.String("scratch")
	report, err := restore.Verify(c.Context, o, depth)
	shown.end()
	if err != nil {
		return err
	}
	if c.Bool("json") {
		err = document(env, report)
	} else {
		err = printReport(env, report)
	}
	if err != nil {
		return err
	}
	if !report.OK {
		return errFindings
	}
	return nil
}

func printReport(env Env, r *restore.Report) error {
	verdict := "whole"
	if !r.OK {
		verdict = "DAMAGED"
	}
	lines := []string{fmt.Sprintf("%s\t%s at depth %s, in %s", r.ID, verdict, r.Depth, span(r.Finished.Sub(r.Started)))}
	for _, p := range r.Proved {
		lines = append(lines, "proved\t"+p)
	}
	for _, n := range r.Notes {
		lines = append(lines, "note\t"+n)
	}
	for _, f := range r.Findings {
		where := strings.Join(strings.Fields(f.Object+" "+f.File+" "+f.Table), " ")
		lines = append(lines, fmt.Sprintf("damage\t%s: %s", where, f.Problem))
	}
	return rows(env, lines)
}
