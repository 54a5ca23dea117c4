package restore

import (
	"slices"
	"strings"
	"testing"

	"mbk/internal/innodb"
	"mbk/internal/repo"
	"mbk/stage"
)

// systemManifest describes a source with two files of the system tablespace.
func systemManifest() *repo.Manifest {
	zero, one := innodb.SpaceID(0), innodb.SpaceID(1)
	return &repo.Manifest{
		Server: repo.Server{Version: "10.11.19-MariaDB", Variables: map[string]string{
			"innodb_data_file_path": "/ssd/b:12M;/ssd/a:50M:autoextend:max:2G", "innodb_page_size": "16384",
			"innodb_log_file_size": "104857600",
		}},
		Files: []repo.File{
			{Path: "a", Class: repo.ClassInnoDB, Space: &zero, First: 768, Origin: "/ssd/a"},
			{Path: "aria_log.00000001", Class: repo.ClassLog},
			{Path: "b", Class: repo.ClassInnoDB, Space: &zero, Origin: "/ssd/b"},
			{Path: "ib_logfile0", Class: repo.ClassRedo, Origin: "/log/ib_logfile0"},
			{Path: "shop/undo002", Class: repo.ClassPlain},
			{Path: "undo/undo001", Class: repo.ClassInnoDB, Space: &one, Origin: "/undo/undo001"},
		},
	}
}

func TestSettings(t *testing.T) {
	m := systemManifest()
	s, err := newSettings(m)
	if err != nil {
		t.Fatal(err)
	}
	if want := "b:12M;a:50M:autoextend:max:2G"; s.DataFilePath != want {
		t.Errorf("dataFilePath = %q, want %q", s.DataFilePath, want)
	}
	if s.UndoDir != "undo" || s.AriaDir != "." || s.LogSize != 104857600 {
		t.Errorf("settings = %+v", s)
	}
	want := []string{"innodb_data_home_dir = ", "innodb_data_file_path = b:12M;a:50M:autoextend:max:2G",
		"innodb_undo_directory = undo", "innodb_log_group_home_dir = ."}
	if got := Config(m); !slices.Equal(got, want) {
		t.Errorf("Config = %q, want %q", got, want)
	}
	if got := firstEntry(m); got != "b" {
		t.Errorf("firstEntry = %q, want b", got)
	}
	m.Server.Variables["innodb_data_file_path"] = "ibdata1:12M:autoextend"
	if _, err := newSettings(m); err == nil {
		t.Error("two files for a path of one: no error")
	}
}

func TestPluginOptions(t *testing.T) {
	m := systemManifest()
	m.Server.Plugins = []repo.Plugin{
		{Name: "file_key_management", Type: "ENCRYPTION", Library: "file_key_management.so"},
		{Name: "provider_lz4", Type: "DATA COMPRESSION", Library: "provider_lz4.so"},
		{Name: "ARCHIVE", Type: "STORAGE ENGINE", Library: "ha_archive.so"},
		{Name: "init", Type: "ENCRYPTION", Library: "init.so"},
	}
	m.Server.Variables["file_key_management_filename"] = "/etc/mysql/keys"
	m.Server.Variables["file_key_management_filekey"] = stage.Hidden
	m.Server.Variables["init_file"] = "/tmp/evil.sql"
	got, err := pluginOptions(m)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"--plugin-load-add=file_key_management.so", "--loose-file-key-management-filename=/etc/mysql/keys",
		"--plugin-load-add=provider_lz4.so", "--plugin-load-add=init.so", "--plugin-maturity=unknown",
	}
	if !slices.Equal(got, want) {
		t.Errorf("pluginOptions = %q, want %q", got, want)
	}
}

// Whatever a manifest holds, it makes no more than the options that are meant.
func FuzzSettings(f *testing.F) {
	f.Add("ibdata1:12M:autoextend", "16384", "file_key_management", "file_key_management.so", "/etc/keys")
	f.Add("a:1;b:2", "x --init-file=/x", "init", "../x.so", "")
	f.Fuzz(func(t *testing.T, spec, pageSize, plugin, library, value string) {
		m := systemManifest()
		m.Server.Variables["innodb_data_file_path"] = spec
		m.Server.Variables["innodb_page_size"] = pageSize
		m.Server.Variables[strings.ToLower(plugin)+"_file"] = value
		m.Server.Plugins = []repo.Plugin{{Name: plugin, Type: "ENCRYPTION", Library: library}}
		s, err := newSettings(m)
		if err != nil {
			return
		}
		for _, option := range append(s.Options(), s.Plugins...) {
			name, _, _ := strings.Cut(option, "=")
			switch name {
			case "--innodb-page-size", "--plugin-load-add", "--plugin-maturity":
			default:
				if !strings.HasPrefix(name, "--loose-") || !strings.Contains(name, "-key-management-") {
					t.Errorf("option %q", option)
				}
			}
		}
		if strings.Contains(library, "/") {
			t.Errorf("a library in another folder: %q", library)
		}
	})
}
