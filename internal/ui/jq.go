package ui

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/itchyny/gojq"

	"mbk/internal/hint"
)

// jq is a filter in the language of jq for documents. It sees no environment and no files.
type jq struct{ code *gojq.Code }

// newJQ compiles a filter.
func newJQ(text string) (*jq, error) {
	query, err := gojq.Parse(text)
	if err != nil {
		return nil, hint.Errorf("%s %q: %w", hint.Option("jq"), text, err)
	}
	code, err := gojq.Compile(query)
	if err != nil {
		return nil, hint.Errorf("%s %q: %w", hint.Option("jq"), text, err)
	}
	return &jq{code}, nil
}

// print prints what the filter makes of a document, a line or an indented value each. Text is printed
// without quotes, so that a script can use it. Errors tell that the filter does not fit the document.
func (f *jq) print(out io.Writer, document any) error {
	b, err := json.Marshal(document)
	if err != nil {
		return err
	}
	in := json.NewDecoder(bytes.NewReader(b))
	in.UseNumber() // an LSN has more digits than a float64
	var value any
	if err := in.Decode(&value); err != nil {
		return err
	}
	for results := f.code.Run(value); ; {
		result, more := results.Next()
		if !more {
			return nil
		}
		if err, failed := result.(error); failed {
			return hint.Errorf("%s: %w", hint.Option("jq"), err)
		}
		text, err := asText(result)
		if err == nil {
			_, err = fmt.Fprintln(out, text)
		}
		if err != nil {
			return err
		}
	}
}

// asText is a value as text.
func asText(value any) (string, error) {
	if text, is := value.(string); is {
		return text, nil
	}
	b, err := gojq.Marshal(value)
	if err != nil {
		return "", err
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, b, "", "  "); err != nil {
		return "", err
	}
	return indented.String(), nil
}
