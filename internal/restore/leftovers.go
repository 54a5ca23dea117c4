package restore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"mbk/internal/sys/fsuser"
)

// leftover is a scratch folder that was found.
type leftover struct {
	name string
	user fsuser.User // to whom it belongs
}

// leftoversIn lists the folders whose names have a prefix, and that belong to one of
// the users. Where everybody may write, anybody can give a folder such a name: one
// that belongs to somebody else is left alone.
func leftoversIn(dir, prefix string, users ...fsuser.User) ([]leftover, error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("look for leftovers: %w", err)
	}
	var found []leftover
	for _, e := range list {
		if !e.IsDir() || !strings.HasPrefix(e.Name(), prefix) {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue // it has just gone
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			continue
		}
		if i := slices.IndexFunc(users, func(u fsuser.User) bool { return u.UID == int(st.Uid) }); i >= 0 {
			found = append(found, leftover{e.Name(), users[i]})
		}
	}
	return found, nil
}

// scratchFolders lists the scratch folders of restores into the target.
func (t target) scratchFolders() ([]leftover, error) {
	return leftoversIn(t.parent(), t.scratchPrefix(), t.writer, t.owner.user())
}

// sweep removes what dead restores into the target have left: their scratch
// folders, and entries that they had moved into the target before they died. It
// returns the folders in which somebody is at work, other than the one named.
func sweep(t target, own string) (busy []string, err error) {
	found, err := t.scratchFolders()
	if err != nil {
		return nil, err
	}
	for _, l := range found {
		if l.name == own || l.name == t.inbox {
			continue
		}
		dir := filepath.Join(t.parent(), l.name)
		// Whatever somebody has arranged there is removed with the rights of its owner.
		err := l.user.Do(func() error { return t.sweepOne(dir) })
		if l.user.UID != t.writer.UID {
			continue // nobody who restores there now: it must not stop us, whatever its owner does with it
		}
		if errors.Is(err, unix.EWOULDBLOCK) {
			busy = append(busy, l.name)
		} else if err != nil {
			return nil, err
		}
	}
	return busy, nil
}

// sweepOne removes one leftover, or returns EWOULDBLOCK if somebody works in it.
func (t target) sweepOne(dir string) error {
	release, err := lockLeftover(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer release()
	if t.inside {
		for _, name := range halfPlaced(t.path, dir) {
			if err := os.RemoveAll(filepath.Join(t.path, name)); err != nil {
				return fmt.Errorf("remove leftovers: %w", err)
			}
		}
	}
	return removeTree(dir)
}

// lockLeftover locks a folder that somebody has left, until it is released.
func lockLeftover(dir string) (release func(), err error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("look for leftovers: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("look for leftovers: lock %s: %w", dir, err), f.Close())
	}
	return func() { _ = f.Close() }, nil // only locked
}

// leftovers lists the entries of the target that belong to restores that died
// while they filled it.
func (t target) leftovers() ([]string, error) {
	t.inside = true
	_ = t.chooseWriter() // what stands against it is told elsewhere
	found, err := t.scratchFolders()
	var names []string
	for _, l := range found {
		names = append(names, l.name)
		names = append(names, halfPlaced(t.path, filepath.Join(t.path, l.name))...)
	}
	return names, err
}

// halfPlaced lists the entries that a dead restore had moved into the target
// before it came to the last, the redo log. Nothing is listed once that is in
// place: then the data directory is whole, and may be in use.
func halfPlaced(dir, scratchDir string) []string {
	if _, err := os.Lstat(filepath.Join(dir, logName)); !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var names []string
	if json.Unmarshal([]byte(readSmall(filepath.Join(scratchDir, placingFile))), &names) != nil {
		return nil
	}
	return slices.DeleteFunc(names, func(name string) bool {
		_, moved := os.Lstat(filepath.Join(dir, name))
		return filepath.Base(name) != name || name == "." || name == ".." || moved != nil
	})
}
