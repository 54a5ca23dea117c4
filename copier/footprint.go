package copier

import (
	"golang.org/x/sys/unix"

	"mbk/internal/sys/pagecache"
)

// adviseFrom is the size in bytes of the smallest part of a file for which read-ahead is
// worth a system call.
const adviseFrom = 1 << 20

// Distances in a source, in bytes.
const (
	dropStep  = 8 << 20 // what is read before it is dropped from the page cache
	fetchStep = 2 << 20 // what is fetched before it is read
)

// footprint leaves the page cache as it was before a segment was read. For that the
// kernel's read-ahead is turned off: it goes beyond the segment, and the worker that
// copies the next one would think that this part had been cached before.
type footprint struct {
	file    pagecache.File // nil: reading is left to the kernel
	before  pagecache.Map
	dropped int64 // up to this offset
	fetched int64 // up to this offset
	end     int64 // of the segment
}

// newFootprint finds out what is cached, before anything of a segment is read.
func newFootprint(s segment, preserve bool) footprint {
	f, ok := s.job.src.File.(pagecache.File)
	if !ok {
		return footprint{}
	}
	p := footprint{dropped: s.start, fetched: s.start, end: s.start + s.size}
	small := s.size < adviseFrom // the kernel reads it at once and nothing after it
	switch {
	case preserve && small && s.job.src.Cached.Covers(s.start, s.size):
		p.before, p.fetched = s.job.src.Cached, p.end
	case preserve:
		p.before = pagecache.Look(f, s.start, s.size)
		p.before.Correct(s.job.src.Cached)
	}
	switch {
	case preserve && p.before.Resident() < s.size:
		p.file = f
		if p.fetched < p.end {
			advise(f, s.start, s.size, unix.FADV_RANDOM)
		}
	case !small:
		advise(f, s.start, s.size, unix.FADV_SEQUENTIAL)
	}
	return p
}

// reading is called before the bytes up to an offset are read.
func (p *footprint) reading(offset int64) {
	if p.file == nil || offset+fetchStep/2 < p.fetched {
		return
	}
	to := min(offset+fetchStep, p.end)
	p.before.Fetch(p.file, p.fetched, to-p.fetched)
	p.fetched = to
}

// passed is called when the bytes up to an offset are skipped.
func (p *footprint) passed(offset int64) {
	p.read(offset)
	p.fetched = max(p.fetched, offset)
}

// read is called when everything up to an offset was read.
func (p *footprint) read(offset int64) {
	if p.file != nil && (offset-p.dropped >= dropStep || offset == p.end) {
		p.before.Drop(p.file, p.dropped, offset-p.dropped)
		p.dropped = offset
	}
}

// advise gives the kernel advice about a part of a file. An error costs only speed.
func advise(f pagecache.File, off, n int64, advice int) {
	conn, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) { _ = unix.Fadvise(int(fd), off, n, advice) })
}
