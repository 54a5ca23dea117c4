package mariadbtest

import (
	"fmt"
	"os"
	"path/filepath"
)

// EncryptionArgs writes a key file into dir and returns the options of a server
// that encrypts everything it can with it: InnoDB's and Aria's tables, the redo
// and the binary log, temporary files. A server on a copy of such files needs
// them as well. Leave out what is not wanted by adding options behind them.
func EncryptionArgs(dir string) ([]string, error) {
	path := filepath.Join(dir, "keys")
	keys := "1;770A8A65DA156D24EE2A093277530142770A8A65DA156D24EE2A093277530142\n" +
		"2;2B3A1F0C5D4E6F708192A3B4C5D6E7F82B3A1F0C5D4E6F708192A3B4C5D6E7F8\n"
	if err := os.WriteFile(path, []byte(keys), 0o600); err != nil {
		return nil, fmt.Errorf("write encryption keys: %w", err)
	}
	return []string{
		"--plugin-load-add=file_key_management",
		"--file-key-management-filename=" + path,
		"--innodb-encrypt-tables=ON",
		"--innodb-encrypt-log=ON",
		"--innodb-encrypt-temporary-tables=ON",
		"--innodb-encryption-threads=2",
		"--aria-encrypt-tables=ON",
		"--encrypt-binlog=ON",
		"--encrypt-tmp-files=ON",
		"--encrypt-tmp-disk-tables=ON",
	}, nil
}
