package restore

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"mbk/internal/hint"
)

// Names in a scratch folder.
const (
	dataDir     = "data"  // becomes the data directory
	tmpDir      = "tmp"   // mariadbd's temporary files
	ownerFile   = "owner" // who is at work, for messages
	serverLog   = "mariadbd.log"
	placingFile = "placing" // the entries of data that are being moved into the target
)

// logName is the redo log. A data directory without it does not start if it
// holds the system tablespace.
const logName = "ib_logfile0"

// scratch is the folder in which a restore is built. It is locked for as long
// as the process lives, so that another one can tell a leftover from work in
// progress.
type scratch struct {
	dir    string
	target target
	lock   *os.File // the folder itself
	root   *os.Root // of the data directory to be

	outside []*outsideScratch // of files that go elsewhere
}

// data is the path of the data directory to be.
func (s *scratch) data() string { return filepath.Join(s.dir, dataDir) }

// tmp is the path of the folder for mariadbd's temporary files.
func (s *scratch) tmp() string { return filepath.Join(s.dir, tmpDir) }

// newScratch removes what dead restores into the same target have left and
// makes a scratch folder. The parent is locked meanwhile, so that nobody takes
// the new folder for a leftover before it is locked itself.
func newScratch(ctx context.Context, t target, id string, now time.Time) (_ *scratch, err error) {
	parent, err := os.Open(t.parent())
	if err != nil {
		return nil, fmt.Errorf("make scratch folder: %w", err)
	}
	defer parent.Close() //nolint:errcheck // only locked
	if err := lockPatiently(ctx, parent); err != nil {
		return nil, fmt.Errorf("make scratch folder: lock %s: %w", t.parent(), err)
	}
	if err := sweep(t); err != nil {
		return nil, err
	}
	s := &scratch{dir: filepath.Join(t.parent(), t.scratchPrefix()+plainID(id)), target: t}
	// The server's user passes through, but cannot exchange what is in there.
	mode := os.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o711
	}
	if err := os.Mkdir(s.dir, mode); err != nil {
		return nil, fmt.Errorf("make scratch folder: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("make scratch folder: %w", err), s.remove())
		}
	}()
	if err = os.Chmod(s.dir, mode); err != nil { // whatever the umask is
		return s, err
	}
	if s.lock, err = os.Open(s.dir); err != nil {
		return s, err
	}
	if err = unix.Flock(int(s.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return s, err
	}
	host, _ := os.Hostname() // only for a message
	owner := fmt.Sprintf("%s pid %d since %s", host, os.Getpid(), now.UTC().Format(time.RFC3339))
	if err = os.WriteFile(filepath.Join(s.dir, ownerFile), []byte(owner), 0o600); err != nil {
		return s, err
	}
	for _, dir := range []string{s.data(), s.tmp()} {
		if err = os.Mkdir(dir, 0o700); err != nil {
			return s, err
		}
	}
	if t.old != "" {
		if err = swap(s.data(), s.tmp()); err != nil { // both are empty: it is only to see whether that works here
			return s, hint.Wrap(err, "--keep-old cannot work on this file system: move the old data directory away")
		}
	}
	if s.root, err = os.OpenRoot(s.data()); err != nil {
		return s, err
	}
	return s, nil
}

// plainID keeps of an id what may stand in a file name.
func plainID(id string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' || r == '-' {
			return r
		}
		return '_'
	}, id[:min(len(id), 64)])
}

// lockPatiently takes the lock of an open folder. It is held by others for
// moments only.
func lockPatiently(ctx context.Context, dir *os.File) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return err
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// sleep waits, and returns early with the context's error.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// own gives the data directory to its owner, and the folder for temporary files:
// the server runs as that user.
func (s *scratch) own() error {
	if os.Geteuid() != 0 {
		return nil
	}
	for _, dir := range []string{s.data(), s.tmp()} {
		if err := os.Lchown(dir, s.target.owner.UID, s.target.owner.GID); err != nil {
			return fmt.Errorf("set owner: %w", err)
		}
	}
	return nil
}

// close gives up the lock and leaves the folder for a look.
func (s *scratch) close() error {
	var err error
	if s.root != nil {
		err = s.root.Close()
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	s.root, s.lock = nil, nil
	return err
}

// remove deletes the folder.
func (s *scratch) remove() error {
	err := removeTree(s.dir)
	return errors.Join(err, s.close())
}

// removeTree deletes a folder. A server that is just being killed can still add
// a file to it, so a folder that is not empty is tried again.
func removeTree(dir string) error {
	var err error
	for range 20 {
		if err = os.RemoveAll(dir); err == nil {
			return nil
		}
		if !errors.Is(err, unix.ENOTEMPTY) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("remove scratch folder: %w", err)
}

// scratchFolders lists the scratch folders of restores into the target.
func scratchFolders(t target) ([]string, error) {
	list, err := os.ReadDir(t.parent())
	if err != nil {
		return nil, fmt.Errorf("look for leftovers: %w", err)
	}
	var names []string
	for _, e := range list {
		if e.IsDir() && strings.HasPrefix(e.Name(), t.scratchPrefix()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// sweep removes what dead restores into the target have left: their scratch
// folders, and entries that they had moved into the target before they died.
func sweep(t target) error {
	names, err := scratchFolders(t)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := sweepOne(t, filepath.Join(t.parent(), name)); err != nil {
			return err
		}
	}
	return nil
}

// sweepOne removes one leftover, or returns a BusyError if somebody works in it.
func sweepOne(t target, dir string) error {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look for leftovers: %w", err)
	}
	defer f.Close() //nolint:errcheck // only locked
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return &BusyError{Target: t.path, Owner: readSmall(filepath.Join(dir, ownerFile))}
	} else if err != nil {
		return fmt.Errorf("look for leftovers: lock %s: %w", dir, err)
	}
	if t.inside {
		for _, name := range halfPlaced(t.path, dir) {
			if err := os.RemoveAll(filepath.Join(t.path, name)); err != nil {
				return fmt.Errorf("remove leftovers: %w", err)
			}
		}
	}
	return removeTree(dir)
}

// leftovers lists the entries of a target that belong to restores that died
// while they filled it.
func leftovers(dir string) ([]string, error) {
	t := target{path: dir, inside: true}
	names, err := scratchFolders(t)
	for _, name := range names {
		names = append(names, halfPlaced(dir, filepath.Join(dir, name))...)
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

// readSmall reads a small file of a scratch folder, "" if it cannot be read.
func readSmall(path string) string {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer f.Close() //nolint:errcheck // only read
	b, err := io.ReadAll(io.LimitReader(f, 1<<20))
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(b))
}
