package backup

import (
	"testing"

	"mbk/internal/innodb"
)

func TestMadeByAlter(t *testing.T) {
	for name, c := range map[string]struct {
		s    innodb.SpaceHistory
		want bool
	}{
		"of a running ALTER":      {innodb.SpaceHistory{Name: "./d/#sql-alter-1-2.ibd", Created: 5}, true},
		"of its full-text index":  {innodb.SpaceHistory{Name: "./d/FTS_0000000000000132_CONFIG.ibd", Created: 5}, true},
		"elsewhere":               {innodb.SpaceHistory{Name: "/far/d/#sql-alter-1-2.ibd", Created: 5, External: true}, true},
		"of a CREATE that failed": {innodb.SpaceHistory{Name: "./d/t.ibd", Created: 5}, false},
		"there before the log":    {innodb.SpaceHistory{Name: "./d/#sql-alter-1-2.ibd", Modified: 5}, false},
		"of an ALTER that ended":  {innodb.SpaceHistory{Name: "./d/t.ibd", Created: 5, Renamed: 6}, false},
		"of an ALTER that failed": {innodb.SpaceHistory{Name: "./d/#sql-alter-1-2.ibd", Created: 5, Deleted: 6}, false},
	} {
		if got := madeByAlter(c.s); got != c.want {
			t.Errorf("%s: %t, want %t", name, got, c.want)
		}
	}
}
