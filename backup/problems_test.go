package backup

import (
	"fmt"
	"testing"
	"time"

	"mbk/internal/datadir"
	"mbk/internal/innodb"
)

// The same advice followed each of many tables, and tables that are sound were to be
// repaired or dropped because of their letters.
func TestAdviceOnProblems(t *testing.T) {
	p := &Preflight{}
	p.noteProblemTexts([]string{"a: its file is missing", "B: " + datadir.UpperCase, "c: crashed", "D: " + datadir.UpperCase})
	var got []string
	for _, f := range p.Findings {
		got = append(got, fmt.Sprint(f.Hints))
	}
	if want := fmt.Sprint([]string{"[]", "[]", "[" + problemHint + "]", "[" + upperCaseHint + "]"}); fmt.Sprint(got) != want {
		t.Errorf("advice %v, want %v", got, want)
	}
}

// What a file lacks that the server works with shows nothing: it may be at it just now.
func TestProblemsOfUntouchedFiles(t *testing.T) {
	started := time.Unix(1e9, 0)
	before, after := started.Add(-time.Hour), started.Add(time.Second)
	const size = 35000
	index := datadir.FileFacts{Facts: datadir.Facts{DataSize: size}, Modified: before}
	for _, c := range []struct {
		name   string
		engine string
		files  map[string]datadir.FileFacts
		want   string
	}{
		{"a tablespace without a first page", "InnoDB", map[string]datadir.FileFacts{"t.ibd": {Blank: true, Modified: before}}, "its file d/t.ibd has no first page"},
		{"one that was just made", "InnoDB", map[string]datadir.FileFacts{"t.ibd": {Blank: true, Modified: after}}, ""},
		{"a whole one", "InnoDB", map[string]datadir.FileFacts{"t.ibd": {Space: 7, Modified: before}}, ""},
		{"a table that was open in a crash", "MyISAM", map[string]datadir.FileFacts{"t.MYI": {Facts: datadir.Facts{Open: true}, Modified: before}, "t.MYD": {}}, "d/t.MYI was not closed properly when the server ended the last time"},
		{"one that is open", "MyISAM", map[string]datadir.FileFacts{"t.MYI": {Facts: datadir.Facts{Open: true}, Modified: after}, "t.MYD": {}}, ""},
		{"rows cut off", "MyISAM", map[string]datadir.FileFacts{"t.MYI": index, "t.MYD": {Size: size - 1, Modified: after}}, "its data file d/t.MYD has 34999 bytes, and must have 35000"},
		{"bytes after the rows", "MyISAM", map[string]datadir.FileFacts{"t.MYI": index, "t.MYD": {Size: size + 100, Modified: before}}, "its data file d/t.MYD has 35100 bytes, and must have 35000"},
		{"bytes that may be rows of now", "MyISAM", map[string]datadir.FileFacts{"t.MYI": index, "t.MYD": {Size: size + 100, Modified: after}}, ""},
		{"the end of packed rows", "MyISAM", map[string]datadir.FileFacts{"t.MYI": index, "t.MYD": {Size: size + 7, Modified: before}}, ""},
	} {
		j := datadir.Judge{Started: started, Dictionary: &datadir.Dictionary{Spaces: map[string]innodb.SpaceID{"d/t": 7}, Names: map[innodb.SpaceID]string{7: "d/t"}}}
		for name, f := range c.files {
			f.Entry = datadir.Entry{Dir: "d", Table: "t", Name: name}
			c.files[name] = f
		}
		parts := &datadir.Table{Found: true, Facts: datadir.Facts{Definition: &datadir.Definition{Engine: c.engine}}, Files: c.files}
		if got := j.Problem(datadir.TableKey{Database: "d", Table: "t"}, parts); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
