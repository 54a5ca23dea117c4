package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"mbk/internal/aria"
	"mbk/internal/datadir/serverfs"
)

const unreadHint = "repair or drop these tables"

// unreadText is the warning of files that no table needs.
func unreadText(loose string) string {
	return "not in the backup, since they cannot be read and no table needs them: " + loose
}

// checkUnread names what cannot be read in the places of tables' files.
func (p *Preflight) checkUnread() {
	needed, loose := p.layout.SplitUnreadable(p.first.Unreadable)
	if needed != "" {
		p.add("datadir", GradeError, "tables have files that cannot be read: "+needed, unreadHint)
	}
	if loose != "" {
		p.add("files", GradeWarning, unreadText(loose), "remove them, if they are not yours")
	}
}

// checkOwnFiles makes sure that the files of InnoDB and Aria can be read that belong to
// no table.
func (p *Preflight) checkOwnFiles() {
	paths := slices.Clone(p.layout.System)
	undo, err := p.layout.UndoFiles()
	if err != nil {
		p.addUnreached(err)
	}
	paths = append(paths, undo...)
	logs, err := p.layout.Files.ReadDir(p.layout.Aria)
	if err != nil {
		p.addUnreached(fmt.Errorf("list Aria's logs: %w", err))
	}
	paths = append(paths, filepath.Join(p.layout.Aria, aria.ControlFile))
	for _, e := range logs {
		if _, ok := aria.ParseLogName(e.Name()); ok {
			paths = append(paths, filepath.Join(p.layout.Aria, e.Name()))
		}
	}
	for i, file := range paths {
		s, err := p.layout.Stat(file)
		if err == nil && !s.Regular() {
			err = &serverfs.KindError{Path: file, Kind: serverfs.Kind(s.Mode)}
		}
		if err == nil {
			err = p.layout.Files.Readable(file)
		}
		if errors.Is(err, fs.ErrNotExist) && i >= len(p.layout.System) {
			continue // truncated or purged just now
		}
		if err != nil {
			p.addUnreached(err)
			continue
		}
		if i < len(p.layout.System) {
			p.bytes += s.Blocks
		}
	}
}
