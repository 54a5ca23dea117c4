package datadir

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"mbk/internal/repo"
)

// This file is about files that have a place in a database directory and lie elsewhere:
// tablespaces of InnoDB created with DATA DIRECTORY, which an .isl file points to, and the
// targets of symbolic links: files of MyISAM and Aria created with DATA DIRECTORY or INDEX
// DIRECTORY, and databases.

// ISLExt is the extension of a file that holds the path of a tablespace.
const ISLExt = ".isl"

// Link says where a file lies that is not in its place, and how the server gets
// there. The zero link is that of a file in its place.
type Link struct {
	Kind string // repo.LinkISL or repo.LinkSymbolic
	To   string // absolute, as the server names it
}

// follow finds the link of a directory entry; isLink is false for a file in its
// place. A link that has vanished gives fs.ErrNotExist.
func (l Layout) follow(dir string, d fs.DirEntry) (found Link, isLink bool, err error) {
	name := filepath.Join(l.Dir, dir, d.Name())
	switch {
	case path.Ext(d.Name()) == ISLExt:
		to, err := l.readISL(name)
		if err == nil && !filepath.IsAbs(to) && to != "" {
			to = filepath.Join(l.ServerDir, to)
		}
		return Link{repo.LinkISL, to}, true, err
	case d.Type()&fs.ModeSymlink != 0:
		to, err := l.Files.Readlink(name)
		if err == nil && !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(name), to)
		}
		return Link{repo.LinkSymbolic, to}, true, err
	}
	return Link{}, false, nil
}

// readISL reads the path in an .isl file as the server does, without the blanks at its
// end. It is "" if there is no path of a tablespace, as is so for a moment when the server
// creates the file.
func (l Layout) readISL(name string) (string, error) {
	const longest = 4000 // bytes, OS_FILE_MAX_PATH of the server
	f, err := l.Files.Open(name)
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

// BrokenLink is what is wrong with the link to a tablespace. A running DDL may be the cause.
type BrokenLink struct {
	Entry Entry
	Text  string
}

// DatabaseOrigin returns the target of a database directory that is a symbolic link, "" if
// it is none.
func (l Layout) DatabaseOrigin(dir string) string {
	name := filepath.Join(l.Dir, dir)
	to, err := l.Files.Readlink(name)
	if err != nil {
		return ""
	}
	if !filepath.IsAbs(to) {
		to = filepath.Join(l.Dir, to)
	}
	return filepath.Clean(to)
}

// MissingExternal returns the external tablespaces that are missing, for example because
// their disk is gone: the server runs without these tables. Up to 10.5 its dictionary has
// their paths, and a backup is refused.
func (l Layout) MissingExternal(s Scan) map[string]bool {
	found := map[string]bool{}
	for _, e := range s.Entries {
		if e.Link.Kind != repo.LinkISL || !l.Pathless() {
			continue
		}
		if _, err := l.Stat(l.File(e)); errors.Is(err, fs.ErrNotExist) {
			found[e.Path()] = true
		}
	}
	return found
}

// externalPlace is where a link leads, for a message.
func externalPlace(e Entry, to Link) string {
	name := e.Path()
	if to.Kind == repo.LinkISL {
		name = strings.TrimSuffix(name, path.Ext(name)) + ISLExt
	}
	return name + " to " + to.To
}
