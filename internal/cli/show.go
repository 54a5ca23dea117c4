package cli

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"mbk/internal/cli/options"
	"mbk/internal/job"
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
	s.Bool(&o.tables, "tables", "list the tables too")
	fileOptions(s)
	outputOptions(s, u)
}

func showCommand(p *program) *command {
	var o showOptions
	return &command{
		name: "show", summary: "show one backup: what is in it, its positions, its stages",
		usage: "mbk show ID|latest --repo FOLDER", examples: "mbk show latest --repo /backup/db1 --tables",
		arguments: "ID|latest", id: &o.id, options: bind(func(s *options.Set) { o.bind(s, p.ui) }),
		run: func(ctx context.Context) error { return runShow(ctx, &o, p.ui) },
	}
}

func runShow(ctx context.Context, o *showOptions, u *ui.UI) error {
	r, err := o.open(ctx)
	if err != nil {
		return err
	}
	m, err := r.Manifest(ctx, o.id)
	if err != nil {
		return err
	}
	around, err := r.Around(ctx, m.ID)
	if err != nil {
		return err
	}
	if u.JSON {
		return u.Document(describe(m, around))
	}
	proofs, err := r.Verifications(ctx, m.ID)
	if err != nil {
		return err
	}
	if err := printBackup(u, m); err != nil {
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

func printProofs(u *ui.UI, proofs []repo.Verification) error {
	lines := []string{}
	for _, v := range proofs {
		outcome := "ok"
		switch v.Outcome {
		case repo.VerdictAsOnSource:
			outcome = "ok, " + ui.Count(len(v.AsOnSource), "table") + " as on the source"
		case repo.VerdictUndone:
			outcome = "not carried out: " + ui.OneLine(v.Reason)
		case repo.VerdictDamaged:
			outcome = ui.Count(v.FindingCount, "finding")
		}
		lines = append(lines, fmt.Sprintf("verified\t%s\t%s\t%s", v.Time.Local().Format(time.DateTime), v.Depth, outcome))
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

func printTables(u *ui.UI, m *repo.Manifest) error {
	lines := []string{}
	for _, t := range m.Tables {
		var bytes int64
		for _, i := range t.Files {
			bytes += m.Files[i].Size
		}
		line := fmt.Sprintf("table\t%s\t%s\t%s",
			printable.Table(t.Database, t.Name), printable.Text(cmp.Or(t.Engine, t.Type)), ui.Size(bytes))
		if t.Problem != "" {
			line += "\t" + t.Problem
		}
		lines = append(lines, line)
	}
	return u.Rows(lines)
}
