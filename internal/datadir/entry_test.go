package datadir

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestKindsOfFiles(t *testing.T) {
	type kinds struct{ Known, Data, Volatile, Defines, Log bool }
	for _, tt := range []struct {
		dir, name, table string
		want             kinds
	}{
		{"shop", "t.frm", "t", kinds{Known: true, Defines: true}},
		{"shop", "t.ibd", "t", kinds{Known: true, Data: true}},
		{"shop", "t#P#p0.MYD", "t", kinds{Known: true, Data: true}},
		{"shop", "t.TRG", "t", kinds{Known: true}},
		{"shop", "t.par", "t", kinds{Known: true}},
		{"shop", "tr.TRN", "", kinds{Known: true, Data: true}},
		{"shop", "db.opt", "", kinds{Known: true, Data: true}},
		{"shop", "a.ARZ", "a", kinds{Known: true, Data: true, Defines: true}},
		{"shop", "a#P#p0.ARZ", "a", kinds{Known: true, Data: true}},
		{"shop", "#sql-alter-1-2.ibd", "#sql-alter-1-2", kinds{Known: true, Data: true, Volatile: true}},
		{"shop", "FTS_000000000000007e_CONFIG.ibd", "FTS_000000000000007e_CONFIG",
			kinds{Known: true, Data: true, Volatile: true}},
		{"mysql", "slow_log.CSV", "slow_log", kinds{Known: true, Data: true, Log: true}},
		{"mysql", "slow_log.CSM", "slow_log", kinds{Known: true, Data: true}},
		{"shop", "slow_log.CSV", "slow_log", kinds{Known: true, Data: true}},
		{"shop", "notes.txt", "notes", kinds{}},
		{"", "t.ibd", "t", kinds{}},
	} {
		e := Entry{Dir: tt.dir, Name: tt.name, Table: TableOf(tt.name)}
		got := kinds{e.Known(), e.HoldsData(), e.Volatile(), e.IsDefinition() || e.Discovered(), e.HoldsLogRows()}
		if e.Table != tt.table || got != tt.want {
			t.Errorf("%s is of table %q, %+v, want %q, %+v", e.Path(), e.Table, got, tt.table, tt.want)
		}
	}
}

func TestNamesOfTables(t *testing.T) {
	q := TableName{"größe", "a b"}
	e := DefinitionOf(q)
	if e.Path() != "gr@1j@9je/a@0020b.frm" && e.Key().SQL() != q {
		t.Errorf("the definition of %s is %s", q, e.Path())
	}
	if e.Key() != q.Key() || e.Key().SQL() != q {
		t.Errorf("%v is %v on disk, which is %v", q, q.Key(), e.Key().SQL())
	}
	p := Entry{Dir: "Shop", Name: "T#P#p0.ibd", Table: "T"}
	if p.SpaceTable() != "Shop/T#P#p0" || p.DictionaryName() != "shop/t#p#p0" || p.SpaceName() != "Shop/T#P#p0.ibd" {
		t.Errorf("names in the dictionary: %s, %s, in the redo: %s", p.SpaceTable(), p.DictionaryName(), p.SpaceName())
	}
}

func TestOrphans(t *testing.T) {
	var s Scan
	for _, name := range []string{
		"t.frm", "t.MYD", "t.MYI", "lost.MYD", "lost.TRG", "inno.ibd", "arch.ARZ", "#sql1.MYD", "db.opt",
	} {
		s.Entries = append(s.Entries, Entry{Dir: "shop", Name: name, Table: TableOf(name)})
	}
	if diff := cmp.Diff([]string{"shop/lost.MYD"}, s.Orphans()); diff != "" {
		t.Errorf("orphans (-want +got):\n%s", diff)
	}
}
