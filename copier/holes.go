package copier

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"mbk/internal/sys/pagecache"
)

// holes finds the holes of a file, which need not be read: they may be terabytes that
// take no room on the disk. It belongs to one segment.
type holes struct {
	file pagecache.File // nil: no holes are known
	src  *Source
	step int64
	zero []byte // a page
}

// holesOf returns the holes of a segment, if it may have any.
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
	h := holes{file: f, src: s.job.src, step: s.job.step}
	if s.job.src.Pages != nil {
		h.zero = make([]byte, s.job.src.Pages.PageSize())
	}
	return h
}

// tellsHoles reports whether a file system of that kind never calls a hole what was
// written but is not on the disk yet. ZFS once did; of other kinds it is not known.
func tellsHoles(kind int64) bool {
	return slices.Contains([]int64{
		unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC, unix.TMPFS_MAGIC,
	}, kind)
}

// skip returns how many of the n bytes at an offset are in a hole: a multiple of what is
// read at a time, or all n. It is 0 where a page of zeros would not be valid.
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

// whole reports whether a page of zeros is valid at an offset.
func (h *holes) whole(off int64) bool {
	if h.src.Pages == nil {
		return true
	}
	return h.src.Pages.Check(h.zero, uint32(off/int64(len(h.zero)))) == nil
}
