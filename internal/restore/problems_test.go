package restore

import (
	"strings"
	"testing"

	"mbk/internal/repo"
)

// A restore did not tell of tables that will be as broken as they were on the source.
func TestNotesOfProblems(t *testing.T) {
	m := &repo.Manifest{Tables: []repo.Table{{Database: "d", Name: "whole"},
		{Database: "d", Name: "t", Problem: "its file is missing"}}}
	if got := strings.Join(problemNotes(m),
		"|"); got != "`d`.`t` is restored as it was on the source: its file is missing" {
		t.Errorf("notes: %s", got)
	}
	for n, want := range map[int]string{21: "1 more table is restored as it was on the source",
		25: "5 more tables are restored as they were on the source"} {
		m := &repo.Manifest{}
		for range n {
			m.Tables = append(m.Tables, repo.Table{Database: "d", Name: "t", Problem: "crashed"})
		}
		if got := problemNotes(m); len(got) != 21 || got[20] != want {
			t.Errorf("%d tables: %q", n, got)
		}
	}
}

// Lines of a server's log that are about a table with a problem, and about others.
func TestLinesAboutProblems(t *testing.T) {
	p := knownTables(&repo.Manifest{
		Directories: []repo.Directory{{Path: "shop", Name: "shop"}},
		Tables: []repo.Table{{Database: "shop", Name: "t", Problem: "its data file is missing"},
			{Database: "shop", Name: "whole"}},
	})
	if len(p) != 1 || p[0].Table != "shop.t" {
		t.Fatalf("known: %+v", p)
	}
	for file, want := range map[string]bool{
		"shop/t.ibd": true, "shop/t#P#p1.ibd": true, "shop/t2.ibd": false, "workshop/t.ibd": false, "shop/whole.ibd": false,
	} {
		line := "[ERROR] InnoDB: Database page corruption on disk or a failed read of file './" + file + "' page 3"
		if got := p[0].Named.MatchString(line); got != want {
			t.Errorf("%s: %v, want %v", file, got, want)
		}
	}
}
