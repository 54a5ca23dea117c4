package datadir

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"mbk/internal/datadir/filename"
)

// rootFile reports whether a file of the data directory itself is copied as it is.
func rootFile(name string) bool {
	switch name {
	case "ib_buffer_pool", "mysql_upgrade_info", "mariadb_upgrade_info":
		return true
	}
	return strings.HasPrefix(name, "debian-") && strings.HasSuffix(name, ".flag")
}

// handledElsewhere reports whether a file of the data directory itself is copied
// by other means, or is one that no backup holds: temporary tablespaces, the
// logs of the server and of its replication, locks and sockets.
func (l Layout) handledElsewhere(name string) bool {
	for _, system := range l.System {
		if filepath.Join(l.Dir, name) == system {
			return true
		}
	}
	for _, prefix := range []string{"undo", "ib_logfile", "aria_log", "ibtmp", "ddl_recovery", "multi-master", "relay-log",
		"master.info", "core", "innodb_status", "#", ".", "binlog", "tc.log", "ddl.log", "galera.", "grastate", "gvwstate"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	if l.ofConnection(name) {
		return true
	}
	for _, variable := range []string{"log_bin_basename", "relay_log_basename", "log_error", "general_log_file",
		"slow_query_log_file", "pid_file", "socket", "log_basename"} {
		base := filepath.Base(l.Vars[variable])
		if l.Vars[variable] != "" && (name == base || strings.HasPrefix(name, base+".")) {
			return true
		}
	}
	if strings.Contains(name, "-bin.") { // also HOST-relay-bin.000001
		return true
	}
	switch path.Ext(name) {
	case ".pid", ".sock", ".err", ".log", ".index", ".state", ".pem", ".cnf":
		return true
	}
	return false
}

// ofConnection reports whether a file is one of a named connection of a replica:
// master-NAME.info, relay-log-NAME.info, and relay-NAME.000001, as the server's
// variables have the rest of the name. Without relay_log they do not tell that of the
// relay logs, which are called mysqld-relay-bin-NAME.000001 or HOST-relay-bin-NAME.000001.
func (l Layout) ofConnection(name string) bool {
	ext := path.Ext(name)
	if ext == ".info" && strings.HasPrefix(name, "master-") {
		return true
	}
	relay, info := l.Vars["relay_log_basename"], l.Vars["relay_log_info_file"]
	isNumber := len(ext) > 1 && strings.Trim(ext[1:], "0123456789") == ""
	isLog := strings.Contains(name, "-relay-bin-") || relay != "" && strings.HasPrefix(name, filepath.Base(relay)+"-")
	return isLog && (isNumber || ext == ".index") ||
		info != "" && ext == path.Ext(info) && strings.HasPrefix(name,
			strings.TrimSuffix(filepath.Base(info), path.Ext(info)))
}

// holdsEngines reports whether a directory holds files of InnoDB or Aria that belong
// to no database. They are restored with their directory.
func (l Layout) holdsEngines(dir string) bool {
	return slices.ContainsFunc(l.engineFiles(), func(file string) bool { return filepath.Dir(file) == dir })
}

// The first undo tablespace and Aria's control file.
const (
	undoFile    = "undo001"
	ariaControl = "aria_log_control"
)

// engineFiles are such files, one for each directory at least.
func (l Layout) engineFiles() []string {
	return append(slices.Clone(l.System), filepath.Join(l.undo, undoFile), l.Redo, filepath.Join(l.Aria, ariaControl))
}

// holdsLogs reports whether the server writes logs or temporary files into a
// directory.
func (l Layout) holdsLogs(dir string) bool {
	for _, name := range []string{
		"log_bin_basename", "log_bin_index", "relay_log_basename", "relay_log_index", "relay_log_info_file",
		"innodb_temp_data_file_path",
		"log_error", "general_log_file", "slow_query_log_file", "pid_file", "socket",
	} {
		if l.Vars[name] != "" && filepath.Dir(l.Resolve(l.Vars[name])) == dir {
			return true
		}
	}
	for _, name := range []string{"tmpdir", "innodb_tmpdir", "slave_load_tmpdir"} {
		for path := range strings.SplitSeq(l.Vars[name], ":") {
			if path != "" && l.Resolve(path) == dir {
				return true
			}
		}
	}
	return false
}

// ownFile reports whether a file of a directory is one that the server's variables name,
// whatever its extension is. Nearly all files differ from these in their names already.
func (l Layout) ownFile(dir, name string) bool {
	place := func() string { return filepath.Join(l.Dir, dir, name) }
	switch {
	case name == undoFile, name == ariaControl, name == filepath.Base(l.Redo), slices.ContainsFunc(l.System,
		func(file string) bool { return filepath.Base(file) == name }):
		if slices.Contains(l.engineFiles(), place()) {
			return true
		}
	}
	return slices.ContainsFunc(ownVariables, func(variable string) bool {
		file := l.Vars[variable]
		return file != "" && filepath.Base(file) == name && l.Resolve(file) == place()
	})
}

// ownVariables have the names of files that the server writes or reads for itself.
var ownVariables = []string{
	"log_error", "general_log_file", "slow_query_log_file", "pid_file", "socket", "file_key_management_filename",
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
			return nil, fmt.Errorf("innodb_data_file_path %q: no size after %q", path, part)
		}
		if _, attributes, _ := strings.Cut(size, ":"); strings.Contains(size, "raw") || strings.Contains(attributes, "raw") ||
			strings.HasSuffix(strings.ToLower(size), "newraw") {
			return nil, fmt.Errorf("innodb_data_file_path %q: raw devices cannot be backed up", path)
		}
		names = append(names, name)
	}
	return names, nil
}

// UndoFiles lists undo001, undo002, ...
func (l Layout) UndoFiles() ([]string, error) {
	list, err := l.Files.ReadDir(l.undo)
	if err != nil {
		return nil, fmt.Errorf("list undo tablespaces: %w", err)
	}
	var found []string
	for _, e := range list {
		if filename.Undo(e.Name()) {
			found = append(found, filepath.Join(l.undo, e.Name()))
		}
	}
	sort.Strings(found)
	return found, nil
}
