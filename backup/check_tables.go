package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/dustin/go-humanize"

	"mbk/internal/datadir"
	"mbk/internal/hint"
	"mbk/internal/ui/printable"
)

// checkTables is the check of the tables' engines and places, which is made once
// more at the end of a backup.
const checkTables = "tables"

// leaveOutHint is advice on tables that cannot be backed up.
func leaveOutHint() hint.Text {
	return "leave such tables out with " + hint.Option("skip-unsupported") + ", and dump them by other means"
}

// scanTables scans the data directory for what cannot be backed up and sums
// up the rest.
func (p *Preflight) scanTables(ctx context.Context, o Options) error {
	var err error
	p.first, err = p.layout.Scan(ctx)
	if errors.Is(err, fs.ErrPermission) {
		p.add("datadir", GradeError, err.Error(), rightsHint(p.layout))
		return nil
	}
	if err != nil {
		return err
	}
	for _, check := range []func(context.Context, Options) error{p.checkLinks, p.checkListed, p.checkClosed} {
		if err := check(ctx, o); err != nil {
			return err
		}
	}
	p.checkReadable()
	p.checkFiles()
	for _, found := range p.layout.StatAll(p.first.Entries) {
		if errors.Is(found.Err, fs.ErrNotExist) {
			continue
		}
		if found.Err != nil {
			p.addUnreached(found.Err)
			continue
		}
		p.bytes += found.Stat.Blocks
	}
	p.checkMerged()
	p.checkViews()
	p.checkUnread()
	p.checkFollowed()
	p.checkOwnFiles()
	p.leftOut = append(datadir.UnsupportedTables(p.layout, p.first), p.fileless...)
	for _, t := range p.leftOut {
		text := fmt.Sprintf("%s has engine %s, which cannot be backed up", printable.Table(t.Database, t.Name), t.Engine)
		if o.SkipUnsupported {
			p.add(checkTables, GradeWarning, text+"; it is left out")
			continue
		}
		p.add(checkTables, GradeError, text, leaveOutHint())
	}
	p.scanned = true
	p.add(checkTables, GradeOK, fmt.Sprintf("%d databases, %d files, %s", len(p.first.Databases), len(p.first.Entries), humanize.IBytes(uint64(p.bytes))))
	return nil
}

// checkReadable makes sure that every file may be read: that one may not should
// not show after an hour.
func (p *Preflight) checkReadable() {
	var paths []string
	for _, e := range p.first.Entries {
		paths = append(paths, p.layout.File(e))
	}
	denied := p.layout.Denied(paths)
	refused := p.passOver(denied)
	if len(refused) == 0 {
		return
	}
	files := make([]string, len(refused))
	for i, e := range refused {
		files[i] = p.layout.File(e)
	}
	p.add("datadir", GradeError, printable.List(files)+": permission denied", p.refusedHints(refused, files)...)
}

// Skip judges files that may not be read, and takes those out of the first scan, and
// of all later ones, that no table needs. It returns the others.
func (p *Preflight) passOver(denied []bool) []datadir.Entry {
	var refused []datadir.Entry
	kept := p.first.Entries[:0]
	for i, e := range p.first.Entries {
		switch {
		case !denied[i]:
		case p.layout.Needed(e):
			refused = append(refused, e)
		default:
			p.layout.Skip[e.Path()] = true
			p.first.Unreadable = append(p.first.Unreadable, datadir.Unreadable{Entry: e, Name: e.Path(), Why: datadir.ErrDenied.Error()})
			continue
		}
		kept = append(kept, e)
	}
	p.first.Entries = kept
	return refused
}
