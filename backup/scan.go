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

	"mbk/internal/datadir/filename"
	"mbk/internal/repo"
)

// scan is what the data directory holds at one moment.
type scan struct {
	databases []string            // directories
	looked    map[string]fileStat // how these were before they were listed
	entries   []entry             // sorted by directory and name
	ignored   []string            // files in the data directory itself that are not known
	strays    []string            // what lies in directories of databases and is no file of a table or database
	unnamable []string            // whose names no backup can hold
	closed    []string            // directories that cannot be listed
	broken    []brokenLink
	unread    []unread // what is no file that can be read
	followed  []string // files of the data directory itself that are links

	// Of a filtered backup, what was taken out: databases by their SQL names, and
	// the files of full-text indexes.
	leftDatabases, left []string
}

// scanDatadir lists the database directories and what is to be copied of them.
// A directory that vanishes meanwhile is a dropped database.
func (l layout) scanDatadir(ctx context.Context) (scan, error) {
	s := scan{looked: map[string]fileStat{}}
	if err := l.as(func(l layout) error { return l.scanFiles(ctx, &s) }); err != nil {
		return scan{}, err
	}
	return s, l.keep.narrow(ctx, l, &s)
}

// scanFiles is scanDatadir without the filter's narrowing.
func (l layout) scanFiles(ctx context.Context, s *scan) error {
	top, err := l.files.ReadDir(l.datadir)
	if err != nil {
		return fmt.Errorf("list the data directory: %w", err)
	}
	for _, e := range top {
		switch name := e.Name(); {
		case !l.isDirectory(e) && l.handledElsewhere(name):
		case repo.CheckPath(name) != nil:
			s.unnamable = append(s.unnamable, name)
		case l.isDatabase(e):
			s.databases = append(s.databases, name)
		case e.IsDir():
		case rootFile(name):
			if err := s.addRoot(l, e); err != nil {
				return err
			}
		default:
			s.ignored = append(s.ignored, name)
		}
	}
	for _, dir := range s.databases {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !l.keep.mayHold(dir) {
			continue
		}
		if err := l.scanDatabase(s, dir); err != nil {
			return err
		}
	}
	return nil
}

// errChanged tells that a folder is not as it was.
var errChanged = errors.New("changed")

// rescan is scanDatadir again, or s where no file has come or gone since.
func (l layout) rescan(ctx context.Context, s scan) (scan, error) {
	err := l.as(func(l layout) error {
		for dir, was := range s.looked {
			now, err := l.stat(filepath.Join(l.datadir, dir))
			if err != nil || !was.unchangedBy(now) {
				return errChanged
			}
		}
		return nil
	})
	if err != nil {
		return l.scanDatadir(ctx)
	}
	return s, nil
}

// isDirectory reports whether an entry of the data directory is a directory, or a
// link to one.
func (l layout) isDirectory(e fs.DirEntry) bool {
	if e.Type()&fs.ModeSymlink != 0 {
		s, err := l.stat(filepath.Join(l.datadir, e.Name()))
		return err == nil && s.directory()
	}
	return e.IsDir()
}

// isDatabase reports whether a directory is to be restored as a database. The server
// takes every directory for one, also if it writes logs and temporary files there.
// Those that are hidden or hold files of InnoDB or Aria count only if they have
// something of a database.
func (l layout) isDatabase(e fs.DirEntry) bool {
	name, dir := e.Name(), filepath.Join(l.datadir, e.Name())
	if !l.isDirectory(e) || l.ignored[name] {
		return false
	}
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "#") || name == "lost+found" || l.holdsEngines(dir) {
		return l.holdsTables(name)
	}
	return true
}

// holdsTables reports whether a directory has a file of a table or database. One that
// cannot be listed has none.
func (l layout) holdsTables(dir string) bool {
	list, err := l.files.ReadDir(filepath.Join(l.datadir, dir))
	return err == nil && slices.ContainsFunc(list, func(e fs.DirEntry) bool {
		return !e.IsDir() && l.belongs(entry{dir: dir, name: e.Name()})
	})
}

// belongs reports whether a file of a directory is one of a table or database, and
// none that the server keeps there for itself.
func (l layout) belongs(e entry) bool {
	return wanted(e.name) && (e.known() || path.Ext(e.name) == islExt) && !l.ownFile(filepath.Join(l.datadir, e.dir, e.name))
}

// scanDatabase adds what is to be copied of one database.
func (l layout) scanDatabase(s *scan, dir string) error {
	before, err := l.stat(filepath.Join(l.datadir, dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	s.looked[dir] = before
	list, err := l.files.ReadDir(filepath.Join(l.datadir, dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if errors.Is(err, fs.ErrPermission) {
		s.closed = append(s.closed, dir)
		return nil
	}
	if err != nil {
		return fmt.Errorf("list database directory %s: %w", dir, err)
	}
	first := len(s.entries)
	var strays []string
	for _, e := range list {
		name := path.Join(dir, e.Name())
		switch {
		case special(e) && l.belongs(entry{dir: dir, name: e.Name()}):
			s.unread = append(s.unread, unreadKind(entry{dir: dir, name: e.Name(), table: tableOf(e.Name())}, e))
		case passing(e):
		case e.IsDir() || !l.belongs(entry{dir: dir, name: e.Name()}):
			strays = append(strays, name)
		case repo.CheckPath(name) != nil:
			s.unnamable = append(s.unnamable, name)
		default:
			if err := s.add(l, dir, e); err != nil {
				return err
			}
		}
	}
	indexFirst(s.entries[first:])
	s.addStrays(l, dir, strays, len(s.entries) > first)
	return nil
}

// addStrays notes what is not copied of a directory. Where the server keeps files of
// its own, that are those, unless there are tables, too.
func (s *scan) addStrays(l layout, dir string, names []string, tables bool) {
	folder := filepath.Join(l.datadir, dir)
	own := l.holdsLogs(folder) || l.holdsEngines(folder)
	for _, name := range names {
		if !own || tables && !l.handledElsewhere(path.Base(name)) {
			s.strays = append(s.strays, name)
		}
	}
}

// passing reports whether a file is there for a moment only, as those are that a
// statement makes, and what a program listens at.
func passing(e fs.DirEntry) bool {
	return special(e) || !e.IsDir() && !wanted(e.Name())
}

// add puts one file of a database directory into a scan.
func (s *scan) add(l layout, dir string, d fs.DirEntry) error {
	e := entry{dir: dir, name: d.Name(), table: tableOf(d.Name())}
	to, isLink, err := l.follow(dir, d)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if errors.Is(err, fs.ErrPermission) || isKind(err) {
		s.unread = append(s.unread, unread{e, e.path(), reason(err)})
		return nil
	}
	if err != nil {
		return fmt.Errorf("follow %s: %w", e.path(), err)
	}
	if isLink {
		e.link = to
	}
	if l.passOver[e.path()] {
		s.unread = append(s.unread, unread{e, e.path(), errDenied.Error()})
		return nil
	}
	if to.kind == repo.LinkSymbolic {
		if target, err := l.stat(l.file(e)); err == nil && target.directory() {
			s.strays = append(s.strays, e.path())
			return nil
		}
		why, err := l.reach(e)
		if err != nil {
			return nil // a table that lacks this file
		}
		if why != "" {
			s.unread = append(s.unread, unread{e, farPlace(e, to), why})
			return nil
		}
	}
	if to.kind == repo.LinkISL {
		e.name = strings.TrimSuffix(e.name, islExt) + ".ibd"
		if to.to == "" {
			s.broken = append(s.broken, brokenLink{e, fmt.Sprintf("%s holds no path of a tablespace", path.Join(dir, d.Name()))})
			return nil
		}
		if _, err := l.files.Statx(filepath.Join(l.datadir, dir, e.name), unix.AT_SYMLINK_NOFOLLOW, unix.STATX_TYPE); err == nil {
			s.broken = append(s.broken, brokenLink{e, fmt.Sprintf("%s leads to %s, and %s is there, too", path.Join(dir, d.Name()), to.to, e.name)})
		}
	}
	if to.kind == repo.LinkISL {
		if why, err := l.reach(e); err == nil && why != "" {
			s.unread = append(s.unread, unread{e, farPlace(e, to), why})
			return nil
		}
	}
	s.entries = append(s.entries, e)
	return nil
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

// orphans are files of rows and keys without a definition. Those of InnoDB its
// dictionary tells about.
func (s scan) orphans() []string {
	defined := map[tableFiles]bool{}
	for _, e := range s.entries {
		if e.frm() || e.discovered() {
			defined[tableFiles{e.dir, e.table}] = true
		}
	}
	var found []string
	for _, e := range s.entries {
		if e.table != "" && e.data() && !e.innodb() && !filename.Temporary(e.name) && !defined[tableFiles{e.dir, e.table}] {
			found = append(found, e.path())
		}
	}
	return found
}
