// Package replace writes files as a whole: whoever reads one sees the old content or the
// new one, and never a part.
package replace

import (
	"os"
	"path/filepath"
)

// File writes a file that all may read. A device or a pipe at that path is written to; what
// else is there is replaced.
func File(path string, content []byte) (err error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		return os.WriteFile(path, content, 0)
	}
	// The end of the name is one that nobody looks for.
	f, err := os.CreateTemp(filepath.Dir(path), ".mbk-*.tmp")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // the first error is reported
		}
	}()
	_, err = f.Write(content)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}
