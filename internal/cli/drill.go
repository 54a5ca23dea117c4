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
)

// drillOptions are the options of a drill, which is a verification at depth boot that restores
// first, and measures.
type drillOptions struct {
	verifyOptions
	connection
	compares bool
	hooks    hooks
}

func (o *drillOptions) bind(s *options.Set, p *program) {
	o.verifyOptions.set = s
	o.repository.bind(s, p.ui)
	o.bindIdentities(s)
	s.String(&o.until, "until", "", "go on to `MOMENT` as restore does; with end, as far as the archive leads")
	o.binlog.bind(s, "with --until, go on")
	s.Bool(&o.compares, "compare", "count the rows of the running server too, and compare; "+
		"its account needs SELECT")
	s.String(&o.scratch, "scratch", "", "restore into `FOLDER`; it needs room for all files "+
		"(default: $TMPDIR or /var/tmp)")
	s.String(&o.owner, "owner", "", "run the server as `USER[:GROUP]` (default: mysql)")
	threadsOption(s, &o.threads, "extract and check with `N` threads (default: one for each CPU)")
	o.metrics.bind(s)
	o.server.bind(s)
	o.hooks.bindAfter(s, "run `PROGRAM` after a drill that proves the backup", "run `PROGRAM` after any other")
	o.notifications.bind(s, p)
	o.connection.bind(s, p)
	progressOptions(s, p.ui)
}

func drillCommand(p *program) *command {
	var o drillOptions
	return &command{
		name: "drill", summary: "restore the latest backup for a test, and measure",
		usage: "mbk drill --repo REPO [--until end] [--compare]",
		examples: "mbk drill --repo /backup/db1\n" +
			"mbk drill --repo /backup/db1 --until end --compare",
		changes: true, options: bind(func(s *options.Set) { o.bind(s, p) }),
		run: func(ctx context.Context) error {
			return o.metrics.after(ctx, o.repository, runDrill(ctx, &o, p))
		},
	}
}

func runDrill(ctx context.Context, o *drillOptions, p *program) error {
	o.id, o.depth, o.drill = repo.Latest, repo.DepthBoot, true
	if err := o.binlog.check(o.until); err != nil {
		return err
	}
	owner, err := parseOwner(o.owner)
	if err != nil {
		return err
	}
	path, err := o.fullPath()
	if err != nil {
		return err
	}
	telling, err := p.jobOptions(path, o.name, &o.hooks, &o.notifications)
	if err != nil {
		return err
	}
	v := verifyRun{options: &o.verifyOptions, program: p, begun: time.Now().UTC()}
	report, err := o.carryOut(ctx, &v, owner)
	if isUsage(err) {
		return err
	}
	job.New(telling).Tell(ctx, v.drilled(ctx, report, err))
	if report == nil {
		return err
	}
	return errors.Join(err, p.ui.Result(report, func() error { return printDrill(p.ui.Stdout, report) }))
}

// carryOut connects to the running server, if one is to be compared, and drills.
func (o *drillOptions) carryOut(ctx context.Context, v *verifyRun, owner *restore.Owner) (*verify.Report, error) {
	if o.compares {
		server, err := o.connect(ctx)
		if err != nil {
			return nil, hint.Wrap(hint.Errorf("%s: %w", hint.Option("compare"), err),
				"without it the drill needs no running server")
		}
		defer server.Close()
		o.compare = server
	}
	return v.carryOut(ctx, owner)
}

// drilled is what is told of a drill.
func (v *verifyRun) drilled(ctx context.Context, report *verify.Report, err error) job.Event {
	e := job.Event{
		Kind: job.EventDrill, ID: v.options.id, Started: v.begun, Err: err, Code: exitCode(ctx, err),
		Changed: v.changed(ctx, err),
	}
	back := ""
	if report != nil {
		var b bytes.Buffer
		_ = printDrill(&b, report) // writing to a buffer cannot fail
		e.ID, e.Result, e.Report = report.ID, report, b.String()
		if d := report.Drill; d != nil {
			back = ", back in " + ui.Milliseconds(d.RecoveryMS)
		}
	}
	e.Text = fmt.Sprintf("mbk: drill with %s on %s %s%s", e.ID, job.Hostname(), inSubject(ctx, report, err), back)
	return e
}

// printDrill prints a drill: first what it was made for.
func printDrill(out io.Writer, r *verify.Report) error {
	if d := r.Drill; d != nil {
		if err := ui.Rows(out, drillLines(d)); err != nil {
			return err
		}
	}
	return printReport(out, r)
}

// drillLines describe what a drill has measured.
func drillLines(d *repo.Drill) []string {
	lines := []string{
		fmt.Sprintf("back in\t%s (%s)", ui.Milliseconds(d.RecoveryMS), stepsText(d.Recovery)),
		"reached\t" + reachedText(d.Point),
		"would be lost\t" + lostText(d.Point),
	}
	if len(d.Checks) > 0 {
		lines = append(lines, "then\t"+stepsText(d.Checks))
	}
	if d.Rows == nil {
		return lines
	}
	lines = append(lines, fmt.Sprintf("rows\t%d in %s", d.Rows.Rows, ui.Count(int(d.Rows.Tables), "table")))
	return append(lines, rowLines(d.Rows)...)
}

// stepsText lists steps: "extract 1.2s, recover 3s".
func stepsText(steps []repo.Step) string {
	var texts []string
	for _, s := range steps {
		texts = append(texts, s.Name+" "+ui.Milliseconds(s.MS))
	}
	return strings.Join(texts, ", ")
}

func reachedText(p repo.Reached) string {
	text := fmt.Sprintf("%s, LSN %d", p.Time.Local().Format(time.DateTime), p.LSN)
	if p.GTID != "" {
		text += ", GTID " + p.GTID
	}
	return text
}

// lostText says what was written after the moment that a drill has reached.
func lostText(p repo.Reached) string {
	age := ui.Span(time.Duration(p.AgeMS) * time.Millisecond)
	switch {
	case p.Lost == nil:
		return "what was written in the last " + age
	case *p.Lost == 0:
		return "nothing: the running server had committed nothing after that"
	}
	return fmt.Sprintf("%s of the last %s", ui.Count(int(*p.Lost), "transaction"), age)
}

// shownRows limits the tables that are printed with their rows.
const shownRows = 10

// rowLines describe the comparison of rows.
func rowLines(r *repo.Rows) []string {
	if r.With == "" {
		return nil
	}
	other := "the drill of " + r.With
	if r.With == repo.ComparedServer {
		other = "the running server"
	}
	lines := []string{fmt.Sprintf("compared\twith %s: %s with as many rows, %d with others",
		other, ui.Count(int(r.Same), "table"), r.Differ)}
	number := func(n *int64) string {
		if n == nil {
			return "no table"
		}
		return fmt.Sprint(*n)
	}
	for _, t := range r.Differences[:min(len(r.Differences), shownRows)] {
		lines = append(lines, fmt.Sprintf("differs\t%s: %s restored, %s there", t.Table, number(t.Here), number(t.There)))
	}
	if more := r.Differ - int64(min(len(r.Differences), shownRows)); more > 0 {
		lines = append(lines, fmt.Sprintf("differs\tand %d more; --json lists the first %d", more, repo.MaxRowDifferences))
	}
	return lines
}
