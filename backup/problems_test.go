package backup

import (
	"fmt"
	"testing"
	"time"

	"mbk/internal/innodb"
)

// The same advice followed each of many tables, and tables that are sound were to be
// repaired or dropped because of their letters.
func TestAdviceOnProblems(t *testing.T) {
	p := &Preflight{}
	p.noteProblemTexts([]string{"a: its file is missing", "B: " + upperCase, "c: crashed", "D: " + upperCase})
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
	index := fileFacts{facts: facts{dataSize: size}, modified: before}
	for _, c := range []struct {
		name   string
		engine string
		files  map[string]fileFacts
		want   string
	}{
		{"a tablespace without a first page", "InnoDB", map[string]fileFacts{"t.ibd": {blank: true, modified: before}}, "its file d/t.ibd has no first page"},
		{"one that was just made", "InnoDB", map[string]fileFacts{"t.ibd": {blank: true, modified: after}}, ""},
		{"a whole one", "InnoDB", map[string]fileFacts{"t.ibd": {space: 7, modified: before}}, ""},
		{"a table that was open in a crash", "MyISAM", map[string]fileFacts{"t.MYI": {facts: facts{open: true}, modified: before}, "t.MYD": {}}, "d/t.MYI was not closed properly when the server ended the last time"},
		{"one that is open", "MyISAM", map[string]fileFacts{"t.MYI": {facts: facts{open: true}, modified: after}, "t.MYD": {}}, ""},
		{"rows cut off", "MyISAM", map[string]fileFacts{"t.MYI": index, "t.MYD": {size: size - 1, modified: after}}, "its data file d/t.MYD has 34999 bytes, and must have 35000"},
		{"bytes after the rows", "MyISAM", map[string]fileFacts{"t.MYI": index, "t.MYD": {size: size + 100, modified: before}}, "its data file d/t.MYD has 35100 bytes, and must have 35000"},
		{"bytes that may be rows of now", "MyISAM", map[string]fileFacts{"t.MYI": index, "t.MYD": {size: size + 100, modified: after}}, ""},
		{"the end of packed rows", "MyISAM", map[string]fileFacts{"t.MYI": index, "t.MYD": {size: size + 7, modified: before}}, ""},
	} {
		j := judge{started: started, dictionary: &dictionary{spaces: map[string]innodb.SpaceID{"d/t": 7}, names: map[innodb.SpaceID]string{7: "d/t"}}}
		for name, f := range c.files {
			f.entry = entry{dir: "d", table: "t", name: name}
			c.files[name] = f
		}
		parts := &tableParts{found: true, facts: facts{define: &definition{engine: c.engine}}, files: c.files}
		if got := j.problem(tableFiles{"d", "t"}, parts); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
