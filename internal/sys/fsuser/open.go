package fsuser

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrProcess is returned for a path through a link in /proc. It is an fs.ErrPermission.
var ErrProcess = fmt.Errorf("the path leads through a link in /proc: %w", fs.ErrPermission)

// maxLinks is how many symbolic links the kernel follows at most.
const maxLinks = 40

// Openat is openat(2), except that it follows no link in /proc, such as
// /proc/self/cwd. Such links lead to what this process can reach, whatever rights the
// calling thread has. It does not create files.
func Openat(dir int, path string, flags int) (int, error) {
	how := unix.OpenHow{Flags: uint64(flags | unix.O_CLOEXEC), Resolve: unix.RESOLVE_NO_MAGICLINKS}
	fd, err := again(func() (int, error) { return unix.Openat2(dir, path, &how) })
	// ENOSYS: a kernel before 5.6. EPERM: a seccomp filter that does not know the call.
	// ELOOP: there is such a link, or there are too many.
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.ELOOP) {
		return walk(dir, path, flags)
	}
	return fd, err
}

// walk is Openat, one path element at a time.
func walk(dir int, path string, flags int) (int, error) {
	at, err := openElement(dir, ".", unix.O_PATH)
	if strings.HasPrefix(path, "/") {
		if at >= 0 {
			unix.Close(at) //nolint:errcheck // a name only
		}
		at, err = openElement(unix.AT_FDCWD, "/", unix.O_PATH)
	}
	if err != nil {
		return -1, err
	}
	defer func() { unix.Close(at) }() //nolint:errcheck // a name only
	links, left := 0, elements(path)
	for len(left) > 0 {
		name, last := left[0], len(left) == 1
		left = left[1:]
		next, err := openElement(at, name, unix.O_PATH)
		if err != nil {
			return -1, err
		}
		link, err := isLink(next)
		switch {
		case err != nil:
			unix.Close(next) //nolint:errcheck // a name only
			return -1, err
		case link && (!last || flags&unix.O_NOFOLLOW == 0):
			links++
			target, err := followed(next, links)
			if err != nil {
				return -1, err
			}
			left = append(elements(target), left...)
			if !strings.HasPrefix(target, "/") {
				continue
			}
			if next, err = openElement(unix.AT_FDCWD, "/", unix.O_PATH); err != nil {
				return -1, err
			}
		case last:
			unix.Close(next) //nolint:errcheck // a name only
			return openElement(at, name, flags)
		}
		unix.Close(at) //nolint:errcheck // a name only
		at = next
	}
	return openElement(at, ".", flags)
}

// isLink reports whether a file opened with O_PATH is a symbolic link.
func isLink(fd int) (bool, error) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	return st.Mode&unix.S_IFMT == unix.S_IFLNK, err
}

// followed returns where the nth link on the way leads, and closes it.
func followed(link, nth int) (string, error) {
	target, err := ordinaryLink(link)
	unix.Close(link) //nolint:errcheck // a name only
	if err == nil && nth > maxLinks {
		err = unix.ELOOP
	}
	return target, err
}

// elements returns the names in a path.
func elements(path string) []string {
	return strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
}

// openElement opens a directory entry that is not a symbolic link, or the link itself
// with O_PATH.
func openElement(dir int, name string, flags int) (int, error) {
	return again(func() (int, error) { return unix.Openat(dir, name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0) })
}

// ordinaryLink returns the target of an open link, unless it lies in /proc.
func ordinaryLink(fd int) (string, error) {
	var system unix.Statfs_t
	if err := unix.Fstatfs(fd, &system); err != nil {
		return "", &os.SyscallError{Syscall: "fstatfs", Err: err}
	}
	if system.Type == unix.PROC_SUPER_MAGIC {
		return "", ErrProcess
	}
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", target)
	return string(target[:max(n, 0)]), err
}

// again repeats a call that was interrupted by a signal.
func again(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
