package house

import (
	"go/ast"
	"go/importer"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// floors are the files of package backup from the top to the bottom: a file uses what
// the files below it declare. Those of one line stand side by side, and do not use each
// other.
const floors = `
	doc run
	attempt
	locked
	manifest
	lineage record
	held
	resume
	reconcile
	guard connect
	imports open
	startover
	resolve
	logrows innodb
	copies
	ddl foreign
	final
	aria
	redo
	feed
	filecopy pages
	progress sampler
	bases journal position session source spool
	options bound errors
`

// maxUp is the share of the arrows between files that may lead upwards, in percent.
const maxUp = 10

// TestBackupHasFloors draws an arrow from each file of package backup to each other one
// that declares a function, method, type, constant or variable that it uses.
func TestBackupHasFloors(t *testing.T) {
	arrows := fileArrows(t, "mbk/backup")
	place := map[string]int{}
	lines := strings.Split(floors, "\n")
	for i, line := range lines {
		for _, name := range strings.Fields(line) {
			place[name] = i
			if !exists("backup/" + name + ".go") {
				t.Errorf("backup has no file %s.go", name)
			}
		}
	}
	var up []string
	for _, a := range slices.Sorted(maps.Keys(arrows)) {
		from, to, _ := strings.Cut(a, " > ")
		for _, name := range []string{from, to} {
			if _, ok := place[name]; !ok {
				t.Errorf("%s.go has no floor: give it one in this test", name)
				place[name] = len(lines)
			}
		}
		if place[from] >= place[to] {
			up = append(up, a+" ("+arrows[a]+")")
		}
	}
	t.Logf("%d arrows, %d of them up: %s", len(arrows), len(up), strings.Join(up, ", "))
	if len(up)*100 > len(arrows)*maxUp {
		t.Errorf("%d of %d arrows between the files of backup lead upwards, more than %d %%:\n\t%s",
			len(up), len(arrows), maxUp, strings.Join(up, "\n\t"))
	}
}

// fileArrows type-checks a package, without its tests. The keys are "from > to", the
// values one name that is used.
func fileArrows(t *testing.T, pkg string) map[string]string {
	t.Helper()
	list := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}}={{.Export}}", pkg)
	list.Dir = root
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	export := map[string]string{}
	for line := range strings.Lines(string(out)) {
		name, file, _ := strings.Cut(strings.TrimSpace(line), "=")
		export[name] = file
	}
	fset, all := sources(t)
	var files []*ast.File
	for _, s := range all {
		if s.pkg == pkg && !s.test {
			files = append(files, s.tree)
		}
	}
	lookup := func(name string) (io.ReadCloser, error) { return os.Open(export[name]) }
	info := &types.Info{Uses: map[*ast.Ident]types.Object{}}
	checker := types.Config{Importer: importer.ForCompiler(fset, "gc", lookup)}
	checked, err := checker.Check(pkg, fset, files, info)
	if err != nil {
		t.Fatal(err)
	}
	file := func(at token.Pos) string { return strings.TrimSuffix(path.Base(fset.Position(at).Filename), ".go") }
	arrows := map[string]string{}
	for id, used := range info.Uses {
		v, isVar := used.(*types.Var)
		if used.Pkg() != checked || isVar && v.Parent() != checked.Scope() {
			continue // of another package, a field, or local
		}
		from, to := file(id.Pos()), file(used.Pos())
		if a := from + " > " + to; from != to && (arrows[a] == "" || id.Name < arrows[a]) {
			arrows[a] = id.Name
		}
	}
	return arrows
}
