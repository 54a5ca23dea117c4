package preflight

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"mbk/internal/datadir"
	"mbk/internal/hint"
	"mbk/internal/repo"
	"mbk/internal/ui/printable"
	"mbk/stage"
)

// checkLinks looks, before anything is locked, for external tablespaces that no
// backup could find. A running DDL looks the same, so what is found must
// persist for a while.
func (r *Report) checkLinks(ctx context.Context, o Options) error {
	const tries, pause = 5, 200 * time.Millisecond
	var problems []lostSpace
	for i := range tries {
		if i > 0 {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(pause):
			}
			var err error
			if r.first, err = r.Layout.Scan(ctx); err != nil {
				return err
			}
		}
		found, err := r.lostSpaces(ctx, o.Server)
		if i == 0 {
			problems = found
		}
		problems = slices.DeleteFunc(problems, func(s lostSpace) bool { return !slices.Contains(found, s) })
		if err != nil || len(problems) == 0 {
			return err
		}
	}
	advice := []hint.Text{
		"repair the table, or move it into the data directory, before you take a backup",
		"if mbk is in another container than the server, mount the folder of the table at the same path there",
	}
	if r.Layout.Selection != nil && !r.Layout.Pathless() {
		advice = []hint.Text{ExternalFilteredHint}
	}
	for _, s := range problems {
		r.Add(CheckTables, GradeError, s.text, advice...)
	}
	return nil
}

// Why a filter and DATA DIRECTORY do not go together up to 10.5, and what to do then.
const (
	ExternalFiltered = "with a filter such tables cannot be backed up from a server before 10.6, " +
		"whose dictionary has their paths"
	ExternalFilteredHint = "back up everything, and get single tables out of a restored copy"
)

// lostSpace is a tablespace outside of the data directory that a backup would not have.
type lostSpace struct {
	table string // by its name on disk, as InnoDB's dictionary has it: "shop/t", "shop/t#P#p0"
	text  string
}

// lostSpaces lists what is wrong with links, and the external tablespaces to which none
// leads. What is wrong with a table whose tablespace is discarded does not count.
func (r *Report) lostSpaces(ctx context.Context, server *stage.Server) ([]lostSpace, error) {
	external, err := server.ExternalSpaces(ctx, r.Facts.Version)
	if err != nil {
		return nil, err
	}
	problems := append(r.wrongLinks(external), r.unreachedSpaces(external)...)
	if len(problems) == 0 {
		return nil, nil
	}
	discarded, err := server.Discarded(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(problems, func(s lostSpace) bool { return slices.Contains(discarded, s.table) }), nil
}

// wrongLinks lists what is wrong with .isl files. external are the tablespaces that the
// server has open.
func (r *Report) wrongLinks(external []string) []lostSpace {
	var problems []lostSpace
	for _, b := range r.first.Broken {
		problems = append(problems, lostSpace{b.Entry.SpaceTable(), b.Text})
	}
	for _, e := range r.first.Entries {
		if e.Link.Kind != repo.LinkISL || !slices.Contains(external, e.Link.To) && r.Layout.Pathless() {
			continue // in its place, or the server has no such file open
		}
		if _, err := r.Layout.Stat(r.Layout.File(e)); errors.Is(err, fs.ErrNotExist) {
			text := fmt.Sprintf("%s leads to %s, which is not there", e.SpaceTable()+datadir.ISLExt, e.Link.To)
			problems = append(problems, lostSpace{e.SpaceTable(), text})
		}
	}
	return problems
}

// unreachedSpaces lists external tablespaces to which no .isl file leads, or that a
// filtered backup cannot hold.
func (r *Report) unreachedSpaces(external []string) []lostSpace {
	reached, excluded := map[string]bool{}, map[string]bool{}
	for _, e := range r.first.Entries {
		if e.Link.Kind == repo.LinkISL {
			reached[path.Clean(e.Link.To)] = true
		}
	}
	for _, name := range r.first.ExcludedFullText {
		excluded[name] = true
	}
	var problems []lostSpace
	for _, name := range external {
		table := path.Join(path.Base(path.Dir(name)), strings.TrimSuffix(path.Base(name), ".ibd"))
		switch {
		case r.Layout.Selection != nil && !r.Layout.Pathless():
			problems = append(problems, lostSpace{table, fmt.Sprintf(
				"the server keeps a tablespace in %s, because of DATA DIRECTORY: %s", name, ExternalFiltered)})
		case !reached[path.Clean(name)] && !r.Layout.Selection.Excludes(name, excluded):
			problems = append(problems, lostSpace{table, fmt.Sprintf(
				"the server keeps a tablespace in %s, and no %s file in the data directory leads there", name, datadir.ISLExt)})
		}
	}
	return problems
}

// checkFollowed lists the links that are followed out of the data directory.
func (r *Report) checkFollowed() {
	var names []string
	for _, dir := range r.first.Databases {
		if to := r.Layout.DatabaseOrigin(dir); to != "" && !slices.Contains(r.first.Closed, dir) {
			names = append(names, dir+" to "+to)
		}
	}
	for _, e := range r.first.Entries {
		if e.Link.Kind != "" {
			names = append(names, e.Path()+" to "+e.Link.To)
		}
	}
	if names = append(names, r.first.Followed...); len(names) > 0 {
		r.Add("links", GradeOK, fmt.Sprintf("%d lead out of their places, and are followed: %s", len(names),
			printable.List(names)))
	}
}
