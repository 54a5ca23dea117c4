package preflight

import (
	"fmt"
	"testing"

	"mbk/internal/datadir"
)

// The same advice followed each of many tables, and tables that are sound were to be
// repaired or dropped because of their letters.
func TestAdviceOnProblems(t *testing.T) {
	p := &Report{}
	p.noteProblemTexts([]string{"a: its file is missing", "B: " + datadir.UpperCase, "c: crashed", "D: " + datadir.UpperCase})
	var got []string
	for _, f := range p.Findings {
		got = append(got, fmt.Sprint(f.Hints))
	}
	if want := fmt.Sprint([]string{"[]", "[]", "[" + problemHint + "]", "[" + upperCaseHint + "]"}); fmt.Sprint(got) != want {
		t.Errorf("advice %v, want %v", got, want)
	}
}
