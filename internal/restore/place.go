package restore

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"mbk/internal/hint"
	"mbk/internal/sys/fsuser"
)

// place makes the finished data directory durable and puts it where it belongs.
// After an error the target is as it was before. first is the entry that holds
// the beginning of the system tablespace.
func (s *scratch) place(first string) error {
	if err := s.finish(); err != nil {
		return fmt.Errorf("place %s: %w", s.target.path, err)
	}
	// Without their data directory these files are nothing that a server would start on.
	undo, err := s.outside.move()
	if err == nil {
		p := placement{target: s.target, dir: s.dir, data: s.data()}
		err = s.target.writer.Do(func() error {
			if s.target.inside {
				return p.moveIn(first)
			}
			return p.rename()
		})
	}
	if err == nil {
		return nil
	}
	if _, placed := os.Lstat(filepath.Join(s.data(), logName)); placed == nil {
		err = errors.Join(err, undo())
	}
	return fmt.Errorf("place %s: %w", s.target.path, err)
}

// finish sets owner and mode of the data directory itself and waits until
// everything in it is on stable storage. It syncs the whole file system, which
// for many files is far cheaper than one by one.
func (s *scratch) finish() error {
	if err := s.tree.as.Do(func() error { return s.outside.link(s.tree) }); err != nil {
		return err
	}
	if err := s.own(); err != nil {
		return err
	}
	// Without the owner's own rights to it no server could use it.
	if err := s.tree.as.Do(func() error { return s.tree.root.Chmod(".", s.target.mode|0o700) }); err != nil {
		return err
	}
	if s.target.label != "" {
		if err := s.tree.as.Do(func() error { return s.tree.label(s.target.label) }); err != nil {
			return err
		}
	}
	return s.sync()
}

// sync waits until everything in the scratch folder is on stable storage.
func (s *scratch) sync() error {
	if err := unix.Syncfs(int(s.lock.Fd())); err != nil {
		return fmt.Errorf("sync the file system of %s: %w", s.dir, err)
	}
	return nil
}

// placement is the move of a finished data directory to its target.
type placement struct {
	target target
	dir    string // the scratch folder
	data   string // the data directory in it
}

// rename puts the data directory in place in one step. An existing target is an
// empty directory; the kernel refuses the rename if it is not.
func (p placement) rename() error {
	var err error
	if p.target.old != "" {
		err = p.exchange()
	} else if p.target.exists {
		err = unix.Rename(p.data, p.target.path) // os.Rename replaces no folder
	} else {
		err = exclusiveRename(p.data, p.target.path)
	}
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
		return errors.New("something was put there during the restore")
	}
	if err != nil {
		return err
	}
	return syncFolder(p.target.parent())
}

// exchange puts the data directory in place of another one, which gets a name of
// its own, in one step: at no time is there none, and both are always whole. The new
// one takes that name for a moment before. It must not be in the scratch folder when
// they change places, because what a killed restore leaves there is removed by the
// next one.
func (p placement) exchange() error {
	if pid, running := runningServer(p.target.path); running {
		return fmt.Errorf("a server, pid %d, was started on it during the restore", pid)
	}
	if err := exclusiveRename(p.data, p.target.old); err != nil {
		return err
	}
	if err := swap(p.target.old, p.target.path); err != nil {
		return errors.Join(err, exclusiveRename(p.target.old, p.data))
	}
	return nil
}

// swap lets two files or folders change places.
func swap(one, other string) error {
	if err := unix.Renameat2(unix.AT_FDCWD, one, unix.AT_FDCWD, other, unix.RENAME_EXCHANGE); err != nil {
		err = fmt.Errorf("exchange %s and %s: %w", one, other, err)
		if errors.Is(err, unix.EXDEV) { // an overlay without redirect_dir, as of a container's image
			err = hint.Wrap(err, "this file system cannot rename folders of its lower layer: restore into a new folder, "+
				"or onto a mounted volume")
		}
		return err
	}
	return nil
}

// moveIn moves the entries of the data directory into a target that no rename
// can replace, such as a mount point. The system tablespace goes first and the
// redo log last: a server that finds the one without the other refuses to
// start, while with neither it would make new ones. What is about to be moved
// is written down before, for the restore that may have to clean up.
func (p placement) moveIn(first string) (err error) {
	names, err := placeOrder(p.data, first)
	if err != nil {
		return err
	}
	if err := p.writeDown(names); err != nil {
		return err
	}
	moved := 0
	defer func() {
		if err != nil {
			err = errors.Join(err, p.moveBack(names[:moved]))
		}
	}()
	for i, name := range names {
		if i == 1 || i == len(names)-1 {
			if err := syncFolder(p.target.path); err != nil {
				return err
			}
		}
		if err := exclusiveRename(filepath.Join(p.data, name), filepath.Join(p.target.path, name)); err != nil {
			return err
		}
		moved++
	}
	return syncFolder(p.target.path)
}

// handOver gives a target that was filled to its owner. Who has a folder can exchange
// what is in there, so that is the last step, and root takes it only if nobody else
// can change the way to the target.
func (t target) handOver() error {
	if !t.inside || os.Geteuid() != 0 || fsuser.OpenTo(filepath.Dir(t.path)) != "" {
		return nil
	}
	dir, err := os.OpenFile(t.path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return fmt.Errorf("set owner: %w", err)
	}
	defer dir.Close() //nolint:errcheck // nothing is written to it
	info, err := dir.Stat()
	if err == nil && info.Mode().Perm()&0o022 != 0 { // as in rename: not to be changed by others
		err = dir.Chmod(info.Mode() &^ 0o022)
	}
	if err = errors.Join(err, dir.Chown(t.owner.UID, t.owner.GID)); err != nil {
		return fmt.Errorf("set owner: %w", err)
	}
	return dir.Sync()
}

// moveBack undoes moveIn, the last entry first.
func (p placement) moveBack(names []string) error {
	for _, name := range slices.Backward(names) {
		if err := exclusiveRename(filepath.Join(p.target.path, name), filepath.Join(p.data, name)); err != nil {
			return fmt.Errorf("undo: %w", err)
		}
	}
	return nil
}

// placeOrder lists the entries of a data directory in the order in which they
// are put in place.
func placeOrder(dir, first string) ([]string, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	if !slices.Contains(names, first) || !slices.Contains(names, logName) {
		return nil, fmt.Errorf("%s lacks %s or %s", dir, first, logName)
	}
	rank := map[string]int{first: -1, logName: 1}
	slices.SortStableFunc(names, func(a, b string) int { return cmp.Compare(rank[a], rank[b]) })
	return names, nil
}

// writeDown keeps the names of the entries that are about to be moved.
func (p placement) writeDown(names []string) error {
	b, err := json.Marshal(names)
	if err != nil {
		return err
	}
	if err := writeNew(filepath.Join(p.dir, placingFile), b); err != nil {
		return err
	}
	return syncFolder(p.dir)
}

// exclusiveRename renames a file or folder to a name that is not taken.
func exclusiveRename(from, to string) error {
	err := unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		// The file system cannot: look first.
		if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("move to %s: %w", to, cmp.Or(err, error(unix.EEXIST)))
		}
		return os.Rename(from, to)
	}
	if err != nil {
		return fmt.Errorf("move to %s: %w", to, err)
	}
	return nil
}

// syncFolder makes the entries of a folder durable.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
