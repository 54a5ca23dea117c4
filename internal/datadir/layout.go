package datadir

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"mbk/internal/datadir/serverfs"
	"mbk/internal/repo"
)

// Layout says where the server keeps its files, as paths on this machine.
type Layout struct {
	Dir            string
	ServerDir      string // the data directory as the server names it
	System         []string
	undo           string // directory of the undo tablespaces
	Redo           string // ib_logfile0
	Aria           string // directory of Aria's control file and logs
	ignored        map[string]bool
	Vars           map[string]string
	Version        Version
	Selection      *Selection         // of a filtered backup
	Skip           map[string]bool    // files that cannot be read and that no table needs, by path
	BadDefinitions map[string]Problem // why definitions cannot be read that the server cannot read either, by path
	Files          *serverfs.FS       // through which all of these are opened
}

// Version is the version of a server, nil for the newest.
type Version interface {
	AtLeast(major, minor, patch int) bool
}

// NewLayout derives the layout from the server's global variables. datadir may be another
// path to the server's data directory.
func NewLayout(datadir string, vars map[string]string, version Version) (Layout, error) {
	l := Layout{
		Dir: filepath.Clean(datadir), ServerDir: filepath.Clean(vars["datadir"]), Vars: vars, Version: version,
		ignored: map[string]bool{}, Skip: map[string]bool{}, BadDefinitions: map[string]Problem{},
	}
	home := l.Resolve(vars["innodb_data_home_dir"])
	system, err := systemFiles(vars["innodb_data_file_path"])
	if err != nil {
		return Layout{}, err
	}
	for _, name := range system {
		if vars["innodb_data_home_dir"] == "" && filepath.IsAbs(name) {
			l.System = append(l.System, l.Resolve(name))
			continue
		}
		l.System = append(l.System, filepath.Join(home, name))
	}
	l.undo = l.Resolve(vars["innodb_undo_directory"])
	l.Redo = filepath.Join(l.Resolve(vars["innodb_log_group_home_dir"]), "ib_logfile0")
	l.Aria = l.Resolve(vars["aria_log_dir_path"])
	for name := range strings.SplitSeq(vars["ignore_db_dirs"], ",") {
		l.ignored[name] = true
	}
	return l, nil
}

// Do calls do with the rights of the server's user, which saves changing the user for each
// file. It does not apply to goroutines that do starts.
func (l Layout) Do(do func(Layout) error) error {
	return l.Files.Do(func(files *serverfs.FS) error {
		l.Files = files
		return do(l)
	})
}

// Resolve turns a path of the server, relative to its data directory or
// absolute, into one of this machine.
func (l Layout) Resolve(path string) string {
	if path == "" {
		return l.Dir
	}
	if !filepath.IsAbs(path) {
		return filepath.Join(l.Dir, path)
	}
	if rel, err := filepath.Rel(l.ServerDir, path); err == nil && filepath.IsLocal(rel) {
		return filepath.Join(l.Dir, rel)
	}
	return filepath.Clean(path)
}

// Since reports whether the server is of that series or a later one.
func (l Layout) Since(major, minor int) bool {
	return l.Version == nil || l.Version.AtLeast(major, minor, 0)
}

// EntryOf returns where a file that the server's variables name is restored: in its place
// below the data directory or, if it lies outside, in the data directory itself with its
// path as its origin.
func (l Layout) EntryOf(file string) (e Entry, origin string) {
	rel, err := filepath.Rel(l.Dir, file)
	if err != nil || !filepath.IsLocal(rel) {
		return Entry{Name: filepath.Base(file)}, file
	}
	if dir := filepath.Dir(rel); dir != "." {
		e.Dir = filepath.ToSlash(dir)
	}
	e.Name = filepath.Base(rel)
	return e, ""
}

// On reports whether a global variable of the server is on.
func (l Layout) On(variable string) bool { return l.Vars[variable] == "ON" || l.Vars[variable] == "1" }

// variable returns a global variable that the server must have.
func (l Layout) variable(name string) (string, error) {
	value, ok := l.Vars[name]
	if !ok {
		return "", fmt.Errorf("the server has no variable %s", name)
	}
	return value, nil
}

// PageSize is innodb_page_size in bytes.
func (l Layout) PageSize() (int, error) {
	text, err := l.variable("innodb_page_size")
	if err != nil {
		return 0, err
	}
	size, err := strconv.Atoi(text)
	if err != nil || size < 4096 || size > 65536 || size&(size-1) != 0 {
		return 0, fmt.Errorf("innodb_page_size %q is none of 4096 to 65536", text)
	}
	return size, nil
}

// Readable reports whether the data directory can be listed.
func (l Layout) Readable() error {
	if _, err := l.Files.ReadDir(l.Dir); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	return nil
}

// Pathless reports whether InnoDB's dictionary has no paths of tablespaces.
func (l Layout) Pathless() bool { return l.Version == nil || Pathless(l.Version) }

// Pathless reports whether the dictionary of a server of that version has no paths, as is
// so from 10.6 on.
func Pathless(v Version) bool { return v.AtLeast(10, 6, 0) }

// FoldsNames reports whether the server takes names that differ in case for the same.
func (l Layout) FoldsNames() bool {
	mode := l.Vars["lower_case_table_names"]
	return mode != "" && mode != "0"
}

// File is where an entry lies on this machine.
func (l Layout) File(e Entry) string {
	if e.Link.Kind == repo.LinkISL {
		return l.Resolve(e.Link.To)
	}
	return filepath.Join(l.Dir, filepath.FromSlash(e.Path()))
}
