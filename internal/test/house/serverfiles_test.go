package house

import (
	"go/ast"
	"slices"
	"strings"
	"testing"
)

// ownFiles are the files of packages backup, preflight and datadir that may open or look at something by its
// path, because it is not the server's.
var ownFiles = map[string][]string{
	"backup/preflight/options.go": {"os.Stat"},                    // the spool folder
	"backup/source.go":            {"os.Readlink"},                // in /proc
	"backup/spool.go":             {"os.CreateTemp", "os.Remove"}, // redo that waits
	"internal/datadir/stat.go":    {"unix.Statx"},                 // of an open file
}

// TestBackupReadsTheServersFilesThroughOneDoor looks for what would read files of the
// server with the rights of root, or wait for a FIFO: package serverfs is for that.
func TestBackupReadsTheServersFilesThroughOneDoor(t *testing.T) {
	fset, all := sources(t)
	seen := map[string]bool{}
	for _, s := range all {
		if !slices.Contains([]string{"mbk/backup", "mbk/backup/preflight", "mbk/internal/datadir"}, s.pkg) || s.test {
			continue
		}
		seen[s.pkg] = true
		ast.Inspect(s.tree, func(n ast.Node) bool {
			x, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			pkg, ok := x.X.(*ast.Ident)
			if !ok {
				return true
			}
			if name := pkg.Name + "." + x.Sel.Name; opensByPath(name) && !slices.Contains(ownFiles[s.name], name) {
				t.Errorf("%v: %s: go through Layout.Files", fset.Position(x.Pos()), name)
			}
			return true
		})
	}
	if len(seen) != 3 {
		t.Errorf("only %v were found", seen)
	}
}

// opensByPath reports whether a function or method of that name looks at, lists, opens
// or changes a file by its path.
func opensByPath(name string) bool {
	pkg, call, _ := strings.Cut(name, ".")
	switch pkg {
	case "os":
		return slices.Contains([]string{"Open", "OpenFile", "Create", "CreateTemp", "Stat", "Lstat", "ReadFile", "ReadDir",
			"Readlink", "DirFS",
			"OpenRoot", "OpenInRoot", "WriteFile", "Remove", "RemoveAll", "Rename", "Chmod", "Chown", "Lchown", "Truncate",
			"Mkdir", "MkdirAll", "Link", "Symlink"}, call)
	case "filepath":
		return slices.Contains([]string{"EvalSymlinks", "Glob", "Walk", "WalkDir"}, call)
	case "unix", "syscall":
		return slices.Contains([]string{"Open", "Openat", "Openat2", "Creat", "Stat", "Lstat", "Fstatat", "Statx", "Access",
			"Faccessat", "Readlink", "Readlinkat"}, call)
	}
	return false
}
