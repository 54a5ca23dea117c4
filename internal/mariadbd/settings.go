package mariadbd

import (
	"slices"
	"strings"

	"mbk/stage"
)

// Settings are what a server must be told to open files that another one has written, and
// that lie in one directory.
type Settings struct {
	DataFilePath string     // innodb_data_file_path
	UndoDir      string     // relative to the data directory, "." for itself
	AriaDir      string     // the same, of Aria's control file and logs
	Variables    []Variable // the other server's, as far as they matter
	Plugins      []string   // options that load plugins, and theirs
	LogSize      int64      // innodb_log_file_size in bytes
}

// Variable is a global variable of the server.
type Variable struct{ Name, Value string }

// Options spells the variables as options of mariadbd.
func (s Settings) Options() []string {
	var options []string
	for _, x := range s.Variables {
		options = append(options, Option(x.Name, x.Value))
	}
	return options
}

// ForServer are the settings for a server of some version. From 10.6 on servers read
// the old checksums and do not know them as settings any more.
func (s Settings) ForServer(v stage.Version) Settings {
	if !v.AtLeast(10, 6, 0) {
		return s
	}
	s.Variables = slices.DeleteFunc(slices.Clone(s.Variables), func(x Variable) bool {
		return x.Name == "innodb_checksum_algorithm" && !strings.HasSuffix(x.Value, "crc32")
	})
	return s
}

// Option spells a variable as an option of mariadbd.
func Option(name, value string) string {
	return "--" + strings.ReplaceAll(name, "_", "-") + "=" + value
}
