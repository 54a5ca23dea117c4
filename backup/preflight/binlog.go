package preflight

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"mbk/stage"
)

// checkBinlog says what of the changes to the data is not in the server's binary log. A backup
// does not need the log; the archive of the repository, if it has one, does.
func (r *Report) checkBinlog(ctx context.Context, o Options) error {
	archived := false
	if o.Repository != nil {
		all, err := o.Repository.Timelines(ctx)
		if err != nil {
			return err
		}
		archived = len(all) > 0
	}
	source, err := o.Server.LogSource(ctx)
	switch {
	case errors.Is(err, stage.ErrPrivilege):
		return nil // which is said elsewhere
	case errors.Is(err, stage.ErrNoBinlog) && !archived:
		return nil
	case errors.Is(err, stage.ErrNoBinlog):
		r.Add("binlog", GradeWarning, "the server writes no binary log: the archive in the repository cannot go on",
			"set log_bin in the server's option file and start it again")
		return nil
	case err != nil && archived && ctx.Err() == nil: // a backup does not depend on it
		r.Add("binlog", GradeWarning, err.Error())
		return nil
	case err != nil:
		return ctx.Err()
	}
	if len(source.Gaps) == 0 {
		if archived {
			r.Add("binlog", GradeOK, fmt.Sprintf("%d files, up to GTID %s", source.Files, source.Position))
		}
		return nil
	}
	text := "moments between backups could not be restored exactly: " + strings.Join(source.Gaps, "; ")
	if !archived {
		r.Add("binlog", GradeOK, text)
		return nil
	}
	r.Add("binlog", GradeWarning, text, "archive the log of the server that writes, or have this one write all of it")
	return nil
}
