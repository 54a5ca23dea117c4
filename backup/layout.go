package backup

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"mbk/internal/datadir/serverfs"
	"mbk/internal/repo"
)

// layout says where the server keeps its files, as paths on this machine.
type layout struct {
	datadir  string
	server   string // the data directory as the server names it
	system   []string
	undo     string // directory of the undo tablespaces
	redo     string // ib_logfile0
	aria     string // directory of Aria's control file and logs
	ignored  map[string]bool
	vars     map[string]string
	version  serverVersion
	keep     *keeper           // of a filtered backup
	passOver map[string]bool   // files that cannot be read and that no table needs, by path
	unknown  map[string]string // why definitions cannot be read that the server cannot read either, by path
	files    *serverfs.FS      // through which all of these are looked at and opened
}

// serverVersion is the version of a server, nil for the newest.
type serverVersion interface {
	AtLeast(major, minor, patch int) bool
}

// newLayout reads the layout out of the server's global variables. datadir may
// be another path to the same directory than the server's.
func newLayout(datadir string, vars map[string]string, version serverVersion) (layout, error) {
	l := layout{datadir: filepath.Clean(datadir), server: filepath.Clean(vars["datadir"]), vars: vars, version: version, ignored: map[string]bool{}, passOver: map[string]bool{}, unknown: map[string]string{}}
	home := l.resolve(vars["innodb_data_home_dir"])
	system, err := systemFiles(vars["innodb_data_file_path"])
	if err != nil {
		return layout{}, err
	}
	for _, name := range system {
		if vars["innodb_data_home_dir"] == "" && filepath.IsAbs(name) {
			l.system = append(l.system, l.resolve(name))
			continue
		}
		l.system = append(l.system, filepath.Join(home, name))
	}
	l.undo = l.resolve(vars["innodb_undo_directory"])
	l.redo = filepath.Join(l.resolve(vars["innodb_log_group_home_dir"]), "ib_logfile0")
	l.aria = l.resolve(vars["aria_log_dir_path"])
	for name := range strings.SplitSeq(vars["ignore_db_dirs"], ",") {
		l.ignored[name] = true
	}
	return l, nil
}

// as calls do with the rights of the server's user. That spares the change of the
// user for every single file; it is not for goroutines that do starts.
func (l layout) as(do func(layout) error) error {
	return l.files.Do(func(files *serverfs.FS) error {
		l.files = files
		return do(l)
	})
}

// resolve turns a path of the server, relative to its data directory or
// absolute, into one of this machine.
func (l layout) resolve(path string) string {
	if path == "" {
		return l.datadir
	}
	if !filepath.IsAbs(path) {
		return filepath.Join(l.datadir, path)
	}
	if rel, err := filepath.Rel(l.server, path); err == nil && filepath.IsLocal(rel) {
		return filepath.Join(l.datadir, rel)
	}
	return filepath.Clean(path)
}

// since reports whether the server is of that series or a later one.
func (l layout) since(major, minor int) bool {
	return l.version == nil || l.version.AtLeast(major, minor, 0)
}

// entry is where a file that the server's variables name is restored: in its
// place below the data directory, or, if it lies outside, in the data directory
// itself, with its path as its origin.
func (l layout) entry(file string) (e entry, origin string) {
	rel, err := filepath.Rel(l.datadir, file)
	if err != nil || !filepath.IsLocal(rel) {
		return entry{name: filepath.Base(file)}, file
	}
	if dir := filepath.Dir(rel); dir != "." {
		e.dir = filepath.ToSlash(dir)
	}
	e.name = filepath.Base(rel)
	return e, ""
}

// variable returns a global variable that the server must have.
func (l layout) variable(name string) (string, error) {
	value, ok := l.vars[name]
	if !ok {
		return "", fmt.Errorf("the server has no variable %s", name)
	}
	return value, nil
}

// pageSize is innodb_page_size in bytes.
func (l layout) pageSize() (int, error) {
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

// readable reports whether the data directory can be listed.
func (l layout) readable() error {
	if _, err := l.files.ReadDir(l.datadir); err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	return nil
}

// pathless says that InnoDB's dictionary has no paths, as it is from 10.6 on.
func (l layout) pathless() bool { return l.since(10, 6) }

// folds reports whether the server takes names that differ in case for the same.
func (l layout) folds() bool {
	mode := l.vars["lower_case_table_names"]
	return mode != "" && mode != "0"
}

// file is where an entry lies on this machine.
func (l layout) file(e entry) string {
	if e.link.kind == repo.LinkISL {
		return l.resolve(e.link.to)
	}
	return filepath.Join(l.datadir, filepath.FromSlash(e.path()))
}
