package cli

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"mbk/internal/repo"
	"mbk/internal/restore"
	"mbk/internal/ui/printable"
)

func showCommand(env Env) *cli.Command {
	return &cli.Command{
		Name: "show", Usage: "show one backup: what is in it, its positions, its stages",
		UsageText: "mbk show ID|latest --repo FOLDER\n\nmbk show latest --repo /backup/db1 --tables",
		ArgsUsage: "ID|latest",
		Flags: append([]cli.Flag{repoFlag(), &cli.BoolFlag{Name: "tables", Usage: "list the tables too"}},
			append(fileFlags(), outputFlags()...)...),
		Action: func(c *cli.Context) error { return runShow(c, env) },
	}
}

func runShow(c *cli.Context, env Env) error {
	id, err := oneID(c)
	if err != nil {
		return err
	}
	r, err := openRepository(c)
	if err != nil {
		return err
	}
	m, err := r.Manifest(c.Context, id)
	if err != nil {
		return err
	}
	around, err := r.Around(c.Context, m.ID)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return document(env, describe(m, around))
	}
	if err := printBackup(env, m); err != nil {
		return err
	}
	if err := rows(env, labelled("my.cnf", restore.Config(m))); err != nil {
		return err
	}
	if err := printStages(env, m.Stages); err != nil {
		return err
	}
	if err := rows(env, aroundLines(around)); err != nil {
		return err
	}
	if c.Bool("tables") {
		if err := printTables(env, m); err != nil {
			return err
		}
	}
	proofs, err := r.Verifications(c.Context, m.ID)
	if err != nil {
		return err
	}
	return printProofs(env, proofs)
}

func printProofs(env Env, proofs []repo.Verification) error {
	lines := []string{}
	for _, v := range proofs {
		outcome := "ok"
		switch v.Outcome {
		case repo.VerdictAsOnSource:
			outcome = "ok, " + count(len(v.AsOnSource), "table") + " as on the source"
		case repo.VerdictUndone:
			outcome = "not carried out: " + oneLine(v.Reason)
		case repo.VerdictDamaged:
			outcome = count(v.FindingCount, "finding")
		}
		lines = append(lines, fmt.Sprintf("verified\t%s\t%s\t%s", v.Time.Local().Format("2006-01-02 15:04:05"), v.Depth, outcome))
	}
	return rows(env, lines)
}

// tries is "1 try" or "2 tries".
func tries(n int) string {
	if n == 1 {
		return "1 try"
	}
	return fmt.Sprintf("%d tries", n)
}

func printStages(env Env, stages []repo.Stage) error {
	lines := []string{}
	for _, s := range stages {
		lines = append(lines, fmt.Sprintf("stage\t%s\twaited %s\theld %s\t%s", s.Name, milliseconds(s.WaitMS), milliseconds(s.HeldMS), tries(s.Tries)))
	}
	return rows(env, lines)
}

func printTables(env Env, m *repo.Manifest) error {
	lines := []string{}
	for _, t := range m.Tables {
		var bytes int64
		for _, i := range t.Files {
			bytes += m.Files[i].Size
		}
		line := fmt.Sprintf("table\t%s\t%s\t%s", printable.Table(t.Database, t.Name), printable.Text(orDefault(t.Engine, t.Type)), size(bytes))
		if t.Problem != "" {
			line += "\t" + t.Problem
		}
		lines = append(lines, line)
	}
	return rows(env, lines)
}
