package restore

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mbk/internal/mariadbd"
	"mbk/internal/repo"
)

func TestConfig(t *testing.T) {
	for _, c := range []struct {
		name, version string
		variables     map[string]string
		plugins       []repo.Plugin
		tables        []repo.Table
		files         []repo.File
		want          []string
	}{
		{name: "defaults", version: "10.11.19", variables: map[string]string{
			"innodb_page_size": "16384", "innodb_checksum_algorithm": "full_crc32", "innodb_undo_tablespaces": "0",
			"innodb_encrypt_log": "OFF", "lower_case_table_names": "0", "aria_block_size": "8192", "ft_min_word_len": "4",
			"ft_max_word_len": "84"}},
		{name: "other pages", version: "10.11.19",
			variables: map[string]string{"innodb_page_size": "65536", "aria_block_size": "4096"},
			want:      []string{"innodb_page_size = 65536", "aria_block_size = 4096"}},
		{name: "no undo tablespaces where three are usual", version: "11.8.9",
			variables: map[string]string{"innodb_undo_tablespaces": "0"},
			want:      []string{"innodb_undo_tablespaces = 0"}},
		{name: "three of them", version: "11.8.9", variables: map[string]string{"innodb_undo_tablespaces": "3"}},
		{name: "a checksum that 10.6 does not know", version: "10.6.22",
			variables: map[string]string{"innodb_checksum_algorithm": "innodb"}},
		{name: "the same with 10.5", version: "10.5.23", variables: map[string]string{"innodb_checksum_algorithm": "innodb"},
			want: []string{"innodb_checksum_algorithm = innodb"}},
		{name: "logs in a folder", version: "10.11.19",
			files: []repo.File{{Path: "logs/aria_log.00000001", Class: repo.ClassLog},
				{Path: "undo/undo001", Class: repo.ClassInnoDB}},
			want: []string{"innodb_undo_directory = undo", "aria_log_dir_path = logs"}},
		{name: "a home of InnoDB's", version: "10.11.19", variables: map[string]string{"innodb_data_home_dir": "./sub"},
			want: []string{"innodb_data_home_dir = ", "innodb_data_file_path = ibdata1:12M:autoextend"}},
		{name: "keys with a relative path", version: "10.11.19",
			variables: map[string]string{"file_key_management_filename": "my keys.enc",
				"file_key_management_filekey": "FILE:/etc/k", "plugin_maturity": "gamma",
				"file_key_management_encryption_algorithm": "aes_cbc", "file_key_management_use_pbkdf2": "1"},
			plugins: []repo.Plugin{{Name: "file_key_management", Type: "ENCRYPTION", Library: "file_key_management.so"}},
			want: []string{"plugin_load_add = file_key_management.so", "file_key_management_filekey = FILE:/etc/k",
				`file_key_management_filename = "/var/lib/mysql/my keys.enc"`, "file_key_management_use_pbkdf2 = 1"}},
		{name: "engines, used and not", version: "10.11.19", variables: map[string]string{"plugin_maturity": "unknown"},
			plugins: []repo.Plugin{{Name: "ARCHIVE", Type: "STORAGE ENGINE", Library: "ha_archive.so"},
				{Name: "BLACKHOLE", Type: "STORAGE ENGINE", Library: "ha_blackhole.so"},
				{Name: "SQL_ERROR_LOG", Type: "AUDIT", Library: "sql_errlog.so"}},
			tables: []repo.Table{{Database: "shop", Name: "log", Engine: "ARCHIVE"}},
			want:   []string{"plugin_load_add = ha_archive.so", "plugin_maturity = unknown"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := systemManifest()
			m.Server.Version, m.Server.Variables, m.Server.Datadir = c.version+"-MariaDB", c.variables, "/var/lib/mysql/"
			m.Server.Plugins, m.Tables = c.plugins, c.tables
			m.Files = append([]repo.File{{Path: "ibdata1", Class: repo.ClassInnoDB, Space: m.Files[0].Space}}, c.files...)
			if got := Config(m); !slices.Equal(got, c.want) {
				t.Errorf("Config = %q, want %q", got, c.want)
			}
		})
	}
}

func TestConfigWithOptions(t *testing.T) {
	lines := []string{"plugin_load_add = a.so", "file_key_management_filename = /old/keys", "innodb_page_size = 65536"}
	got := withOptions(lines, []string{"--loose-file-key-management-filename=/new keys", "--plugin-load-add=b.so",
		"--skip-x", "--tmpdir=/t"})
	want := []string{"plugin_load_add = a.so", `file_key_management_filename = "/new keys"`, "innodb_page_size = 65536"}
	if !slices.Equal(got, want) {
		t.Errorf("withOptions = %q, want %q", got, want)
	}
}

// Whoever has no keys is told where they were and how to name others, before and after.
func TestMissingKeys(t *testing.T) {
	dir := t.TempDir()
	there := filepath.Join(dir, "there")
	if err := os.WriteFile(there, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, variable, value string
		options               []string
		want                  string
	}{
		{"a path", "file_key_management_filename", "/no/keys", nil, "--mariadbd-option=--file-key-management-filename=FILE"},
		{"a path in the data directory", "file_key_management_filename", "keys.enc", nil, "in " + dir + "/data/keys.enc"},
		{"the key's key", "file_key_management_filekey", "FILE:/no/key", nil,
			"--mariadbd-option=--file-key-management-filekey=FILE:FILE"},
		{"an option about something else", "file_key_management_filename", "/no/keys", []string{"--tmp-table-size=1M"},
			"/no/keys"},
		{"an option that names others", "file_key_management_filename", "/no/keys",
			[]string{"--loose_file_key_management_filename=/x"}, ""},
		{"a secret", "file_key_management_filekey", "secret", nil, ""},
		{"keys that are there", "file_key_management_filename", there, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := systemManifest()
			m.Server.Datadir, m.Server.Variables[c.variable] = dir+"/data", c.value
			p := &Plan{manifest: m, target: target{owner: Owner{UID: os.Geteuid(), GID: os.Getegid()}}}
			p.opts.MariadbdArgs = c.options
			p.checkKeys()
			said := ""
			for _, o := range p.Objections {
				said += o.Problem + "\n" + o.Hint.String()
			}
			if (said == "") != (c.want == "") || !strings.Contains(said, c.want) {
				t.Errorf("the plan says %q, want %q", said, c.want)
			}
			failed := &mariadbd.RunError{Cause: mariadbd.CauseKey}
			if c.want != "" && !strings.Contains(p.Advice(failed).String(), "--mariadbd-option=--file-key-management") {
				t.Errorf("after the recovery: %q", p.Advice(failed))
			}
		})
	}
	other := &mariadbd.RunError{Cause: mariadbd.CauseKey}
	if p := (&Plan{manifest: systemManifest()}); p.Advice(other) != other.Advice() {
		t.Errorf("without keys: %q", p.Advice(other))
	}
}

// An older maintenance release is no witness of damage.
func TestOlderReleaseFails(t *testing.T) {
	for _, older := range []bool{false, true} {
		p := &Plan{manifest: systemManifest(), ServerVersion: "10.11.19-MariaDB", older: older}
		failed := &mariadbd.RunError{Cause: mariadbd.CauseDamage}
		if advice := p.Advice(failed); failed.Damaged() == older || strings.Contains(advice.String(), "10.11.19") != older {
			t.Errorf("older %v: damaged %v, %q", older, failed.Damaged(), advice)
		}
	}
}

// Tables that a server here cannot open are told of.
func TestMissingEngine(t *testing.T) {
	m := systemManifest()
	m.Server.Plugins = []repo.Plugin{{Name: "ARCHIVE", Type: "STORAGE ENGINE", Library: "ha_archive.so"},
		{Name: "BLACKHOLE", Type: "STORAGE ENGINE", Library: "ha_blackhole.so"}}
	for _, name := range []string{"a", "b", "c", "d"} {
		m.Tables = append(m.Tables, repo.Table{Database: "shop", Name: name, Engine: "ARCHIVE"})
	}
	p := &Plan{manifest: m, target: target{owner: Owner{UID: os.Geteuid()}}}
	p.checkServer(mariadbd.Program{Path: "/bin/mariadbd", PluginDir: t.TempDir()})
	if len(p.Objections) > 0 || len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0], "plugin ARCHIVE is missing") ||
		!strings.Contains(p.Warnings[0], "`shop`.`a`, `shop`.`b`, `shop`.`c` and others") {
		t.Errorf("objections %v, warnings %q", p.Objections, p.Warnings)
	}
}

func TestKeptTables(t *testing.T) {
	own := []repo.Table{{Database: "mysql", Name: "user"}, {Database: "sys", Name: "v"}}
	user := []repo.Table{{Database: "shop", Name: "a"}, {Database: "shop", Name: "b"}, {Database: "shop", Name: "c"},
		{Database: "x", Name: "d"}}
	for _, c := range []struct {
		tables []repo.Table
		want   string
	}{
		{slices.Concat(own, user[:1]), "`shop`.`a` is restored, and 2 tables of the server itself"},
		{user[:1], "`shop`.`a` is restored"},
		{slices.Concat(own, user[:2]), "`shop`.`a`, `shop`.`b` are restored, and 2 tables of the server itself"},
		{slices.Concat(own, user), "4 tables are restored, and 2 tables of the server itself"},
		{own, "no tables but 2 of the server itself are restored"},
	} {
		if got := keptTables(&repo.Manifest{Tables: c.tables}); got != c.want {
			t.Errorf("keptTables = %q, want %q", got, c.want)
		}
	}
}
