package datadir

import "mbk/internal/repo"

// Lineage returns what a lineage keeps of a stat.
func (s FileStat) Lineage() repo.LineageFile {
	return repo.LineageFile{
		Dev: s.ID.Dev, Inode: s.ID.Inode, Born: s.ID.Born, Size: s.Size,
		Modified: int64(s.Modified), Changed: int64(s.Changed),
	}
}

// UnchangedSince reports whether nothing was written to a file since a pass of copying has
// read it. The times are the kernel's, which it may lose when it crashes, so this holds
// within one boot only.
func (s FileStat) UnchangedSince(f *repo.LineageFile) bool {
	return f.Quiescent && s.ID.Born != 0 && s.ID == Identity{f.Dev, f.Inode, f.Born} && s.Size == f.Size &&
		int64(s.Modified) == f.Modified && int64(s.Changed) == f.Changed
}

// WentBack reports whether one of a file's times is earlier than a pass of copying has seen
// it: the file system or the clock was put back since, or an older file was copied over
// this one, with its times. A server sets no time back.
func (s FileStat) WentBack(f *repo.LineageFile) bool {
	return s.ID.Born != 0 && s.ID.Born == f.Born && s.ID.Inode == f.Inode &&
		(int64(s.Changed) < f.Changed || int64(s.Modified) < f.Modified)
}
