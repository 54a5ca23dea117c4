package folder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"mbk/internal/repo/store"
	"mbk/internal/sys/fsuser"
)

// errForeignLink is returned for a symbolic link that neither root nor the owner of
// the repository has made.
var errForeignLink = errors.New("is a symbolic link of another user")

// errExchanged is returned if another folder stands where the repository was.
var errExchanged = errors.New("is no longer the folder that it was")

// links says which symbolic links in a repository lead on. Only those of root, of the
// owner of the repository, and of the user of this process ever do.
type links int

const (
	allLinks links = iota // to read, list and write
	topLink               // to remove: only the first folder below the repository may be one
)

// inside calls do with the descriptor of the repository's folder and with the rights
// of its owner. The folder is opened again each time, so that nobody is kept from
// unmounting it meanwhile.
func (f *Store) inside(do func(root *os.File) error) error {
	root, err := f.openRoot()
	if err != nil {
		return err
	}
	defer root.Close() //nolint:errcheck // nothing is written to it
	return f.owner.Do(func() error { return do(root) })
}

// open opens the repository's folder with O_PATH. What is no link when Open looks
// for it may be one later, so root follows none on the way.
func (f *Store) open() (int, error) {
	return retry(func() (int, error) {
		if os.Geteuid() == 0 {
			return fsuser.OpenPath(f.root, false)
		}
		return unix.Open(f.root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	})
}

// stat describes the repository's folder.
func (f *Store) stat(st *unix.Stat_t) error {
	fd, err := f.open()
	if err != nil {
		return err
	}
	return errors.Join(unix.Fstat(fd, st), unix.Close(fd))
}

// openRoot opens the repository's folder with the rights of this process: its owner
// may not be able to go there. If root's rights are used inside, it must be the
// folder that Open saw.
func (f *Store) openRoot() (*os.File, error) {
	fd, err := f.open()
	if os.Geteuid() == 0 && errors.Is(err, unix.ENOTDIR) {
		err = errExchanged // by a link, or a file
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: f.root, Err: cause(err)}
	}
	root := os.NewFile(uintptr(fd), f.root)
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	if err == nil && os.Geteuid() == 0 && !f.owner.Other() && f.place != placeOf(&st) {
		err = errExchanged
	}
	if err != nil {
		return nil, errors.Join(&fs.PathError{Op: "open", Path: f.root, Err: err}, root.Close())
	}
	return root, nil
}

// place tells a folder from others.
type place struct{ dev, inode uint64 }

func placeOf(st *unix.Stat_t) place { return place{uint64(st.Dev), st.Ino} }

// openFolder opens a folder of the repository by its name, "" or "." for the
// repository's own.
func (f *Store) openFolder(root *os.File, name string, follow links) (*os.File, error) {
	dir, err := f.openIn(root, ".", unix.O_RDONLY|unix.O_DIRECTORY, false)
	if name == "" || name == "." || err != nil {
		return dir, err
	}
	for depth, element := range strings.Split(name, "/") {
		next, err := f.openIn(dir, element, unix.O_RDONLY|unix.O_DIRECTORY, follow == allLinks || depth == 0)
		if closeErr := dir.Close(); err == nil && closeErr != nil {
			return nil, errors.Join(closeErr, next.Close())
		}
		if err != nil {
			return nil, err
		}
		dir = next
	}
	return dir, nil
}

// openIn opens what a folder holds. A symbolic link leads on only if follow says so
// and it is one of those that may.
func (f *Store) openIn(dir *os.File, name string, flags int, follow bool) (*os.File, error) {
	path := dir.Name() + "/" + name
	if name == "." {
		path = dir.Name()
	}
	fd, err := openAt(dir, name, flags)
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
		target, linkErr := f.readLink(dir, name)
		switch {
		case errors.Is(linkErr, unix.EINVAL): // it is none
		case linkErr != nil:
			err = linkErr
		case !follow:
			err = store.ErrThroughLink
		default:
			fd, err = fsuser.Openat(int(dir.Fd()), target, flags)
		}
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// openAt opens an entry of a folder that is no symbolic link.
func openAt(dir *os.File, name string, flags int) (int, error) {
	return retry(func() (int, error) {
		return unix.Openat(int(dir.Fd()), name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	})
}

// readLink returns where a symbolic link leads that may lead on. The error is EINVAL
// for what is none. A second name of a link may have been made by anybody.
func (f *Store) readLink(dir *os.File, name string) (string, error) {
	fd, err := openAt(dir, name, unix.O_PATH)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd) //nolint:errcheck // nothing is written to it
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return "", err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFLNK {
		return "", unix.EINVAL
	}
	if uid := int(st.Uid); st.Nlink != 1 || uid != 0 && uid != f.owner.UID && uid != os.Geteuid() {
		return "", errForeignLink
	}
	target := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", target)
	if err != nil {
		return "", err
	}
	return string(target[:n]), nil
}

// statIn describes an entry of a folder, and what a symbolic link that may lead on
// leads to. The error is fs.ErrNotExist for one that leads nowhere.
func (f *Store) statIn(dir *os.File, name string, follow bool) (unix.Stat_t, error) {
	var st unix.Stat_t
	err := ignoringEINTR(func() error { return unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) })
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFLNK || !follow {
		return st, err
	}
	target, err := f.readLink(dir, name)
	if err != nil {
		return st, err
	}
	fd, err := fsuser.Openat(int(dir.Fd()), target, unix.O_PATH)
	if err != nil {
		return st, err
	}
	defer unix.Close(fd) //nolint:errcheck // a name only
	return st, unix.Fstat(fd, &st)
}

// openObject opens a regular file of the repository to read it. Anything else is
// looked at and not opened: a device may start something when it is.
func (f *Store) openObject(dir *os.File, name string) (*os.File, error) {
	st, err := f.statIn(dir, name, true)
	if errors.Is(err, errForeignLink) {
		return nil, fmt.Errorf("%w: %w", err, fs.ErrNotExist)
	}
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFREG {
		err = fmt.Errorf("is no file: %w", fs.ErrNotExist)
	}
	if err != nil {
		return nil, err
	}
	// O_NONBLOCK keeps a named pipe that takes the file's place now from stopping us
	// forever; it means nothing for files.
	file, err := f.openIn(dir, name, unix.O_RDONLY|unix.O_NONBLOCK, true)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("is no file: %w", fs.ErrNotExist)
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

// unlinkIn removes an entry of a folder, and never what a symbolic link leads to.
func unlinkIn(dir *os.File, name string, flags int) error {
	err := ignoringEINTR(func() error { return unix.Unlinkat(int(dir.Fd()), name, flags) })
	if err != nil {
		return &fs.PathError{Op: "remove", Path: dir.Name() + "/" + name, Err: err}
	}
	return nil
}

// sync makes the entries of a folder durable. Some network and FUSE file systems have
// no such operation; there is nothing better to do on those.
func syncFolder(dir *os.File) error {
	err := dir.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOTSUP) {
		return nil
	}
	return err
}

// isGone reports whether an error says that something is not there.
func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

func ignoringEINTR(call func() error) error {
	_, err := retry(func() (int, error) { return 0, call() })
	return err
}
