package folder

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"mbk/internal/hint"
	"mbk/internal/repo/store"
)

const (
	lockPrefix = ".lock-"

	maxOwner = 1000 // bytes read of a lock holder's text
)

// Lock takes a flock on a file of its own in the folder. The file stays, and its
// text outlives the holder: only the flock counts.
func (f *Store) Lock(ctx context.Context, name, owner string) (store.Lock, error) {
	if err := errors.Join(ctx.Err(), store.CheckLockName(name)); err != nil {
		return nil, err
	}
	file, ours, err := f.openLock(name)
	if err != nil {
		return nil, err
	}
	if err := flock(file); errors.Is(err, unix.EWOULDBLOCK) {
		return nil, errors.Join(&store.LockedError{Name: name, Owner: readOwner(file)}, file.Close())
	} else if err != nil {
		return nil, errors.Join(f.explain("lock "+name, err), file.Close())
	}
	// The text is for people. A full disk must not stop an expiry that would
	// make room, so a failure to write it is none of the lock's.
	if !ours {
		return store.UntilReleased(file.Close), nil
	}
	if file.Truncate(0) == nil {
		_, _ = file.WriteAt([]byte(owner+"\n"), 0) // see above
	}
	return store.UntilReleased(func() error {
		if err := file.Truncate(0); err != nil {
			return errors.Join(f.explain("unlock "+name, err), file.Close())
		}
		return file.Close()
	}), nil
}

// openLock opens the file of a lock, or makes it. It is ours to write to unless it has
// further names: it may be another file, whose content the lock's text would replace.
func (f *Store) openLock(name string) (file *os.File, ours bool, err error) {
	path := filepath.Join(f.root, lockPrefix+name)
	err = f.inside(func(root *os.File) error {
		// O_CLOEXEC: a program started by the holder, a mariadbd that outlives it,
		// must not inherit the lock. O_NONBLOCK: it may be a named pipe.
		fd, err := openAt(root, lockPrefix+name, unix.O_RDWR|unix.O_CREAT|unix.O_NONBLOCK)
		if err == nil {
			file = os.NewFile(uintptr(fd), path)
		}
		return err
	})
	if errors.Is(err, unix.ELOOP) || errors.Is(err, unix.EISDIR) || errors.Is(err, unix.ENXIO) {
		return nil, false, foreignLock(name, path)
	}
	if err != nil {
		return nil, false, f.explain("lock "+name, err)
	}
	var st unix.Stat_t
	err = unix.Fstat(int(file.Fd()), &st)
	switch {
	case err != nil:
		return nil, false, errors.Join(f.explain("lock "+name, err), file.Close())
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, false, errors.Join(foreignLock(name, path), file.Close())
	}
	return file, st.Nlink == 1, nil
}

// foreignLock is the error for a lock's file that mbk has not made.
func foreignLock(name, path string) error {
	return hint.Wrap(fmt.Errorf("lock %s: %s is not a plain file", name, path),
		"find out who has put it there, and remove it when no mbk is running; the next one creates it again")
}

// Holder reads the text of a lock that is held. A lock whose file has no text is not held, so that nobody
// who takes it in this moment finds it locked by the one who asks.
func (f *Store) Holder(ctx context.Context, name string) (string, error) {
	if err := errors.Join(ctx.Err(), store.CheckLockName(name)); err != nil {
		return "", err
	}
	var file *os.File
	err := f.inside(func(root *os.File) (err error) {
		st, err := f.statIn(root, lockPrefix+name, false)
		if err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
			return errors.Join(err, fs.ErrNotExist)
		}
		file, err = f.openIn(root, lockPrefix+name, unix.O_RDONLY|unix.O_NONBLOCK, false)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", f.explainRead("look at lock "+name, err)
	}
	defer file.Close() //nolint:errcheck // only read
	owner := readOwner(file)
	if owner == "" {
		return "", nil
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return owner, nil
	}
	return "", f.explain("look at lock "+name, err) // a text that a dead holder left
}

// readOwner returns the printable part of a lock file's first line.
func readOwner(file *os.File) string {
	b := make([]byte, maxOwner)
	n, err := file.ReadAt(b, 0)
	if err != nil && err != io.EOF {
		return ""
	}
	line, _, _ := strings.Cut(string(b[:n]), "\n")
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(line, ""))
}
