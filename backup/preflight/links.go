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

// checkLinks looks, before anything is locked, for tablespaces elsewhere that no
// backup could find. A DDL that is at work looks the same, so what is found must
// be there for a while.
func (p *Report) checkLinks(ctx context.Context, o Options) error {
	const tries, pause = 5, 200 * time.Millisecond
	var problems []string
	for i := range tries {
		if i > 0 {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(pause):
			}
			var err error
			if p.first, err = p.Layout.Scan(ctx); err != nil {
				return err
			}
		}
		found, err := p.lostSpaces(ctx, o.Server)
		if i == 0 {
			problems = found
		}
		problems = slices.DeleteFunc(problems, func(text string) bool { return !slices.Contains(found, text) })
		if err != nil || len(problems) == 0 {
			return err
		}
	}
	advice := hint.Text("repair the table, or move it into the data directory, before you take a backup")
	if p.Layout.Selection != nil && !p.Layout.Pathless() {
		advice = ExternalFilteredHint
	}
	for _, text := range problems {
		p.Add(CheckTables, GradeError, text, advice)
	}
	return nil
}

// Why a filter and DATA DIRECTORY do not go together up to 10.5, and what then.
const (
	ExternalFiltered     = "with a filter such tables cannot be backed up from a server before 10.6, whose dictionary has their paths"
	ExternalFilteredHint = "back up everything, and get single tables out of a restored copy"
)

// lostSpaces lists what is wrong with links, and the tablespaces elsewhere to
// which none leads.
func (p *Report) lostSpaces(ctx context.Context, server *stage.Server) ([]string, error) {
	var problems []string
	for _, b := range p.first.Broken {
		problems = append(problems, b.Text)
	}
	left := map[string]bool{}
	for _, name := range p.first.ExcludedFullText {
		left[name] = true
	}
	far, err := server.FarSpaces(ctx, p.Facts.Version)
	if err != nil {
		return nil, err
	}
	reached := map[string]bool{}
	for _, e := range p.first.Entries {
		if e.Link.Kind != repo.LinkISL {
			continue
		}
		reached[path.Clean(e.Link.To)] = true
		if !slices.Contains(far, e.Link.To) && p.Layout.Pathless() {
			continue // the server has no such file open
		}
		if _, err := p.Layout.Stat(p.Layout.File(e)); errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, fmt.Sprintf("%s leads to %s, which is not there", strings.TrimSuffix(e.Path(), ".ibd")+datadir.ISLExt, e.Link.To))
		}
	}
	for _, name := range far {
		switch {
		case p.Layout.Selection != nil && !p.Layout.Pathless():
			problems = append(problems, fmt.Sprintf("the server keeps a tablespace in %s, because of DATA DIRECTORY: %s", name, ExternalFiltered))
		case !reached[path.Clean(name)] && !p.Layout.Selection.Excludes(name, left):
			problems = append(problems, fmt.Sprintf("the server keeps a tablespace in %s, and no %s file in the data directory leads there", name, datadir.ISLExt))
		}
	}
	if len(problems) == 0 {
		return nil, nil
	}
	return p.notDiscarded(ctx, server, problems)
}

// notDiscarded leaves out what is said of tables whose tablespace is discarded.
func (p *Report) notDiscarded(ctx context.Context, server *stage.Server, problems []string) ([]string, error) {
	discarded, err := server.Discarded(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(problems, func(text string) bool {
		return slices.ContainsFunc(discarded, func(table string) bool {
			return strings.HasPrefix(text, table+datadir.ISLExt) || strings.Contains(text, "/"+table+".ibd,")
		})
	}), nil
}

// checkFollowed names the links that are followed out of the data directory.
func (p *Report) checkFollowed() {
	var names []string
	for _, dir := range p.first.Databases {
		if to := p.Layout.DatabaseOrigin(dir); to != "" && !slices.Contains(p.first.Closed, dir) {
			names = append(names, dir+" to "+to)
		}
	}
	for _, e := range p.first.Entries {
		if e.Link.Kind != "" {
			names = append(names, e.Path()+" to "+e.Link.To)
		}
	}
	if names = append(names, p.first.Followed...); len(names) > 0 {
		p.Add("links", GradeOK, fmt.Sprintf("%d lead out of their places, and are followed: %s", len(names), printable.List(names)))
	}
}
