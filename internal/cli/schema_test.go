package cli_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// schemaOf is the name of the schema for what a call prints with --json.
func schemaOf(args []string) string {
	switch {
	case args[0] == "restore" && (slices.Contains(args, "--into-server") || slices.Contains(args, "--export")):
		return "restore-report"
	case args[0] == "restore" && slices.Contains(args, "--dry-run"):
		return "restore-plan"
	case args[0] == "verify" && (slices.Contains(args, "--all") || slices.Contains(args, "--sample")):
		return "verify-verified"
	case args[0] == "history" && !strings.HasPrefix(args[1], "-"): // of one attempt
		return "report"
	}
	return args[0]
}

// wantValid checks a document against its schema in docs/schema. There, unknown
// fields are allowed, because fields may be added; here they would be missing in
// the schema.
func wantValid(t testing.TB, name, text string) {
	t.Helper()
	if err := schemaError(name, text); err != nil {
		t.Error(err)
	}
}

// schemaError is what wantValid objects to.
func schemaError(name, text string) error {
	path := filepath.Join("..", "..", "docs", "schema", name+".json")
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // it was only read
	schema, err := jsonschema.UnmarshalJSON(f)
	if err != nil {
		return err
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	if err := compiler.AddResource(path, closed(schema)); err != nil {
		return err
	}
	compiled, err := compiler.Compile(path)
	if err != nil {
		return err
	}
	v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err == nil {
		err = compiled.Validate(v)
	}
	if err != nil {
		return fmt.Errorf("%s is not what %s says: %w", text, path, err)
	}
	return nil
}

// closed forbids fields that a schema does not name.
func closed(schema any) any {
	switch s := schema.(type) {
	case map[string]any:
		if s["properties"] != nil {
			s["additionalProperties"] = false
		}
		for name := range s {
			s[name] = closed(s[name])
		}
	case []any:
		for i := range s {
			s[i] = closed(s[i])
		}
	}
	return schema
}

// wantLines checks the lines of JSON on stderr and returns their kinds.
func wantLines(t *testing.T, stderr string) (kinds []string) {
	t.Helper()
	for line := range strings.Lines(stderr) {
		var kind struct{ Event string }
		if err := json.Unmarshal([]byte(line), &kind); err != nil {
			t.Errorf("stderr has the line %q: %v", line, err)
		}
		kinds = append(kinds, kind.Event)
		if kind.Event == "step" || kind.Event == "progress" {
			wantValid(t, "progress", line)
		} else {
			wantValid(t, "progress-message", line)
		}
	}
	return kinds
}
