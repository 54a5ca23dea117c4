package disk

import (
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Within reports whether an absolute path is that of a directory or leads into it, links
// followed as far as they exist.
func Within(path, dir string) bool {
	for _, p := range []*string{&path, &dir} {
		if real, err := filepath.EvalSymlinks(*p); err == nil {
			*p = real
		}
	}
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsAbs(path) && filepath.IsLocal(rel)
}

// Same reports whether two folders are on the same file system. It is false if one cannot be
// looked at.
func Same(a, b string) bool {
	var one, other unix.Stat_t
	return unix.Stat(a, &one) == nil && unix.Stat(b, &other) == nil && one.Dev == other.Dev
}
