package house

import (
	"go/ast"
	"slices"
	"strings"
	"testing"
)

func TestPackagesHaveOneComment(t *testing.T) {
	_, all := sources(t)
	comments := map[string][]string{} // files by package
	for _, s := range all {
		if s.test {
			if s.tree.Doc != nil {
				t.Errorf("%s: a test file has a package comment", s.name)
			}
			continue
		}
		if _, seen := comments[s.pkg]; !seen {
			comments[s.pkg] = nil
		}
		if s.tree.Doc == nil {
			continue
		}
		comments[s.pkg] = append(comments[s.pkg], s.name)
		want := "Package " + s.tree.Name.Name + " "
		if s.tree.Name.Name == "main" {
			want = "Command "
		}
		if text := s.tree.Doc.Text(); !strings.HasPrefix(text, want) {
			t.Errorf("%s: the package comment does not begin with %q", s.name, want)
		}
	}
	for pkg, files := range comments {
		if len(files) != 1 {
			t.Errorf("package %s has %d package comments: %v", pkg, len(files), files)
		}
	}
}

// TestNobodyEndsTheProcess looks for what keeps callers from cleaning up. Only
// programs themselves may exit.
func TestNobodyEndsTheProcess(t *testing.T) {
	fset, all := sources(t)
	for _, s := range all {
		if s.test || s.pkg == "mbk" || s.program() {
			continue
		}
		ast.Inspect(s.tree, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if name := calledName(call); ends(name) {
				t.Errorf("%v: calls %s", fset.Position(call.Pos()), name)
			}
			return true
		})
	}
}

// calledName is the name of a called function as it is written: "os.Exit".
func calledName(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		if x, ok := f.X.(*ast.Ident); ok {
			return x.Name + "." + f.Sel.Name
		}
	}
	return ""
}

// ends reports whether a function of that name ends the process or panics.
func ends(name string) bool {
	switch name {
	case "panic", "os.Exit", "syscall.Exit", "unix.Exit", "runtime.Goexit":
		return true
	}
	return strings.HasPrefix(name, "log.Fatal") || strings.HasPrefix(name, "log.Panic")
}

// TestNoCodeRunsAtStart looks for init functions.
func TestNoCodeRunsAtStart(t *testing.T) {
	fset, all := sources(t)
	for _, s := range all {
		for _, d := range s.tree.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%v: an init function", fset.Position(f.Pos()))
			}
		}
	}
}

// TestNoPlaceholders looks for work that was left for later.
func TestNoPlaceholders(t *testing.T) {
	fset, all := sources(t)
	words := []string{"TO" + "DO", "FIX" + "ME", "XX" + "X"}
	for _, s := range all {
		for _, group := range s.tree.Comments {
			for _, c := range group.List {
				for _, w := range strings.FieldsFunc(c.Text,
					func(r rune) bool { return (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') }) {
					if slices.Contains(words, w) {
						t.Errorf("%v: %s", fset.Position(c.Pos()), c.Text)
					}
				}
			}
		}
	}
}
