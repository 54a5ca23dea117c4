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
func (p *Report) checkUnread() {
	needed, loose := p.Layout.SplitUnreadable(p.first.Unreadable)
	if needed != "" {
		p.Add("datadir", GradeError, "tables have files that cannot be read: "+needed, UnreadHint)
	}
	if loose != "" {
		p.Add("files", GradeWarning, UnreadText(loose), "remove them, if they are not yours")
	}
}

// checkOwnFiles makes sure that files of InnoDB and Aria which belong to no table can be
// read.
func (p *Report) checkOwnFiles() {
	paths := slices.Clone(p.Layout.System)
	undo, err := p.Layout.UndoFiles()
	if err != nil {
		p.addUnreached(err)
	}
	paths = append(paths, undo...)
	logs, err := p.Layout.Files.ReadDir(p.Layout.Aria)
	if err != nil {
		p.addUnreached(fmt.Errorf("list Aria's logs: %w", err))
	}
	paths = append(paths, filepath.Join(p.Layout.Aria, aria.ControlFile))
	for _, e := range logs {
		if _, ok := aria.ParseLogName(e.Name()); ok {
			paths = append(paths, filepath.Join(p.Layout.Aria, e.Name()))
		}
	}
	for i, file := range paths {
		s, err := p.Layout.Stat(file)
		if err == nil && !s.Regular() {
			err = &serverfs.KindError{Path: file, Kind: serverfs.Kind(s.Mode)}
		}
		if err == nil {
			err = p.Layout.Files.Readable(file)
		}
		if errors.Is(err, fs.ErrNotExist) && i >= len(p.Layout.System) {
			continue // truncated or purged just now
		}
		if err != nil {
			p.addUnreached(err)
			continue
		}
		if i < len(p.Layout.System) {
			p.Bytes += s.Blocks
		}
	}
}
