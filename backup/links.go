package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"mbk/internal/repo"
	"mbk/stage"
)

// This file is about what lies elsewhere although its place is in a database
// directory: tablespaces of InnoDB made with DATA DIRECTORY, to which a file with
// the extension .isl leads, and whatever a symbolic link leads to: files of
// MyISAM and Aria made with DATA DIRECTORY or INDEX DIRECTORY, and databases.

// islExt is the extension of a file that holds the path of a tablespace.
const islExt = ".isl"

// link says where a file lies that is not in its place, and how the server gets
// there. The zero link is that of a file in its place.
type link struct {
	kind string // repo.LinkISL or repo.LinkSymbolic
	to   string // absolute, as the server names it
}

// file is where an entry lies on this machine.
func (l layout) file(e entry) string {
	if e.link.kind == repo.LinkISL {
		return l.resolve(e.link.to)
	}
	return filepath.Join(l.datadir, filepath.FromSlash(e.path()))
}

// spaceName is what the redo log calls an InnoDB file.
func (e entry) spaceName() string {
	if e.link.kind == repo.LinkISL {
		return e.link.to
	}
	return e.path()
}

// follow finds the link of a directory entry; isLink is false for a file in its
// place. A link that has vanished gives fs.ErrNotExist.
func (l layout) follow(dir string, d fs.DirEntry) (found link, isLink bool, err error) {
	name := filepath.Join(l.datadir, dir, d.Name())
	switch {
	case path.Ext(d.Name()) == islExt:
		to, err := l.readISL(name)
		if err == nil && !filepath.IsAbs(to) && to != "" {
			to = filepath.Join(l.server, to)
		}
		return link{repo.LinkISL, to}, true, err
	case d.Type()&fs.ModeSymlink != 0:
		to, err := l.files.Readlink(name)
		if err == nil && !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(name), to)
		}
		return link{repo.LinkSymbolic, to}, true, err
	}
	return link{}, false, nil
}

// readISL reads the path in an .isl file, as the server does: without the blanks
// at its end. It is "" if there is no path of a tablespace, as it is for a moment
// when the server makes the file.
func (l layout) readISL(name string) (string, error) {
	const longest = 4000 // bytes, OS_FILE_MAX_PATH of the server
	f, err := l.files.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // only read
	b, err := io.ReadAll(io.LimitReader(f, longest))
	if err != nil {
		return "", err
	}
	to := strings.TrimRight(string(b), " \t\r\n\x00")
	if path.Ext(to) != ".ibd" || strings.ContainsRune(to, 0) {
		return "", nil
	}
	return to, nil
}

// brokenLink is what is wrong with the link to a tablespace. A DDL may be at work there.
type brokenLink struct {
	entry entry
	text  string
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

// databaseOrigin is where a database directory lies that is a symbolic link, ""
// if it is none.
func (l layout) databaseOrigin(dir string) string {
	name := filepath.Join(l.datadir, dir)
	to, err := l.files.Readlink(name)
	if err != nil {
		return ""
	}
	if !filepath.IsAbs(to) {
		to = filepath.Join(l.datadir, to)
	}
	return filepath.Clean(to)
}

// checkLinks looks, before anything is locked, for tablespaces elsewhere that no
// backup could find. A DDL that is at work looks the same, so what is found must
// be there for a while.
func (p *Preflight) checkLinks(ctx context.Context, o Options) error {
	const tries, pause = 5, 200 * time.Millisecond
	var problems []string
	for i := range tries {
		if i > 0 {
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-time.After(pause):
			}
			var err error
			if p.first, err = p.layout.scanDatadir(ctx); err != nil {
				return err
			}
		}
		found, err := p.lostSpaces(ctx, o.Server)
		if i == 0 {
			problems = found
		}
		problems = slices.DeleteFunc(problems, func(text string) bool { return !slices.Contains(found, text) })
		if err != nil || len(problems) == 0 {
			return err
		}
	}
	advice := "repair the table, or move it into the data directory, before you take a backup"
	if p.layout.keep != nil && !p.layout.pathless() {
		advice = filterFarHint
	}
	for _, text := range problems {
		p.add(checkTables, GradeError, text, advice)
	}
	return nil
}

// Why a filter and DATA DIRECTORY do not go together up to 10.5, and what then.
const (
	filteredFar   = "with a filter such tables cannot be backed up from a server before 10.6, whose dictionary has their paths"
	filterFarHint = "back up everything, and get single tables out of a restored copy"
)

// pathless says that InnoDB's dictionary has no paths, as it is from 10.6 on.
func (l layout) pathless() bool { return l.since(10, 6) }

// lostSpaces lists what is wrong with links, and the tablespaces elsewhere to
// which none leads.
func (p *Preflight) lostSpaces(ctx context.Context, server *stage.Server) ([]string, error) {
	var problems []string
	for _, b := range p.first.broken {
		problems = append(problems, b.text)
	}
	left := map[string]bool{}
	for _, name := range p.first.left {
		left[name] = true
	}
	far, err := server.FarSpaces(ctx, p.facts.Version)
	if err != nil {
		return nil, err
	}
	reached := map[string]bool{}
	for _, e := range p.first.entries {
		if e.link.kind != repo.LinkISL {
			continue
		}
		reached[path.Clean(e.link.to)] = true
		if !slices.Contains(far, e.link.to) && p.layout.pathless() {
			continue // the server has no such file open
		}
		if _, err := p.layout.stat(p.layout.file(e)); errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, fmt.Sprintf("%s leads to %s, which is not there", strings.TrimSuffix(e.path(), ".ibd")+islExt, e.link.to))
		}
	}
	for _, name := range far {
		switch {
		case p.layout.keep != nil && !p.layout.pathless():
			problems = append(problems, fmt.Sprintf("the server keeps a tablespace in %s, because of DATA DIRECTORY: %s", name, filteredFar))
		case !reached[path.Clean(name)] && !p.layout.keep.leavesOut(name, left):
			problems = append(problems, fmt.Sprintf("the server keeps a tablespace in %s, and no %s file in the data directory leads there", name, islExt))
		}
	}
	if len(problems) == 0 {
		return nil, nil
	}
	return p.notDiscarded(ctx, server, problems)
}

// notDiscarded leaves out what is said of tables whose tablespace is discarded.
func (p *Preflight) notDiscarded(ctx context.Context, server *stage.Server, problems []string) ([]string, error) {
	discarded, err := server.Discarded(ctx)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(problems, func(text string) bool {
		return slices.ContainsFunc(discarded, func(table string) bool {
			return strings.HasPrefix(text, table+islExt) || strings.Contains(text, "/"+table+".ibd,")
		})
	}), nil
}
