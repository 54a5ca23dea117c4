package backup

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// identity tells one generation of a file from every other. An inode number
// alone does not: it is given to the next file as soon as the last descriptor
// is closed. The birth time comes with nanoseconds on ext4, xfs and btrfs.
type identity struct {
	dev, inode uint64
	born       int64 // Unix nanoseconds, 0 where the file system keeps none
}

// fileStat is what stat(2) tells of a file at one moment.
type fileStat struct {
	id       identity
	size     int64 // bytes
	blocks   int64 // bytes on the disk
	modified time.Time
	changed  time.Time // ctime
	taken    time.Time // when this was read
	mode     uint32    // type and permission bits, as in st_mode
}

// regular reports whether this is a plain file.
func (s fileStat) regular() bool { return s.mode&unix.S_IFMT == unix.S_IFREG }

// directory reports whether this is a directory.
func (s fileStat) directory() bool { return s.mode&unix.S_IFMT == unix.S_IFDIR }

// sparse reports whether the file has holes.
func (s fileStat) sparse() bool { return s.blocks < s.size&^4095 }

// settleTime is how long a file must have been left alone before its times can
// be trusted to tell a later change: file systems stamp changes with a clock
// that ticks every few milliseconds, the coarse ones every second.
const settleTime = time.Second

// unchangedBy reports whether a copy that was begun at s still holds at now: the
// same generation of the file, and nothing written since.
func (s fileStat) unchangedBy(now fileStat) bool {
	return s.settled() && s.id == now.id && s.size == now.size &&
		s.modified.Equal(now.modified) && s.changed.Equal(now.changed)
}

// settled reports whether the file had been left alone for a while when this was read.
func (s fileStat) settled() bool {
	return s.taken.Sub(s.modified) > settleTime && s.taken.Sub(s.changed) > settleTime
}

const statMask = unix.STATX_BASIC_STATS | unix.STATX_BTIME

// stat follows symbolic links.
func (l layout) stat(path string) (fileStat, error) {
	taken := time.Now()
	x, err := l.files.Statx(path, 0, statMask)
	if err != nil {
		return fileStat{}, err
	}
	return statOf(&x, taken), nil
}

// statFile is stat for an open file.
func statFile(f *os.File) (fileStat, error) {
	var x unix.Statx_t
	taken := time.Now()
	if err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, statMask, &x); err != nil {
		return fileStat{}, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return statOf(&x, taken), nil
}

// looked is what a look at a file has found.
type looked struct {
	stat fileStat
	err  error
}

// look stats the files of entries, by their indexes, on all processors: every file is
// looked at several times, and once while others wait.
func (l layout) look(entries []entry) []looked {
	found := make([]looked, len(entries))
	inParts(len(entries), func(from, to int) {
		err := l.as(func(l layout) error {
			for i := from; i < to; i++ {
				found[i].stat, found[i].err = l.stat(l.file(entries[i]))
			}
			return nil
		})
		for i := from; i < to && err != nil; i++ {
			found[i].err = err
		}
	})
	return found
}

// denied reports which files may not be read.
func (l layout) denied(paths []string) []bool {
	denied := make([]bool, len(paths))
	inParts(len(paths), func(from, to int) {
		_ = l.as(func(l layout) error { // what fails is seen again
			for i := from; i < to; i++ {
				denied[i] = errors.Is(l.files.Readable(paths[i]), unix.EACCES)
			}
			return nil
		})
	})
	return denied
}

// inParts calls do for equal parts of n things, none of them empty, on all processors
// at once.
func inParts(n int, do func(from, to int)) {
	workers := min(runtime.GOMAXPROCS(0), n)
	var all sync.WaitGroup
	for i := range workers {
		all.Go(func() { do(i*n/workers, (i+1)*n/workers) })
	}
	all.Wait()
}

func statOf(x *unix.Statx_t, taken time.Time) fileStat {
	s := fileStat{
		id:       identity{dev: unix.Mkdev(x.Dev_major, x.Dev_minor), inode: x.Ino},
		size:     int64(x.Size),
		blocks:   int64(x.Blocks) * 512,
		modified: time.Unix(x.Mtime.Sec, int64(x.Mtime.Nsec)),
		changed:  time.Unix(x.Ctime.Sec, int64(x.Ctime.Nsec)),
		taken:    taken,
		mode:     uint32(x.Mode),
	}
	if x.Mask&unix.STATX_BTIME != 0 {
		s.id.born = x.Btime.Sec*int64(time.Second) + int64(x.Btime.Nsec)
	}
	return s
}
