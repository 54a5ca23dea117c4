package restore

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
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
	"mbk/internal/sys/pause"
)

// Names in a scratch folder.
const (
	dataName    = "data"  // becomes the data directory
	tmpName     = "tmp"   // mariadbd's temporary files
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
	dir     string
	target  target
	lock    *os.File // the folder itself
	tree    *dataDir // what is built
	outside outside  // of files that go elsewhere
}

// data is the path of the data directory to be.
func (s *scratch) data() string { return filepath.Join(s.dir, dataName) }

// tmp is the path of the folder for mariadbd's temporary files.
func (s *scratch) tmp() string { return filepath.Join(s.dir, tmpName) }

// errSwept is returned if another restore took a new scratch folder for a leftover.
var errSwept = errors.New("another restore into the same target began at the same time")

// newScratch removes what dead restores into the same target have left and
// makes a scratch folder. Nothing is locked that others could open.
func newScratch(ctx context.Context, t target, id string, now time.Time) (*scratch, error) {
	for try := 1; ; try++ {
		busy, err := sweep(t, "")
		if err != nil {
			return nil, err
		}
		// It may be a leftover that another restore is just removing.
		last := try == 50
		if len(busy) > 0 && last {
			return nil, t.busy(busy[0])
		}
		var s *scratch
		if len(busy) == 0 {
			s, err = makeScratch(t, id, now)
		}
		if len(busy) > 0 || errors.Is(err, errSwept) && !last {
			if err := pause.For(ctx, 20*time.Millisecond); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("make scratch folder: %w", err)
		}
		if err := s.awaitTurn(ctx); err != nil {
			return nil, errors.Join(err, s.remove())
		}
		return s, nil
	}
}

// makeScratch makes a scratch folder and locks it. Its name cannot be foreseen, so
// nobody can take it before. The server's user passes through, but cannot exchange what
// is in there, unless all is done with his rights.
func makeScratch(t target, id string, now time.Time) (_ *scratch, err error) {
	name := t.scratchPrefix() + plainID(id)
	name = name[:min(len(name), 255-9)] + "-" + strings.ToLower(rand.Text()[:8])
	s := &scratch{dir: filepath.Join(t.parent(), name), target: t, outside: outside{target: t}}
	if err := t.writer.Do(func() error { return os.Mkdir(s.dir, 0o700) }); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil && !errors.Is(err, errSwept) {
			err = errors.Join(err, s.remove())
		} else if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	return s, t.writer.Do(func() error { return s.fill(now) })
}

// fill locks a new scratch folder and makes what belongs into it.
func (s *scratch) fill(now time.Time) (err error) {
	s.lock, err = os.OpenFile(s.dir, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return errSwept
	}
	if err != nil {
		return err
	}
	if err = unix.Flock(int(s.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); errors.Is(err, unix.EWOULDBLOCK) {
		return errSwept
	}
	if err != nil {
		return err
	}
	if there, err := os.Lstat(s.dir); errors.Is(err, fs.ErrNotExist) {
		return errSwept
	} else if err != nil {
		return err
	} else if mine, err := s.lock.Stat(); err != nil || !os.SameFile(mine, there) {
		return cmp.Or(err, error(errSwept))
	}
	mode := os.FileMode(0o700)
	if os.Geteuid() == 0 && s.target.writer.UID == 0 {
		mode = 0o711
	}
	if err := s.lock.Chmod(mode); err != nil { // whatever the umask is
		return err
	}
	host, _ := os.Hostname() // only for a message
	owner := fmt.Sprintf("%s pid %d since %s", host, os.Getpid(), now.UTC().Format(time.RFC3339))
	if err := writeNew(filepath.Join(s.dir, ownerFile), []byte(owner)); err != nil {
		return err
	}
	for _, dir := range []string{s.data(), s.tmp()} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
	}
	if s.target.old != "" {
		if err := swap(s.data(), s.tmp()); err != nil { // both are empty: it is only to see whether that works here
			return hint.Wrap(err, hint.Option("keep-old")+" cannot work on this file system: move the old data directory away")
		}
	}
	s.tree, err = openDataDir(s.data(), s.target)
	return err
}

// writeNew makes a small file, which must not be there.
func writeNew(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}

// awaitTurn returns when no other restore into the same target is at work. Of those
// that began at once, the one whose folder comes first in the alphabet goes on.
func (s *scratch) awaitTurn(ctx context.Context) error {
	own := filepath.Base(s.dir)
	for deadline := time.Now().Add(10 * time.Second); ; {
		busy, err := sweep(s.target, own)
		if err != nil || len(busy) == 0 {
			return err
		}
		if first := slices.Min(busy); first < own || time.Now().After(deadline) {
			return s.target.busy(first)
		}
		if err := pause.For(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

// busy is the error that names the restore which works in a scratch folder.
func (t target) busy(name string) *BusyError {
	b := &BusyError{Target: t.path}
	_ = t.writer.Do(func() error {
		b.Owner = readSmall(filepath.Join(t.parent(), name, ownerFile))
		return nil
	})
	return b
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

// own gives the data directory to its owner, and the folder for temporary files:
// the server runs as that user. From now on nobody else's rights are used in there.
func (s *scratch) own() error {
	if os.Geteuid() != 0 {
		return nil
	}
	owner := s.target.owner
	err := s.target.writer.Do(func() error {
		return errors.Join(s.tree.root.Chown(".", owner.UID, owner.GID), os.Lchown(s.tmp(), owner.UID, owner.GID))
	})
	if err != nil {
		return fmt.Errorf("set owner: %w", err)
	}
	s.tree.as = owner.user()
	return nil
}

// clean removes the scratch folders, or leaves them for a look.
func (s *scratch) clean(keep bool) error {
	err := s.outside.remove(keep)
	if keep {
		return errors.Join(err, s.close())
	}
	return errors.Join(err, s.remove())
}

// close releases the lock and leaves the folder for a look.
func (s *scratch) close() error {
	var err error
	if s.tree != nil {
		err = s.tree.root.Close()
	}
	if s.lock != nil {
		err = errors.Join(err, s.lock.Close())
	}
	s.tree, s.lock = nil, nil
	return err
}

// remove deletes the folder.
func (s *scratch) remove() error {
	err := s.target.writer.Do(func() error { return removeTree(s.dir) })
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
