package house

import (
	"go/ast"
	"regexp"
	"strings"
	"testing"
)

// mentioned finds what a document calls by a package's name, in backquotes:
// `backup.Run`, `copier.Copier.MakeUrgent`, `backup.copies.holds()`.
var mentioned = regexp.MustCompile("`([a-z]+)\\.([A-Za-z_]\\w*)(?:\\.([A-Za-z_]\\w*))?(?:\\(\\))?`")

// fieldRow finds a row in a table of JSON fields, whose paths look alike.
var fieldRow = regexp.MustCompile("(?m)^\\| `.*$")

// TestDocumentsNameWhatExists makes sure that the documents keep up with the
// source.
func TestDocumentsNameWhatExists(t *testing.T) {
	known := declared(t)
	total := 0
	for name, text := range documents(t) {
		if name == format || strings.HasPrefix(name, manual) {
			text = fieldRow.ReplaceAllString(text, "")
		}
		for _, m := range mentioned.FindAllStringSubmatch(text, -1) {
			pkg, ok := known[m[1]]
			if !ok {
				continue // a file name, or a column of the server's
			}
			total++
			members, ok := pkg[m[2]]
			switch {
			case !ok:
				t.Errorf("%s mentions %s: package %s has no %s", name, m[0], m[1], m[2])
			case m[3] != "" && !members[m[3]]:
				t.Errorf("%s mentions %s: %s has no %s", name, m[0], m[2], m[3])
			}
		}
	}
	if total < 50 {
		t.Errorf("the documents name %d functions and types: is the search still right?", total)
	}
}

// declared lists what the packages declare, by the package's name: functions,
// constants and variables, and types with their methods and fields.
func declared(t *testing.T) map[string]map[string]map[string]bool {
	_, all := sources(t)
	known := map[string]map[string]map[string]bool{}
	for _, s := range all {
		if s.test || s.tree.Name.Name == "main" {
			continue
		}
		pkg := known[s.tree.Name.Name]
		if pkg == nil {
			pkg = map[string]map[string]bool{}
			known[s.tree.Name.Name] = pkg
		}
		member := func(of, name string) {
			if pkg[of] == nil {
				pkg[of] = map[string]bool{}
			}
			pkg[of][name] = true
		}
		for _, d := range s.tree.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil {
					member(d.Name.Name, "")
				} else {
					member(receiver(d), d.Name.Name)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					declare(spec, member)
				}
			}
		}
	}
	return known
}

// receiver is the name of the type that a method belongs to.
func receiver(d *ast.FuncDecl) string {
	switch x := d.Recv.List[0].Type.(type) {
	case *ast.StarExpr:
		if id, ok := x.X.(*ast.Ident); ok {
			return id.Name
		}
	case *ast.Ident:
		return x.Name
	}
	return ""
}

// declare takes in a declaration of types, constants or variables.
func declare(spec ast.Spec, member func(of, name string)) {
	switch spec := spec.(type) {
	case *ast.ValueSpec:
		for _, n := range spec.Names {
			member(n.Name, "")
		}
	case *ast.TypeSpec:
		member(spec.Name.Name, "")
		var fields *ast.FieldList
		switch x := spec.Type.(type) {
		case *ast.StructType:
			fields = x.Fields
		case *ast.InterfaceType:
			fields = x.Methods
		default:
			return
		}
		for _, f := range fields.List {
			for _, n := range f.Names {
				member(spec.Name.Name, n.Name)
			}
		}
	}
}

var (
	// linked finds the target of a link.
	linked = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	// heading finds a heading.
	heading = regexp.MustCompile(`(?m)^#{1,6} (.+)$`)
	// fence finds code, which has neither.
	fence = regexp.MustCompile("(?ms)^```.*?^```$")
	// dropped is what an anchor keeps nothing of.
	dropped = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

func TestLinksLeadSomewhere(t *testing.T) {
	all := documents(t)
	anchors := map[string]map[string]bool{}
	for name, text := range all {
		all[name] = fence.ReplaceAllString(text, "")
		anchors[name] = map[string]bool{}
		for _, m := range heading.FindAllStringSubmatch(all[name], -1) {
			anchors[name][anchor(m[1])] = true
		}
	}
	for name, text := range all {
		for _, m := range linked.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			file, fragment, _ := strings.Cut(m[1], "#")
			target := resolve(name, file)
			if file == "" {
				target = name
			}
			if !exists(target) {
				t.Errorf("%s links to %s, which is not there", name, m[1])
			} else if fragment != "" && !anchors[target][fragment] {
				t.Errorf("%s links to %s, but %s has no such heading", name, m[1], target)
			}
		}
	}
}

// anchor is the fragment that leads to a heading.
func anchor(text string) string {
	text = dropped.ReplaceAllString(strings.ToLower(strings.TrimSpace(text)), "")
	return strings.ReplaceAll(text, " ", "-")
}
