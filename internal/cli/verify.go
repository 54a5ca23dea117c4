package cli

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"mbk/internal/repo"
	"mbk/internal/verify"
)

func verifyCommand(env Env) *cli.Command {
	flags := []cli.Flag{
		repoFlag(),
		&cli.StringFlag{Name: "depth", Value: repo.DepthPages, Usage: "how `FAR`: stored (every object), pages (every page and the redo log) or boot (restore it, start a server, check all tables)"},
		&cli.BoolFlag{Name: "extended", Usage: "CHECK TABLE ... EXTENDED with --depth boot"},
		&cli.StringFlag{Name: "scratch", Usage: "restore into `FOLDER` with --depth boot; it needs room for all files (default: $TMPDIR or /var/tmp)"},
		&cli.StringFlag{Name: "owner", Usage: "run the server as `USER[:GROUP]` with --depth boot (default: mysql)"},
		threadsFlag("check with `N` threads (default: one for each CPU)"),
		metricsFlag(),
	}
	flags = slices.Concat(flags, serverFlags(), notificationFlags(), fileFlags())
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
		&cli.StringFlag{Name: "use-memory", Usage: "recover with a buffer pool of `SIZE`, such as 4GiB (default: what the redo log asks for, 128 MiB to 1 GiB)"},
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
	if c.Bool("extended") && depth != repo.DepthBoot && env.sources["extended"].strength == byFlag { // an option file may have it for other calls
		return usagef("--extended is about --depth boot, not %s", depth)
	}
	owner, err := parseOwner(c.String("owner"))
	if err != nil {
		return err
	}
	n, err := newNews(c, env)
	if err != nil {
		return err
	}
	begun := time.Now()
	o, shown, err := restoreOptions(c, env, id)
	if isUsage(err) {
		return err
	}
	var report *verify.Report
	if err == nil {
		o.Owner = owner
		report, err = verify.Verify(c.Context, verify.Options{
			Preparation: o, Depth: depth, Scratch: c.String("scratch"), Extended: c.Bool("extended"),
		})
		shown.end()
	}
	if err == nil && !report.OK { // damaged: an error says that it could not be carried out
		err = errFindings
	}
	tellOfVerification(c, env, n, o.Repository, noticeDocument{ID: id, Started: begun.UTC()}, report, err)
	if report == nil {
		return err
	}
	print := printReport
	if c.Bool("json") {
		print = func(env Env, r *verify.Report) error { return document(env, r) }
	}
	return errors.Join(err, print(env, report))
}

// tellOfVerification sends the messages about a verification that are wanted.
func tellOfVerification(c *cli.Context, env Env, n *news, r *repo.Repository, notice noticeDocument, report *verify.Report, err error) {
	ctx, cancel := remaining(c.Context, env, noticeTime)
	defer cancel()
	changed := func() bool {
		if r == nil {
			return true
		}
		last, readErr := r.LastVerification(ctx, notice.Started)
		return readErr != nil || last == nil || last.Proves() != (err == nil) || last.CarriedOut() != carriedOut(c, err)
	}
	if !n.wanted(err != nil, changed) {
		return
	}
	finished := time.Now().UTC()
	notice.Event, notice.Outcome, notice.Tool, notice.Hostname, notice.Repo = eventVerify, repo.OutcomeOK, tool(), hostname(), c.String("repo")
	notice.Finished, notice.ExitCode, notice.Hints, notice.Hooks = &finished, exitCode(c.Context, err), []string{}, []repo.Hook{}
	verdict, text := "ok", bytes.Buffer{}
	if report != nil {
		notice.ID, notice.Result = report.ID, report
		_ = printReport(Env{Stdout: &text}, report) // a buffer takes all
	}
	if err != nil {
		notice.Outcome, notice.Error, notice.Hints = repo.OutcomeFailed, oneLine(err.Error()), append(notice.Hints, advice(env, err)...)
		verdict = "NOT CARRIED OUT: " + shorten(notice.Error, maxSubject)
		if carriedOut(c, err) {
			verdict = "DAMAGED: " + shorten(notice.Error, maxSubject)
		}
		fmt.Fprintf(&text, "error: %s\n", notice.Error)
		for _, step := range notice.Hints {
			fmt.Fprintf(&text, "hint: %s\n", step)
		}
	}
	if report != nil && len(report.Findings) > 0 {
		verdict = "DAMAGED, " + count(len(report.Findings), "finding")
	} else if report != nil && report.Outcome == repo.VerdictAsOnSource {
		verdict = "ok, " + count(len(report.AsOnSource), "table") + " as on the source"
	}
	notice.Text = fmt.Sprintf("mbk: verify of %s at depth %s on %s %s", notice.ID, strings.ToLower(c.String("depth")), notice.Hostname, verdict)
	n.send(ctx, env, notice, text.String())
}

// carriedOut reports whether an error tells of damage, and not of a verification that could
// not be carried out.
func carriedOut(c *cli.Context, err error) bool {
	code := exitCode(c.Context, err)
	return code == exitDone || code == exitDamage
}

func printReport(env Env, r *verify.Report) error {
	lines := []string{fmt.Sprintf("%s\t%s at depth %s, in %s", r.ID, inCapitals(r.Verdict), r.Depth, span(r.Finished.Sub(r.Started)))}
	for _, p := range r.Proved {
		lines = append(lines, "proved\t"+p)
	}
	for _, n := range r.Notes {
		lines = append(lines, "note\t"+n)
	}
	for _, t := range r.AsOnSource {
		lines = append(lines, fmt.Sprintf("as on source\t%s: %s", t.Table, t.Problem))
	}
	for _, f := range r.Findings {
		where := strings.Join(strings.Fields(f.Object+" "+f.File+" "+f.Table), " ")
		lines = append(lines, "damage\t"+strings.TrimPrefix(where+": "+f.Problem, ": "))
	}
	return rows(env, lines)
}

// inCapitals says what a verification came to; what is bad, in capitals.
func inCapitals(v repo.Verdict) string {
	switch v.Outcome {
	case repo.VerdictProven, repo.VerdictAsOnSource:
		return "whole"
	case repo.VerdictUndone:
		return "NOT CARRIED OUT"
	default:
		return "DAMAGED"
	}
}
