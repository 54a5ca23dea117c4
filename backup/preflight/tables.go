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
func (r *Report) scanTables(ctx context.Context, o Options) error {
	var err error
	r.first, err = r.Layout.Scan(ctx)
	if errors.Is(err, fs.ErrPermission) {
		r.Add("datadir", GradeError, err.Error(), rightsHint(r.Layout))
		return nil
	}
	if err != nil {
		return err
	}
	for _, check := range []func(context.Context, Options) error{r.checkLinks, r.checkListed, r.checkClosed} {
		if err := check(ctx, o); err != nil {
			return err
		}
	}
	r.checkReadable()
	r.checkFiles()
	r.stats = r.Layout.StatAll(r.first.Entries)
	for _, found := range r.stats {
		if errors.Is(found.Err, fs.ErrNotExist) {
			continue
		}
		if found.Err != nil {
			r.addUnreached(found.Err)
			continue
		}
		r.Bytes += found.Stat.Blocks
	}
	r.checkMerged()
	r.checkViews()
	r.checkUnread()
	r.checkFollowed()
	r.checkOwnFiles()
	r.leftOut = append(datadir.UnsupportedTables(r.Layout, r.first), r.Fileless...)
	for _, t := range r.leftOut {
		text := fmt.Sprintf("%s has engine %s, which cannot be backed up", printable.Table(t.Database, t.Name), t.Engine)
		if o.SkipUnsupported {
			r.Add(CheckTables, GradeWarning, text+"; it is left out")
			continue
		}
		r.Add(CheckTables, GradeError, text, SkipHint())
	}
	r.scanned = true
	r.Add(CheckTables, GradeOK, fmt.Sprintf("%d databases, %d files, %s", len(r.first.Databases), len(r.first.Entries),
		humanize.IBytes(uint64(r.Bytes))))
	return nil
}

// checkReadable makes sure that every file may be read, so that a backup does not fail
// after an hour.
func (r *Report) checkReadable() {
	var paths []string
	for _, e := range r.first.Entries {
		paths = append(paths, r.Layout.File(e))
	}
	denied := r.Layout.Denied(paths)
	refused := r.passOver(denied)
	if len(refused) == 0 {
		return
	}
	files := make([]string, len(refused))
	for i, e := range refused {
		files[i] = r.Layout.File(e)
	}
	r.Add("datadir", GradeError, printable.List(files)+": permission denied", r.refusedHints(refused, files)...)
}

// passOver takes files that may not be read and that no table needs out of this scan and
// all later ones. It returns those that a table needs.
func (r *Report) passOver(denied []bool) []datadir.Entry {
	var refused []datadir.Entry
	kept := r.first.Entries[:0]
	for i, e := range r.first.Entries {
		switch {
		case !denied[i]:
		case r.Layout.Needed(e):
			refused = append(refused, e)
		default:
			r.Layout.Skip[e.Path()] = true
			r.first.Unreadable = append(r.first.Unreadable,
				datadir.Unreadable{Entry: e, Name: e.Path(), Why: datadir.ErrDenied.Error()})
			continue
		}
		kept = append(kept, e)
	}
	r.first.Entries = kept
	return refused
}
