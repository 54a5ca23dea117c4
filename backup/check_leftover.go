package backup

import (
	"context"
	"slices"
	"strings"

	"mbk/internal/ui/printable"
)

// checkLeftOver names such files before anything is locked.
func (p *Preflight) checkLeftOver(ctx context.Context, o Options) error {
	d, err := readDictionary(ctx, o.Server)
	if err != nil {
		return err
	}
	p.checkUndefined(d)
	found, moved, err := d.leftOver(p.layout, d.unknown(p.first.entries), p.first.entries)
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
	found = slices.DeleteFunc(found, func(name string) bool { return slices.Contains(discarded, strings.TrimSuffix(name, ".ibd")) })
	if len(found) > 0 {
		p.note("files", GradeWarning, leftOverText(found), leftOverHint)
	}
	return nil
}

// leftOverText is the warning of files that no table has.
func leftOverText(names []string) string {
	const most = 20
	return "InnoDB has no table for " + printable.ListUpTo(most, names) + ": not in the backup"
}

const leftOverHint = "move such files out of the data directory, if nobody needs them"

// checkUndefined names such files of InnoDB's tables.
func (p *Preflight) checkUndefined(d *dictionary) {
	var found []string
	for _, e := range p.first.entries {
		if !e.innodb() || e.moving() || d.spaces[e.dictionaryName()] == 0 || p.layout.needed(e) {
			continue
		}
		if _, err := p.layout.stat(p.layout.file(e)); err == nil { // else it was dropped or renamed
			found = append(found, e.path())
		}
	}
	if len(found) > 0 {
		p.note("files", GradeWarning, orphansText(found), orphansHint)
	}
}
