package restore

import (
	"maps"
	"path"
	"slices"
	"strings"

	"mbk/internal/datadir/filename"
	"mbk/internal/mariadbd"
	"mbk/internal/repo"
	"mbk/internal/ui/printable"
	"mbk/stage"
)

// Config returns the lines of the server's configuration without which a server of
// the source's version does not start on a restored backup, or not as the source was:
// where files are that the source kept elsewhere, and what decides how they are read
// and is not the default.
func Config(m *repo.Manifest) []string {
	v, err := stage.ParseVersion(m.Server.Version)
	if err != nil {
		return []string{}
	}
	return configLines(m, v)
}

// configLines are those lines for a server of some version.
func configLines(m *repo.Manifest, v stage.Version) []string {
	s, err := newSettings(m)
	if err != nil {
		return []string{} // an objection to the restore already
	}
	lines := placeLines(m, s)
	for _, x := range s.ForServer(v).Variables {
		if !strings.EqualFold(x.Value, defaultOf(x.Name, v)) {
			lines = append(lines, line(x.Name, x.Value))
		}
	}
	return append(lines, pluginLines(m, v)...)
}

// placeLines say where files are, if not in their usual place, or if the source's
// configuration said that they were elsewhere.
func placeLines(m *repo.Manifest, s mariadbd.Settings) []string {
	moved := map[string]bool{} // classes of files that were outside of the data directory
	for _, f := range m.Files {
		if f.Origin == "" {
			continue
		}
		switch {
		case f.Class == repo.ClassLog:
			moved["aria_log_dir_path"] = true
		case f.Class == repo.ClassRedo:
			moved["innodb_log_group_home_dir"] = true
		case f.Class == repo.ClassInnoDB && f.Space != nil && *f.Space == 0:
			moved["innodb_data_home_dir"] = true
		case f.Class == repo.ClassInnoDB && filename.Undo(path.Base(f.Path)):
			moved["innodb_undo_directory"] = true
		}
	}
	lines := []string{}
	home := moved["innodb_data_home_dir"] || m.Server.Variables["innodb_data_home_dir"] != ""
	if home {
		lines = append(lines, line("innodb_data_home_dir", ""))
	}
	if home || s.DataFilePath != "ibdata1:12M:autoextend" {
		lines = append(lines, line("innodb_data_file_path", s.DataFilePath))
	}
	if moved["innodb_undo_directory"] || s.UndoDir != "." {
		lines = append(lines, line("innodb_undo_directory", s.UndoDir))
	}
	if moved["innodb_log_group_home_dir"] {
		lines = append(lines, line("innodb_log_group_home_dir", "."))
	}
	if moved["aria_log_dir_path"] || s.AriaDir != "." {
		lines = append(lines, line("aria_log_dir_path", s.AriaDir))
	}
	return lines
}

// defaultOf is what a server takes for a recovery variable, or one of a key plugin, if
// nothing is said; "" if that is not known.
func defaultOf(name string, v stage.Version) string {
	switch name {
	case "innodb_page_size":
		return "16384"
	case "innodb_checksum_algorithm":
		return "full_crc32"
	case "innodb_undo_tablespaces":
		if v.AtLeast(11, 0, 0) {
			return "3"
		}
		return "0"
	case "innodb_encrypt_log":
		return "OFF"
	case "lower_case_table_names":
		return "0"
	case "aria_block_size":
		return "8192"
	case "ft_min_word_len":
		return "4"
	case "ft_max_word_len":
		return "84"
	case "file_key_management_encryption_algorithm":
		return "aes_cbc"
	case "file_key_management_digest":
		return "sha1"
	case "file_key_management_use_pbkdf2":
		return "0"
	}
	return ""
}

// pluginLines load what the files need: key plugins with their variables, providers of
// compression, and storage engines of which there are tables.
func pluginLines(m *repo.Manifest, v stage.Version) []string {
	var lines []string
	for _, p := range m.Server.Plugins {
		if !consistsOf(p.Library, pluginChars) || !neededPlugin(p) && tablesOf(m, p) == "" {
			continue
		}
		if load := line("plugin_load_add", p.Library); !slices.Contains(lines, load) {
			lines = append(lines, load)
		}
		for _, x := range keyVariables(m, p) {
			if !strings.EqualFold(x.Value, defaultOf(x.Name, v)) {
				lines = append(lines, line(x.Name, x.Value))
			}
		}
	}
	// Gamma is what servers ask of plugins at least.
	if maturity := m.Server.Variables["plugin_maturity"]; len(lines) > 0 &&
		slices.Contains([]string{"unknown", "experimental", "alpha", "beta"}, maturity) {
		lines = append(lines, line("plugin_maturity", maturity))
	}
	return lines
}

// keyVariables are the variables of a key plugin, with paths that do not depend on
// where the data directory is.
func keyVariables(m *repo.Manifest, p repo.Plugin) []mariadbd.Variable {
	prefix := strings.ToLower(p.Name) + "_"
	if !strings.HasSuffix(prefix, "_key_management_") {
		return nil
	}
	var found []mariadbd.Variable
	for _, name := range slices.Sorted(maps.Keys(m.Server.Variables)) {
		value := m.Server.Variables[name]
		if !strings.HasPrefix(name, prefix) || value == "" || value == stage.Hidden || !consistsOf(name, pluginChars) {
			continue
		}
		if k, ok := keyFileOf(m, name); ok {
			value = k.value()
		}
		found = append(found, mariadbd.Variable{Name: name, Value: value})
	}
	return found
}

// enginePlugins load the storage engines that the source had as plugins, as far
// as they are installed here.
func enginePlugins(m *repo.Manifest, program mariadbd.Program) []string {
	var options []string
	for _, p := range m.Server.Plugins {
		if p.Type != "STORAGE ENGINE" || !consistsOf(p.Library, pluginChars) {
			continue
		}
		if ok, err := program.HasPlugin(p.Library); ok && err == nil {
			options = append(options, "--plugin-load-add="+p.Library)
		}
	}
	if len(options) > 0 {
		options = append(options, "--plugin-maturity=unknown")
	}
	return slices.Compact(options)
}

// tablesOf names tables whose storage engine is a plugin, "" if there are none.
func tablesOf(m *repo.Manifest, p repo.Plugin) string {
	if p.Type != "STORAGE ENGINE" {
		return ""
	}
	var first []string
	n := 0
	for _, t := range m.Tables {
		if strings.EqualFold(t.Engine, p.Name) {
			if n++; n <= 3 {
				first = append(first, printable.Table(t.Database, t.Name))
			}
		}
	}
	text := strings.Join(first, ", ")
	if n > len(first) {
		text += " and others"
	}
	return text
}

// line is a line of an option file.
func line(name, value string) string {
	if strings.ContainsAny(value, " #'\"\\") {
		value = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(value) + `"`
	}
	return name + " = " + value
}

// withOptions puts the values of the user's own options for the server into the lines:
// where the keys are here, for one.
func withOptions(lines, options []string) []string {
	lines = slices.Clone(lines)
	for _, o := range options {
		name, value, ok := strings.Cut(strings.TrimLeft(o, "-"), "=")
		name = strings.TrimPrefix(strings.ReplaceAll(name, "-", "_"), "loose_")
		i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, name+" = ") })
		if ok && i >= 0 && name != "plugin_load_add" {
			lines[i] = line(name, value)
		}
	}
	return lines
}
