package datadir

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"mbk/internal/innodb"
	"mbk/internal/repo"
)

// What is wrong with a table shows in its definition, the files that there are and the
// dictionary.
func TestProblems(t *testing.T) {
	define := func(engine string, partitioned bool) FileFacts {
		return FileFacts{Facts: Facts{Definition: &Definition{Kind: KindTable, Engine: engine, Partitioned: partitioned}}}
	}
	parts := FileFacts{Facts: Facts{Partitions: []string{"p0", "p1"}}}
	d := &Dictionary{
		Spaces: map[string]innodb.SpaceID{"d/t": 7, "d/inside": 0, "d/t#p#p0": 8, "d/t#p#p1": 9},
		Names:  map[innodb.SpaceID]string{7: "d/t", 8: "d/t#P#p0", 9: "d/t#P#p1"},
	}
	const missing, badFrm = "its file d/t.ibd is missing", "its definition d/t.frm cannot be read (5 bytes, odd)"
	for _, tt := range []struct {
		name  string
		table string
		files map[string]FileFacts
		want  Problem
	}{
		{"whole", "t", map[string]FileFacts{"t.frm": define("InnoDB", false), "t.ibd": {Space: 7}}, Problem{}},
		{"no definition", "t", map[string]FileFacts{"t.MYD": {}}, Problem{}},
		{"a broken definition", "t", map[string]FileFacts{"t.frm": {Facts: Facts{BadDefinition: "5 bytes, odd"}}},
			Problem{Text: badFrm}},
		{"a file that may not be read", "t", map[string]FileFacts{"t.frm": define("MyISAM", false), "t.MYI": {Denied: true}},
			Problem{}},
		{"no tablespace", "t", map[string]FileFacts{"t.frm": define("InnoDB", false)}, Problem{Text: missing}},
		{"in the system tablespace", "inside", map[string]FileFacts{"inside.frm": define("InnoDB", false)}, Problem{}},
		{"not in the dictionary", "x", map[string]FileFacts{"x.frm": define("InnoDB", false)},
			Problem{Text: "not known to InnoDB"}},
		{"discarded", "gone", map[string]FileFacts{"gone.frm": define("InnoDB", false)}, Problem{}},
		{"no index", "t", map[string]FileFacts{"t.frm": define("MyISAM", false), "t.MYD": {}},
			Problem{Text: "its file d/t.MYI is missing"}},
		{"crashed", "t", map[string]FileFacts{"t.frm": define("Aria", false), "t.MAI": {Facts: Facts{crashed: true}},
			"t.MAD": {}},
			Problem{Text: "d/t.MAI is marked as crashed"}},
		{"no list of partitions", "t", map[string]FileFacts{"t.frm": define("InnoDB", true)},
			Problem{Text: "its list of partitions d/t.par is missing"}},
		{"a partition is missing", "t",
			map[string]FileFacts{"t.frm": define("InnoDB", true), "t.par": parts, "t#P#p0.ibd": {Space: 8}},
			Problem{Text: "its file d/t#P#p1.ibd is missing"}},
		{"all partitions", "t",
			map[string]FileFacts{"t.frm": define("InnoDB", true), "t.par": parts, "t#P#p0.ibd": {Space: 8},
				"t#P#p1.ibd": {Space: 9}},
			Problem{}},
		{"a view", "v", map[string]FileFacts{"v.frm": {Facts: Facts{Definition: &Definition{Kind: KindView}}}}, Problem{}},
		{"upper case", "T", map[string]FileFacts{"T.frm": define("MyISAM", false)}, upperCase},
	} {
		t.Run(tt.name, func(t *testing.T) {
			all := TablesOf(func(yield func(Entry, FileFacts) bool) {
				for name, f := range tt.files {
					f.Entry = Entry{Dir: "d", Name: name, Table: TableOf(name)}
					if !yield(f.Entry, f) {
						return
					}
				}
			})
			j := Judge{
				Layout:     Layout{Vars: map[string]string{"lower_case_table_names": "1"}},
				Dictionary: d, Discarded: map[string]bool{"d/gone": true}, Started: time.Unix(1e9, 0),
			}
			if got := j.Problems(all)[TableKey{"d", tt.table}]; got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestProblemsAreGrouped(t *testing.T) {
	missing, crashed := Problem{Text: "its file is missing"}, Problem{Text: "crashed"}
	var got []string
	for _, g := range GroupProblems([]TableProblem{
		{TableName{"d", "a"}, missing}, {TableName{"d", "b"}, crashed}, {TableName{"d", "c"}, missing},
	}) {
		got = append(got, g.String())
	}
	want := []string{"`d`.`a`, `d`.`c`: its file is missing", "`d`.`b`: crashed"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}
}

// Tables of engines that keep rows elsewhere are found by their definitions alone.
func TestUnsupportedTables(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "shop"), 0o700); err != nil {
		t.Fatal(err)
	}
	var entries []Entry
	for table, contents := range map[string]string{
		"inno": string(frmOf(12)), "example": string(frmOf(15)), "broken": "x", "view": "TYPE=VIEW\n",
		"mem": string(frmOf(6)),
	} {
		e := Entry{Dir: "shop", Name: table + ".frm", Table: table}
		if err := os.WriteFile(filepath.Join(dir, e.Path()), []byte(contents), 0o600); err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e, Entry{Dir: "shop", Name: table + ".ibd", Table: table})
	}
	want := []repo.LeftOut{{Database: "shop", Name: "example", Engine: "EXAMPLE", Reason: OutsideReason}}
	if diff := cmp.Diff(want, UnsupportedTables(Layout{Dir: dir}, Scan{Entries: entries})); diff != "" {
		t.Errorf("unsupported (-want +got):\n%s", diff)
	}
}

// frmOf is the header of a definition of a table of an engine, by its number.
func frmOf(engine byte) []byte {
	b := make([]byte, frmHeaderSize)
	b[0], b[1], b[frmLegacyEngine] = 0xfe, 1, engine
	return b
}
