package backup

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
	ours := []qualified{{"d", "a"}, {"d", "B"}, {"#mysql50#x", "#mysql50#bad\xff"}}
	for _, tt := range []struct {
		name   string
		by     reconciler
		server []qualified
		want   difference
	}{
		{"equal lists", reconciler{}, ours, difference{}},
		{"a table of the server that was not copied", reconciler{}, append(slices.Clone(ours), qualified{"d", "x"}), difference{missing: []qualified{{"d", "x"}}}},
		{"a table that the server does not list", reconciler{}, ours[1:], difference{surplus: ours[:1]}},
		{"case", reconciler{}, []qualified{{"D", "a"}, ours[1], ours[2]}, difference{missing: []qualified{{"D", "a"}}, surplus: ours[:1]}},
		{"case with lower_case_table_names", reconciler{folds: true}, []qualified{{"D", "a"}, {"d", "b"}, ours[2]}, difference{}},
		{"names that are passed over", reconciler{unnamable: []string{"d/caf\xe9.frm", "d/two\x02.frm", "d/data\xff.MYD", "f\xff"}}, append(slices.Clone(ours),
			qualified{"d", "#mysql50#caf?"}, qualified{"d", "#mysql50#two\x02"}, qualified{"#mysql50#f?", "t"}, qualified{"d", "data"}), difference{missing: []qualified{{"d", "data"}}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.by.tables(ours, tt.server); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

// What the server lists as a database, and has files of one, must be in the manifest.
func TestReconcileDatabases(t *testing.T) {
	datadir := t.TempDir()
	for _, name := range []string{"shop/db.opt", "Sales/t.frm", "empty/notes.txt", "undo/undo001", "@0041b/t.ibd", ".git/config"} {
		file := filepath.Join(datadir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o700), os.WriteFile(file, nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	l := layout{datadir: datadir, vars: map[string]string{}}
	server := []string{"shop", "Sales", "empty", "undo", "#mysql50#@0041b", "#mysql50#.git", "dropped"}
	for _, tt := range []struct {
		by   reconciler
		ours []string
		want string
	}{
		{reconciler{}, server, ""},
		{reconciler{}, nil, "`shop` `Sales` `#mysql50#@0041b`"},
		{reconciler{}, []string{"shop", "sales", "#mysql50#@0041b"}, "`Sales`"},
		{reconciler{folds: true}, []string{"shop", "sales", "#mysql50#@0041b"}, ""},
	} {
		if got := strings.Join(tt.by.databases(l, tt.ours, server), " "); got != tt.want {
			t.Errorf("of %q are missing %s, want %s", tt.ours, got, tt.want)
		}
	}
}
