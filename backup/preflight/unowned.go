package preflight

import (
	"context"
	"slices"
	"strings"

	"mbk/internal/datadir"
	"mbk/internal/ui/printable"
)

// checkUnowned warns of .ibd files for which InnoDB has no table.
func (p *Report) checkUnowned(ctx context.Context, o Options) error {
	d, err := datadir.ReadDictionary(ctx, o.Server)
	if err != nil {
		return err
	}
	p.checkUndefined(d)
	found, moved, err := d.Unowned(p.Layout, d.Unknown(p.first.Entries), p.first.Entries)
	for _, text := range moved {
		p.note("files", GradeWarning, text+": a backup may fail", "give the file its name back")
	}
	if err != nil || len(found) == 0 {
		return err
	}
	discarded, err := o.Server.Discarded(ctx)
	if err != nil {
		return err
	}
	found = slices.DeleteFunc(found, func(name string) bool {
		return slices.Contains(discarded, strings.TrimSuffix(name, ".ibd"))
	})
	if len(found) > 0 {
		p.note("files", GradeWarning, UnownedText(found), UnownedHint)
	}
	return nil
}

// UnownedText is the warning about such files.
func UnownedText(names []string) string {
	const most = 20
	return "InnoDB has no table for " + printable.ListUpTo(most, names) + ": not in the backup"
}

// UnownedHint is advice on such files.
const UnownedHint = "move such files out of the data directory, if nobody needs them"

// checkUndefined warns of tablespaces of tables that have no definition.
func (p *Report) checkUndefined(d *datadir.Dictionary) {
	var found []string
	for _, e := range p.first.Entries {
		if !e.IsInnoDB() || e.Volatile() || d.Spaces[e.DictionaryName()] == 0 || p.Layout.Needed(e) {
			continue
		}
		if _, err := p.Layout.Stat(p.Layout.File(e)); err == nil { // else it was dropped or renamed
			found = append(found, e.Path())
		}
	}
	if len(found) > 0 {
		p.note("files", GradeWarning, OrphansText(found), orphansHint)
	}
}
