package datadir

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"mbk/internal/datadir/serverfs"
)

// Identity tells one generation of a file from every other. An inode number
// alone does not: it is given to the next file as soon as the last descriptor
// is closed. The birth time comes with nanoseconds on ext4, xfs and btrfs.
type Identity struct {
	Dev, Inode uint64
	Born       int64 // Unix nanoseconds, 0 where the file system keeps none
}

// FileStat is what stat(2) tells of a file at one moment.
type FileStat struct {
	ID       Identity
	Size     int64 // bytes
	Blocks   int64 // bytes on the disk
	Modified Timestamp
	Changed  Timestamp // ctime
	Taken    Timestamp // when this was read
	Mode     uint32    // type and permission bits, as in st_mode
}

// Timestamp is a time in Unix nanoseconds. A server may have a million files: a time.Time
// takes three times as much, and the garbage collector looks into it.
type Timestamp int64

// TimestampOf returns the timestamp of t.
func TimestampOf(t time.Time) Timestamp { return Timestamp(t.UnixNano()) }

// Time returns the time in UTC.
func (t Timestamp) Time() time.Time { return time.Unix(0, int64(t)).UTC() }

// Add returns the timestamp d later.
func (t Timestamp) Add(d time.Duration) Timestamp { return t + Timestamp(d) }

// Sub returns how much later t is than earlier.
func (t Timestamp) Sub(earlier Timestamp) time.Duration { return time.Duration(t - earlier) }

// Regular reports whether this is a plain file.
func (s FileStat) Regular() bool { return s.Mode&unix.S_IFMT == unix.S_IFREG }

// directory reports whether this is a directory.
func (s FileStat) directory() bool { return s.Mode&unix.S_IFMT == unix.S_IFDIR }

// Sparse reports whether the file has holes.
func (s FileStat) Sparse() bool { return s.Blocks < s.Size&^4095 }

// quiescentAfter is how long a file must have been left alone before its times can
// be trusted to tell a later change: file systems stamp changes with a clock
// that ticks every few milliseconds, the coarse ones every second.
const quiescentAfter = time.Second

// UnchangedBy reports whether a copy that was begun at s is still valid at now: it is the
// same generation of the file, and nothing was written since.
func (s FileStat) UnchangedBy(now FileStat) bool {
	return s.Quiescent() && s.ID == now.ID && s.Size == now.Size &&
		s.Modified == now.Modified && s.Changed == now.Changed
}

// Quiescent reports whether the file had been left alone for a while when this was read.
func (s FileStat) Quiescent() bool {
	return s.Taken.Sub(s.Modified) > quiescentAfter && s.Taken.Sub(s.Changed) > quiescentAfter
}

// longestWrite is how long a write may be on its way to a disk at the worst: longer than
// drivers try, and than a queue that is throttled to a few writes a second.
const longestWrite = 10 * time.Minute

// WritesArrived reports whether all writes that the file's times tell of had reached it
// when this was read: only then does a copy that is begun now hold what the same times
// stand for later. A direct or asynchronous write moves the times when it is submitted,
// and its bytes come later, by seconds where a disk is slow or throttled; until then the
// file reads as it was. arrived is a moment at which the server had no earlier write on
// its way: one at which its log had not got further than the checkpoint that the pass
// begins with, since a checkpoint waits for the writes of all changes before it. Zero:
// no such moment is known, and only a very long rest proves it. Files that nobody can be
// writing to, such as those of tables locked for the backup, need Quiescent only.
func (s FileStat) WritesArrived(arrived time.Time) bool {
	by := s.Taken.Add(quiescentAfter - longestWrite)
	if !arrived.IsZero() && TimestampOf(arrived) <= s.Taken {
		by = TimestampOf(arrived)
	}
	return by.Sub(s.Modified) > quiescentAfter && by.Sub(s.Changed) > quiescentAfter
}

const statMask = unix.STATX_BASIC_STATS | unix.STATX_BTIME

// Stat follows symbolic links.
func (l Layout) Stat(path string) (FileStat, error) {
	taken := time.Now()
	x, err := l.Files.Statx(path, 0, statMask)
	if err != nil {
		return FileStat{}, err
	}
	return statOf(&x, taken), nil
}

// StatFile is stat for an open file.
func StatFile(f *os.File) (FileStat, error) {
	var x unix.Statx_t
	taken := time.Now()
	if err := unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH, statMask, &x); err != nil {
		return FileStat{}, &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	return statOf(&x, taken), nil
}

// StatResult is the result of one stat.
type StatResult struct {
	Stat FileStat
	Err  error
}

// StatAll stats the files of entries on all processors, because each file is checked
// several times, once of them while the server is locked.
func (l Layout) StatAll(entries []Entry) []StatResult {
	found := make([]StatResult, len(entries))
	inParts(len(entries), func(from, to int) {
		err := l.Do(func(l Layout) error {
			looking := stater{layout: l}
			defer looking.folder.Close()
			for i := from; i < to; i++ {
				found[i].Stat, found[i].Err = looking.stat(entries[i])
			}
			return nil
		})
		for i := from; i < to && err != nil; i++ {
			found[i].Err = err
		}
	})
	return found
}

// stater stats files one after another and keeps the directory of the last one open:
// that takes a quarter of the calls of the kernel.
type stater struct {
	layout Layout
	dir    string // of the database whose directory is open
	folder *serverfs.Folder
}

// stat follows a symbolic link, as Layout.Stat does.
func (s *stater) stat(e Entry) (FileStat, error) {
	if e.Link.Kind == "" && e.Dir != "" && s.enter(e.Dir) {
		taken := time.Now()
		x, err := s.folder.Lstatx(e.Name, statMask)
		if err != nil || x.Mode&unix.S_IFMT != unix.S_IFLNK {
			return statOf(&x, taken), err
		}
	}
	return s.layout.Stat(s.layout.File(e))
}

// enter opens the directory of a database, if that is possible.
func (s *stater) enter(dir string) bool {
	if s.folder == nil || s.dir != dir {
		s.folder.Close()
		s.dir = dir
		s.folder, _ = s.layout.Files.OpenFolder(filepath.Join(s.layout.Dir, dir)) // Stat tells why not
	}
	return s.folder != nil
}

// Denied reports which files may not be read.
func (l Layout) Denied(paths []string) []bool {
	denied := make([]bool, len(paths))
	inParts(len(paths), func(from, to int) {
		_ = l.Do(func(l Layout) error { // what fails is seen again
			for i := from; i < to; i++ {
				denied[i] = errors.Is(l.Files.Readable(paths[i]), unix.EACCES)
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

func statOf(x *unix.Statx_t, taken time.Time) FileStat {
	s := FileStat{
		ID:       Identity{Dev: unix.Mkdev(x.Dev_major, x.Dev_minor), Inode: x.Ino},
		Size:     int64(x.Size),
		Blocks:   int64(x.Blocks) * 512,
		Modified: timestampOf(x.Mtime),
		Changed:  timestampOf(x.Ctime),
		Taken:    TimestampOf(taken),
		Mode:     uint32(x.Mode),
	}
	if x.Mask&unix.STATX_BTIME != 0 {
		s.ID.Born = int64(timestampOf(x.Btime))
	}
	return s
}

func timestampOf(t unix.StatxTimestamp) Timestamp {
	return Timestamp(t.Sec*int64(time.Second) + int64(t.Nsec))
}
