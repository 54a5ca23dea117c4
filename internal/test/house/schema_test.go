package house

import (
	"bytes"
	"encoding"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"mbk/internal/cli"
	"mbk/internal/repo"
)

// update rewrites docs/schema.
var update = flag.Bool("update", false, "rewrite what is made out of the code")

const schemas = "docs/schema"

// TestSchemas compares the JSON Schemas in docs/schema with the types of the
// documents, and their descriptions with the manual, out of which they are made.
func TestSchemas(t *testing.T) {
	var names []string
	for _, d := range cli.Documents() {
		names = append(names, d.Schema+".json")
		m := schemaMaker{described: descriptions(document(t, pageRecord), textOn(t, pagesOf(d)))}
		s := m.schema(reflect.TypeOf(d.Zero), "", false)
		s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
		s["title"] = "mbk " + d.Command + " --json"
		if d.Command == "progress" {
			s["title"] = "a line of mbk --log-format=json"
		}
		if d.Command == "notice" {
			s["title"] = "what a webhook and a hook of mbk are told"
		}
		if d.Schema != d.Command && d.Command != "progress" {
			s["title"] = "mbk " + d.Command + " --json, " + reflect.TypeOf(d.Zero).Name()
		}
		var want bytes.Buffer
		enc := json.NewEncoder(&want)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(s); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(root, schemas, d.Schema+".json")
		if *update {
			if err := os.WriteFile(path, want.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, want.Bytes()) {
			t.Errorf("%s/%s.json is not what the code says (%v): go test ./internal/test/house -run TestSchemas -update",
				schemas, d.Schema, err)
		}
	}
	entries, err := os.ReadDir(filepath.Join(root, schemas))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !slices.Contains(names, e.Name()) {
			t.Errorf("%s/%s describes nothing", schemas, e.Name())
		}
	}
}

// pagesOf are the pages of the manual that have the fields of a document.
func pagesOf(d cli.Document) []string {
	switch d.Command {
	case "progress":
		return []string{pageOutput}
	case "notice":
		return []string{pageNotice}
	case "verify", "drill": // print the same
		return []string{pageOfCommand("drill"), pageOfCommand("verify")}
	case "show": // prints what backup prints, and more
		return []string{pageOfCommand("backup"), pageOfCommand("show")}
	}
	return []string{pageOfCommand(d.Command)}
}

// textOn is the text of several pages.
func textOn(t *testing.T, pages []string) string {
	t.Helper()
	all := ""
	for _, page := range pages {
		all += document(t, page)
	}
	return all
}

// fieldCells finds the first two cells of the row of a field.
var fieldCells = regexp.MustCompile("(?m)^\\| (`[^|]*`) \\| (.*) \\|$")

// descriptions reads what tables say of fields. The later text counts.
func descriptions(texts ...string) map[string]string {
	all := map[string]string{}
	for _, text := range texts {
		for _, row := range fieldCells.FindAllStringSubmatch(text, -1) {
			for _, field := range strings.Split(row[1], ", ") {
				meaning := regexp.MustCompile(`\[([^]]+)\]\([^)]*\)`).ReplaceAllString(row[2], "$1")
				if !strings.HasPrefix(meaning, "likewise") && !strings.HasPrefix(meaning, "as there") &&
					!strings.HasPrefix(meaning, "as above") {
					all[strings.Trim(field, "`")] = strings.ReplaceAll(meaning, "`", "")
				}
			}
		}
	}
	return all
}

// schemaMaker makes schemas out of types.
type schemaMaker struct{ described map[string]string }

// schema describes a type as encoding/json writes it. A value that is left out
// when it is empty is never null.
func (m schemaMaker) schema(typ reflect.Type, path string, omitted bool) map[string]any {
	null := func(s map[string]any) map[string]any {
		if omitted {
			return s
		}
		return map[string]any{"anyOf": []any{s, map[string]any{"type": "null"}}}
	}
	switch {
	case typ == reflect.TypeFor[time.Time]():
		return map[string]any{"type": "string", "format": "date-time"}
	case typ.Kind() != reflect.Pointer && typ.Implements(reflect.TypeFor[encoding.TextMarshaler]()):
		return map[string]any{"type": "string"}
	}
	switch typ.Kind() {
	case reflect.Pointer:
		return null(m.schema(typ.Elem(), path, false))
	case reflect.Slice:
		return null(map[string]any{"type": "array", "items": m.schema(typ.Elem(), path+"[]", false)})
	case reflect.Map:
		return null(map[string]any{"type": "object", "additionalProperties": m.schema(typ.Elem(), path+".*", false)})
	case reflect.Struct:
		s := map[string]any{"type": "object", "properties": map[string]any{}, "required": []string{}}
		m.properties(s, typ, path)
		return s
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Float32, reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Interface:
		return map[string]any{}
	}
	s := map[string]any{"type": "integer"}
	if strings.HasPrefix(typ.Kind().String(), "uint") {
		s["minimum"] = 0
	}
	return s
}

// properties adds the fields of a struct to a schema.
func (m schemaMaker) properties(s map[string]any, typ reflect.Type, path string) {
	for i := range typ.NumField() {
		f := typ.Field(i)
		name, rest, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			m.properties(s, f.Type, path)
			continue
		case !f.IsExported() || name == "-":
			continue
		case name == "":
			name = f.Name
		}
		omitted := strings.Contains(rest, "omit")
		field := strings.TrimPrefix(path+"."+name, ".")
		of := m.schema(f.Type, field, omitted)
		meaning := m.described[field]
		if meaning == "" && typ == reflect.TypeFor[repo.Summary]() {
			meaning = m.described[name]
		}
		if meaning != "" {
			of["description"] = meaning
		}
		s["properties"].(map[string]any)[name] = of
		if !omitted {
			s["required"] = append(s["required"].([]string), name)
		}
	}
}
