package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"mbk/internal/cli/options"
	"mbk/internal/datadir/filter"
	"mbk/internal/repo"
)

// completeCommand is hidden: the scripts of "mbk completion" ask it for what only a
// repository tells.
func completeCommand(p *program) *command {
	var o repository
	var what []string
	return &command{
		name: "complete", summary: "print ids of backups, or names of tables, for the completion", hidden: true,
		usage: "mbk complete ids|tables --repo REPO", examples: "mbk complete ids --repo /backup/db1",
		arguments: "ids|tables", args: &what, options: bind(func(s *options.Set) {
			o.bind(s, p.ui)
			fileOptions(s)
		}),
		run: func(ctx context.Context) error {
			lists := map[string]func(context.Context, *repo.Repository) ([]string, error){"ids": allIDs, "tables": newestTables}
			if len(what) != 1 || lists[what[0]] == nil {
				return usagef("mbk complete needs one of %v", slices.Sorted(maps.Keys(lists)))
			}
			r, err := o.open(ctx)
			if err != nil {
				return err
			}
			words, err := lists[what[0]](ctx, r)
			if err != nil {
				return err
			}
			for _, word := range words {
				if _, err := fmt.Fprintln(p.ui.Stdout, word); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func allIDs(ctx context.Context, r *repo.Repository) ([]string, error) { return r.IDs(ctx) }

// newestTables are the tables of the newest backup.
func newestTables(ctx context.Context, r *repo.Repository) ([]string, error) {
	m, err := r.Manifest(ctx, "latest")
	if err != nil {
		return nil, err
	}
	var names []string
	for _, t := range m.Tables {
		if !filter.Own(t.Database) {
			names = append(names, filter.Name{Database: t.Database, Table: t.Name}.String())
		}
	}
	return names, nil
}
