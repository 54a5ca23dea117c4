package datadir

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"mbk/internal/datadir/filter"
	"mbk/internal/innodb"
)

// A scan is narrowed to the names in the filter, files of triggers by what is in
// them.
func TestSelectionOfScan(t *testing.T) {
	datadir := t.TempDir()
	for name, text := range map[string]string{
		"a/db.opt": "", "a/in.frm": "", "a/in.ibd": "", "a/in#P#p0.ibd": "", "a/in#i#01.ibd": "", "a/out.frm": "",
		"a/out.ibd": "", "a/out.TRG": "",
		"a/one.TRN": "TYPE=TRIGGERNAME\ntrigger_table=in\n", "a/two.TRN": "TYPE=TRIGGERNAME\ntrigger_table=out\n",
		"a/#sql-alter-1.ibd": "",
		"b/db.opt":           "", "b/in.frm": "", "c@0020x/db.opt": "", "c@0020x/t.MYD": "", "d/db.opt": "", "d/out.frm": "",
		"mysql/user.frm": "", "ib_buffer_pool": "",
	} {
		path := filepath.Join(datadir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		spec      filter.Spec
		files     []string
		databases []string
		left      []string
	}{
		"tables of one name": {
			filter.Spec{Tables: []string{"*.in"}},
			[]string{"a/db.opt", "a/in.frm", "a/in.ibd", "a/in#P#p0.ibd", "a/in#i#01.ibd", "a/one.TRN", "a/#sql-alter-1.ibd",
				"b/db.opt", "b/in.frm"},
			[]string{"a", "b", "mysql"}, []string{"c x", "d"},
		},
		"a database, and not all of it": {
			filter.Spec{Databases: []string{"a", "d"}, ExcludeTables: []string{"*.out"}},
			[]string{"a/db.opt", "a/in.frm", "a/in.ibd", "a/in#P#p0.ibd", "a/in#i#01.ibd", "a/one.TRN", "a/#sql-alter-1.ibd",
				"d/db.opt"},
			[]string{"a", "d", "mysql"}, []string{"b", "c x"},
		},
		"without databases": {
			filter.Spec{ExcludeDatabases: []string{"a", "b", "d"}},
			[]string{"c@0020x/db.opt", "c@0020x/t.MYD"}, []string{"c@0020x", "mysql"}, []string{"a", "b", "d"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := filter.New(c.spec, false)
			if err != nil {
				t.Fatal(err)
			}
			l := Layout{Dir: datadir, Selection: &Selection{Filter: f}}
			s, err := l.Scan(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range s.Entries {
				got = append(got, e.Path())
			}
			want := append([]string{"ib_buffer_pool", "mysql/user.frm"}, c.files...)
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("files %q, want %q", got, want)
			}
			slices.Sort(s.ExcludedDatabases)
			if !slices.Equal(s.Databases, c.databases) || !slices.Equal(s.ExcludedDatabases, c.left) {
				t.Errorf("databases %q, left out %q, want %q and %q", s.Databases, s.ExcludedDatabases, c.databases, c.left)
			}
			k := l.Selection
			for name, want := range map[string]bool{"./x/t.ibd": !f.Table("x", "t"), "./a/#sql-ib1.ibd": !f.MayHold("a"),
				"./a/in#P#p0.ibd": !f.Table("a", "in"), "/far/b/in.ibd": !f.Table("b", "in")} {
				if got := k.Excludes(name, nil); got != want {
					t.Errorf("leavesOut(%s) = %t", name, got)
				}
			}
		})
	}
	var none *Selection
	if s, err := (Layout{Dir: datadir}).Scan(t.Context()); err != nil || len(s.Entries) != 19 ||
		none.Excludes("./a/t.ibd", nil) || !none.Keeps("a", "t") {
		t.Errorf("without a filter %d files (%v)", len(s.Entries), err)
	}
}

// tables is a dictionary of InnoDB.
type tables []innodb.Table

func (t tables) InnoDBTables(context.Context) ([]innodb.Table, error) { return t, nil }

// Files of full-text indexes have the number of their table, and the dictionary its name.
func TestSelectionOfFullTextIndexes(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "a"), 0o700); err != nil {
		t.Fatal(err)
	}
	const kept, excluded, altered, unknown = "FTS_0000000000000001_CONFIG.ibd", "FTS_0000000000000002_CONFIG.ibd",
		"FTS_0000000000000003_CONFIG.ibd", "FTS_0000000000000004_CONFIG.ibd"
	for _, name := range []string{"in.ibd", kept, excluded, altered, unknown} {
		if err := os.WriteFile(filepath.Join(dir, "a", name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	server := tables{{ID: 1, Name: "a/in#P#p0"}, {ID: 2, Name: "a/out"}, {ID: 3, Name: "a/#sql-alter-1-2"}}
	selection, err := NewSelection(filter.Spec{Tables: []string{"a.in"}}, false, server)
	if err != nil {
		t.Fatal(err)
	}
	s, err := (Layout{Dir: dir, Selection: selection}).Scan(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range s.Entries {
		got = append(got, e.Name)
	}
	if want := []string{kept, altered, unknown, "in.ibd"}; !slices.Equal(got, want) {
		t.Errorf("kept %q, want %q", got, want)
	}
	if want := []string{"a/" + excluded}; !slices.Equal(s.ExcludedFullText, want) {
		t.Errorf("excluded %q, want %q", s.ExcludedFullText, want)
	}
	if !selection.Excludes("./a/"+excluded, map[string]bool{"a/" + excluded: true}) ||
		selection.Excludes("./a/"+kept, nil) {
		t.Error("the excluded index is not excluded, or the other is")
	}
}
