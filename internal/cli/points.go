package cli

import (
	"cmp"
	"context"
	"strings"
	"time"

	"mbk/internal/cli/options"
	"mbk/internal/job/report"
	"mbk/internal/moment"
	"mbk/internal/repo"
	"mbk/internal/ui"
)

type pointsOptions struct {
	repository
	binlog binlogDir
}

func (o *pointsOptions) bind(s *options.Set, u *ui.UI) {
	o.repository.bind(s, u)
	o.binlog.bind(s, "say what can be reached")
	o.bindIdentities(s)
	fileOptions(s)
	outputOptions(s, u)
}

func pointsCommand(p *program) *command {
	var o pointsOptions
	return &command{
		name: "points", summary: "list the moments to which backups can be restored",
		usage:    "mbk points --repo REPO [--binlog-dir DIR]",
		examples: "mbk points --repo /backup/db1\nmbk points --repo /backup/db1 --binlog-dir /var/lib/mysql",
		options:  bind(func(s *options.Set) { o.bind(s, p.ui) }),
		run:      func(ctx context.Context) error { return runPoints(ctx, &o, p.ui) },
	}
}

// pointsDocument is what "points --json" prints.
type pointsDocument struct {
	Repository string          `json:"repository"`
	BinlogDir  string          `json:"binlog_dir,omitempty"` // whose files lead on; "": the archive does
	Spans      []pointsSpan    `json:"spans"`                // the oldest backup first
	Gaps       []pointsGap     `json:"gaps"`                 // that no earlier backup can be brought across
	Without    []pointsWithout `json:"without"`              // backups that can be restored to their end only
	Warnings   []string        `json:"warnings"`             // what of the files cannot be read
}

// pointsSpan says how far a backup can be brought.
type pointsSpan struct {
	ID        string    `json:"id"`
	Timeline  string    `json:"timeline"`
	From      time.Time `json:"from"` // the end of the backup
	FromGTID  string    `json:"from_gtid"`
	Until     time.Time `json:"until,omitzero"` // time of the last transaction; absent if none follows the backup
	UntilGTID string    `json:"until_gtid"`
	Segments  int       `json:"segments"`
	Bytes     int64     `json:"bytes"`
	Unproven  string    `json:"unproven,omitempty"` // why it is not known that the backup is on the timeline
	Next      string    `json:"next,omitempty"`     // why it goes no further

	Proven *repo.Replayed `json:"proven,omitempty"` // what the newest verification found that replayed the archive
}

// pointsGap is a gap in the archive.
type pointsGap struct {
	Timeline  string    `json:"timeline"` // that begins after it
	Missing   string    `json:"missing"`
	After     time.Time `json:"after,omitzero"` // time of the last transaction before it, as far as it is known
	AfterGTID string    `json:"after_gtid"`
	Until     time.Time `json:"until,omitzero"` // time of the first one after it
	UntilGTID string    `json:"until_gtid"`
}

// pointsWithout is a backup that can be restored to its end only.
type pointsWithout struct {
	ID     string `json:"id"`
	Reason string `json:"reason"`
}

func runPoints(ctx context.Context, o *pointsOptions, u *ui.UI) error {
	r, err := o.open(ctx)
	if err != nil {
		return err
	}
	backups, without, err := moment.Backups(ctx, r)
	if err != nil {
		return err
	}
	files, done, err := o.binlog.open(ctx)
	defer done()
	if err != nil {
		return err
	}
	var log moment.Log = r
	if files != nil {
		log = files
	}
	points, err := moment.Reachable(ctx, log, backups)
	if err != nil {
		return err
	}
	d := newPointsDocument(r.String(), points, backups, without)
	if files != nil {
		d.BinlogDir, d.Warnings = files.Dir(), append(d.Warnings, files.Warnings()...)
	} else if err := d.addProven(ctx, r); err != nil {
		return err
	}
	return u.Result(d, func() error { return printPoints(u, d) })
}

// addProven adds what verifications found about the archive.
func (d *pointsDocument) addProven(ctx context.Context, r *repo.Repository) error {
	list, err := r.List(ctx)
	if err != nil {
		return err
	}
	for i := range list {
		for j := range d.Spans {
			s, v := &d.Spans[j], list[i].Verified
			if s.ID == list[i].ID && v != nil && v.Replay != nil && v.Replay.Files == "" {
				s.Proven = v.Replay
			}
		}
	}
	return nil
}

// newPointsDocument makes the document.
func newPointsDocument(
	repository string, p *moment.Points, backups []moment.Backup, without []moment.Without,
) *pointsDocument {
	d := &pointsDocument{Repository: repository, Spans: []pointsSpan{}, Gaps: []pointsGap{}, Without: []pointsWithout{},
		Warnings: []string{}}
	on := map[string]bool{}
	for _, s := range p.Spans {
		on[s.Backup] = true
		d.Spans = append(d.Spans, pointsSpan{
			ID: s.Backup, Timeline: s.Timeline, From: s.Finished.UTC(), FromGTID: s.At.String(), Until: s.Last,
			UntilGTID: s.To.String(), Segments: s.Segments, Bytes: s.Bytes, Unproven: s.Unproven, Next: s.Next,
		})
	}
	for _, g := range p.Gaps {
		d.Gaps = append(d.Gaps, pointsGap{Timeline: g.Timeline, Missing: g.Missing, After: g.From,
			AfterGTID: g.After.String(), Until: g.To, UntilGTID: g.Until.String()})
	}
	for _, w := range without {
		d.Without = append(d.Without, pointsWithout{w.ID, w.Reason})
	}
	for _, b := range backups {
		if !on[b.ID] {
			d.Without = append(d.Without, pointsWithout{b.ID, "its end is on no timeline of the log"})
		}
	}
	return d
}

// printPoints prints the spans as a table, and below it what is missing.
func printPoints(u *ui.UI, d *pointsDocument) error {
	t := &ui.Table{Columns: []ui.Column{
		{Title: "BACKUP"}, {Title: "FROM", Rank: 1}, {Title: "UNTIL"}, {Title: "FROM GTID", Rank: 3},
		{Title: "UNTIL GTID", Rank: 2}, {Title: "TIMELINE", Rank: 4}, {Title: "PROVEN"},
	}}
	for _, s := range d.Spans {
		until := "no further"
		if !s.Until.IsZero() {
			until = s.Until.Local().Format(time.DateTime)
		}
		row := t.Add(s.ID, s.From.Local().Format(time.DateTime), until, cmp.Or(s.FromGTID, "-"), cmp.Or(s.UntilGTID, "-"),
			s.Timeline, cmp.Or(strings.TrimPrefix(report.Until(s.Proven), "; "), "never"))
		row[len(row)-1].Bad = s.Proven != nil && s.Proven.CarriedOut() && !s.Proven.Proves()
	}
	if len(t.Rows) > 0 {
		if err := u.Table(t); err != nil {
			return err
		}
	}
	for _, n := range pointsNotes(d) {
		if err := n.print(u); err != nil {
			return err
		}
	}
	return u.Rows(labelled("warning", d.Warnings))
}

// pointsNotes are what the table of the spans has no room for.
func pointsNotes(d *pointsDocument) []note {
	var notes []note
	for _, g := range d.Gaps {
		text := g.Missing
		if !g.After.IsZero() && !g.Until.IsZero() {
			text += " (" + g.After.Local().Format(time.DateTime) + " to " + g.Until.Local().Format(time.DateTime) + ")"
		}
		notes = append(notes, note{"gap", ui.OneLine(text), true})
	}
	for _, w := range d.Without {
		notes = append(notes, note{w.ID, "to its end only: " + ui.OneLine(w.Reason), false})
	}
	for _, s := range d.Spans {
		if s.Unproven != "" {
			notes = append(notes, note{s.ID, "as far as numbers tell: " + s.Unproven, false})
		}
	}
	return notes
}
