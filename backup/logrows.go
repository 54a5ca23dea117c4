package backup

import (
	"bytes"
	"context"
	"path"
	"strings"

	"mbk/copier"
	"mbk/internal/datadir"
	"mbk/internal/repo"
)

// The log tables of the server, mysql.general_log and slow_log, are CSV tables that it
// writes to at any time. While one is open its second file (.CSM) says that it crashed,
// and counts the rows that it had when it was opened. So that file is written again, and
// fits the rows that were copied.

// closeLogTables replaces the second files of the log tables, when their rows are copied.
func (c *copies) closeLogTables(ctx context.Context, f *finalState) error {
	for name, rows := range f.files {
		if rows.copy.rows == nil {
			continue
		}
		state := f.files[strings.TrimSuffix(name, path.Ext(name))+".CSM"]
		if state == nil {
			continue
		}
		if err := rows.copy.done(ctx); err != nil {
			return err
		}
		b := datadir.CSVState(rows.copy.rows.lines.Load())
		fc := c.number(state.entry, repo.ClassPlain, state.copy.stat)
		fc.size = int64(len(b))
		if err := c.add(ctx, fc, copier.Source{File: bytes.NewReader(b), Size: fc.size}); err != nil {
			return err
		}
		state.copy = fc
	}
	return nil
}
