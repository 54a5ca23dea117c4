package backup

import (
	"fmt"
	"os"
	"strings"

	"mbk/internal/repo"
	"mbk/stage"
)

// recoveryVariables are the global variables that a recovery of the files may
// need, by name or by a prefix that ends in "_".
func recoveryVariables() []string {
	return []string{
		"innodb_page_size", "innodb_data_home_dir", "innodb_data_file_path", "innodb_log_group_home_dir",
		"innodb_log_file_size", "innodb_undo_directory", "innodb_undo_tablespaces", "innodb_checksum_algorithm",
		"innodb_encrypt_", "innodb_encryption_", "innodb_default_encryption_key_id", "innodb_temp_data_file_path",
		"innodb_compression_", "innodb_file_per_table", "innodb_buffer_pool_filename", "innodb_buffer_pool_size",
		"innodb_flush_log_at_trx_commit", "innodb_strict_mode", "innodb_default_row_format",
		"aria_log_dir_path", "aria_log_file_size", "aria_block_size", "aria_encrypt_tables", "encrypt_",
		"lower_case_table_names", "character_set_server", "collation_server", "character_set_filesystem",
		"log_bin", "log_bin_basename", "log_bin_index", "server_id", "gtid_domain_id", "gtid_slave_pos",
		"plugin_dir", "plugin_load", "plugin_load_add", "plugin_maturity",
		"basedir", "datadir", "lc_messages_dir", "character_sets_dir",
		"ft_min_word_len", "ft_max_word_len", "ft_stopword_file",
		"file_key_management_", "hashicorp_", "aws_key_management_", "provider_", "default_storage_engine",
		"version_compile_machine", "version_compile_os", "sql_mode", "time_zone", "system_time_zone",
	}
}

// describeServer is the server for the manifest.
func describeServer(f stage.Facts) repo.Server {
	s := repo.Server{
		Version: f.Version.Text, Comment: f.Comment, Hostname: f.Hostname, Port: f.Port, Socket: f.Socket,
		Datadir: f.Datadir, ServerID: f.ServerID, Program: program(f.PeerPID), Variables: map[string]string{},
	}
	for _, wanted := range recoveryVariables() {
		for name, value := range f.Variables {
			if value != stage.Hidden && (name == wanted || strings.HasSuffix(wanted, "_") && strings.HasPrefix(name, wanted)) {
				s.Variables[name] = value
			}
		}
	}
	for _, p := range f.Plugins {
		if p.Library != "" && p.Status == "ACTIVE" {
			s.Plugins = append(s.Plugins, repo.Plugin{Name: p.Name, Type: p.Type, Library: p.Library})
		}
	}
	return s
}

// program is the path of the mariadbd that runs as a process, "" if this may not
// be seen.
func program(pid int) string {
	if pid == 0 {
		return ""
	}
	path, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(path, " (deleted)")
}
