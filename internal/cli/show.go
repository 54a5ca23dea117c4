package cli

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"mbk/internal/cli/options"
	"mbk/internal/contents"
	"mbk/internal/job"
	"mbk/internal/job/report"
	"mbk/internal/repo"
	"mbk/internal/restore"
	"mbk/internal/ui"
	"mbk/internal/ui/printable"
)

type showOptions struct {
	repository
	id     string
	tables bool
}

func (o *showOptions) bind(s *options.Set, u *ui.UI) {
	o.repository.bind(s, u)
	o.bindIdentities(s)
	s.Bool(&o.tables, "tables", "list the tables too")
	fileOptions(s)
	outputOptions(s, u)
}

func showCommand(p *program) *command {
	var o showOptions
	return &command{
		name: "show", summary: "show one backup: what is in it, its positions, its stages",
		usage: "mbk show ID|latest --repo REPO", examples: "mbk show latest --repo /backup/db1 --tables",
		arguments: "ID|latest", id: &o.id, options: bind(func(s *options.Set) { o.bind(s, p.ui) }),
		run: func(ctx context.Context) error { return runShow(ctx, &o, p.ui) },
	}
}

func runShow(ctx context.Context, o *showOptions, u *ui.UI) error {
	r, err := o.open(ctx)
	if err != nil {
		return err
	}
	b, err := r.Backup(ctx, o.id)
	if err != nil {
		return err
	}
	m, label := b.Manifest(), ""
	if l, err := b.Label(); err == nil { // else the list tells of it
		label = l.Hash
	}
	around, err := r.Around(ctx, m.ID)
	if err != nil {
		return err
	}
	list, err := r.List(ctx)
	if err != nil {
		return err
	}
	d := showDocument{backupDocument: describe(m, label, around), NeededBy: repo.NeededBy(list, m.ID)}
	for i := range list {
		if list[i].ID == m.ID {
			d.Place = list[i].Place
		}
	}
	until, err := r.RetainedUntil(ctx, m.ID)
	if err != nil {
		return err
	}
	if !until.IsZero() {
		d.RetainedUntil = &until
	}
	if u.JSON {
		return u.Document(d)
	}
	proofs, err := r.Verifications(ctx, m.ID)
	if err != nil {
		return err
	}
	if err := printBackup(u, m, label); err != nil {
		return err
	}
	if err := u.Rows(placeLines(d)); err != nil {
		return err
	}
	if err := u.Rows(labelled("my.cnf", restore.Config(m))); err != nil {
		return err
	}
	if err := printStages(u, m.Stages); err != nil {
		return err
	}
	if err := u.Rows(job.Lines(around)); err != nil {
		return err
	}
	if o.tables {
		if err := printTables(u, m); err != nil {
			return err
		}
	}
	return printProofs(u, proofs)
}

// showDocument is what "show --json" prints.
type showDocument struct {
	backupDocument
	repo.Place
	NeededBy []string `json:"needed_by"` // ids of the backups that need this one, oldest first
	// RetainedUntil is the time before which the store lets nobody remove it, nil if it may go.
	RetainedUntil *time.Time `json:"retained_until"`
}

// placeLines says what a backup needs and what needs it.
func placeLines(d showDocument) []string {
	var lines []string
	for _, id := range d.Needs.IDs {
		if id != d.ID {
			lines = append(lines, "needs\t"+id)
		}
	}
	if len(lines) > 0 {
		lines = append(lines, fmt.Sprintf("chain\t%s stored, %s", ui.Size(d.Needs.BytesStored),
			ui.Count(len(d.Needs.IDs), "backup")))
	}
	if d.Broken != "" {
		lines = append(lines, "BROKEN\t"+d.Broken)
	}
	for _, id := range d.NeededBy {
		lines = append(lines, "needed by\t"+id)
	}
	if d.RetainedUntil != nil {
		lines = append(lines, "retained\tuntil "+d.RetainedUntil.Local().Format(minutes))
	}
	if d.Pin != nil {
		lines = append(lines, "pinned\t"+pinText(d.Pin))
	}
	return lines
}

// pinText says who pinned a backup, when and why.
func pinText(p *repo.Pin) string {
	if p.Problem != "" {
		return p.Problem
	}
	text := p.Created.Local().Format(minutes)
	if p.By != "" { // else it is encrypted
		text += ", by " + p.By
	}
	if p.Reason != "" {
		text += ": " + p.Reason
	}
	return ui.OneLine(text)
}

func printProofs(u *ui.UI, proofs []repo.Verification) error {
	lines := []string{}
	for i := range proofs {
		v := &proofs[i]
		at := v.Time.Local().Format(time.DateTime)
		lines = append(lines, fmt.Sprintf("verified\t%s\t%s\t%s", at, v.Depth, report.Verdict(v)))
	}
	return u.Rows(lines)
}

// tries formats "1 try" or "2 tries".
func tries(n int) string {
	if n == 1 {
		return "1 try"
	}
	return fmt.Sprintf("%d tries", n)
}

func printStages(u *ui.UI, stages []repo.Stage) error {
	lines := []string{}
	for _, s := range stages {
		lines = append(lines, fmt.Sprintf("stage\t%s\twaited %s\theld %s\t%s",
			s.Name, ui.Milliseconds(s.WaitMS), ui.Milliseconds(s.HeldMS), tries(s.Tries)))
	}
	return u.Rows(lines)
}

// kindOf is the engine of a table, and of what has none its type.
func kindOf(engine, kind string) string { return printable.Text(cmp.Or(engine, kind)) }

func printTables(u *ui.UI, m *repo.Manifest) error {
	lines := []string{}
	for _, t := range m.Tables {
		line := fmt.Sprintf("table\t%s\t%s\t%s",
			printable.Table(t.Database, t.Name), kindOf(t.Engine, t.Type), ui.Size(contents.Bytes(m, &t)))
		if t.Problem != "" {
			line += "\t" + t.Problem
		}
		lines = append(lines, line)
	}
	return u.Rows(lines)
}
