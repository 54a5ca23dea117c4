package restore

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"mbk/internal/datadir/filename"
	"mbk/internal/hint"
	"mbk/internal/mariadbd"
	"mbk/internal/repo"
	"mbk/stage"
)

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

// consistsOf reports whether s has between 1 and 64 characters, all of them in chars.
func consistsOf(s, chars string) bool {
	return s != "" && len(s) <= 64 && strings.Trim(s, chars) == ""
}

// newSettings reads the settings out of a manifest.
func newSettings(m *repo.Manifest) (mariadbd.Settings, error) {
	s := mariadbd.Settings{UndoDir: ".", AriaDir: "."}
	var err error
	if s.DataFilePath, err = dataFilePath(m); err != nil {
		return mariadbd.Settings{}, err
	}
	for _, f := range m.Files {
		switch dir := path.Dir(f.Path); {
		case f.Class == repo.ClassLog:
			s.AriaDir = dir
		case f.Class == repo.ClassInnoDB && filename.Undo(path.Base(f.Path)) && path.Ext(f.Path) == "":
			s.UndoDir = dir
		}
	}
	for _, name := range recoveryVariables() {
		value, ok := m.Server.Variables[name]
		if !ok {
			continue
		}
		if !consistsOf(value, wordChars) {
			return mariadbd.Settings{}, fmt.Errorf("variable %s of the source is %q", name, value)
		}
		s.Variables = append(s.Variables, mariadbd.Variable{Name: name, Value: value})
	}
	s.LogSize = logSize(m)
	s.Plugins, err = pluginOptions(m)
	return s, err
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

// dataFilePath writes innodb_data_file_path for the restored files in the data directory:
// sizes and attributes are the source's, names are the restored ones.
func dataFilePath(m *repo.Manifest) (string, error) {
	files := systemFiles(m)
	spec := cmp.Or(m.Server.Variables["innodb_data_file_path"], "ibdata1:12M:autoextend")
	parts := strings.Split(spec, ";")
	if len(parts) != len(files) {
		return "", fmt.Errorf("the backup holds %d files of the system tablespace, and innodb_data_file_path is %q",
			len(files), spec)
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

// neededPlugin reports whether recovery needs a plugin: one that decrypts or
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
		for _, x := range keyVariables(m, p) {
			options = append(options, mariadbd.Option("loose_"+x.Name, x.Value))
		}
	}
	if len(options) > 0 {
		options = append(options, "--plugin-maturity=unknown")
	}
	return options, nil
}

// keyFile is a file that the source's key plugin read keys from.
type keyFile struct {
	variable string
	prefix   string // of the value, before the path
	path     string
}

// value is the variable's value with a path that does not depend on the data
// directory.
func (k keyFile) value() string { return k.prefix + k.path }

// option is the option that names another file.
func (k keyFile) option(file string) string { return mariadbd.Option(k.variable, k.prefix+file) }

// named reports whether one of the options for the server names a file instead of k.
func (k keyFile) named(options []string) bool {
	return slices.ContainsFunc(options, func(o string) bool {
		return strings.Contains(strings.ReplaceAll(o, "-", "_"), k.variable)
	})
}

// keyFileOf is the file that a variable names, if it is one for files of keys. A
// server takes a relative path for one in its data directory.
func keyFileOf(m *repo.Manifest, name string) (keyFile, bool) {
	value, k := m.Server.Variables[name], keyFile{variable: name}
	switch {
	case name == "file_key_management_filename":
	case name == "file_key_management_filekey" && strings.HasPrefix(value, "FILE:"):
		k.prefix = "FILE:"
	default:
		return k, false
	}
	k.path = strings.TrimPrefix(value, k.prefix)
	if k.path == "" || value == stage.Hidden {
		return k, false
	}
	if !filepath.IsAbs(k.path) {
		k.path = filepath.Join(m.Server.Datadir, k.path)
	}
	return k, true
}

// keyFiles are the files that the source's key plugins read their keys from.
func keyFiles(m *repo.Manifest) []keyFile {
	var files []keyFile
	for _, name := range []string{"file_key_management_filename", "file_key_management_filekey"} {
		if k, ok := keyFileOf(m, name); ok {
			files = append(files, k)
		}
	}
	return files
}

// KeyFiles returns the paths of the files that the source's key plugins read their keys from.
func KeyFiles(m *repo.Manifest) []string {
	var paths []string
	for _, k := range keyFiles(m) {
		paths = append(paths, k.path)
	}
	return paths
}

// Advice is what can be done about a failed recovery. What an older maintenance release
// takes for damage may be a form that it does not know yet.
func (p *Plan) Advice(failed *mariadbd.RunError) hint.Text {
	if p.older && failed.Cause == mariadbd.CauseDamage {
		failed.Cause = mariadbd.CauseVersion
	}
	if keys := keyFiles(p.manifest); failed.Cause == mariadbd.CauseKey && len(keys) > 0 {
		return hint.Textf("the source's encryption keys were in %s: bring that file, or name it with %s=%s",
			keys[0].path, hint.Option("mariadbd-option"), keys[0].option("FILE"))
	}
	if p.older && failed.Cause == mariadbd.CauseVersion {
		return hint.Text("use the maintenance release of the source, "+p.ServerVersion+", or a later one: ") +
			hint.Option("mariadbd")
	}
	return failed.Advice()
}

// Advise adds what can be done about it to an error of the server, and leaves others as
// they are.
func (p *Plan) Advise(err error) error {
	if failed, ok := errors.AsType[*mariadbd.RunError](err); ok {
		return hint.Wrap(err, p.Advice(failed))
	}
	return err
}
