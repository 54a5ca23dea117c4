package restore

import (
	"slices"
	"testing"

	"mbk/internal/datadir/filter"
	"mbk/internal/innodb"
	"mbk/internal/repo"
)

// partialManifest is a manifest with what a filter has to tell apart.
func partialManifest(format uint32) *repo.Manifest {
	m := &repo.Manifest{
		ID: "20261121T201806Z-full", Redo: repo.Redo{Format: format},
		Server: repo.Server{Variables: map[string]string{"lower_case_table_names": "0"}},
		Directories: []repo.Directory{{Path: "a", Name: "a"}, {Path: "b@0020x", Name: "b x"},
			{Path: "mysql", Name: "mysql"}, {Path: "none", Name: "none"}},
	}
	add := func(path, class string) int {
		m.Files = append(m.Files, repo.File{Number: uint32(len(m.Files)), Path: path, Class: class})
		return len(m.Files) - 1
	}
	table := func(database, name string, files ...int) {
		m.Tables = append(m.Tables, repo.Table{Database: database, Name: name, Engine: "InnoDB", Files: files})
	}
	table("a", "t", add("a/t.frm", repo.ClassPlain), add("a/t.ibd", repo.ClassInnoDB))
	table("a", "u", add("a/u#P#p0.ibd", repo.ClassInnoDB), add("a/u.TRG", repo.ClassPlain),
		add("a/u.frm", repo.ClassPlain))
	add("a/FTS_0000000000000017_CONFIG.ibd", repo.ClassInnoDB)
	add("a/db.opt", repo.ClassPlain)
	table("b x", "m", add("b@0020x/m.MYD", repo.ClassPlain), add("b@0020x/m.frm", repo.ClassPlain))
	table("b x", "i", add("b@0020x/i.ibd", repo.ClassInnoDB), add("b@0020x/i.frm", repo.ClassPlain))
	add("b@0020x/#sql-alter-1.ibd", repo.ClassInnoDB)
	add("ib_logfile0", repo.ClassRedo)
	m.Redo.File = len(m.Files) - 1
	add("ibdata1", repo.ClassInnoDB)
	add("undo/undo001", repo.ClassInnoDB)
	table("mysql", "user", add("mysql/user.frm", repo.ClassPlain))
	add("none/db.opt", repo.ClassPlain)
	m.Damaged = []repo.DamagedPage{{File: "a/t.ibd", Page: 1}, {File: "b@0020x/i.ibd", Page: 2}}
	return m
}

func paths(m *repo.Manifest) []string {
	var list []string
	for _, f := range m.Files {
		list = append(list, f.Path)
	}
	return list
}

func TestApplyFilter(t *testing.T) {
	always := []string{"ib_logfile0", "ibdata1", "undo/undo001", "mysql/user.frm"}
	for name, c := range map[string]struct {
		spec    filter.Spec
		format  uint32
		files   []string
		left    []string // databases
		tables  []string
		damaged int
	}{
		"a table": {filter.Spec{Tables: []string{"a.t"}}, innodb.Format108,
			[]string{"a/t.frm", "a/t.ibd", "a/FTS_0000000000000017_CONFIG.ibd", "a/db.opt"}, []string{"b x",
				"none"}, []string{"a.t", "mysql.user"}, 1},
		"a database": {filter.Spec{Databases: []string{"b x"}}, innodb.Format105,
			[]string{"b@0020x/m.MYD", "b@0020x/m.frm", "b@0020x/i.ibd", "b@0020x/i.frm",
				"b@0020x/#sql-alter-1.ibd"}, []string{"a", "none"}, []string{"b x.m", "b x.i", "mysql.user"}, 1},
		"a table of a hidden log": {filter.Spec{Tables: []string{"a.t"}}, innodb.FormatEnc11,
			[]string{"a/t.frm", "a/t.ibd", "a/u#P#p0.ibd", "a/FTS_0000000000000017_CONFIG.ibd", "a/db.opt", "b@0020x/i.ibd",
				"b@0020x/#sql-alter-1.ibd"}, []string{"b x", "none"}, []string{"a.t", "mysql.user"}, 2},
		"without a database": {filter.Spec{ExcludeDatabases: []string{"a", "b*"}}, innodb.Format108,
			[]string{"none/db.opt"}, []string{"a", "b x"}, []string{"mysql.user"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := filter.New(c.spec, false)
			if err != nil {
				t.Fatal(err)
			}
			m := partialManifest(c.format)
			before := len(m.Files)
			n := applyFilter(m, f)
			want := append(append([]string{}, c.files...), always...)
			got := paths(n)
			slices.Sort(want)
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("files %q, want %q", got, want)
			}
			if !slices.Equal(n.Filter.LeftOut, c.left) {
				t.Errorf("left out %q, want %q", n.Filter.LeftOut, c.left)
			}
			var tables []string
			for _, table := range n.Tables {
				tables = append(tables, table.Database+"."+table.Name)
				for _, i := range table.Files {
					if n.Files[i].Number != m.Files[slices.IndexFunc(m.Files,
						func(f repo.File) bool { return f.Path == n.Files[i].Path })].Number {
						t.Errorf("%s.%s has file %s", table.Database, table.Name, n.Files[i].Path)
					}
				}
			}
			if !slices.Equal(tables, c.tables) {
				t.Errorf("tables %q, want %q", tables, c.tables)
			}
			if n.Files[n.Redo.File].Class != repo.ClassRedo {
				t.Errorf("the redo is %s", n.Files[n.Redo.File].Path)
			}
			if len(n.Damaged) != c.damaged {
				t.Errorf("%d damaged pages, want %d", len(n.Damaged), c.damaged)
			}
			if len(n.Tables)+len(n.LeftOut) != len(m.Tables) {
				t.Errorf("%d tables and %d left out, of %d", len(n.Tables), len(n.LeftOut), len(m.Tables))
			}
			if len(m.Files) != before || m.Filter != nil || len(m.Tables) != 5 {
				t.Error("the manifest itself was changed")
			}
		})
	}
	if m := partialManifest(innodb.Format108); applyFilter(m, nil) != m {
		t.Error("no filter makes another manifest")
	}
}
