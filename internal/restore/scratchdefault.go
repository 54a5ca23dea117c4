package restore

import (
	"os"
	"path/filepath"
)

// ScratchDefault is where large temporary files belong on this machine.
func ScratchDefault() string {
	if dir := os.Getenv("TMPDIR"); filepath.IsAbs(dir) {
		return dir
	}
	if info, err := os.Stat("/var/tmp"); err == nil && info.IsDir() {
		return "/var/tmp"
	}
	return os.TempDir()
}
