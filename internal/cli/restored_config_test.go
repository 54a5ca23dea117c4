package cli_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mbk/internal/test/mariadbtest"
)

// When the server was lost with its configuration, the lines that a restore prints are
// all that a server needs to start on the result.
func TestRestoreTellsTheConfiguration(t *testing.T) {
	t.Parallel()
	version := newest()
	place := t.TempDir()
	undo, home := filepath.Join(place, "undo"), filepath.Join(place, "home")
	for _, dir := range []string{undo, home} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	source := mariadbtest.New(t, version, "--innodb-page-size=64k", "--innodb-data-file-path=ib1:32M;ib2:32M:autoextend",
		"--innodb-data-home-dir="+home,
		"--innodb-undo-directory="+undo, "--innodb-undo-tablespaces=2", "--lower-case-table-names=1",
		"--innodb-checksum-algorithm=crc32", "--ft-min-word-len=2", "--plugin-load-add=ha_archive")
	source.MustExec(t, statements(filled("Big", 1, ""),
		[]string{"CREATE TABLE log (a INT) ENGINE=ARCHIVE", "INSERT INTO log VALUES (1), (2)"})...)
	repository, target := t.TempDir(), filepath.Join(t.TempDir(), "data")
	must(t, backupArgs(source, repository)...)
	r := document[struct {
		Config []string `json:"config"`
	}](t, restoreArgs("latest", repository, target)...)
	want := []string{
		"innodb_data_home_dir = ", "innodb_data_file_path = ib1:32M;ib2:32M:autoextend", "innodb_undo_directory = .",
		"innodb_page_size = 65536", "innodb_checksum_algorithm = crc32", "innodb_undo_tablespaces = 2",
		"lower_case_table_names = 1", "ft_min_word_len = 2", "plugin_load_add = ha_archive.so",
	}
	if !slices.Equal(r.Config, want) {
		t.Errorf("config:\n%q, want\n%q", r.Config, want)
	}
	shown := must(t, "show", "latest", "--repo", repository).stdout
	options := []string{}
	for _, line := range r.Config {
		if !strings.Contains(shown, strings.TrimSpace(line)) {
			t.Errorf("mbk show does not print %q:\n%s", line, shown)
		}
		name, value, _ := strings.Cut(line, " = ")
		options = append(options, "--"+name+"="+value)
	}
	restored := mariadbtest.Open(t, version, target, options...)
	for query, want := range map[string]string{"SELECT COUNT(*) FROM D.BIG": "1800", "SELECT COUNT(*) FROM d.log": "2"} {
		if got := restored.MustValue(t, query); got != want {
			t.Errorf("%s: %s, want %s", query, got, want)
		}
	}
	wantSound(t, restored)
}
