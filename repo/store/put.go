package store

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
	"path/filepath"

	"golang.org/x/sys/unix"
)

// tempTries bounds how often a Put starts over because another process removed
// the empty folder, or the new and still unlocked file, under its hands.
const tempTries = 10

// Put writes an object under a temporary name in the folder in which it will
// lie, checks its length, syncs it, renames it, and syncs the folder and those
// above it that are new.
func (f *Folder) Put(ctx context.Context, name string, write func(w io.Writer) error) error {
	if err := errors.Join(ctx.Err(), CheckName(name)); err != nil {
		return err
	}
	file, err := f.createTemp(name)
	if err != nil {
		return f.explain("write "+name, err)
	}
	w := &folderWriter{ctx: ctx, folder: f, name: name, file: file}
	err = write(w)
	if err == nil {
		err = w.finish()
	}
	if err != nil {
		return errors.Join(err, w.wait(), f.dropTemp(name, file))
	}
	return f.place(name, file)
}

// place closes a written and synced temporary file and gives it its name.
func (f *Folder) place(name string, file *os.File) error {
	// The lock that tells sweepers "in use" must last until the file has its
	// name, but Close may still report an error of the write and so comes
	// first. A second descriptor keeps the lock meanwhile.
	hold, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return errors.Join(f.explain("write "+name, err), f.dropTemp(name, file))
	}
	defer unix.Close(hold)
	temp := file.Name()
	err = errors.Join(f.step("close"), file.Close())
	if err == nil {
		err = f.step("rename")
	}
	if err == nil {
		err = os.Rename(temp, f.path(name))
	}
	if err != nil {
		return errors.Join(f.explain("write "+name, err), f.removeTemp(name, temp))
	}
	if err = f.step("sync folder"); err == nil {
		err = syncFolder(filepath.Dir(f.path(name)))
	}
	return f.explain("write "+name, err)
}

// step is where tests make a Put fail.
func (f *Folder) step(name string) error {
	if f.fault == nil {
		return nil
	}
	return f.fault(name)
}

// createTemp makes a locked temporary file for an object, and its folder.
func (f *Folder) createTemp(name string) (*os.File, error) {
	folder := filepath.Dir(f.path(name))
	for range tempTries {
		if err := f.makeFolder(folder); err != nil {
			return nil, err
		}
		if err := f.step("create"); err != nil {
			return nil, err
		}
		temp := filepath.Join(folder, tempPrefix+random()+"."+path.Base(name))
		file, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrNotExist) {
			f.forget(folder) // an expiry of another process found it empty
			continue
		}
		if err != nil {
			return nil, err
		}
		ours, err := claim(file)
		if err != nil {
			return nil, errors.Join(err, f.dropTemp(name, file))
		}
		if ours {
			return file, nil
		}
		if err := file.Close(); err != nil {
			return nil, err
		}
	}
	return nil, fmt.Errorf("folder %s is removed again and again", folder)
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

// makeFolder makes a folder and those above it durably. Another Put may have made
// it a moment ago without having synced its entry yet, so a folder that is seen
// for the first time is synced even if it is there.
func (f *Folder) makeFolder(folder string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.makeFolderLocked(folder)
}

func (f *Folder) makeFolderLocked(folder string) error {
	if f.synced[folder] {
		return nil
	}
	parent := filepath.Dir(folder)
	if err := f.makeFolderLocked(parent); err != nil {
		return err
	}
	if err := f.step("mkdir"); err != nil {
		return err
	}
	if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		if errors.Is(err, fs.ErrNotExist) {
			delete(f.synced, parent)
		}
		return err
	}
	if err := f.step("sync parent"); err != nil {
		return err
	}
	if err := syncFolder(parent); err != nil {
		return err
	}
	f.synced[folder] = true
	return nil
}

// forget makes the next Put look whether a folder is there.
func (f *Folder) forget(folder string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for ; folder != f.root; folder = filepath.Dir(folder) {
		delete(f.synced, folder)
	}
}

// dropTemp closes and removes a temporary file that will not become an object.
func (f *Folder) dropTemp(name string, file *os.File) error {
	err := f.removeTemp(name, file.Name())
	_ = file.Close() // nobody will read what it held
	return err
}

// removeTemp removes a temporary file and the folders that are empty without it.
func (f *Folder) removeTemp(name, temp string) error {
	if err := os.Remove(temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return f.removeEmpty(path.Dir(name))
}

// random returns 16 hex digits.
func random() string {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
