package preflight

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"mbk/internal/aria"
	"mbk/internal/datadir/serverfs"
)

// UnreadHint is advice on tables with files that cannot be read.
const UnreadHint = "repair or drop these tables"

// UnreadText is the warning about files that cannot be read and that no table needs.
func UnreadText(loose string) string {
	return "not in the backup, since they cannot be read and no table needs them: " + loose
}

// checkUnread reports files that cannot be read.
func (r *Report) checkUnread() {
	needed, loose := r.Layout.SplitUnreadable(r.first.Unreadable)
	if needed != "" {
		r.Add("datadir", GradeError, "tables have files that cannot be read: "+needed, UnreadHint)
	}
	if loose != "" {
		r.Add("files", GradeWarning, UnreadText(loose), "remove them, if they are not yours")
	}
}

// checkOwnFiles makes sure that files of InnoDB and Aria which belong to no table can be
// read.
func (r *Report) checkOwnFiles() {
	paths := slices.Clone(r.Layout.System)
	undo, err := r.Layout.UndoFiles()
	if err != nil {
		r.addUnreached(err)
	}
	paths = append(paths, undo...)
	logs, err := r.Layout.Files.ReadDir(r.Layout.Aria)
	if err != nil {
		r.addUnreached(fmt.Errorf("list Aria's logs: %w", err))
	}
	paths = append(paths, filepath.Join(r.Layout.Aria, aria.ControlFile))
	for _, e := range logs {
		if _, ok := aria.ParseLogName(e.Name()); ok {
			paths = append(paths, filepath.Join(r.Layout.Aria, e.Name()))
		}
	}
	for i, file := range paths {
		s, err := r.Layout.Stat(file)
		if err == nil && !s.Regular() {
			err = &serverfs.KindError{Path: file, Kind: serverfs.Kind(s.Mode)}
		}
		if err == nil {
			err = r.Layout.Files.Readable(file)
		}
		if errors.Is(err, fs.ErrNotExist) && i >= len(r.Layout.System) {
			continue // truncated or purged just now
		}
		if err != nil {
			r.addUnreached(err)
			continue
		}
		if i < len(r.Layout.System) {
			r.Bytes += s.Blocks
		}
	}
}
