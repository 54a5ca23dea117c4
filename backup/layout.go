package backup

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"mbk/internal/datadir/serverfs"
	"mbk/stage"
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
	keep     *keeper           // of a filtered backup
	passOver map[string]bool   // files that cannot be read and that no table needs, by path
	unknown  map[string]string // why definitions cannot be read that the server cannot read either, by path
	files    *serverfs.FS      // through which all of these are looked at and opened
}

// newLayout reads the layout out of the server's global variables. datadir may
// be another path to the same directory than the server's.
func newLayout(datadir string, vars map[string]string) (layout, error) {
	l := layout{datadir: filepath.Clean(datadir), server: filepath.Clean(vars["datadir"]), vars: vars, ignored: map[string]bool{}, passOver: map[string]bool{}, unknown: map[string]string{}}
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
	v, err := stage.ParseVersion(l.vars["version"])
	return err != nil || v.AtLeast(major, minor, 0)
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

// holdsEngines reports whether a directory holds files of InnoDB or Aria that belong
// to no database. They are restored with their folder.
func (l layout) holdsEngines(dir string) bool {
	return slices.ContainsFunc(l.engineFiles(), func(file string) bool { return filepath.Dir(file) == dir })
}

// engineFiles are such files, one for each directory at least.
func (l layout) engineFiles() []string {
	return append(slices.Clone(l.system), filepath.Join(l.undo, "undo001"), l.redo, filepath.Join(l.aria, "aria_log_control"))
}

// holdsLogs reports whether the server writes logs or temporary files into a
// directory.
func (l layout) holdsLogs(dir string) bool {
	for _, name := range []string{
		"log_bin_basename", "log_bin_index", "relay_log_basename", "relay_log_index", "relay_log_info_file", "innodb_temp_data_file_path",
		"log_error", "general_log_file", "slow_query_log_file", "pid_file", "socket",
	} {
		if l.vars[name] != "" && filepath.Dir(l.resolve(l.vars[name])) == dir {
			return true
		}
	}
	for _, name := range []string{"tmpdir", "innodb_tmpdir", "slave_load_tmpdir"} {
		for path := range strings.SplitSeq(l.vars[name], ":") {
			if path != "" && l.resolve(path) == dir {
				return true
			}
		}
	}
	return false
}

// ownFile reports whether a file is one that the server's variables name, whatever
// its extension is.
func (l layout) ownFile(file string) bool {
	if slices.Contains(l.engineFiles(), file) {
		return true
	}
	return slices.ContainsFunc([]string{"log_error", "general_log_file", "slow_query_log_file", "pid_file", "socket", "file_key_management_filename"}, func(name string) bool {
		return l.vars[name] != "" && l.resolve(l.vars[name]) == file
	})
}

// systemFiles are the names in innodb_data_file_path:
// "ibdata1:12M;ibdata2:50M:autoextend:max:500M".
func systemFiles(path string) ([]string, error) {
	if path == "" {
		path = "ibdata1:12M:autoextend"
	}
	var names []string
	for part := range strings.SplitSeq(path, ";") {
		name, size, ok := strings.Cut(part, ":")
		if name == "" || !ok || size == "" {
			return nil, fmt.Errorf("innodb_data_file_path %q: no size behind %q", path, part)
		}
		if _, attributes, _ := strings.Cut(size, ":"); strings.Contains(size, "raw") || strings.Contains(attributes, "raw") || strings.HasSuffix(strings.ToLower(size), "newraw") {
			return nil, fmt.Errorf("innodb_data_file_path %q: raw devices cannot be backed up", path)
		}
		names = append(names, name)
	}
	return names, nil
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
