package backup

import (
	"path"
	"testing"

	"mbk/internal/datadir"
	"mbk/internal/innodb"
)

// Which of two files is the wrong one the dictionary tells.
func TestExchangedFiles(t *testing.T) {
	d := &datadir.Dictionary{
		Spaces: map[string]innodb.SpaceID{"shop/a": 5, "shop/b": 6, "shop/p#p#p0": 7, "shop/t": 9, "shop/inside": 0},
		Names:  map[innodb.SpaceID]string{5: "shop/a", 6: "shop/b", 7: "shop/p#p#p0", 8: "shop/T", 9: "shop/t"},
	}
	const wrong = "its file shop/b.ibd is "
	for _, tt := range []struct {
		name  string
		files map[string]innodb.SpaceID
		want  string // of shop/b.ibd
		kept  int
	}{
		{
			"all in their places",
			map[string]innodb.SpaceID{"shop/a.ibd": 5, "shop/b.ibd": 6, "shop/p#P#p0.ibd": 7, "shop/inside.ibd": 99}, "", 4,
		},
		{"names that differ in case only", map[string]innodb.SpaceID{"shop/T.ibd": 8, "shop/t.ibd": 9}, "", 2},
		{
			"a copy", map[string]innodb.SpaceID{"shop/a.ibd": 5, "shop/b.ibd": 5},
			wrong + "a copy of shop/a.ibd, or was exchanged with it", 1,
		},
		{
			"each other's", map[string]innodb.SpaceID{"shop/a.ibd": 6, "shop/b.ibd": 5},
			wrong + "a copy of shop/a.ibd, or was exchanged with it", 2,
		},
		{
			"the only one of its tablespace", map[string]innodb.SpaceID{"shop/b.ibd": 5},
			wrong + "a copy of shop/a.ibd, or was exchanged with it", 1,
		},
		{
			"of another server", map[string]innodb.SpaceID{"shop/a.ibd": 5, "shop/b.ibd": 99},
			wrong + "of tablespace 99, and InnoDB wants 6 there", 2,
		},
		{"without page 0", map[string]innodb.SpaceID{"shop/a.ibd": 5, "shop/b.ibd": 0}, "", 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := &finalState{files: map[string]*finalFile{}}
			for name, id := range tt.files {
				f.files[name] = &finalFile{
					entry: datadir.Entry{Dir: path.Dir(name), Name: path.Base(name)}, copy: &fileCopy{id: &id},
				}
			}
			if got := d.Mismatch(datadir.Entry{Dir: "shop", Name: "b.ibd"}, tt.files["shop/b.ibd"]); got != tt.want {
				t.Errorf("of shop/b.ibd it says %q, want %q", got, tt.want)
			}
			foreign := &foreignFiles{dictionary: d}
			foreign.dropMisplaced(f, f.exchanged(d))
			if len(f.files) != tt.kept || len(foreign.misplaced) != len(tt.files)-tt.kept {
				t.Errorf("%d files are kept, %d left out, want %d of %d kept",
					len(f.files), len(foreign.misplaced), tt.kept, len(tt.files))
			}
		})
	}
}
