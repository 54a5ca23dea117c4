package datadir

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

// Scan is what the data directory holds at one moment.
type Scan struct {
	Databases  []string            // directories
	listed     map[string]FileStat // directories as they were when they were listed, "." for the data directory
	Entries    []Entry             // sorted by directory and name
	Unknown    []string            // files in the data directory itself that are not known
	Strays     []string            // what lies in directories of databases and is no file of a table or database
	Unnamable  []string            // whose names no backup can hold
	Closed     []string            // directories that cannot be listed
	Broken     []BrokenLink
	Unreadable []Unreadable // what is no file that can be read
	Followed   []string     // files of the data directory itself that are links

	// Of a filtered backup, what was taken out: databases by their SQL names, and
	// the files of full-text indexes.
	ExcludedDatabases, ExcludedFullText []string
}

// Scan lists the database directories and what is to be copied of them.
// A directory that vanishes meanwhile is a dropped database.
func (l Layout) Scan(ctx context.Context) (Scan, error) {
	s := Scan{listed: map[string]FileStat{}}
	if err := l.Do(func(l Layout) error { return l.scanFiles(ctx, &s) }); err != nil {
		return Scan{}, err
	}
	return s, l.Selection.apply(ctx, l, &s)
}

// Same reports whether Rescan has returned the other scan once more.
func (s Scan) Same(other Scan) bool {
	return len(s.Entries) > 0 && len(s.Entries) == len(other.Entries) && &s.Entries[0] == &other.Entries[0]
}

// scanFiles is Scan without the selection.
func (l Layout) scanFiles(ctx context.Context, s *Scan) error {
	var err error
	if s.listed["."], err = l.Stat(l.Dir); err != nil {
		return err
	}
	top, err := l.Files.ReadDir(l.Dir)
	if err != nil {
		return fmt.Errorf("list the data directory: %w", err)
	}
	for _, e := range top {
		switch name := e.Name(); {
		case !l.isDirectory(e) && l.handledElsewhere(name):
		case repo.CheckPath(name) != nil:
			s.Unnamable = append(s.Unnamable, name)
		case l.isDatabase(e):
			s.Databases = append(s.Databases, name)
		case e.IsDir():
			if s.listed[name], err = l.Stat(filepath.Join(l.Dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		case rootFile(name):
			if err := s.addRoot(l, e); err != nil {
				return err
			}
		default:
			s.Unknown = append(s.Unknown, name)
		}
	}
	for _, dir := range s.Databases {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !l.Selection.mayHold(dir) {
			continue
		}
		if err := l.scanDatabase(s, dir); err != nil {
			return err
		}
	}
	return nil
}

// errChanged tells that a directory has changed.
var errChanged = errors.New("changed")

// Rescan returns a new scan, or s if no file has been added or removed since. The zero Scan
// is none.
func (l Layout) Rescan(ctx context.Context, s Scan) (Scan, error) {
	if s.listed == nil {
		return l.Scan(ctx)
	}
	err := l.Do(func(l Layout) error {
		for dir, was := range s.listed {
			now, err := l.Stat(filepath.Join(l.Dir, dir))
			if err != nil || !was.UnchangedBy(now) {
				return errChanged
			}
		}
		return nil
	})
	if err != nil {
		return l.Scan(ctx)
	}
	return s, nil
}

// isDirectory reports whether an entry of the data directory is a directory, or a
// link to one.
func (l Layout) isDirectory(e fs.DirEntry) bool {
	if e.Type()&fs.ModeSymlink != 0 {
		s, err := l.Stat(filepath.Join(l.Dir, e.Name()))
		return err == nil && s.directory()
	}
	return e.IsDir()
}

// isDatabase reports whether a directory is to be restored as a database. The server takes
// every directory for one, even if it writes logs and temporary files there. Those that
// are hidden or hold files of InnoDB or Aria count only if they hold files of tables.
func (l Layout) isDatabase(e fs.DirEntry) bool {
	name, dir := e.Name(), filepath.Join(l.Dir, e.Name())
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
func (l Layout) holdsTables(dir string) bool {
	list, err := l.Files.ReadDir(filepath.Join(l.Dir, dir))
	return err == nil && slices.ContainsFunc(list, func(e fs.DirEntry) bool {
		return !e.IsDir() && l.belongs(Entry{Dir: dir, Name: e.Name()})
	})
}

// belongs reports whether a file of a directory is one of a table or database, and
// none that the server keeps there for itself.
func (l Layout) belongs(e Entry) bool {
	return wanted(e.Name) && (e.Known() || path.Ext(e.Name) == ISLExt) && !l.ownFile(e.Dir, e.Name)
}

// scanDatabase adds what is to be copied of one database.
func (l Layout) scanDatabase(s *Scan, dir string) error {
	before, err := l.Stat(filepath.Join(l.Dir, dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	s.listed[dir] = before
	list, err := l.Files.ReadDir(filepath.Join(l.Dir, dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if errors.Is(err, fs.ErrPermission) {
		s.Closed = append(s.Closed, dir)
		return nil
	}
	if err != nil {
		return fmt.Errorf("list database directory %s: %w", dir, err)
	}
	first := len(s.Entries)
	var strays []string
	for _, e := range list {
		name := path.Join(dir, e.Name())
		switch {
		case special(e) && l.belongs(Entry{Dir: dir, Name: e.Name()}):
			s.Unreadable = append(s.Unreadable, unreadKind(Entry{Dir: dir, Name: e.Name(), Table: TableOf(e.Name())}, e))
		case passing(e):
		case e.IsDir() || !l.belongs(Entry{Dir: dir, Name: e.Name()}):
			strays = append(strays, name)
		case repo.CheckPath(name) != nil:
			s.Unnamable = append(s.Unnamable, name)
		default:
			if err := s.add(l, dir, e); err != nil {
				return err
			}
		}
	}
	indexFirst(s.Entries[first:])
	s.addStrays(l, dir, strays, len(s.Entries) > first)
	return nil
}

// addStrays records what is not copied of a directory. In a directory with files of the
// server itself these are not reported, and nothing is if it holds no tables.
func (s *Scan) addStrays(l Layout, dir string, names []string, tables bool) {
	folder := filepath.Join(l.Dir, dir)
	own := l.holdsLogs(folder) || l.holdsEngines(folder)
	for _, name := range names {
		if !own || tables && !l.handledElsewhere(path.Base(name)) {
			s.Strays = append(s.Strays, name)
		}
	}
}

// passing reports whether a file exists only for a while: files of a running statement,
// and sockets.
func passing(e fs.DirEntry) bool {
	return special(e) || !e.IsDir() && !wanted(e.Name())
}

// add puts one file of a database directory into a scan.
func (s *Scan) add(l Layout, dir string, d fs.DirEntry) error {
	e := Entry{Dir: dir, Name: d.Name(), Table: TableOf(d.Name())}
	to, isLink, err := l.follow(dir, d)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if errors.Is(err, fs.ErrPermission) || IsKindError(err) {
		s.Unreadable = append(s.Unreadable, Unreadable{e, e.Path(), reason(err)})
		return nil
	}
	if err != nil {
		return fmt.Errorf("follow %s: %w", e.Path(), err)
	}
	if isLink {
		e.Link = to
	}
	if l.Skip[e.Path()] {
		s.Unreadable = append(s.Unreadable, Unreadable{e, e.Path(), ErrDenied.Error()})
		return nil
	}
	if to.Kind == repo.LinkSymbolic {
		if target, err := l.Stat(l.File(e)); err == nil && target.directory() {
			s.Strays = append(s.Strays, e.Path())
			return nil
		}
		why, err := l.reach(e)
		if err != nil {
			return nil // a table that lacks this file
		}
		if why != "" {
			s.Unreadable = append(s.Unreadable, Unreadable{e, externalPlace(e, to), why})
			return nil
		}
	}
	if to.Kind == repo.LinkISL {
		e.Name = strings.TrimSuffix(e.Name, ISLExt) + ".ibd"
		if to.To == "" {
			s.Broken = append(s.Broken, BrokenLink{e, fmt.Sprintf("%s holds no path of a tablespace", path.Join(dir, d.Name()))})
			return nil
		}
		if _, err := l.Files.Statx(filepath.Join(l.Dir, dir, e.Name), unix.AT_SYMLINK_NOFOLLOW, unix.STATX_TYPE); err == nil {
			s.Broken = append(s.Broken, BrokenLink{e, fmt.Sprintf("%s leads to %s, and %s is there, too",
				path.Join(dir, d.Name()), to.To, e.Name)})
		}
	}
	if to.Kind == repo.LinkISL {
		if why, err := l.reach(e); err == nil && why != "" {
			s.Unreadable = append(s.Unreadable, Unreadable{e, externalPlace(e, to), why})
			return nil
		}
	}
	s.Entries = append(s.Entries, e)
	return nil
}

// addRoot puts a file of the data directory itself into a scan.
func (s *Scan) addRoot(l Layout, d fs.DirEntry) error {
	e := Entry{Name: d.Name()}
	switch {
	case special(d):
		s.Unreadable = append(s.Unreadable, unreadKind(e, d))
		return nil
	case l.Skip[e.Path()]:
		s.Unreadable = append(s.Unreadable, Unreadable{e, e.Path(), ErrDenied.Error()})
		return nil
	case d.Type()&fs.ModeSymlink != 0:
		why, err := l.reach(e)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		to, _, err := l.follow("", d)
		if err == nil && why != "" {
			s.Unreadable = append(s.Unreadable, Unreadable{e, externalPlace(e, to), why})
			return nil
		}
		s.Followed = append(s.Followed, e.Path()+" to "+to.To)
	}
	s.Entries = append(s.Entries, e)
	return nil
}

// Orphans returns data and index files without a definition. For those of InnoDB its
// dictionary is asked.
func (s Scan) Orphans() []string {
	defined := map[TableKey]bool{}
	for _, e := range s.Entries {
		if e.IsDefinition() || e.Discovered() {
			defined[e.Key()] = true
		}
	}
	var found []string
	for _, e := range s.Entries {
		if e.Table != "" && e.HoldsData() && !e.IsInnoDB() && !filename.Temporary(e.Name) && !defined[e.Key()] {
			found = append(found, e.Path())
		}
	}
	return found
}
