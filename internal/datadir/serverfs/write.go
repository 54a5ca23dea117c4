package serverfs

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Create makes a new file in a folder of the server, to write it. The file belongs to the
// server's user, has the mode 0660 less the umask, and must not have been there, not even as
// a link.
func (f *FS) Create(path string) (*os.File, error) {
	return value(f, func(f *FS) (*os.File, error) {
		folder, _, err := f.handle(filepath.Dir(path), unix.O_DIRECTORY)
		if err != nil {
			return nil, err
		}
		defer unix.Close(folder) //nolint:errcheck // a name only
		const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
		fd, err := retry(func() (int, error) { return unix.Openat(folder, filepath.Base(path), flags, 0o660) })
		if err != nil {
			return nil, f.failed("create", path, err)
		}
		return os.NewFile(uintptr(fd), path), nil
	})
}

// Remove removes a file, or a link itself.
func (f *FS) Remove(path string) error {
	return f.Do(func(f *FS) error {
		folder, _, err := f.handle(filepath.Dir(path), unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		defer unix.Close(folder) //nolint:errcheck // a name only
		if err := unix.Unlinkat(folder, filepath.Base(path), 0); err != nil {
			return f.failed("remove", path, err)
		}
		return nil
	})
}

// Rename gives a file another name in the same folder, which nothing there may have.
func (f *FS) Rename(path, to string) error {
	return f.Do(func(f *FS) error {
		folder, _, err := f.handle(filepath.Dir(path), unix.O_DIRECTORY)
		if err != nil {
			return err
		}
		defer unix.Close(folder) //nolint:errcheck // a name only
		err = unix.Renameat2(folder, filepath.Base(path), folder, filepath.Base(to), unix.RENAME_NOREPLACE)
		if err != nil {
			return f.failed("rename", path, err)
		}
		return nil
	})
}
