package copier

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"mbk/internal/sys/pagecache"
)

// holes finds the holes of a file, which need not be read: they may be terabytes that
// cost nobody anything. It belongs to one segment.
type holes struct {
	file pagecache.File // nil: there are none, or nothing is known of them
	src  *Source
	step int64
	zero []byte // a page
}

// holesOf looks whether a segment may have holes.
func holesOf(s segment) holes {
	f, ok := s.job.src.File.(pagecache.File)
	if !ok || s.size < s.job.step {
		return holes{}
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return holes{}
	}
	sparse := false
	err = conn.Control(func(fd uintptr) {
		var st unix.Stat_t
		var fs unix.Statfs_t
		if unix.Fstat(int(fd), &st) == nil && st.Blocks*512 < st.Size && unix.Fstatfs(int(fd), &fs) == nil {
			sparse = tellsHoles(int64(fs.Type))
		}
	})
	if err != nil || !sparse {
		return holes{}
	}
	h := holes{file: f, src: &s.job.src, step: s.job.step}
	if s.job.src.Pages != nil {
		h.zero = make([]byte, s.job.src.Pages.PageSize())
	}
	return h
}

// tellsHoles reports whether a file system of that kind takes what was written and is not
// on the disk yet for no hole. Of others that is not known, and ZFS once did not.
func tellsHoles(kind int64) bool {
	return slices.Contains([]int64{unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC, unix.TMPFS_MAGIC}, kind)
}

// skip returns how many of the n bytes at an offset are in a hole: as many as are read
// at a time, a multiple of that, all of them, or none. Where a page of zeros is not
// whole, nothing is skipped.
func (h *holes) skip(off, n int64) int64 {
	if h.file == nil || n < h.step {
		return 0
	}
	conn, err := h.file.SyscallConn()
	if err != nil {
		return 0
	}
	var data int64
	err = conn.Control(func(fd uintptr) {
		var sought error
		if data, sought = unix.Seek(int(fd), off, unix.SEEK_DATA); sought == nil {
			return
		}
		data = 0
		var st unix.Stat_t
		if errors.Is(sought, unix.ENXIO) && unix.Fstat(int(fd), &st) == nil { // a hole up to the end
			data = st.Size
		}
	})
	hole := min(data-off, n)
	if hole < n {
		hole -= hole % h.step
	}
	if err != nil || hole <= 0 || !h.whole(off) || !h.whole(off+hole-int64(len(h.zero))) {
		return 0
	}
	return hole
}

// whole reports whether the page at an offset may be all zeros.
func (h *holes) whole(off int64) bool {
	if h.src.Pages == nil {
		return true
	}
	return h.src.Pages.Check(h.zero, uint32(off/int64(len(h.zero)))) == nil
}
