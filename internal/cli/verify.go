package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"mbk/internal/cli/options"
	"mbk/internal/hint"
	"mbk/internal/job"
	"mbk/internal/repo"
	"mbk/internal/restore"
	"mbk/internal/ui"
	"mbk/internal/verify"
	"mbk/stage"
)

type verifyOptions struct {
	repository
	id            string
	all           bool
	sample        int
	depth         string
	extended      bool
	until         string
	binlog        binlogDir
	scratch       string
	owner         string
	threads       int
	server        serverProgram
	metrics       metricsFile
	notifications notifications

	// Of a drill, which is one at depth boot.
	drill   bool
	compare *stage.Server

	set *options.Set
}

func (o *verifyOptions) bind(s *options.Set, p *program) {
	o.set = s
	o.repository.bind(s, p.ui)
	o.bindIdentities(s)
	s.String(&o.depth, "depth", repo.DepthPages, "how `FAR`: stored (every object), pages (every page and the redo log) "+
		"or boot (restore it, start a server, check all tables)")
	s.Bool(&o.all, "all", "verify all backups, one after another")
	s.Int(&o.sample, "sample", 0, "verify only `N` backups, those that have gone longest without it")
	s.Bool(&o.extended, "extended", "CHECK TABLE ... EXTENDED with --depth boot")
	s.String(&o.until, "until", "", "with --depth boot, go on to `MOMENT` as restore does, and prove that the archive "+
		"leads there")
	o.binlog.bind(s, "with --until, go on")
	s.String(&o.scratch, "scratch", "",
		"restore into `FOLDER` with --depth boot; it needs room for all files (default: $TMPDIR or /var/tmp)")
	s.String(&o.owner, "owner", "", "run the server as `USER[:GROUP]` with --depth boot (default: mysql)")
	threadsOption(s, &o.threads, "check with `N` threads (default: one for each CPU)")
	o.metrics.bind(s)
	o.server.bind(s)
	o.notifications.bind(s, p)
	fileOptions(s)
	progressOptions(s, p.ui)
}

func verifyCommand(p *program) *command {
	var o verifyOptions
	return &command{
		name: "verify", summary: "prove that a backup restores",
		usage: "mbk verify ID|latest --repo REPO [--depth stored|pages|boot]\n" +
			"   mbk verify --all|--sample N --repo REPO [--depth stored|pages|boot]",
		examples: "mbk verify latest --repo /backup/db1 --depth boot",
		changes:  true, routine: true, arguments: "ID|latest", id: &o.id, noID: o.chooses,
		options: bind(func(s *options.Set) { o.bind(s, p) }),
		run: func(ctx context.Context) error {
			return o.metrics.after(ctx, o.repository, runVerify(ctx, &o, p))
		},
	}
}

func runVerify(ctx context.Context, o *verifyOptions, p *program) error {
	o.depth = strings.ToLower(o.depth)
	if o.depth != repo.DepthStored && o.depth != repo.DepthPages && o.depth != repo.DepthBoot {
		return usagef("%s is stored, pages or boot, not %q", hint.Option("depth"), o.depth)
	}
	// An option file may have --extended for other calls.
	if o.extended && o.depth != repo.DepthBoot && o.set.Source("extended").Strength == options.ByFlag {
		return usagef("%s is about %s boot, not %s", hint.Option("extended"), hint.Option("depth"), o.depth)
	}
	if o.until != "" && o.depth != repo.DepthBoot {
		return usagef("%s is about %s boot, not %s", hint.Option("until"), hint.Option("depth"), o.depth)
	}
	if err := o.binlog.check(o.until); err != nil {
		return err
	}
	owner, err := parseOwner(o.owner)
	if err != nil {
		return err
	}
	notifications, err := o.notifications.resolve()
	if err != nil {
		return err
	}
	if o.several() {
		return verifySeveral(ctx, o, p, owner, notifications)
	}
	report, err := verifyOne(ctx, o, p, owner, notifications)
	if report == nil {
		return err
	}
	p.ui.Silent = p.ui.Silent && err == nil
	return errors.Join(err, p.ui.Result(report, func() error { return printReport(p.ui.Stdout, report) }))
}

// verifyOne verifies the backup o.id, and tells of it.
func verifyOne(
	ctx context.Context, o *verifyOptions, p *program, owner *restore.Owner, notifications *job.Notifications,
) (*verify.Report, error) {
	v := verifyRun{options: o, program: p, notifications: notifications, begun: time.Now().UTC()}
	report, err := v.carryOut(ctx, owner)
	if !isUsage(err) {
		v.notify(ctx, report, err)
	}
	return report, err
}

// verifyRun is one verification with its notifications.
type verifyRun struct {
	options       *verifyOptions
	program       *program
	notifications *job.Notifications
	begun         time.Time
	repository    *repo.Repository // nil until it is open
}

// carryOut verifies the backup. It returns errFindings if the backup is damaged, and
// another error if the verification could not be carried out.
func (v *verifyRun) carryOut(ctx context.Context, owner *restore.Owner) (*verify.Report, error) {
	o := v.options
	until, err := parseUntil(o.until)
	if err != nil {
		return nil, err
	}
	binlog, done, err := o.binlog.open(ctx)
	defer done()
	if err != nil {
		return nil, err
	}
	prepared, err := preparationFrom(ctx, o.repository, o.server, o.id, o.threads)
	if err != nil {
		return nil, err
	}
	v.repository, prepared.Owner = prepared.Repository, owner
	shown := showProgress(v.program.ui, &prepared)
	report, err := verify.Verify(ctx, verify.Options{
		Preparation: prepared, Depth: o.depth, Scratch: o.scratch, Extended: o.extended,
		Until: until, Binlog: binlog, Drill: o.drill, Compare: o.compare,
	})
	shown.End()
	if err == nil && (!report.OK || report.Replay != nil && !report.Replay.Proves()) {
		err = errFindings
	}
	return report, err
}

// notify sends the notifications about the verification.
func (v *verifyRun) notify(ctx context.Context, report *verify.Report, err error) {
	p := v.program
	within, cancel := p.interrupted.Remaining(ctx, job.NoticeTime)
	defer cancel()
	if !v.notifications.Wanted(err != nil, v.changed(within, err)) {
		return
	}
	notice, text := v.notice(ctx, report, err)
	v.notifications.Send(within, notice, text, job.Pages{}, p.warnOf)
}

// changed returns what tells whether the previous verification ended otherwise.
func (v *verifyRun) changed(ctx context.Context, err error) func() bool {
	return func() bool {
		if v.repository == nil {
			return true
		}
		last, readErr := v.repository.LastVerification(ctx, v.begun)
		return readErr != nil || last == nil || last.Proves() != (err == nil) || last.CarriedOut() != carriedOut(ctx, err)
	}
}

// notice describes the verification, as a document and as text.
func (v *verifyRun) notice(ctx context.Context, report *verify.Report, err error) (notice job.Notice, text string) {
	finished := time.Now().UTC()
	notice = job.Notice{
		Event: job.EventVerify, Outcome: repo.OutcomeOK, Tool: tool(), Hostname: job.Hostname(), Repo: v.options.path,
		ID: v.options.id, Started: v.begun, Finished: &finished, ExitCode: exitCode(ctx, err),
		Hints: []string{}, Hooks: []repo.Hook{}, Copies: []repo.Copy{},
	}
	b := bytes.Buffer{}
	if report != nil {
		notice.ID, notice.Result = report.ID, report
		_ = printReport(&b, report) // writing to a buffer cannot fail
	}
	if err != nil {
		notice.Outcome, notice.Error = repo.OutcomeFailed, ui.OneLine(err.Error())
		notice.Hints = append(notice.Hints, v.program.advice(err)...)
		fmt.Fprintf(&b, "error: %s\n", notice.Error)
		for _, step := range notice.Hints {
			fmt.Fprintf(&b, "hint: %s\n", step)
		}
	}
	notice.Text = fmt.Sprintf("mbk: verify of %s at depth %s on %s %s",
		notice.ID, v.options.depth, notice.Hostname, inSubject(ctx, report, err))
	return notice, b.String()
}

// inSubject is the verdict for the subject of a mail. report is nil if there is none.
func inSubject(ctx context.Context, report *verify.Report, err error) string {
	switch {
	case report != nil && len(report.Findings) > 0:
		return "DAMAGED, " + ui.Count(len(report.Findings), "finding")
	case report != nil && report.Outcome == repo.VerdictAsOnSource && err == nil:
		return "ok, " + ui.Count(len(report.AsOnSource), "table") + " as on the source"
	case err == nil:
		return "ok"
	case carriedOut(ctx, err):
		return "DAMAGED: " + ui.Shorten(ui.OneLine(err.Error()), job.MaxSubject)
	}
	return "NOT CARRIED OUT: " + ui.Shorten(ui.OneLine(err.Error()), job.MaxSubject)
}

// carriedOut reports whether the verification was carried out: err is nil or tells of
// damage.
func carriedOut(ctx context.Context, err error) bool {
	code := exitCode(ctx, err)
	return code == exitDone || code == exitDamage
}

func printReport(out io.Writer, r *verify.Report) error {
	took := ui.Span(r.Finished.Sub(r.Started))
	lines := []string{fmt.Sprintf("%s\t%s at depth %s, in %s", r.ID, inCapitals(r.Verdict), r.Depth, took)}
	for _, p := range r.Proved {
		lines = append(lines, "proved\t"+p)
	}
	for _, n := range r.Notes {
		lines = append(lines, "note\t"+n)
	}
	for _, t := range r.AsOnSource {
		lines = append(lines, fmt.Sprintf("as on source\t%s: %s", t.Table, t.Problem))
	}
	if a := r.Replay; a != nil && !a.Proves() {
		lines = append(lines, fmt.Sprintf("the log after it\t%s: %s", inCapitals(a.Verdict), a.Reason))
	}
	for _, f := range r.Findings {
		where := strings.Join(strings.Fields(f.Object+" "+f.File+" "+f.Table), " ")
		lines = append(lines, "damage\t"+strings.TrimPrefix(where+": "+f.Problem, ": "))
	}
	return ui.Rows(out, lines)
}

// inCapitals describes a verdict; a bad one in capitals.
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
