package restore

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"mbk/internal/fsuser"
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

// openTo is the folder on the way to a path, or that at its end, of which others than
// root can change what is in it, "" if there is none. The path is absolute, and its
// symbolic links are resolved.
func openTo(path string) string {
	for dir := path; ; dir = filepath.Dir(dir) {
		if info, err := os.Lstat(dir); err != nil || !onlyRoots(info) {
			return dir
		}
		if dir == "/" {
			return ""
		}
	}
}

// onlyRoots says whether only root can exchange what root has made in a folder. In one
// with the sticky bit others can add something only.
func onlyRoots(info os.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || st.Uid != 0 {
		return false
	}
	others := info.Mode().Perm() & 0o022
	if st.Gid == 0 {
		others &= 0o002
	}
	return others == 0 || info.Mode()&os.ModeSticky != 0
}

// mayWrite says whether the owner can make something in a folder.
func (o Owner) mayWrite(dir string) bool {
	return o.user().Do(func() error {
		return unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS)
	}) == nil
}

// chooseHand decides with whose rights the scratch folder is made, and objects if
// there is nobody for it.
func (t *target) chooseHand() []Objection {
	t.hand = fsuser.Current()
	open := ""
	if t.hand.UID == 0 {
		open = openTo(t.parent())
	}
	if open == "" {
		return nil
	}
	if t.owner.UID == 0 {
		return []Objection{{
			Problem: fmt.Sprintf("others than root can change %s, and so where root writes to", open),
			Hint:    "choose a folder that only root can change (chown, chmod), or give the files to that user with --owner",
		}}
	}
	if !t.owner.mayWrite(t.parent()) {
		return []Objection{{
			Problem: fmt.Sprintf("others than root can change %s, so root writes nothing there, and user %d, who is to own the data directory, may not write in %s", open, t.owner.UID, t.parent()),
			Hint:    "give that folder to the user who is to own the files (chown), choose one that only root can change, or another user with --owner",
		}}
	}
	t.hand = t.owner.user()
	return nil
}
