package folder

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"mbk/internal/repo/store"
)

// orphanAge is how long nobody may have written to a temporary file before it counts
// as left behind, on file systems that have no flock.
const orphanAge = 24 * time.Hour

// Delete removes the object's file, durably, and folders that it leaves empty. It
// removes nothing through a symbolic link, unless that stands for a folder of the
// repository itself, such as backups.
func (f *Store) Delete(ctx context.Context, name string) error {
	if err := errors.Join(ctx.Err(), store.CheckName(name)); err != nil {
		return err
	}
	err := f.inside(func(root *os.File) error {
		dir, err := f.openFolder(root, path.Dir(name), topLink)
		if err != nil {
			return err
		}
		defer dir.Close() //nolint:errcheck // synced by removeEmpty
		if err := unlinkIn(dir, path.Base(name), 0); err != nil {
			return err
		}
		return f.removeEmpty(root, path.Dir(name))
	})
	switch {
	case err == nil, isGone(err):
		return nil
	case errors.Is(err, store.ErrThroughLink), errors.Is(err, errForeignLink):
		return fmt.Errorf("delete %s: %w", name, err) // with the path of the link
	}
	if err = cause(err); !errors.Is(err, fs.ErrPermission) {
		err = &store.WriteError{Err: err}
	}
	return f.withRights(fmt.Errorf("delete %s: %w", name, err))
}

// removeEmpty removes a folder and those above it as far as they are empty, and
// makes that durable.
func (f *Store) removeEmpty(root *os.File, folder string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for ; folder != "."; folder = path.Dir(folder) {
		parent, err := f.openFolder(root, path.Dir(folder), topLink)
		if err == nil {
			// This fails on a symbolic link, which is an operator's and stays.
			err = unlinkIn(parent, path.Base(folder), unix.AT_REMOVEDIR)
			_ = parent.Close() // nothing is written to it
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			break
		}
		delete(f.synced, folder)
	}
	dir, err := f.openFolder(root, folder, allLinks)
	if isGone(err) {
		return nil // removed by another process, and with it our entry
	}
	if err != nil {
		return err
	}
	return errors.Join(syncFolder(dir), dir.Close())
}

// SweepTemp removes the temporary files and empty folders of writers that are dead.
func (f *Store) SweepTemp(ctx context.Context, prefix string) ([]string, error) {
	var swept []string
	var failed []error
	fail := func(name string, err error) error {
		failed = append(failed, f.withRights(fmt.Errorf("sweep %s: %w", path.Join(f.root, name), cause(err))))
		return nil
	}
	var emptied []string
	err := f.walk(ctx, prefix, topLink, walker{
		file: func(dir *os.File, name string, st *unix.Stat_t) error {
			if !strings.HasPrefix(path.Base(name), tempPrefix) {
				return nil
			}
			dead, err := abandoned(dir, path.Base(name), time.Unix(st.Mtim.Unix()))
			if err != nil {
				return fail(name, err)
			}
			if dead {
				swept = append(swept, name)
				emptied = append(emptied, path.Dir(name))
			}
			return nil
		},
		unreadable: func(string, error) error { return nil }, // List tells of it
	})
	if err == nil {
		err = f.inside(func(root *os.File) error { return f.sweepFolders(root, prefix, emptied, fail) })
	}
	if err != nil {
		failed = append(failed, f.withRights(fmt.Errorf("sweep %s: %w", f.root, cause(err))))
	}
	return swept, errors.Join(failed...)
}

// sweepFolders removes the emptied folders if nothing is left in them, and empty ones
// of a writer that died before it made a file there. A Put that finds its folder gone
// creates it again.
func (f *Store) sweepFolders(root *os.File, prefix string, emptied []string, fail func(string, error) error) error {
	folder := path.Dir(prefix)
	dir, err := f.openFolder(root, folder, topLink)
	if isGone(err) || errors.Is(err, errForeignLink) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close() //nolint:errcheck // nothing is written to it
	entries, err := dir.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := path.Join(folder, entry)
		if foreign(strings.TrimPrefix(folder, "."), entry) || !strings.HasPrefix(name, prefix) {
			continue
		}
		if st, err := f.statIn(dir, entry, false); err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			emptied = append(emptied, name)
		}
	}
	for _, name := range emptied {
		if err := f.removeIfEmpty(root, name); err != nil {
			_ = fail(name, err)
		}
	}
	return nil
}

// removeIfEmpty removes a folder without entries. What cannot be looked into is not
// empty as far as is known.
func (f *Store) removeIfEmpty(root *os.File, name string) error {
	dir, err := f.openFolder(root, name, topLink)
	if err != nil {
		return nil
	}
	held, err := dir.Readdirnames(1)
	_ = dir.Close() // nothing is written to it
	if err == nil || len(held) > 0 {
		return nil
	}
	return f.removeEmpty(root, name)
}

// abandoned removes a temporary file if its writer is dead: a living one holds a
// lock on it.
func abandoned(dir *os.File, name string, modified time.Time) (bool, error) {
	fd, err := openAt(dir, name, unix.O_RDWR|unix.O_NONBLOCK)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	d := os.NewFile(uintptr(fd), dir.Name()+"/"+name)
	err = flock(d)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return false, d.Close()
	case err != nil && time.Since(modified) < orphanAge:
		return false, d.Close()
	}
	return true, errors.Join(unlinkIn(dir, name, 0), d.Close())
}
