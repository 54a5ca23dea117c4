package backup

import (
	"testing"
	"time"
)

// A copy of a plain file holds only as long as nothing can have been written to
// the file since, not even within one tick of the file system's clock.
func TestCopiesThatStillHold(t *testing.T) {
	now := time.Now()
	idle := fileStat{id: identity{1, 2, 3}, size: 10, modified: now.Add(-time.Hour), changed: now.Add(-time.Hour), taken: now}
	for name, c := range map[string]struct {
		was, is func(fileStat) fileStat
		want    bool
	}{
		"left alone":                  {nil, nil, true},
		"read again later":            {nil, func(s fileStat) fileStat { s.taken = now.Add(time.Hour); return s }, true},
		"another inode":               {nil, func(s fileStat) fileStat { s.id.inode++; return s }, false},
		"same inode, born later":      {nil, func(s fileStat) fileStat { s.id.born++; return s }, false},
		"grown":                       {nil, func(s fileStat) fileStat { s.size++; return s }, false},
		"written":                     {nil, func(s fileStat) fileStat { s.modified = now; return s }, false},
		"renamed":                     {nil, func(s fileStat) fileStat { s.changed = now; return s }, false},
		"written just before":         {func(s fileStat) fileStat { s.modified = now.Add(-time.Millisecond); return s }, nil, false},
		"written 900 ms before":       {func(s fileStat) fileStat { s.modified = now.Add(-900 * time.Millisecond); return s }, nil, false},
		"changed just before":         {func(s fileStat) fileStat { s.changed = now; return s }, nil, false},
		"written in a clock's future": {func(s fileStat) fileStat { s.modified = now.Add(time.Hour); return s }, nil, false},
	} {
		was := idle
		if c.was != nil {
			was = c.was(was)
		}
		is := was
		if c.is != nil {
			is = c.is(is)
		}
		if got := was.unchangedBy(is); got != c.want {
			t.Errorf("%s: holds = %t, want %t", name, got, c.want)
		}
	}
}
