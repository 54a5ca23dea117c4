package preflight

import (
	"context"
	"fmt"

	"mbk/internal/hint"
)

// checkHistoryTable makes sure that a row can be written into the server's own
// table of attempts. A backup does not depend on it.
func (r *Report) checkHistoryTable(ctx context.Context, o Options) {
	if o.HistoryTable.IsZero() {
		return
	}
	missing, err := o.Server.MissingHistoryGrants(ctx, o.HistoryTable)
	switch {
	case err != nil:
		r.Add("history", GradeWarning, err.Error(), hint.Attached(err)...)
	case len(missing) > 0:
		r.Add("history", GradeWarning, fmt.Sprintf("the account may not write into the history table %s", o.HistoryTable),
			hint.Plain(missing...)...)
	default:
		r.Add("history", GradeOK, fmt.Sprintf("attempts can be written into table %s", o.HistoryTable))
	}
}
