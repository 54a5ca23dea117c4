package fsuser

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// OpenTo returns the first directory, from the path upwards, whose entries others than
// root can change, or "" if there is none. The path is absolute and holds no symbolic
// links.
func OpenTo(path string) string {
	for dir := path; ; dir = filepath.Dir(dir) {
		if info, err := os.Lstat(dir); err != nil || !onlyRoots(info) {
			return dir
		}
		if dir == "/" {
			return ""
		}
	}
}

// onlyRoots reports whether only root can replace what root has made in a directory. With
// the sticky bit others can only add entries. A directory that is writable for its group
// does not count, even if that is the group root: others may be members of it, and if the
// directory has an access control list (ACL), the group bits are the mask of that list.
func onlyRoots(info os.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || st.Uid != 0 {
		return false
	}
	return info.Mode().Perm()&0o022 == 0 || info.Mode()&os.ModeSticky != 0
}

// ForeignLinkError is returned for a symbolic link that root does not follow.
type ForeignLinkError struct{ Path string }

// Error names the link.
func (e *ForeignLinkError) Error() string {
	return fmt.Sprintf("%s is a symbolic link that users other than root can have made", e.Path)
}

// Advice says what to do about it.
func (e *ForeignLinkError) Advice() string {
	return "look where it leads, and name that folder itself"
}

// rootsLink reports whether only root can have made a link in a directory.
func rootsLink(dir string, link os.FileInfo) bool {
	st, ok := link.Sys().(*syscall.Stat_t)
	info, err := os.Lstat(dir)
	if err != nil || !ok || OpenTo(dir) != "" {
		return false
	}
	return st.Uid == 0 || info.Mode()&os.ModeSticky == 0
}

// Resolve makes a path absolute and follows its symbolic links. The last element need not
// exist. Root follows only links that nobody else can have made; any other link is a
// *ForeignLinkError.
func Resolve(path string) (string, error) {
	if path == "" {
		return "", errors.New("no path")
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	dir, last := "/", "" // where we are, and the link that the path ends in
	parts, links := strings.Split(path, "/"), 0
	for len(parts) > 0 {
		name := parts[0]
		parts = parts[1:]
		next := filepath.Join(dir, name) // ".." leads up, as dir holds no links
		info, err := os.Lstat(next)
		switch {
		case errors.Is(err, fs.ErrNotExist) && len(parts) == 0 && last == "":
			return next, nil
		case errors.Is(err, fs.ErrNotExist) && last != "":
			return "", fmt.Errorf("%s is a symbolic link that leads nowhere", last)
		case err != nil:
			return "", err
		case info.Mode()&os.ModeSymlink == 0:
			dir = next
			continue
		}
		if links++; links > maxLinks {
			return "", &os.PathError{Op: "resolve", Path: path, Err: unix.ELOOP}
		}
		if os.Geteuid() == 0 && !rootsLink(dir, info) {
			return "", &ForeignLinkError{next}
		}
		to, err := os.Readlink(next)
		if err != nil {
			return "", err
		}
		if len(parts) == 0 && last == "" {
			last = next
		}
		if filepath.IsAbs(to) {
			dir = "/"
		}
		parts = append(strings.Split(to, "/"), parts...)
	}
	return dir, nil
}

// OpenPath opens a directory with O_PATH, by an absolute path without symbolic links; one
// that appears there meanwhile is an error. If make is set, missing directories are made.
func OpenPath(path string, make bool) (fd int, err error) {
	const flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	if fd, err = unix.Open("/", flags, 0); err != nil {
		return -1, &os.PathError{Op: "open", Path: "/", Err: err}
	}
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if name == "" {
			continue
		}
		next, err := unix.Openat(fd, name, flags, 0)
		if make && errors.Is(err, unix.ENOENT) {
			if err = unix.Mkdirat(fd, name, 0o777); err == nil {
				next, err = unix.Openat(fd, name, flags, 0)
			}
		}
		_ = unix.Close(fd) // O_PATH: nothing to lose
		if err != nil {
			return -1, &os.PathError{Op: "open " + name + " of", Path: path, Err: err}
		}
		fd = next
	}
	return fd, nil
}
