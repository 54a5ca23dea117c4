package cli

import (
	"context"
	"fmt"
	"time"

	"mbk/internal/cli/options"
	"mbk/internal/job/report"
	"mbk/internal/picture"
	"mbk/internal/repo"
	"mbk/internal/ui"
)

type reportOptions struct {
	repository
	id   string
	html htmlFile
}

func (o *reportOptions) bind(s *options.Set, u *ui.UI) {
	o.repository.bind(s, u)
	o.bindIdentities(s)
	o.html.bind(s, "the stages to scale, throughput and redo over time, tables")
	fileOptions(s)
	outputOptions(s, u)
}

func reportCommand(p *program) *command {
	var o reportOptions
	return &command{
		name: "report", summary: "tell all about one attempt, as for a mail",
		usage: "mbk report ID|latest --repo REPO [--html FILE]",
		examples: "mbk report latest --repo /backup/db1 | mail -s backup dba\n" +
			"mbk report latest --repo /backup/db1 --html backup.html",
		arguments: "ID|latest", id: &o.id, options: bind(func(s *options.Set) { o.bind(s, p.ui) }),
		run: func(ctx context.Context) error { return runReport(ctx, &o, p.ui) },
	}
}

func runReport(ctx context.Context, o *reportOptions, u *ui.UI) error {
	r, err := o.open(ctx)
	if err != nil {
		return err
	}
	return printReportOf(ctx, r, o.id, o.html, u)
}

// printReportOf prints the report of an attempt: what report prints, and history of one. With a
// page it prints nothing, or JSON.
func printReportOf(ctx context.Context, r *repo.Repository, id string, html htmlFile, u *ui.UI) error {
	d, err := attemptOf(ctx, r, id)
	if err != nil {
		return err
	}
	if html != "" {
		page := picture.Report{
			Repository: r.String(), Attempt: d.Attempt, Kept: d.Kept, Proofs: d.Verifications,
			Made: time.Now(), Tool: tool(),
		}
		if err := html.write(u, page.HTML); err != nil || !u.JSON {
			return err
		}
	}
	return u.Result(reportOf(d), func() error {
		text := report.Text(r.String(), d.Attempt, d.Verifications)
		if d.Encrypted {
			text += "\nThe rest is encrypted: it can be read with an identity (--identity).\n"
		}
		if d.Outcome == repo.OutcomeOK && !d.Kept {
			text += "\nThe backup has been removed since.\n"
		}
		_, err := fmt.Fprint(u.Stdout, text)
		return err
	})
}

// attemptDocument is an attempt with its verifications.
type attemptDocument struct {
	repo.Attempt
	Kept          bool                `json:"kept"` // the backup is in the repository
	Verifications []repo.Verification `json:"verifications"`
}

// attemptOf returns an attempt by its id, the beginning of its id, or "latest".
func attemptOf(ctx context.Context, r *repo.Repository, id string) (attemptDocument, error) {
	a, err := r.Attempt(ctx, id)
	if err != nil {
		return attemptDocument{}, err
	}
	kept, err := r.Has(ctx, a.ID)
	if err != nil {
		return attemptDocument{}, err
	}
	proofs, err := r.Verifications(ctx, a.ID)
	if proofs == nil {
		proofs = []repo.Verification{}
	}
	return attemptDocument{Attempt: a, Kept: kept, Verifications: proofs}, err
}

// reportDocument is what "report --json" prints: the attempt, and what is
// computed from it.
type reportDocument struct {
	attemptDocument
	DurationMS     int64   `json:"duration_ms"`
	FailedStep     string  `json:"failed_step"`      // "" if it did not fail in one
	BytesPerSecond int64   `json:"bytes_per_second"` // read
	Ratio          float64 `json:"ratio"`            // bytes read to bytes stored
}

func reportOf(d attemptDocument) reportDocument {
	a := &d.Attempt
	r := reportDocument{
		attemptDocument: d, DurationMS: report.Duration(a).Milliseconds(),
		FailedStep: report.FailedStep(a), Ratio: report.Ratio(a),
	}
	if r.DurationMS > 0 {
		r.BytesPerSecond = d.BytesRead * 1000 / r.DurationMS
	}
	return r
}
