package restore

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"mbk/internal/hint"
	"mbk/internal/sys/fsuser"
)

// A restore by root works in folders that can belong to others: the target's parent, a
// mount point, the folders of DATA DIRECTORY. Whoever may change such a folder can put
// a link or another folder in the place of what root has just made there. So root makes
// the scratch folder itself only where nobody else can do that; elsewhere all is done
// with the rights of the new owner, who then can lead a restore only to where he could
// go himself. And what lies in the data directory is touched with his rights from the
// moment at which it is given to him.

// user is the owner as a user of the file system.
func (o Owner) user() fsuser.User { return fsuser.User(o) }

// openFolder opens a folder, and makes it and those above it as far as they are missing.
// The path is one without symbolic links; whoever puts one there meanwhile stops it.
func openFolder(path string) (*os.Root, error) {
	fd, err := fsuser.OpenPath(path, true)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }() // nothing is written through it
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	var want unix.Stat_t
	err = unix.Fstat(fd, &want)
	if err == nil {
		var info os.FileInfo
		if info, err = root.Stat("."); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Ino != want.Ino || st.Dev != want.Dev {
				err = fmt.Errorf("open %s: %w", path, errExchanged)
			}
		}
	}
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	return root, nil
}

// mayWrite reports whether the owner can make something in a folder.
func (o Owner) mayWrite(dir string) bool {
	return o.user().Do(func() error {
		return unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS)
	}) == nil
}

// chooseWriter decides with whose rights the scratch folder is made, and objects if
// there is nobody for it.
func (t *target) chooseWriter() []Objection {
	t.writer = fsuser.Current()
	open := ""
	if t.writer.UID == 0 {
		open = fsuser.OpenTo(t.parent())
	}
	if open == "" {
		return nil
	}
	if t.owner.UID == 0 {
		return []Objection{{
			Problem: fmt.Sprintf("others than root can change %s, and so where root writes to", open),
			Hint: "choose a folder that only root can change (chown, chmod), or give the files to that user with " +
				hint.Option("owner"),
		}}
	}
	if !t.owner.mayWrite(t.parent()) {
		return []Objection{{
			Problem: fmt.Sprintf("others than root can change %s, so root writes nothing there, and user %d, "+
				"who is to own the data directory, may not write in %s", open, t.owner.UID, t.parent()),
			Hint: "give that folder to the user who is to own the files (chown), choose one that only root can change, or " +
				"another user with " + hint.Option("owner"),
		}}
	}
	t.writer = t.owner.user()
	return nil
}
