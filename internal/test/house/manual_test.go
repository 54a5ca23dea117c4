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
	"mbk/internal/verify"
)

// The manual has a page for each command, named for it, and these for what
// several commands have in common.
const (
	manual         = "docs/manual/"
	manualIndex    = manual + "README.md"
	pageConnection = manual + "connection.md"
	pageOutput     = manual + "output.md"
	pageRecord     = manual + "record.md"
	pageExit       = manual + "exit-codes.md"
	pageHooks      = manual + "hooks.md"
	pageNotice     = manual + "notification.md"
	pageS3         = manual + "s3.md"
	pageSFTP       = manual + "sftp.md"
	format         = "docs/format.md"
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

// pageOf is the page on which a flag stands.
func pageOf(f cli.Flag) string {
	switch {
	case strings.HasPrefix(f.Category, "Connection"), strings.HasPrefix(f.Category, "Option files"):
		return pageConnection
	case f.Category == "Output":
		return pageOutput
	case f.Category == "Hooks":
		return pageHooks
	case f.Category == "Notification":
		return pageNotice
	case f.Category == "S3 repositories":
		return pageS3
	case f.Category == "SFTP repositories":
		return pageSFTP
	}
	return pageOfCommand(f.Command)
}

// pageOfCommand is the page of a command.
func pageOfCommand(name string) string { return manual + name + ".md" }

// flagRow finds the first cell of a row in a table of flags.
var flagRow = regexp.MustCompile("(?m)^\\| `(--?[a-z].*?)` \\|")

func TestManualHasEveryFlag(t *testing.T) {
	have := map[string]bool{} // "page --flag"
	pages := map[string]string{}
	for _, f := range cli.Flags() {
		page := pageOf(f)
		if pages[page] == "" {
			pages[page] = document(t, page)
		}
		for _, name := range f.Names {
			have[page+" "+name] = true
			if !regexp.MustCompile("`" + name + "[`= \\[]").MatchString(pages[page]) {
				t.Errorf("%s: no %s of mbk %s", page, name, f.Command)
			}
		}
	}
	if len(have) < 60 {
		t.Fatalf("%d flags: is the list of them still right?", len(have))
	}
	// And none that is gone.
	for page, text := range documents(t) {
		if !strings.HasPrefix(page, manual) {
			continue
		}
		for _, m := range flagRow.FindAllStringSubmatch(text, -1) {
			for _, part := range strings.Split(m[1], "`, `") {
				name, _, _ := strings.Cut(part, " ")
				name, _, _ = strings.Cut(name, "[")
				if !have[page+" "+name] {
					t.Errorf("%s: mbk has no %s there", page, name)
				}
			}
		}
	}
}

// TestManualHasAPageForEachCommand also makes sure that the first page leads to
// all others.
func TestManualHasAPageForEachCommand(t *testing.T) {
	index := document(t, manualIndex)
	for _, f := range cli.Flags() {
		page := pageOfCommand(f.Command)
		if want := "# mbk " + f.Command + "\n"; !strings.HasPrefix(document(t, page), want) {
			t.Errorf("%s does not begin with %q", page, want)
		}
	}
	for page := range documents(t) {
		if name, ours := strings.CutPrefix(page, manual); ours && page != manualIndex &&
			!strings.Contains(index, "]("+name+")") {
			t.Errorf("%s has no link to %s", manualIndex, name)
		}
	}
}

func TestManualHasEveryFieldOfJSON(t *testing.T) {
	for _, d := range cli.Documents() {
		pages := pagesOf(d)
		s := textOn(t, pages)
		shared := []any{repo.Summary{}, repo.Attempt{}, repo.Verification{}}
		if _, itself := d.Zero.(verify.Report); !itself {
			shared = append(shared, verify.Report{}) // verify.md has its fields
		}
		for _, field := range fields(reflect.TypeOf(d.Zero), "", shared...) {
			if !strings.Contains(s, "`"+field+"`") {
				t.Errorf("%s: no field `%s`", strings.Join(pages, ", "), field)
			}
		}
	}
	s := document(t, pageRecord)
	for _, field := range fields(reflect.TypeFor[repo.Summary](), "") {
		if !strings.Contains(s, "`"+field+"`") {
			t.Errorf("%s: no field `%s`", pageRecord, field)
		}
	}
}

func TestFormatHasEveryFieldOfTheRepository(t *testing.T) {
	text := document(t, format)
	for title, zero := range map[string]any{
		"mbk-repository.json":          repo.Config{},
		"The label":                    repo.Label{},
		"Pins":                         repo.Pin{},
		"The manifest":                 repo.Manifest{},
		"The record of an attempt":     repo.Attempt{},
		"What ran around an attempt":   repo.Around{},
		"The record of a verification": repo.Verification{},
		"Timelines of the archive":     repo.Timeline{},
		"Segments of the archive":      repo.Segment{},
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
	if typ == reflect.TypeFor[time.Time]() ||
		slices.ContainsFunc(shared, func(v any) bool { return reflect.TypeOf(v) == typ }) {
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
// a command that prints JSON has an entry, and every tag in it, or in the packages
// that print and tell for the commands, is one of a type that an entry leads to.
func TestDocumentsAreListed(t *testing.T) {
	known, of := map[string]bool{}, map[string]bool{}
	for _, d := range cli.Documents() {
		of[d.Command] = true
		for _, field := range fields(reflect.TypeOf(d.Zero), "") {
			known[field[strings.LastIndex(field, ".")+1:]] = true
		}
	}
	_, all := sources(t)
	for _, s := range all {
		if !slices.Contains([]string{"mbk/internal/cli", "mbk/internal/job", "mbk/internal/ui"}, s.pkg) || s.test {
			continue
		}
		command := strings.TrimSuffix(strings.TrimPrefix(s.name, "internal/cli/"), ".go")
		ast.Inspect(s.tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				prints := slices.Contains([]string{"Document", "Result"}, calledName(n)) && s.pkg == "mbk/internal/cli"
				if prints && !of[command] {
					t.Errorf("%s prints JSON, and cli.Documents has no %q", s.name, command)
				}
			case *ast.Field:
				if n.Tag == nil || n.Tag.Kind != token.STRING {
					break
				}
				tag := reflect.StructTag(strings.Trim(n.Tag.Value, "`"))
				name, _, _ := strings.Cut(tag.Get("json"), ",")
				if name != "" && !known[name] {
					t.Errorf("%s has a field %q, and no type of cli.Documents has", s.name, name)
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
	for name, text := range map[string]string{
		pageExit:    document(t, pageExit),
		"README.md": section(t, document(t, "README.md"), "Exit codes"),
	} {
		var got []string
		for _, m := range codeRow.FindAllStringSubmatch(text, -1) {
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

// headerRow finds a row of a header's layout in the comment of package pack,
// and layoutRow one in the document.
var (
	headerRow = regexp.MustCompile(`(?m)^//\t +(\d+) +(\d+)  (\S.*)$`)
	layoutRow = regexp.MustCompile(`(?m)^\| (\d+) \| (\d+) \|`)
)

// TestFormatHasTheLayoutOfChunks compares offsets and lengths of the headers with
// the comment of package pack.
func TestFormatHasTheLayoutOfChunks(t *testing.T) {
	var want, got []string
	for _, m := range headerRow.FindAllStringSubmatch(document(t, "copier/pack/doc.go"), -1) {
		want = append(want, fmt.Sprint(m[1], "+", m[2]))
	}
	for _, m := range layoutRow.FindAllStringSubmatch(document(t, format), -1) {
		got = append(got, fmt.Sprint(m[1], "+", m[2]))
	}
	if len(want) < 15 || !slices.Equal(got, want) {
		t.Errorf("%s has the header fields (offset+length) %v, package pack %v", format, got, want)
	}
}
