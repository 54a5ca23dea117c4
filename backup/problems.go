package backup

import (
	"mbk/internal/datadir"
	"mbk/internal/repo"
)

// facts are those of a file that was copied.
func (p *finalFile) facts() datadir.FileFacts {
	f := datadir.FileFacts{Facts: p.copy.facts, Entry: p.entry, Size: p.copy.size, Modified: p.copy.stat.Modified, Blank: p.entry.IsInnoDB() && p.copy.id == nil}
	if p.copy.id != nil {
		f.Space = *p.copy.id
	}
	return f
}

// warnProblems are the warnings of tables with a problem.
func warnProblems(m *repo.Manifest) []string {
	var tables []datadir.TableName
	var problems []string
	for _, t := range m.Tables {
		if t.Problem != "" {
			tables, problems = append(tables, datadir.TableName{Database: t.Database, Name: t.Name}), append(problems, t.Problem)
		}
	}
	return problemTexts(tables, problems)
}
