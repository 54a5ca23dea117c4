package preflight

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

// CheckTables names the check of the tables' engines and places, which a backup makes again
// at its end.
const CheckTables = "tables"

// SkipHint is advice on tables that cannot be backed up.
func SkipHint() hint.Text {
	return "leave such tables out with " + hint.Option("skip-unsupported") + ", and dump them by other means"
}

// scanTables scans the data directory for what cannot be backed up and sums
// up the rest.
func (p *Report) scanTables(ctx context.Context, o Options) error {
	var err error
	p.first, err = p.Layout.Scan(ctx)
	if errors.Is(err, fs.ErrPermission) {
		p.Add("datadir", GradeError, err.Error(), rightsHint(p.Layout))
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
	for _, found := range p.Layout.StatAll(p.first.Entries) {
		if errors.Is(found.Err, fs.ErrNotExist) {
			continue
		}
		if found.Err != nil {
			p.addUnreached(found.Err)
			continue
		}
		p.Bytes += found.Stat.Blocks
	}
	p.checkMerged()
	p.checkViews()
	p.checkUnread()
	p.checkFollowed()
	p.checkOwnFiles()
	p.leftOut = append(datadir.UnsupportedTables(p.Layout, p.first), p.Fileless...)
	for _, t := range p.leftOut {
		text := fmt.Sprintf("%s has engine %s, which cannot be backed up", printable.Table(t.Database, t.Name), t.Engine)
		if o.SkipUnsupported {
			p.Add(CheckTables, GradeWarning, text+"; it is left out")
			continue
		}
		p.Add(CheckTables, GradeError, text, SkipHint())
	}
	p.scanned = true
	p.Add(CheckTables, GradeOK, fmt.Sprintf("%d databases, %d files, %s", len(p.first.Databases), len(p.first.Entries),
		humanize.IBytes(uint64(p.Bytes))))
	return nil
}

// checkReadable makes sure that every file may be read, so that a backup does not fail
// after an hour.
func (p *Report) checkReadable() {
	var paths []string
	for _, e := range p.first.Entries {
		paths = append(paths, p.Layout.File(e))
	}
	denied := p.Layout.Denied(paths)
	refused := p.passOver(denied)
	if len(refused) == 0 {
		return
	}
	files := make([]string, len(refused))
	for i, e := range refused {
		files[i] = p.Layout.File(e)
	}
	p.Add("datadir", GradeError, printable.List(files)+": permission denied", p.refusedHints(refused, files)...)
}

// passOver takes files that may not be read and that no table needs out of this scan and
// all later ones. It returns those that a table needs.
func (p *Report) passOver(denied []bool) []datadir.Entry {
	var refused []datadir.Entry
	kept := p.first.Entries[:0]
	for i, e := range p.first.Entries {
		switch {
		case !denied[i]:
		case p.Layout.Needed(e):
			refused = append(refused, e)
		default:
			p.Layout.Skip[e.Path()] = true
			p.first.Unreadable = append(p.first.Unreadable,
				datadir.Unreadable{Entry: e, Name: e.Path(), Why: datadir.ErrDenied.Error()})
			continue
		}
		kept = append(kept, e)
	}
	p.first.Entries = kept
	return refused
}
