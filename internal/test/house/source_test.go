package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// root is the module's folder, from this package's.
const root = "../../.."

// source is one Go file.
type source struct {
	name string // below root, with "/"
	pkg  string // import path: "mbk/internal/repo/store"
	test bool
	text string
	tree *ast.File
}

// sources parses all Go files of the module.
func sources(t *testing.T) (*token.FileSet, []source) {
	t.Helper()
	var all []source
	fset := token.NewFileSet()
	err := filepath.WalkDir(root, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := e.Name()
		if e.IsDir() && name != root && (strings.HasPrefix(base, ".") || base == "testdata" || base == "dist") {
			return filepath.SkipDir
		}
		if e.IsDir() || path.Ext(base) != ".go" || strings.HasPrefix(base, ".") {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		s := source{name: filepath.ToSlash(rel), test: strings.HasSuffix(base, "_test.go"), text: string(text)}
		s.pkg = path.Join("mbk", path.Dir(s.name))
		if s.tree, err = parser.ParseFile(fset, s.name, text, parser.ParseComments|parser.SkipObjectResolution); err != nil {
			return err
		}
		all = append(all, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 50 {
		t.Fatalf("found %d Go files below %s: not the module", len(all), root)
	}
	return fset, all
}

// program reports whether a file belongs to a program other than mbk, one that
// shows or measures it.
func (s source) program() bool {
	return s.tree.Name.Name == "main" && strings.HasPrefix(s.pkg, "mbk/internal/")
}

// imports lists what a file imports.
func (s source) imports(t *testing.T) []string {
	t.Helper()
	var paths []string
	for _, spec := range s.tree.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatalf("%s: import %s: %v", s.name, spec.Path.Value, err)
		}
		paths = append(paths, p)
	}
	return paths
}

// document reads a file of the module.
func document(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// documents are the texts for people, by name.
func documents(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{"README.md": document(t, "README.md")}
	for _, folder := range []string{"docs/", manual} {
		names, err := filepath.Glob(filepath.Join(root, folder, "*.md"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			name = folder + filepath.Base(name)
			all[name] = document(t, name)
		}
	}
	return all
}

// resolve is the name below root of a file that a document links to.
func resolve(from, link string) string { return path.Join(path.Dir(from), link) }

// exists reports whether there is a file or folder of that name below root.
func exists(name string) bool {
	_, err := os.Stat(filepath.Join(root, filepath.FromSlash(name)))
	return err == nil
}
