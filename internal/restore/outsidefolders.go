package restore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"mbk/internal/repo"
	"mbk/internal/sys/fsuser"
)

// outside are the hidden folders in which files are built that go outside of the data
// directory.
type outside struct {
	target  target
	folders []*outsideFolder
}

// outsideFolder is such a folder, on the file system of its files. Like scratch it is
// locked.
type outsideFolder struct {
	dir   string
	lock  *os.File
	root  *os.Root // of the files
	files []outsideFile
}

// outsideFiles is the folder in it that holds the files.
const outsideFiles = "files"

// outsidePrefix is what the names of such folders begin with.
func (t target) outsidePrefix() string {
	if t.inside {
		return ".mbk-outside-"
	}
	return "." + filepath.Base(t.path) + ".mbk-outside-"
}

// open makes the scratch folders for files outside of the data directory, and
// removes those that dead restores into the same target have left. Where the files go
// is said by the backup: all of it is done with the rights of their owner.
func (o *outside) open(files []outsideFile) error {
	byRoot := map[string]*outsideFolder{}
	for _, file := range files {
		f := byRoot[file.root]
		if f == nil {
			var err error
			build := func() (*outsideFolder, error) { return o.newFolder(file.root) }
			if f, err = fsuser.Value(o.target.owner.user(), build); err != nil {
				return err
			}
			byRoot[file.root] = f
		}
		f.files = append(f.files, file)
	}
	return nil
}

// newFolder makes one.
func (o *outside) newFolder(root string) (_ *outsideFolder, err error) {
	left, err := leftoversIn(root, o.target.outsidePrefix(), o.target.owner.user())
	if err != nil {
		return nil, err
	}
	for _, l := range left {
		release, err := lockLeftover(filepath.Join(root, l.name))
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, &BusyError{Target: o.target.path}
		}
		if err != nil {
			return nil, err
		}
		err = removeTree(filepath.Join(root, l.name))
		release()
		if err != nil {
			return nil, err
		}
	}
	f := &outsideFolder{dir: filepath.Join(root, o.target.outsidePrefix()+strings.ToLower(rand.Text()[:8]))}
	if err := os.Mkdir(f.dir, 0o700); err != nil {
		return nil, fmt.Errorf("make scratch folder: %w", err)
	}
	o.folders = append(o.folders, f) // from here on it is removed with the others
	if f.lock, err = os.Open(f.dir); err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, err
	}
	inner := filepath.Join(f.dir, outsideFiles)
	if err := os.Mkdir(inner, 0o700); err != nil {
		return nil, err
	}
	f.root, err = os.OpenRoot(inner)
	return f, err
}

// holds reports whether a file is restored outside of the data directory.
func (o *outside) holds(number uint32) bool {
	for _, folder := range o.folders {
		if slices.ContainsFunc(folder.files, func(f outsideFile) bool { return f.Number == number }) {
			return true
		}
	}
	return false
}

// extract extracts the files, and makes links to them in the data directory.
func (o *outside) extract(ctx context.Context, x extraction) error {
	for _, folder := range o.folders {
		var files []*outFile
		for _, f := range folder.files {
			files = append(files, &outFile{File: f.File, path: f.rel(), size: f.Size})
		}
		y := extraction{
			chain: x.chain, root: folder.root, as: o.target.owner.user(), owner: x.owner, workers: x.workers, meter: x.meter,
		}
		if err := y.run(ctx, files); err != nil {
			return err
		}
		if err := x.as.Do(func() error { return folder.linkFrom(x) }); err != nil {
			return err
		}
	}
	return nil
}

// linkFrom makes links to the files in the data directory.
func (o *outsideFolder) linkFrom(x extraction) error {
	for _, f := range o.files {
		if err := x.makeFolder(path.Dir(f.File.Path)); err != nil {
			return err
		}
		if err := x.root.Symlink(filepath.Join(o.dir, outsideFiles, filepath.FromSlash(f.rel())), f.File.Path); err != nil {
			return fmt.Errorf("extract %s: %w", f.File.Path, err)
		}
	}
	return nil
}

// keepsDataDir reports whether a table of InnoDB stays outside of the data directory.
func (o *outside) keepsDataDir(table string) bool {
	for _, folder := range o.folders {
		for _, f := range folder.files {
			if f.Link == repo.LinkISL && f.File.Path == table+".ibd" {
				return true
			}
		}
	}
	return false
}

// link replaces the links of the recovery by those that the server shall
// follow. A file that recovery has dropped is not put anywhere.
func (o *outside) link(data *dataDir) error {
	for _, folder := range o.folders {
		kept := folder.files[:0]
		for _, f := range folder.files {
			err := data.root.Remove(f.File.Path)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err == nil && f.Link == repo.LinkISL {
				err = data.writeText(strings.TrimSuffix(f.File.Path, ".ibd")+".isl", f.path)
			} else if err == nil {
				err = data.root.Symlink(f.path, f.File.Path)
			}
			if err != nil {
				return fmt.Errorf("link %s to %s: %w", f.File.Path, f.path, err)
			}
			kept = append(kept, f)
		}
		folder.files = kept
	}
	return nil
}

// move puts the files where they belong, durably, and returns a function that
// undoes that.
func (o *outside) move() (undo func() error, err error) {
	type move struct{ from, to string }
	var moved []move
	owner := o.target.owner.user()
	undo = func() error {
		var errs []error
		for _, m := range slices.Backward(moved) {
			errs = append(errs, owner.Do(func() error { return exclusiveRename(m.to, m.from) }))
		}
		return errors.Join(errs...)
	}
	for _, folder := range o.folders {
		if err := unix.Syncfs(int(folder.lock.Fd())); err != nil {
			return undo, fmt.Errorf("sync the file system of %s: %w", folder.dir, err)
		}
		for _, f := range folder.files {
			from := filepath.Join(folder.dir, outsideFiles, filepath.FromSlash(f.rel()))
			err := owner.Do(func() error {
				if err := makeOutsideFolder(f.root, filepath.Dir(f.path)); err != nil {
					return err
				}
				return exclusiveRename(from, f.path)
			})
			if err != nil {
				return undo, err
			}
			moved = append(moved, move{from, f.path})
		}
		if err := unix.Syncfs(int(folder.lock.Fd())); err != nil {
			return undo, fmt.Errorf("sync the file system of %s: %w", folder.dir, err)
		}
	}
	return undo, nil
}

// makeOutsideFolder makes a folder below root, and those above it, as far as they are
// missing.
func makeOutsideFolder(root, dir string) error {
	if dir == root {
		return nil
	}
	if err := makeOutsideFolder(root, filepath.Dir(dir)); err != nil {
		return err
	}
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		var info os.FileInfo
		if info, err = os.Lstat(dir); err == nil && !info.IsDir() {
			err = fmt.Errorf("%s is not a directory", dir)
		}
	}
	return err
}

// remove removes the folders, or leaves them for a look.
func (o *outside) remove(keep bool) error {
	var errs []error
	for _, folder := range o.folders {
		if !keep {
			errs = append(errs, o.target.owner.user().Do(func() error { return removeTree(folder.dir) }))
		}
		if folder.root != nil {
			errs = append(errs, folder.root.Close())
		}
		if folder.lock != nil {
			errs = append(errs, folder.lock.Close())
		}
	}
	o.folders = nil
	return errors.Join(errs...)
}
