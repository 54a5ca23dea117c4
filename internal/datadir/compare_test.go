package datadir

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestReconcileTables(t *testing.T) {
	ours := []TableName{{"d", "a"}, {"d", "B"}, {"#mysql50#x", "#mysql50#bad\xff"}}
	for _, tt := range []struct {
		name   string
		by     Reconciler
		server []TableName
		want   Difference
	}{
		{"equal lists", Reconciler{}, ours, Difference{}},
		{"a table of the server that was not copied", Reconciler{}, append(slices.Clone(ours), TableName{"d", "x"}),
			Difference{Missing: []TableName{{"d", "x"}}}},
		{"a table that the server does not list", Reconciler{}, ours[1:], Difference{Surplus: ours[:1]}},
		{"case", Reconciler{}, []TableName{{"D", "a"}, ours[1], ours[2]},
			Difference{Missing: []TableName{{"D", "a"}}, Surplus: ours[:1]}},
		{"case with lower_case_table_names", Reconciler{Folds: true}, []TableName{{"D", "a"}, {"d", "b"}, ours[2]},
			Difference{}},
		{"names that are passed over", Reconciler{Unnamable: []string{"d/caf\xe9.frm", "d/two\x02.frm", "d/data\xff.MYD",
			"f\xff"}}, append(slices.Clone(ours),
			TableName{"d", "#mysql50#caf?"}, TableName{"d", "#mysql50#two\x02"}, TableName{"#mysql50#f?", "t"}, TableName{"d",
				"data"}), Difference{Missing: []TableName{{"d", "data"}}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.by.Tables(ours, tt.server); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// What the server lists as a database, and has files of one, must be in the manifest.
func TestReconcileDatabases(t *testing.T) {
	datadir := t.TempDir()
	for _, name := range []string{"shop/db.opt", "Sales/t.frm", "empty/notes.txt", "undo/undo001", "@0041b/t.ibd",
		".git/config"} {
		file := filepath.Join(datadir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	l := Layout{Dir: datadir, Vars: map[string]string{}}
	server := []string{"shop", "Sales", "empty", "undo", "#mysql50#@0041b", "#mysql50#.git", "dropped"}
	for _, tt := range []struct {
		by   Reconciler
		ours []string
		want string
	}{
		{Reconciler{}, server, ""},
		{Reconciler{}, nil, "`shop` `Sales` `#mysql50#@0041b`"},
		{Reconciler{}, []string{"shop", "sales", "#mysql50#@0041b"}, "`Sales`"},
		{Reconciler{Folds: true}, []string{"shop", "sales", "#mysql50#@0041b"}, ""},
	} {
		if got := strings.Join(tt.by.Databases(l, tt.ours, server), " "); got != tt.want {
			t.Errorf("of %q are missing %s, want %s", tt.ours, got, tt.want)
		}
	}
}
