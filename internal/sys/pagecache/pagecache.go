// Package pagecache lets a program read files and leave the kernel's page cache as it
// found it: pages that were not cached before are dropped afterwards. The cache belongs to
// the database server.
package pagecache

import (
	"errors"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// File is a file with a descriptor, such as *os.File.
type File interface{ syscall.Conn }

// Map says which pages of a part of a file were in the page cache at one moment.
// The zero Map knows nothing and drops nothing.
type Map struct {
	start    int64  // offset of the first page
	resident []byte // one byte per page; the lowest bit is set if it is cached
}

// Look finds out which pages of n bytes at an offset are in the page cache. The kernel
// tells only a caller that owns the file or may write to it; for others it reports all
// pages as cached.
func Look(f File, offset, n int64) Map {
	page := int64(os.Getpagesize())
	start := offset - offset%page
	n += offset - start
	if n <= 0 {
		return Map{}
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return Map{}
	}
	m := Map{start: start}
	err = conn.Control(func(fd uintptr) {
		b, err := unix.Mmap(int(fd), start, int(n), unix.PROT_NONE, unix.MAP_SHARED)
		if err != nil {
			return
		}
		resident := make([]byte, (n+page-1)/page)
		_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&b[0])), uintptr(n),
			uintptr(unsafe.Pointer(&resident[0])))
		if unix.Munmap(b) == nil && errno == 0 {
			m.resident = resident
		}
	})
	if err != nil {
		return Map{}
	}
	return m
}

// Guess is a cheap form of Look for the first n bytes of a file that was not read a
// moment ago: if the first page is cached, it takes all of them as cached. The test may
// make the kernel read that page, and finds it if the device has it there at once. cachestat
// would be exact, and gets a process killed where a filter of system calls is older than it.
func Guess(f File, n int64) Map {
	conn, err := f.SyscallConn()
	if err != nil || n <= 0 {
		return Map{}
	}
	var first [1]byte
	var got int
	var failed error
	err = conn.Control(func(fd uintptr) {
		got, failed = unix.Preadv2(int(fd), [][]byte{first[:]}, 0, unix.RWF_NOWAIT)
	})
	page := int64(os.Getpagesize())
	m := Map{resident: make([]byte, (n+page-1)/page)}
	switch {
	case err != nil:
		return Map{}
	case got == len(first):
		for i := range m.resident {
			m.resident[i] = 1
		}
	case !errors.Is(failed, unix.EAGAIN): // not on this file system
		return Look(f, 0, n)
	}
	return m
}

// Covers reports whether n bytes at an offset have been looked at.
func (m Map) Covers(offset, n int64) bool {
	return m.start <= offset && offset+n <= m.start+int64(len(m.resident))*int64(os.Getpagesize())
}

// Resident is how many bytes were in the page cache, in whole pages.
func (m Map) Resident() int64 {
	pages := 0
	for _, r := range m.resident {
		pages += int(r & 1)
	}
	return int64(pages) * int64(os.Getpagesize())
}

// Known reports whether the kernel could be asked.
func (m Map) Known() bool { return m.resident != nil }

// Correct takes over what an earlier Look at the same file found.
func (m Map) Correct(earlier Map) {
	page := int64(os.Getpagesize())
	for i, r := range earlier.resident {
		at := (earlier.start-m.start)/page + int64(i)
		if at >= 0 && at < int64(len(m.resident)) {
			m.resident[at] = r
		}
	}
}

// Drop removes from the page cache the pages of n bytes at an offset that were not cached
// at the time of the Look. Pages in use stay. To the kernel this is only advice, so there
// is no error.
func (m Map) Drop(f File, offset, n int64) { m.advise(f, offset, n, unix.FADV_DONTNEED) }

// DropAll is Drop for the whole Map.
func (m Map) DropAll(f File) {
	m.Drop(f, m.start, int64(len(m.resident))*int64(os.Getpagesize()))
}

// Fetch starts to read the pages of n bytes at an offset that were not cached, and does
// not wait for them.
func (m Map) Fetch(f File, offset, n int64) { m.advise(f, offset, n, unix.FADV_WILLNEED) }

// advise calls posix_fadvise for the pages of a range that were not cached.
func (m Map) advise(f File, offset, n int64, advice int) {
	conn, err := f.SyscallConn()
	if err != nil || n <= 0 {
		return
	}
	page := int64(os.Getpagesize())
	first := max(offset/page-m.start/page, 0)
	last := min((offset+n+page-1)/page-m.start/page, int64(len(m.resident)))
	_ = conn.Control(func(fd uintptr) { // a closed file has no pages
		for at := first; at < last; {
			run := at
			for run < last && m.resident[run]&1 == 0 {
				run++
			}
			if run > at {
				_ = unix.Fadvise(int(fd), m.start+at*page, (run-at)*page, advice) // advice only
			}
			at = run + 1
		}
	})
}
