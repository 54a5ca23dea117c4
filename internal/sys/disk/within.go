package disk

import "path/filepath"

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
