// Package serverfs is how mbk gets at the files of a server: it lists, looks at and
// opens them with the rights of the user that the server runs as. A process of root
// could read everything, and whoever can write into a data directory decides where a
// name there leads; with the rights of the server's user it leads to nothing that
// he could not read himself. Only regular files are opened: a FIFO would
// keep its reader waiting, and a device may do anything when it is opened.
//
// Links are followed, since the server follows them, except those of /proc: for the
// kernel they lead to what this process has open, whatever its rights are. What is
// opened is only read; new files can be made, and files be removed (write.go).
package serverfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"mbk/internal/sys/fsuser"
)

// FS is the file system as the user of a server sees it. Paths are absolute and
// clean. A nil FS has the rights of this process. Methods may be called from
// several goroutines.
type FS struct {
	user   fsuser.User
	path   string   // of the data directory
	top    *os.File // the data directory, for the way through folders that only root can enter; nil: there is none
	acting bool     // the calling thread has the user's rights already
}

// New returns the file system of the server that has a data directory. A process of
// root reaches the data directory itself as root, if it is the user's own: that it
// may lie in a folder which only root can enter is root's doing. The caller closes
// it.
func New(datadir string, user fsuser.User) (*FS, error) {
	f := &FS{user: user, path: filepath.Clean(datadir)}
	if !user.Other() {
		return f, nil
	}
	fd, err := retry(func() (int, error) { return unix.Open(f.path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: f.path, Err: err}
	}
	top := os.NewFile(uintptr(fd), f.path)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || int(st.Uid) != user.UID {
		return f, errors.Join(err, top.Close())
	}
	f.top = top
	return f, nil
}

// Close gives back what New has opened.
func (f *FS) Close() error {
	if f == nil || f.top == nil {
		return nil
	}
	return f.top.Close()
}

// Other reports whether the rights are those of another user than this process's.
func (f *FS) Other() bool { return f != nil && f.user.Other() }

// User is the user whose rights are used.
func (f *FS) User() fsuser.User {
	if f == nil {
		return fsuser.Current()
	}
	return f.user
}

// Do calls do with a file system that can be used in this call only, and not in
// goroutines that it starts. It spares the change of the user for every single file.
func (f *FS) Do(do func(*FS) error) error {
	if f == nil || f.acting || !f.user.Other() {
		return do(f)
	}
	acting := *f
	acting.acting = true
	return f.user.Do(func() error { return do(&acting) })
}

// value is Do for a call about a path that returns something.
func value[T any](f *FS, do func(*FS) (T, error)) (T, error) {
	var v T
	err := f.Do(func(f *FS) (err error) {
		v, err = do(f)
		return err
	})
	return v, err
}

// at is where a path begins: at the data directory's descriptor, if it leads there.
func (f *FS) at(path string) (dir int, rest string) {
	if f == nil || f.top == nil {
		return unix.AT_FDCWD, path
	}
	switch rest, found := strings.CutPrefix(path, f.path); {
	case found && rest == "":
		return int(f.top.Fd()), "."
	case found && rest[0] == '/':
		return int(f.top.Fd()), rest[1:]
	}
	return unix.AT_FDCWD, path
}

// Open opens a regular file to read it. Reading does not change its time of last
// access, as far as the kernel leaves that to us: the server's disk would have to
// write it. For anything but a regular file it returns a *KindError, and has not
// opened it.
func (f *FS) Open(path string) (*os.File, error) {
	return value(f, func(f *FS) (*os.File, error) {
		handle, st, err := f.handle(path, 0)
		if err != nil {
			return nil, err
		}
		defer unix.Close(handle) //nolint:errcheck // a name only
		if st.Mode&unix.S_IFMT != unix.S_IFREG {
			return nil, &KindError{Path: path, Kind: Kind(uint32(st.Mode))}
		}
		if f.Other() && inProc(handle) {
			return nil, &KindError{Path: path, Kind: "file of /proc"}
		}
		fd, err := f.reopen(handle, path, st, 0)
		if err != nil {
			return nil, f.failed("open", path, err)
		}
		return os.NewFile(uintptr(fd), path), nil
	})
}

// handle finds what a path leads to, without opening it: the descriptor is a name.
// flags may be unix.O_NOFOLLOW. With the rights of another user no link of /proc is
// followed: it would lead to what this process has open.
func (f *FS) handle(path string, flags int) (int, unix.Stat_t, error) {
	var st unix.Stat_t
	dir, rest := f.at(path)
	flags |= unix.O_PATH | unix.O_CLOEXEC
	fd, err := retry(func() (int, error) {
		if f.Other() {
			return fsuser.Openat(dir, rest, flags)
		}
		return unix.Openat(dir, rest, flags, 0)
	})
	if err != nil {
		return -1, st, f.failed("open", path, err)
	}
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd) //nolint:errcheck // a name only
		return -1, st, f.failed("stat", path, err)
	}
	return fd, st, nil
}

// errSwapped is returned if a path leads somewhere else from one moment to the next.
var errSwapped = errors.New("it was exchanged while it was opened")

// inProc reports whether a handle names something in /proc. Of this process itself a
// thread sees more there than its user may see of other processes.
func inProc(handle int) bool {
	var system unix.Statfs_t
	return unix.Fstatfs(handle, &system) == nil && system.Type == unix.PROC_SUPER_MAGIC
}

// ofHandle is the path to the very thing that a handle names, where there is /proc.
func ofHandle(handle int) string { return "/proc/self/fd/" + strconv.Itoa(handle) }

// withoutProc reports whether a call about ofHandle has failed because /proc is missing.
func withoutProc(err error) bool {
	return (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)) && unix.Access("/proc/self/fd", unix.F_OK) != nil
}

// reopen opens the very thing that a handle names. Where /proc is missing, the path
// must lead to it once more.
func (f *FS) reopen(handle int, path string, st unix.Stat_t, flags int) (int, error) {
	fd, err := openQuietly(unix.AT_FDCWD, ofHandle(handle), flags)
	if withoutProc(err) {
		dir, rest := f.at(path)
		if fd, err = openQuietly(dir, rest, flags); err != nil {
			return -1, err
		}
		var now unix.Stat_t
		if err = unix.Fstat(fd, &now); err == nil && (now.Dev != st.Dev || now.Ino != st.Ino) {
			err = errSwapped
		}
	}
	if err == nil {
		err = unix.SetNonblock(fd, false)
	}
	if err != nil && fd >= 0 {
		unix.Close(fd) //nolint:errcheck // nothing was read
		return -1, err
	}
	return fd, err
}

// openQuietly opens without waiting for anybody, and without changing the time of
// last access if this user may ask for that.
func openQuietly(dir int, path string, flags int) (int, error) {
	flags |= unix.O_RDONLY | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_CLOEXEC
	fd, err := retry(func() (int, error) { return unix.Openat(dir, path, flags|unix.O_NOATIME, 0) })
	if errors.Is(err, unix.EPERM) { // neither root nor the file's owner
		return retry(func() (int, error) { return unix.Openat(dir, path, flags, 0) })
	}
	return fd, err
}

// ReadFile reads a regular file that has at most that many bytes.
func (f *FS) ReadFile(path string, most int64) ([]byte, error) {
	file, err := f.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // only read
	b, err := io.ReadAll(io.LimitReader(file, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s has more than %d bytes", path, most)
	}
	return b, err
}

// ReadDir lists a directory, sorted by name.
func (f *FS) ReadDir(path string) ([]fs.DirEntry, error) {
	return value(f, func(f *FS) ([]fs.DirEntry, error) {
		handle, st, err := f.handle(path, 0)
		if err != nil {
			return nil, err
		}
		defer unix.Close(handle) //nolint:errcheck // a name only
		fd, err := f.reopen(handle, path, st, unix.O_DIRECTORY)
		if err != nil {
			return nil, f.failed("open", path, err)
		}
		d := os.NewFile(uintptr(fd), path)
		defer d.Close() //nolint:errcheck // only read
		list, err := d.ReadDir(-1)
		slices.SortFunc(list, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
		return list, err
	})
}

// Stat follows links.
func (f *FS) Stat(path string) (fs.FileInfo, error) {
	return value(f, func(f *FS) (fs.FileInfo, error) {
		fd, _, err := f.handle(path, 0)
		if err != nil {
			return nil, err
		}
		named := os.NewFile(uintptr(fd), path)
		defer named.Close() //nolint:errcheck // a name only
		return named.Stat()
	})
}

// Statx is statx(2): flags may be unix.AT_SYMLINK_NOFOLLOW, and mask says what is
// wanted.
func (f *FS) Statx(path string, flags, mask int) (unix.Statx_t, error) {
	return value(f, func(f *FS) (x unix.Statx_t, err error) {
		open := 0
		if flags&unix.AT_SYMLINK_NOFOLLOW != 0 {
			open = unix.O_NOFOLLOW
		}
		handle, _, err := f.handle(path, open)
		if err != nil {
			return x, err
		}
		defer unix.Close(handle) //nolint:errcheck // a name only
		if err := unix.Statx(handle, "", unix.AT_EMPTY_PATH|unix.AT_STATX_SYNC_AS_STAT, mask, &x); err != nil {
			return x, f.failed("stat", path, err)
		}
		return x, nil
	})
}

// Folder is a directory in which many files are looked at, each with one call of the
// kernel. It belongs to one goroutine, and to the call of Do in which it was opened.
type Folder struct {
	fs     *FS
	path   string
	handle int
}

// OpenFolder opens a directory to look at its files. The caller closes it.
func (f *FS) OpenFolder(path string) (*Folder, error) {
	handle, _, err := f.handle(path, unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	return &Folder{f, path, handle}, nil
}

// Close closes the directory. A nil Folder has nothing to close.
func (d *Folder) Close() {
	if d != nil {
		unix.Close(d.handle) //nolint:errcheck // a name only
	}
}

// Lstatx is FS.Statx for the file of that name in the directory, which may be a symbolic
// link: it does not follow it.
func (d *Folder) Lstatx(name string, mask int) (x unix.Statx_t, err error) {
	err = unix.Statx(d.handle, name, unix.AT_SYMLINK_NOFOLLOW|unix.AT_STATX_SYNC_AS_STAT, mask, &x)
	if err != nil {
		return x, d.fs.failed("stat", filepath.Join(d.path, name), err)
	}
	return x, nil
}

// Readlink reads where a symbolic link leads.
func (f *FS) Readlink(path string) (string, error) {
	return value(f, func(f *FS) (string, error) {
		handle, st, err := f.handle(path, unix.O_NOFOLLOW)
		if err != nil {
			return "", err
		}
		defer unix.Close(handle) //nolint:errcheck // a name only
		if st.Mode&unix.S_IFMT != unix.S_IFLNK {
			return "", f.failed("readlink", path, unix.EINVAL)
		}
		b := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(handle, "", b)
		if err != nil {
			return "", f.failed("readlink", path, err)
		}
		return string(b[:n]), nil
	})
}

// Readable returns an error if a file may not be read. It does not open it.
func (f *FS) Readable(path string) error {
	return f.Do(func(f *FS) error {
		handle, _, err := f.handle(path, 0)
		if err != nil {
			return err
		}
		defer unix.Close(handle) //nolint:errcheck // a name only
		// The effective user is asked for: access(2) alone would ask for the real one,
		// who is root.
		err = unix.Faccessat(unix.AT_FDCWD, ofHandle(handle), unix.R_OK, unix.AT_EACCESS)
		if withoutProc(err) {
			dir, rest := f.at(path)
			err = unix.Faccessat(dir, rest, unix.R_OK, unix.AT_EACCESS)
		}
		if err != nil {
			return f.failed("open", path, err)
		}
		return nil
	})
}

// failed describes an error of the kernel.
func (f *FS) failed(op, path string, err error) error {
	if f.Other() && errors.Is(err, fs.ErrPermission) && !errors.Is(err, fsuser.ErrProcess) {
		err = &DeniedError{User: f.user, Err: err}
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}

// DeniedError is what a process of root gets if the user of the server may not do
// what root could. It is an fs.ErrPermission.
type DeniedError struct {
	User fsuser.User
	Err  error
}

func (e *DeniedError) Error() string {
	return fmt.Sprintf("%v for the server's user (%v)", e.Err, e.User)
}

func (e *DeniedError) Unwrap() error { return e.Err }

// KindError is returned if something is no regular file and was not opened.
type KindError struct {
	Path string
	Kind string // see Kind
}

func (e *KindError) Error() string {
	return fmt.Sprintf("%s is a %s, not a regular file", e.Path, e.Kind)
}

// Kind names what a file is by its mode, as in st_mode: "regular file",
// "directory", "FIFO", "socket", "device" or "symbolic link".
func Kind(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "regular file"
	case unix.S_IFDIR:
		return "directory"
	case unix.S_IFIFO:
		return "FIFO"
	case unix.S_IFSOCK:
		return "socket"
	case unix.S_IFLNK:
		return "symbolic link"
	}
	return "device"
}

// retry repeats a call that a signal has interrupted.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
