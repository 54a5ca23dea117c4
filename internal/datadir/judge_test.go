package datadir

import (
	"testing"
	"time"

	"mbk/internal/innodb"
)

// What a file lacks that the server works with shows nothing: it may be at it just now.
func TestProblemsOfUntouchedFiles(t *testing.T) {
	started := time.Unix(1e9, 0)
	before, after := started.Add(-time.Hour), started.Add(time.Second)
	const size = 35000
	index := FileFacts{Facts: Facts{DataSize: size}, Modified: before}
	for _, c := range []struct {
		name   string
		engine string
		files  map[string]FileFacts
		want   string
	}{
		{"a tablespace without a first page", "InnoDB", map[string]FileFacts{"t.ibd": {Blank: true, Modified: before}},
			"its file d/t.ibd has no first page"},
		{"one that was just made", "InnoDB", map[string]FileFacts{"t.ibd": {Blank: true, Modified: after}}, ""},
		{"a whole one", "InnoDB", map[string]FileFacts{"t.ibd": {Space: 7, Modified: before}}, ""},
		{"a table that was open in a crash", "MyISAM", map[string]FileFacts{"t.MYI": {Facts: Facts{Open: true},
			Modified: before}, "t.MYD": {}}, "d/t.MYI was not closed properly when the server ended the last time"},
		{"one that is open", "MyISAM", map[string]FileFacts{"t.MYI": {Facts: Facts{Open: true}, Modified: after},
			"t.MYD": {}}, ""},
		{"rows cut off", "MyISAM", map[string]FileFacts{"t.MYI": index, "t.MYD": {Size: size - 1, Modified: after}},
			"its data file d/t.MYD has 34999 bytes, and must have 35000"},
		{"bytes after the rows", "MyISAM", map[string]FileFacts{"t.MYI": index,
			"t.MYD": {Size: size + 100, Modified: before}}, "its data file d/t.MYD has 35100 bytes, and must have 35000"},
		{"bytes that may be rows of now", "MyISAM", map[string]FileFacts{"t.MYI": index,
			"t.MYD": {Size: size + 100, Modified: after}}, ""},
		{"the end of packed rows", "MyISAM", map[string]FileFacts{"t.MYI": index,
			"t.MYD": {Size: size + 7, Modified: before}}, ""},
	} {
		j := Judge{Started: started, Dictionary: &Dictionary{Spaces: map[string]innodb.SpaceID{"d/t": 7},
			Names: map[innodb.SpaceID]string{7: "d/t"}}}
		for name, f := range c.files {
			f.Entry = Entry{Dir: "d", Table: "t", Name: name}
			c.files[name] = f
		}
		parts := &Table{Found: true, Facts: Facts{Definition: &Definition{Engine: c.engine}}, Files: c.files}
		if got := j.Problem(TableKey{Database: "d", Table: "t"}, parts); got.Text != c.want {
			t.Errorf("%s: %q, want %q", c.name, got.Text, c.want)
		}
	}
}
