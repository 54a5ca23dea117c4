package restore

import (
	"cmp"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"mbk/repo"
	"mbk/stage"
)

// settings are what a server must be told to open the files of a backup, laid
// down in one directory.
type settings struct {
	dataFilePath string   // innodb_data_file_path
	undoDir      string   // relative to the data directory, "." for itself
	ariaDir      string   // the same, of Aria's control file and logs
	variables    []string // options from the source's variables
	plugins      []string // options that load plugins, and theirs
	logSize      int64    // innodb_log_file_size of the source in bytes
}

// recoveryVariables returns the names of the source's global variables that
// decide whether a server can open its files, in the order in which they are
// passed on.
func recoveryVariables() []string {
	return []string{
		"innodb_page_size",
		"innodb_checksum_algorithm",
		"innodb_undo_tablespaces",
		"innodb_encrypt_log",
		"lower_case_table_names",
		"aria_block_size",
		"ft_min_word_len", // CHECK TABLE counts the words of MyISAM's indexes
		"ft_max_word_len",
	}
}

// The characters of what a manifest may pass on to a server.
const (
	letters     = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	wordChars   = letters + "0123456789_" // the value of a recovery variable
	pluginChars = wordChars + ".-"        // the name of a plugin, of its library or of its variable
	sizeChars   = letters + "0123456789:" // what follows a name in innodb_data_file_path: "12M:autoextend"
)

// consistsOf says whether s has between 1 and 64 characters, all of them in chars.
func consistsOf(s, chars string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, chars) == ""
}

// newSettings reads the settings out of a manifest.
func newSettings(m *repo.Manifest) (settings, error) {
	s := settings{undoDir: ".", ariaDir: "."}
	var err error
	if s.dataFilePath, err = dataFilePath(m); err != nil {
		return settings{}, err
	}
	for _, f := range m.Files {
		switch dir := path.Dir(f.Path); {
		case f.Class == repo.ClassLog:
			s.ariaDir = dir
		case f.Class == repo.ClassInnoDB && undoName(path.Base(f.Path)) && path.Ext(f.Path) == "":
			s.undoDir = dir
		}
	}
	for _, name := range recoveryVariables() {
		value, ok := m.Server.Variables[name]
		if !ok {
			continue
		}
		if !consistsOf(value, wordChars) {
			return settings{}, fmt.Errorf("variable %s of the source is %q", name, value)
		}
		s.variables = append(s.variables, option(name, value))
	}
	s.logSize = logSize(m)
	s.plugins, err = pluginOptions(m)
	return s, err
}

// undoName says whether a file is called as an undo tablespace is: undo001.
func undoName(name string) bool {
	digits, ok := strings.CutPrefix(name, "undo")
	n, err := strconv.Atoi(digits)
	return ok && len(digits) == 3 && err == nil && n > 0
}

// option spells a variable as an option of mariadbd.
func option(name, value string) string {
	return "--" + strings.ReplaceAll(name, "_", "-") + "=" + value
}

// logSize is the size of the redo log that the source was configured with, or
// the server's default, within the bounds that a server accepts.
func logSize(m *repo.Manifest) int64 {
	n, err := strconv.ParseInt(m.Server.Variables["innodb_log_file_size"], 10, 64)
	if err != nil || n < 4<<20 || n > 1<<40 {
		n = 96 << 20
	}
	return n &^ 4095
}

// dataFilePath writes innodb_data_file_path anew for files that were laid down
// in the data directory: sizes and attributes are the source's, names are the
// restored ones.
func dataFilePath(m *repo.Manifest) (string, error) {
	files := systemFiles(m)
	spec := cmp.Or(m.Server.Variables["innodb_data_file_path"], "ibdata1:12M:autoextend")
	parts := strings.Split(spec, ";")
	if len(parts) != len(files) {
		return "", fmt.Errorf("the backup holds %d files of the system tablespace, and innodb_data_file_path is %q", len(files), spec)
	}
	for i, part := range parts {
		_, size, ok := strings.Cut(part, ":")
		if !ok || !consistsOf(size, sizeChars) || strings.ContainsAny(files[i].Path, ":;") {
			return "", fmt.Errorf("innodb_data_file_path %q for file %q cannot be understood", spec, files[i].Path)
		}
		parts[i] = files[i].Path + ":" + size
	}
	return strings.Join(parts, ";"), nil
}

// systemFiles are the files of InnoDB's system tablespace, in their order.
func systemFiles(m *repo.Manifest) []*repo.File {
	var files []*repo.File
	for i := range m.Files {
		if f := &m.Files[i]; f.Class == repo.ClassInnoDB && f.Space != nil && *f.Space == 0 {
			files = append(files, f)
		}
	}
	slices.SortStableFunc(files, func(a, b *repo.File) int { return cmp.Compare(a.First, b.First) })
	return files
}

// neededPlugin says whether recovery needs a plugin: one that decrypts or
// decompresses pages.
func neededPlugin(p repo.Plugin) bool {
	return p.Type == "ENCRYPTION" || strings.HasPrefix(strings.ToLower(p.Name), "provider_")
}

// pluginOptions load the plugins that recovery needs, with the variables of key
// plugins. (Their names come from a repository: nothing but a file of the
// server's own plugin directory may be loaded.)
func pluginOptions(m *repo.Manifest) ([]string, error) {
	var options []string
	for _, p := range m.Server.Plugins {
		if !neededPlugin(p) {
			continue
		}
		if !consistsOf(p.Name, pluginChars) || !consistsOf(p.Library, pluginChars) {
			return nil, fmt.Errorf("plugin %q of library %q: not a plain name", p.Name, p.Library)
		}
		options = append(options, "--plugin-load-add="+p.Library)
		prefix := strings.ToLower(p.Name) + "_"
		if !strings.HasSuffix(prefix, "_key_management_") {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(m.Server.Variables)) {
			value := m.Server.Variables[name]
			if strings.HasPrefix(name, prefix) && value != "" && value != stage.Hidden && consistsOf(name, pluginChars) {
				options = append(options, option("loose_"+name, value))
			}
		}
	}
	if len(options) > 0 {
		options = append(options, "--plugin-maturity=unknown")
	}
	return options, nil
}

// keyFiles are the files that the source's key plugins read their keys from.
func keyFiles(m *repo.Manifest) []string {
	var files []string
	for _, name := range []string{"file_key_management_filename", "file_key_management_filekey"} {
		value := strings.TrimPrefix(m.Server.Variables[name], "FILE:")
		if filepath.IsAbs(value) {
			files = append(files, value)
		}
	}
	return files
}
