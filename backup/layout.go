package backup

import (
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

// layout says where the server keeps its files, as paths on this machine.
type layout struct {
	datadir string
	server  string // the data directory as the server names it
	system  []string
	undo    string // directory of the undo tablespaces
	redo    string // ib_logfile0
	aria    string // directory of Aria's control file and logs
	ignored map[string]bool
	vars    map[string]string
}

// newLayout reads the layout out of the server's global variables. datadir may
// be another path to the same directory than the server's.
func newLayout(datadir string, vars map[string]string) (layout, error) {
	l := layout{datadir: filepath.Clean(datadir), server: filepath.Clean(vars["datadir"]), vars: vars, ignored: map[string]bool{}}
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

// origin is the absolute path of a file that lies outside the data directory,
// and "" for one inside.
func (l layout) origin(path string) string {
	if rel, err := filepath.Rel(l.datadir, path); err == nil && filepath.IsLocal(rel) {
		return ""
	}
	return path
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
