package backup

import (
	"testing"
	"time"

	"mbk/internal/datadir"
)

// A copy of a plain file holds only as long as nothing can have been written to
// the file since, not even within one tick of the file system's clock.
func TestCopiesThatStillHold(t *testing.T) {
	now := datadir.TimestampOf(time.Now())
	idle := datadir.FileStat{
		ID: datadir.Identity{Dev: 1, Inode: 2, Born: 3}, Size: 10,
		Modified: now.Add(-time.Hour), Changed: now.Add(-time.Hour), Taken: now,
	}
	for name, c := range map[string]struct {
		was, is func(datadir.FileStat) datadir.FileStat
		want    bool
	}{
		"left alone": {nil, nil, true},
		"read again later": {
			nil, func(s datadir.FileStat) datadir.FileStat { s.Taken = now.Add(time.Hour); return s }, true,
		},
		"another inode":          {nil, func(s datadir.FileStat) datadir.FileStat { s.ID.Inode++; return s }, false},
		"same inode, born later": {nil, func(s datadir.FileStat) datadir.FileStat { s.ID.Born++; return s }, false},
		"grown":                  {nil, func(s datadir.FileStat) datadir.FileStat { s.Size++; return s }, false},
		"written":                {nil, func(s datadir.FileStat) datadir.FileStat { s.Modified = now; return s }, false},
		"renamed":                {nil, func(s datadir.FileStat) datadir.FileStat { s.Changed = now; return s }, false},
		"written just before": {
			func(s datadir.FileStat) datadir.FileStat { s.Modified = now.Add(-time.Millisecond); return s }, nil, false,
		},
		"written 900 ms before": {
			func(s datadir.FileStat) datadir.FileStat { s.Modified = now.Add(-900 * time.Millisecond); return s }, nil, false,
		},
		"changed just before": {func(s datadir.FileStat) datadir.FileStat { s.Changed = now; return s }, nil, false},
		"written in a clock's future": {
			func(s datadir.FileStat) datadir.FileStat { s.Modified = now.Add(time.Hour); return s }, nil, false,
		},
	} {
		was := idle
		if c.was != nil {
			was = c.was(was)
		}
		is := was
		if c.is != nil {
			is = c.is(is)
		}
		if got := was.UnchangedBy(is); got != c.want {
			t.Errorf("%s: holds = %t, want %t", name, got, c.want)
		}
	}
}
