package datadir

import (
	"fmt"
	"slices"
)

// Problem is what is wrong with a table on the source already. The zero value is none.
type Problem struct {
	Text     string
	NameOnly bool // the server cannot open the table because of its name, and the files are sound
}

// upperCase is the problem of a table that the server would look up in lower case.
var upperCase = Problem{
	Text:     "upper-case letters in the name, which the server cannot open with lower_case_table_names=1",
	NameOnly: true,
}

// BadDefinition is the problem of a table whose definition cannot be read.
func BadDefinition(frm, why string) Problem { return Problem{Text: badDefinition(frm, why)} }

func badDefinition(frm, why string) string {
	return fmt.Sprintf("its definition %s cannot be read (%s)", frm, why)
}

// TableProblem is the problem of one table.
type TableProblem struct {
	Table   TableName
	Problem Problem
}

// ProblemGroup is the tables that have the same problem.
type ProblemGroup struct {
	Problem Problem
	Tables  []TableName
}

// String is a warning of the group.
func (g ProblemGroup) String() string { return ListNames(g.Tables) + ": " + g.Problem.Text }

// GroupProblems puts tables with the same problem together, in the order of the first
// table of each group.
func GroupProblems(all []TableProblem) []ProblemGroup {
	var groups []ProblemGroup
	for _, t := range all {
		i := slices.IndexFunc(groups, func(g ProblemGroup) bool { return g.Problem == t.Problem })
		if i < 0 {
			i = len(groups)
			groups = append(groups, ProblemGroup{Problem: t.Problem})
		}
		groups[i].Tables = append(groups[i].Tables, t.Table)
	}
	return groups
}
