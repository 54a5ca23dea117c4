package preflight

import (
	"fmt"
	"testing"

	"mbk/internal/datadir"
)

// The same advice followed each of many tables, and tables that are sound were to be
// repaired or dropped because of their letters.
func TestAdviceOnProblems(t *testing.T) {
	r := &Report{}
	named := func(name, text string, nameOnly bool) datadir.TableProblem {
		problem := datadir.Problem{Text: text, NameOnly: nameOnly}
		return datadir.TableProblem{Table: datadir.TableName{Database: "d", Name: name}, Problem: problem}
	}
	r.noteProblems([]datadir.TableProblem{
		named("a", "its file is missing", false), named("B", "upper case", true),
		named("c", "crashed", false), named("D", "upper case", true),
	})
	var got []string
	for _, f := range r.Findings {
		got = append(got, fmt.Sprint(f.Hints))
	}
	if want := fmt.Sprint([]string{"[]", "[" + upperCaseHint + "]", "[" + problemHint + "]"}); fmt.Sprint(got) != want {
		t.Errorf("advice %v, want %v", got, want)
	}
}
