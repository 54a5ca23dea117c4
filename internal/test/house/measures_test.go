package house

import (
	"go/ast"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/uudashr/gocognit"
)

// What the code may measure. Tests are held to the length of files and lines.
const (
	maxFileLines     = 800
	maxFunctionLines = 80
	maxComplexity    = 25  // cognitive, as gocognit counts it
	maxColumns       = 120 // a tab counts as one, as with awk's length
)

func TestFilesAreShort(t *testing.T) {
	_, all := sources(t)
	for _, s := range all {
		if n := strings.Count(s.text, "\n"); n > maxFileLines {
			t.Errorf("%s has %d lines, more than %d", s.name, n, maxFileLines)
		}
	}
}

func TestFunctionsAreShortAndPlain(t *testing.T) {
	fset, all := sources(t)
	for _, s := range all {
		if s.test {
			continue
		}
		for _, d := range s.tree.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := fset.Position(f.End()).Line - fset.Position(f.Pos()).Line + 1; n > maxFunctionLines {
				t.Errorf("%v: %s has %d lines, more than %d", fset.Position(f.Pos()), f.Name.Name, n, maxFunctionLines)
			}
		}
		for _, stat := range gocognit.ComplexityStats(s.tree, fset, nil) {
			if stat.Complexity > maxComplexity {
				t.Errorf("%v: %s has a cognitive complexity of %d, more than %d",
					stat.Pos, stat.FuncName, stat.Complexity, maxComplexity)
			}
		}
	}
}

// TestLinesAreShort lets text in backquotes be as it is: documents, and lines of other
// languages.
func TestLinesAreShort(t *testing.T) {
	fset, all := sources(t)
	for _, s := range all {
		raw := map[int]bool{} // lines with text in backquotes
		ast.Inspect(s.tree, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && strings.HasPrefix(lit.Value, "`") {
				for line := fset.Position(lit.Pos()).Line; line <= fset.Position(lit.End()).Line; line++ {
					raw[line] = true
				}
			}
			return true
		})
		n := 0
		for line := range strings.Lines(s.text) {
			n++
			if c := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); c > maxColumns && !raw[n] {
				t.Errorf("%s:%d has %d columns, more than %d", s.name, n, c, maxColumns)
			}
		}
	}
}

// TestDocumentsAreFolded lets tables and examples be as they are.
func TestDocumentsAreFolded(t *testing.T) {
	for name, text := range documents(t) {
		if name == "docs/benchmarks.md" { // which a program writes
			continue
		}
		n, example := 0, false
		for line := range strings.Lines(text) {
			n++
			if strings.HasPrefix(line, "```") {
				example = !example
			}
			if example || strings.HasPrefix(line, "|") || strings.HasPrefix(line, "    ") {
				continue
			}
			if c := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); c > maxColumns {
				t.Errorf("%s:%d has %d columns, more than %d", name, n, c, maxColumns)
			}
		}
	}
}
