package folder

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"mbk/internal/repo/store"
)

// tempTries bounds how often a Put starts over because another process removed
// the empty folder, or the new and still unlocked file, under its hands.
const tempTries = 10

// Put writes an object under a temporary name in the folder in which it will
// lie, checks its length, syncs it, renames it, and syncs the folder and those
// above it that are new.
func (f *Store) Put(ctx context.Context, name string, write func(w io.Writer) error) error {
	if err := errors.Join(ctx.Err(), store.CheckName(name)); err != nil {
		return err
	}
	t, err := f.createTemp(name)
	if err != nil {
		return f.explain("write "+name, err)
	}
	defer t.dir.Close() //nolint:errcheck // synced by name
	w := newObjectWriter(ctx, f, t)
	err = write(w)
	if err == nil {
		err = w.finish(ctx)
	}
	if err != nil {
		return errors.Join(err, w.Wait(), f.dropTemp(t))
	}
	return f.name(t)
}

// temp is a temporary file that is to become an object.
type temp struct {
	name string   // of the object
	dir  *os.File // the folder of both, which stays the same one whatever happens to its name
	base string   // in the folder
	file *os.File
}

// name closes a written and synced temporary file and gives it its name.
func (f *Store) name(t *temp) error {
	// The lock that tells sweepers "in use" must last until the file has its
	// name, but Close may still report an error of the write and so comes
	// first. A second descriptor keeps the lock meanwhile.
	hold, err := unix.FcntlInt(t.file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return errors.Join(f.explain("write "+t.name, err), f.dropTemp(t))
	}
	defer unix.Close(hold) //nolint:errcheck // closed before
	err = errors.Join(f.step("close"), t.file.Close())
	if err == nil {
		err = f.step("rename")
	}
	if err == nil {
		err = f.owner.Do(func() error {
			dir := int(t.dir.Fd())
			return ignoringEINTR(func() error { return unix.Renameat(dir, t.base, dir, path.Base(t.name)) })
		})
	}
	if err != nil {
		return errors.Join(f.explain("write "+t.name, err), f.removeTemp(t))
	}
	if err = f.step("sync folder"); err == nil {
		err = syncFolder(t.dir)
	}
	return f.explain("write "+t.name, err)
}

// step is where tests make a Put fail.
func (f *Store) step(name string) error {
	if f.fault == nil {
		return nil
	}
	return f.fault(name)
}

// createTemp makes a locked temporary file for an object, and its folder.
func (f *Store) createTemp(name string) (t *temp, err error) {
	err = f.inside(func(root *os.File) error {
		for range tempTries {
			if t, err = f.tryTemp(root, name); t != nil || err != nil {
				return err
			}
		}
		return fmt.Errorf("folder %s is removed again and again", path.Dir(name))
	})
	return t, err
}

// tryTemp is a try of createTemp. It returns nil if an expiry of another process found
// the folder empty, or the file without a lock, and removed that.
func (f *Store) tryTemp(root *os.File, name string) (*temp, error) {
	dir, err := f.makeFolder(root, path.Dir(name))
	if dir == nil {
		return nil, err
	}
	t := &temp{name: name, dir: dir, base: tempPrefix + random() + "." + path.Base(name)}
	err = f.step("create")
	if err == nil {
		var fd int
		if fd, err = openAt(dir, t.base, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL); err == nil {
			t.file = os.NewFile(uintptr(fd), dir.Name()+"/"+t.base)
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		f.forget(path.Dir(name))
		return nil, dir.Close()
	}
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	ours, err := claim(t.file)
	switch {
	case err != nil:
		return nil, errors.Join(err, f.dropTemp(t), dir.Close())
	case !ours:
		return nil, errors.Join(t.file.Close(), dir.Close())
	}
	return t, nil
}

// claim locks a new temporary file. It is not ours if a sweeper found it before
// it was locked, and removes or has removed it.
func claim(file *os.File) (bool, error) {
	switch err := flock(file); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return false, nil
	case err != nil:
		return true, nil // no flock on this file system: sweepers go by age
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return false, err
	}
	return st.Nlink > 0, nil
}

// makeFolder makes a folder and those above it durably, and opens it. Another Put may
// have made it a moment ago without having synced its entry yet, so a folder that is
// seen for the first time is synced even if it is there. It returns nil if one was
// removed meanwhile.
func (f *Store) makeFolder(root *os.File, folder string) (*os.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	dir, err := f.openFolder(root, "", allLinks)
	if err != nil || folder == "." {
		return dir, err
	}
	name := ""
	for element := range strings.SplitSeq(folder, "/") {
		name = path.Join(name, element)
		next, err := f.makeNext(dir, element, name)
		err = errors.Join(err, dir.Close())
		if next == nil || err != nil {
			return nil, err
		}
		dir = next
	}
	return dir, nil
}

// makeNext makes one folder in dir, unless it is there, and opens it.
func (f *Store) makeNext(dir *os.File, element, name string) (*os.File, error) {
	if !f.synced[name] {
		err := f.step("mkdir")
		if err == nil {
			err = ignoringEINTR(func() error { return unix.Mkdirat(int(dir.Fd()), element, 0o700) })
		}
		if errors.Is(err, fs.ErrExist) {
			err = nil
		}
		if err == nil {
			err = f.step("sync parent")
		}
		if err == nil {
			err = syncFolder(dir)
		}
		if err != nil {
			return nil, f.without(name, err)
		}
		f.synced[name] = true
	}
	next, err := f.openIn(dir, element, unix.O_RDONLY|unix.O_DIRECTORY, true)
	if err != nil {
		return nil, f.without(name, err)
	}
	return next, nil
}

// without forgets a folder that was removed meanwhile, with those above it. Other
// errors stay.
func (f *Store) without(name string, err error) error {
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for ; name != "."; name = path.Dir(name) {
		delete(f.synced, name)
	}
	return nil
}

// forget makes the next Put look whether a folder is there.
func (f *Store) forget(folder string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.without(folder, fs.ErrNotExist) // only forgets
}

// dropTemp closes and removes a temporary file that will not become an object.
func (f *Store) dropTemp(t *temp) error {
	err := f.removeTemp(t)
	_ = t.file.Close() // nobody will read what it held
	return err
}

// removeTemp removes a temporary file and the folders that are empty without it.
func (f *Store) removeTemp(t *temp) error {
	return f.inside(func(root *os.File) error {
		if err := unlinkIn(t.dir, t.base, 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return f.removeEmpty(root, path.Dir(t.name))
	})
}

// random returns 16 hex digits.
func random() string {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
