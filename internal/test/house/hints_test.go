package house

import (
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"mbk/internal/cli"
)

// optionNames are the long names of all options.
func optionNames() []string {
	var names []string
	for _, f := range cli.Flags() {
		for _, name := range f.Names {
			if long, ok := strings.CutPrefix(name, "--"); ok {
				names = append(names, long)
			}
		}
	}
	return names
}

// runsPrograms are the packages with arguments of programs, such as those of mariadbd.
var runsPrograms = []string{"mbk/internal/mariadbd", "mbk/internal/restore", "mbk/internal/verify"}

// Below the command line nobody knows how an option is written: another front end may
// write it differently. Advice names settings with hint.Option.
func TestOptionsAreSpelledByTheFrontEnd(t *testing.T) {
	names, dashed := optionNames(), regexp.MustCompile(`--([a-z][a-z-]*)`)
	ofCommand := regexp.MustCompile(`(mbk [a-z]+|mariadbd) [^;,]*$`) // "mbk verify latest --depth boot"
	_, all := sources(t)
	for _, s := range all {
		if s.test || s.program() || s.pkg == "mbk" || strings.HasPrefix(s.pkg, "mbk/internal/cli") ||
			strings.HasPrefix(s.pkg, "mbk/internal/test/") {
			continue
		}
		literals(s.tree, func(text string) {
			for _, at := range dashed.FindAllStringSubmatchIndex(text, -1) {
				name, before := text[at[2]:at[3]], text[:at[0]]
				argument := before == "" && slices.Contains(runsPrograms, s.pkg)
				if slices.Contains(names, name) && !argument && !ofCommand.MatchString(before) {
					t.Errorf("%s: %q spells an option: write hint.Option(%q)", s.name, text, name)
				}
			}
		})
	}
}

// A hint that names an option which there is not helps nobody.
func TestHintsNameOptionsThatExist(t *testing.T) {
	names := optionNames()
	_, all := sources(t)
	total := 0
	for _, s := range all {
		if s.test {
			continue
		}
		ast.Inspect(s.tree, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 1 {
				return true
			}
			f, ok := call.Fun.(*ast.SelectorExpr)
			if pkg, isName := ident(f); !ok || !isName || pkg != "hint" || f.Sel.Name != "Option" {
				return true
			}
			lit, ok := call.Args[0].(*ast.BasicLit)
			if !ok {
				return true
			}
			name, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			total++
			bare := strings.TrimPrefix(strings.TrimPrefix(name, "skip-"), "enable-")
			if !slices.Contains(names, name) && !slices.Contains(names, bare) {
				t.Errorf("%s: there is no option %q", s.name, name)
			}
			return true
		})
	}
	if total < 50 {
		t.Errorf("hints name %d options: is the search still right?", total)
	}
}

// ident returns the name before the dot.
func ident(f *ast.SelectorExpr) (string, bool) {
	if f == nil {
		return "", false
	}
	x, ok := f.X.(*ast.Ident)
	if !ok {
		return "", false
	}
	return x.Name, true
}

// literals visits the texts in a file.
func literals(tree *ast.File, visit func(text string)) {
	ast.Inspect(tree, func(n ast.Node) bool {
		lit, ok := n.(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return true
		}
		if text, err := strconv.Unquote(lit.Value); err == nil {
			visit(text)
		}
		return true
	})
}
