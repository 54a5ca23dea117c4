package datadir

import (
	"testing"
	"time"

	"mbk/internal/repo"
)

func TestUnchangedSince(t *testing.T) {
	now := TimestampOf(time.Unix(1e9, 123456789))
	was := FileStat{
		ID: Identity{Dev: 1, Inode: 2, Born: 3}, Size: 4, Modified: now.Add(-time.Hour), Changed: now.Add(-time.Minute),
	}
	for _, tt := range []struct {
		name   string
		change func(now *FileStat, f *repo.LineageFile)
		want   bool
		back   bool
	}{
		{"as it was", func(*FileStat, *repo.LineageFile) {}, true, false},
		{"not quiescent", func(_ *FileStat, f *repo.LineageFile) { f.Quiescent = false }, false, false},
		{"written to", func(s *FileStat, _ *repo.LineageFile) { s.Modified = s.Modified.Add(1) }, false, false},
		{"its owner changed", func(s *FileStat, _ *repo.LineageFile) { s.Changed = s.Changed.Add(1) }, false, false},
		{"changed earlier", func(s *FileStat, _ *repo.LineageFile) { s.Changed = s.Changed.Add(-1) }, false, true},
		{"written to earlier", func(s *FileStat, _ *repo.LineageFile) { s.Modified = s.Modified.Add(-1) }, false, true},
		{"grown", func(s *FileStat, _ *repo.LineageFile) { s.Size++ }, false, false},
		{"another inode", func(s *FileStat, _ *repo.LineageFile) { s.ID.Inode++ }, false, false},
		{"another device", func(s *FileStat, _ *repo.LineageFile) { s.ID.Dev++ }, false, false},
		{"born later", func(s *FileStat, _ *repo.LineageFile) { s.ID.Born++ }, false, false},
		{"born later, changed earlier", func(s *FileStat, _ *repo.LineageFile) {
			s.ID.Born, s.Changed = 4, s.Changed.Add(-1)
		}, false, false},
		{"no birth times", func(s *FileStat, f *repo.LineageFile) { s.ID.Born, f.Born = 0, 0 }, false, false},
	} {
		s, f := was, was.Lineage()
		f.Quiescent = true
		tt.change(&s, &f)
		if got := s.UnchangedSince(&f); got != tt.want {
			t.Errorf("%s: unchanged is %t, want %t", tt.name, got, tt.want)
		}
		if got := s.WentBack(&f); got != tt.back {
			t.Errorf("%s: back is %t, want %t", tt.name, got, tt.back)
		}
	}
}
