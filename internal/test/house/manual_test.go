package house

import (
	"fmt"
	"go/ast"
	"go/token"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"mbk/internal/cli"
	"mbk/internal/repo"
)

// Sections of docs/manual.md that belong to no single command.
const (
	manual            = "docs/manual.md"
	format            = "docs/format.md"
	sectionConnection = "Connecting to the server"
	sectionOutput     = "Output, progress and logs"
	sectionSummary    = "The record of a backup"
	sectionExit       = "Exit codes"
	sectionHooks      = "Hooks"
	sectionNotice     = "Notification"
)

// section is the text below a heading of the second level.
func section(t *testing.T, text, title string) string {
	t.Helper()
	_, rest, found := strings.Cut("\n"+text, "\n## "+title+"\n")
	if !found {
		t.Fatalf("no section %q", title)
	}
	rest, _, _ = strings.Cut(rest, "\n## ")
	return rest
}

// sectionOf is the title of the section in which a flag stands.
func sectionOf(f cli.Flag) string {
	switch {
	case strings.HasPrefix(f.Category, "Connection"):
		return sectionConnection
	case f.Category == "Output":
		return sectionOutput
	case f.Category == sectionHooks, f.Category == sectionNotice:
		return f.Category
	}
	return "mbk " + f.Command
}

// flagRow finds the first cell of a row in a table of flags.
var flagRow = regexp.MustCompile("(?m)^\\| `(--?[a-z].*?)` \\|")

func TestManualHasEveryFlag(t *testing.T) {
	text := document(t, manual)
	have := map[string]bool{} // "section --flag"
	for _, f := range cli.Flags() {
		title := sectionOf(f)
		s := section(t, text, title)
		for _, name := range f.Names {
			have[title+" "+name] = true
			if !regexp.MustCompile("`" + name + "[`= \\[]").MatchString(s) {
				t.Errorf("%s, section %q: no %s of mbk %s", manual, title, name, f.Command)
			}
		}
	}
	if len(have) < 60 {
		t.Fatalf("%d flags: is the list of them still right?", len(have))
	}
	// And none that is gone.
	for _, title := range append(commandTitles(), sectionConnection, sectionOutput, sectionHooks, sectionNotice) {
		for _, m := range flagRow.FindAllStringSubmatch(section(t, text, title), -1) {
			for _, part := range strings.Split(m[1], "`, `") {
				name, _, _ := strings.Cut(part, " ")
				name, _, _ = strings.Cut(name, "[")
				if !have[title+" "+name] {
					t.Errorf("%s, section %q: mbk has no %s there", manual, title, name)
				}
			}
		}
	}
}

// commandTitles are the titles of the commands' sections.
func commandTitles() []string {
	var titles []string
	for _, f := range cli.Flags() {
		if title := "mbk " + f.Command; !slices.Contains(titles, title) {
			titles = append(titles, title)
		}
	}
	return titles
}

func TestManualHasEveryFieldOfJSON(t *testing.T) {
	text := document(t, manual)
	for _, d := range cli.Documents() {
		title := sectionOfDocument(d)
		s := section(t, text, title)
		for _, field := range fields(reflect.TypeOf(d.Zero), "", repo.Summary{}, repo.Attempt{}, repo.Verification{}) {
			if !strings.Contains(s, "`"+field+"`") {
				t.Errorf("%s, section %q: no field `%s`", manual, title, field)
			}
		}
	}
	s := section(t, text, sectionSummary)
	for _, field := range fields(reflect.TypeFor[repo.Summary](), "") {
		if !strings.Contains(s, "`"+field+"`") {
			t.Errorf("%s, section %q: no field `%s`", manual, sectionSummary, field)
		}
	}
}

func TestFormatHasEveryFieldOfTheRepository(t *testing.T) {
	text := document(t, format)
	for title, zero := range map[string]any{
		"mbk-repository.json":          repo.Config{},
		"The manifest":                 repo.Manifest{},
		"The record of an attempt":     repo.Attempt{},
		"What ran around an attempt":   repo.Around{},
		"The record of a verification": repo.Verification{},
	} {
		s := section(t, text, title)
		for _, field := range fields(reflect.TypeOf(zero), "") {
			if !strings.Contains(s, "`"+field+"`") {
				t.Errorf("%s, section %q: no field `%s`", format, title, field)
			}
		}
	}
}

// fields lists the paths of all fields that a type has as JSON: "lsn.end",
// "stages[].name". It does not go into the types of the values shared.
func fields(typ reflect.Type, prefix string, shared ...any) []string {
	switch typ.Kind() {
	case reflect.Pointer:
		return fields(typ.Elem(), prefix, shared...)
	case reflect.Slice:
		if typ.Elem().Kind() == reflect.Uint8 {
			return nil
		}
		return fields(typ.Elem(), prefix+"[]", shared...)
	case reflect.Struct:
	default:
		return nil
	}
	if typ == reflect.TypeFor[time.Time]() || slices.ContainsFunc(shared, func(v any) bool { return reflect.TypeOf(v) == typ }) {
		return nil
	}
	var all []string
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			all = append(all, fields(f.Type, prefix, shared...)...)
			continue
		case !f.IsExported() || name == "-":
			continue
		case name == "":
			name = f.Name
		}
		path := strings.TrimPrefix(prefix+"."+name, ".")
		all = append(all, path)
		all = append(all, fields(f.Type, path, shared...)...)
	}
	return all
}

// TestDocumentsAreListed makes sure that cli.Documents is complete: every file of
// a command that prints JSON has an entry, and every tag in it is one of a type
// that the entry leads to.
func TestDocumentsAreListed(t *testing.T) {
	known := map[string]string{}
	for _, d := range cli.Documents() {
		for _, field := range fields(reflect.TypeOf(d.Zero), "") {
			known[d.Command] += " " + field[strings.LastIndex(field, ".")+1:]
		}
	}
	_, all := sources(t)
	for _, s := range all {
		if s.pkg != "mbk/internal/cli" || s.test || s.name == "internal/cli/flags.go" {
			continue
		}
		command := strings.TrimSuffix(strings.TrimPrefix(s.name, "internal/cli/"), ".go")
		ast.Inspect(s.tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if calledName(n) == "document" && known[command] == "" {
					t.Errorf("%s prints JSON, and cli.Documents has no %q", s.name, command)
				}
			case *ast.Field:
				if n.Tag == nil || n.Tag.Kind != token.STRING {
					break
				}
				tag := reflect.StructTag(strings.Trim(n.Tag.Value, "`"))
				name, _, _ := strings.Cut(tag.Get("json"), ",")
				if name != "" && !slices.Contains(strings.Fields(known[command]), name) {
					t.Errorf("%s has a field %q, and cli.Documents of %q has not", s.name, name, command)
				}
			}
			return true
		})
	}
}

// codeRow finds a row in a table of exit codes.
var codeRow = regexp.MustCompile(`(?m)^\| (\d+) \|`)

func TestExitCodesAreDocumented(t *testing.T) {
	var want []string
	_, all := sources(t)
	for _, s := range all {
		if s.name != "internal/cli/exit.go" {
			continue
		}
		ast.Inspect(s.tree, func(n ast.Node) bool {
			v, ok := n.(*ast.ValueSpec)
			if ok && len(v.Values) == 1 && strings.HasPrefix(v.Names[0].Name, "exit") {
				want = append(want, v.Values[0].(*ast.BasicLit).Value)
			}
			return true
		})
	}
	if len(want) < 6 {
		t.Fatalf("internal/cli/exit.go has the exit codes %v", want)
	}
	for _, name := range []string{manual, "README.md"} {
		var got []string
		for _, m := range codeRow.FindAllStringSubmatch(section(t, document(t, name), sectionExit), -1) {
			got = append(got, m[1])
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s lists the exit codes %v, the program has %v", name, got, want)
		}
	}
	for _, s := range all {
		if s.name != "internal/cli/help.go" {
			continue
		}
		for _, code := range want {
			if !strings.Contains(s.text, " "+code+" ") {
				t.Errorf("the help says nothing of exit code %s", code)
			}
		}
	}
}

// headerRow finds a row of a header's layout in the comment of package copier,
// and layoutRow one in the document.
var (
	headerRow = regexp.MustCompile(`(?m)^//\t +(\d+) +(\d+)  (\S.*)$`)
	layoutRow = regexp.MustCompile(`(?m)^\| (\d+) \| (\d+) \|`)
)

// TestFormatHasTheLayoutOfChunks compares offsets and lengths of the headers with
// the comment of package copier.
func TestFormatHasTheLayoutOfChunks(t *testing.T) {
	var want, got []string
	for _, m := range headerRow.FindAllStringSubmatch(document(t, "copier/doc.go"), -1) {
		want = append(want, fmt.Sprint(m[1], "+", m[2]))
	}
	for _, m := range layoutRow.FindAllStringSubmatch(document(t, format), -1) {
		got = append(got, fmt.Sprint(m[1], "+", m[2]))
	}
	if len(want) < 15 || !slices.Equal(got, want) {
		t.Errorf("%s has the header fields (offset+length) %v, package copier %v", format, got, want)
	}
}
