package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"mbk/internal/aria"
	"mbk/internal/datadir/serverfs"
	"mbk/internal/hint"
	"mbk/internal/repo"
)

// What stands in the place of a file may be something that mbk does not read: a FIFO,
// a device, a socket, or a link to what the server's user may not read. If a table
// needs the file, no backup can hold that table. Otherwise the server does without it,
// and so does the backup.

// unread is a file that a backup should hold and cannot have.
type unread struct {
	entry entry
	name  string // "shop/z.MYD", and where it leads
	why   string // "a FIFO", "permission denied"
}

// errDenied is why a file in its place cannot be read.
var errDenied = errors.New("permission denied")

// special reports whether something is neither a file, nor a directory, nor a link.
func special(e fs.DirEntry) bool {
	return e.Type()&(fs.ModeSocket|fs.ModeNamedPipe|fs.ModeDevice|fs.ModeCharDevice|fs.ModeIrregular) != 0
}

// unreadKind is about something special in an entry's place.
func unreadKind(e entry, d fs.DirEntry) unread {
	mode := uint32(unix.S_IFCHR)
	switch {
	case d.Type()&fs.ModeNamedPipe != 0:
		mode = unix.S_IFIFO
	case d.Type()&fs.ModeSocket != 0:
		mode = unix.S_IFSOCK
	}
	return unread{e, e.path(), "a " + serverfs.Kind(mode)}
}

// reach says why a file elsewhere cannot be read, "" if it can be. One that is not there
// gives fs.ErrNotExist.
func (l layout) reach(e entry) (why string, err error) {
	file := l.file(e)
	s, err := l.stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err == nil && !s.regular() {
		return "a " + serverfs.Kind(s.mode), nil
	}
	if err == nil {
		err = l.files.Readable(file)
	}
	if err != nil {
		return reason(err), nil
	}
	return "", nil
}

// reason is an error without the path, which the caller names.
func reason(err error) string {
	if kind, ok := errors.AsType[*serverfs.KindError](err); ok {
		return "a " + kind.Kind
	}
	if failed, ok := errors.AsType[*fs.PathError](err); ok {
		return failed.Err.Error()
	}
	return err.Error()
}

// addRoot puts a file of the data directory itself into a scan.
func (s *scan) addRoot(l layout, d fs.DirEntry) error {
	e := entry{name: d.Name()}
	switch {
	case special(d):
		s.unread = append(s.unread, unreadKind(e, d))
		return nil
	case l.passOver[e.path()]:
		s.unread = append(s.unread, unread{e, e.path(), errDenied.Error()})
		return nil
	case d.Type()&fs.ModeSymlink != 0:
		why, err := l.reach(e)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		to, _, err := l.follow("", d)
		if err == nil && why != "" {
			s.unread = append(s.unread, unread{e, farPlace(e, to), why})
			return nil
		}
		s.followed = append(s.followed, e.path()+" to "+to.to)
	}
	s.entries = append(s.entries, e)
	return nil
}

// needed reports whether a table or database needs a file.
func (l layout) needed(e entry) bool {
	if !e.known() || e.table == "" {
		return e.known()
	}
	_, err := l.files.Statx(filepath.Join(l.datadir, e.dir, e.table+".frm"), unix.AT_SYMLINK_NOFOLLOW, unix.STATX_TYPE)
	return err == nil
}

// sortUnread tells what a table needs from what none does, in words, "" for nothing.
func (l layout) sortUnread(all []unread) (needed, loose string) {
	var two [2][]unread
	for _, u := range all {
		if l.unknown[u.entry.path()] != "" {
			continue // a problem that the source has
		}
		if l.needed(u.entry) {
			two[0] = append(two[0], u)
		} else {
			two[1] = append(two[1], u)
		}
	}
	return listUnread(two[0]), listUnread(two[1])
}

// listUnread joins what cannot be read, put together by the reasons.
func listUnread(all []unread) string {
	const most = 20 // of each reason
	var reasons []string
	names := map[string][]string{}
	for _, u := range all {
		if names[u.why] == nil {
			reasons = append(reasons, u.why)
		}
		names[u.why] = append(names[u.why], u.name)
	}
	for i, why := range reasons {
		reasons[i] = listUpTo(most, names[why]) + " (" + why + ")"
	}
	return strings.Join(reasons, "; ")
}

const unreadHint = "repair or drop these tables"

// unreadText is the warning of files that no table needs.
func unreadText(loose string) string {
	return "not in the backup, since they cannot be read and no table needs them: " + loose
}

// scan is a scan of the data directory, which fails if a table's file cannot be read.
func (r *attempt) scan(ctx context.Context) (scan, error) {
	s, err := r.layout.scanDatadir(ctx)
	if err != nil {
		return scan{}, err
	}
	needed, loose := r.layout.sortUnread(s.unread)
	r.loose = loose
	if needed != "" {
		return scan{}, hint.Wrap(fmt.Errorf("tables have files that cannot be read: %s", needed), unreadHint)
	}
	return s, nil
}

// warnUnread is the warning of what the last scan could not read, unless the checks
// have said the same.
func (r *attempt) warnUnread() []string {
	if r.loose == "" || slices.Contains(r.found.warnings(), unreadText(r.loose)) {
		return nil
	}
	return []string{unreadText(r.loose)}
}

// checkUnread names what cannot be read in the places of tables' files.
func (p *Preflight) checkUnread() {
	needed, loose := p.layout.sortUnread(p.first.unread)
	if needed != "" {
		p.add("datadir", GradeError, "tables have files that cannot be read: "+needed, unreadHint)
	}
	if loose != "" {
		p.add("files", GradeWarning, unreadText(loose), "remove them, if they are not yours")
	}
}

// checkFollowed names the links that are followed out of the data directory.
func (p *Preflight) checkFollowed() {
	var names []string
	for _, dir := range p.first.databases {
		if to := p.layout.databaseOrigin(dir); to != "" && !slices.Contains(p.first.closed, dir) {
			names = append(names, dir+" to "+to)
		}
	}
	for _, e := range p.first.entries {
		if e.link.kind != "" {
			names = append(names, e.path()+" to "+e.link.to)
		}
	}
	if names = append(names, p.first.followed...); len(names) > 0 {
		p.add("links", GradeOK, fmt.Sprintf("%d lead out of their places, and are followed: %s", len(names), shortList(names)))
	}
}

// checkOwnFiles makes sure that the files of InnoDB and Aria can be read that belong to
// no table.
func (p *Preflight) checkOwnFiles() {
	paths := slices.Clone(p.layout.system)
	undo, err := p.layout.undoFiles()
	if err != nil {
		p.addUnreached(err)
	}
	paths = append(paths, undo...)
	logs, err := p.layout.files.ReadDir(p.layout.aria)
	if err != nil {
		p.addUnreached(fmt.Errorf("list Aria's logs: %w", err))
	}
	paths = append(paths, filepath.Join(p.layout.aria, aria.ControlFile))
	for _, e := range logs {
		if _, ok := aria.ParseLogName(e.Name()); ok {
			paths = append(paths, filepath.Join(p.layout.aria, e.Name()))
		}
	}
	for i, file := range paths {
		s, err := p.layout.stat(file)
		if err == nil && !s.regular() {
			err = &serverfs.KindError{Path: file, Kind: serverfs.Kind(s.mode)}
		}
		if err == nil {
			err = p.layout.files.Readable(file)
		}
		if errors.Is(err, fs.ErrNotExist) && i >= len(p.layout.system) {
			continue // truncated or purged just now
		}
		if err != nil {
			p.addUnreached(err)
			continue
		}
		if i < len(p.layout.system) {
			p.bytes += s.blocks
		}
	}
}

// passOver judges files that may not be read, and takes those out of the first scan, and
// of all later ones, that no table needs. It returns the others.
func (p *Preflight) passOver(denied []bool) []entry {
	var refused []entry
	kept := p.first.entries[:0]
	for i, e := range p.first.entries {
		switch {
		case !denied[i]:
		case p.layout.needed(e):
			refused = append(refused, e)
		default:
			p.layout.passOver[e.path()] = true
			p.first.unread = append(p.first.unread, unread{e, e.path(), errDenied.Error()})
			continue
		}
		kept = append(kept, e)
	}
	p.first.entries = kept
	return refused
}

// farPlace is where a link leads, for a message.
func farPlace(e entry, to link) string {
	name := e.path()
	if to.kind == repo.LinkISL {
		name = strings.TrimSuffix(name, path.Ext(name)) + islExt
	}
	return name + " to " + to.to
}
