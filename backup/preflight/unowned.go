package preflight

import (
	"context"
	"slices"
	"strings"

	"mbk/internal/datadir"
	"mbk/internal/ui/printable"
)

// checkUnowned warns of .ibd files for which InnoDB has no table.
func (r *Report) checkUnowned(ctx context.Context, o Options) error {
	d, err := datadir.ReadDictionary(ctx, o.Server)
	if err != nil {
		return err
	}
	r.checkUndefined(d)
	found, moved, err := d.Unowned(r.Layout, d.Unknown(r.first.Entries), r.first.Entries)
	for _, text := range moved {
		r.note("files", GradeWarning, text+": a backup may fail", "give the file its name back")
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
		r.note("files", GradeWarning, UnownedText(found), UnownedHint)
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
func (r *Report) checkUndefined(d *datadir.Dictionary) {
	var found []string
	for _, e := range r.first.Entries {
		if !e.IsInnoDB() || e.Volatile() || d.Spaces[e.DictionaryName()] == 0 || r.Layout.Needed(e) {
			continue
		}
		if _, err := r.Layout.Stat(r.Layout.File(e)); err == nil { // else it was dropped or renamed
			found = append(found, e.Path())
		}
	}
	if len(found) > 0 {
		r.note("files", GradeWarning, OrphansText(found), orphansHint)
	}
}
