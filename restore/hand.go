package restore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
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

// foreignLinkError is returned for a symbolic link that root does not follow.
type foreignLinkError struct{ path string }

// Error names the link.
func (e *foreignLinkError) Error() string {
	return fmt.Sprintf("%s is a symbolic link that others than root can have made", e.path)
}

// advice is what can be done about it.
func (e *foreignLinkError) advice() string {
	return "look where it leads, and name that folder itself"
}

// rootsLink says whether nobody but root can have made a link in a folder.
func rootsLink(dir string, link os.FileInfo) bool {
	st, ok := link.Sys().(*syscall.Stat_t)
	info, err := os.Lstat(dir)
	if err != nil || !ok || openTo(dir) != "" {
		return false
	}
	return st.Uid == 0 || info.Mode()&os.ModeSticky == 0
}

// rootsProgram says whether a program belongs to root, and all folders above it do.
// Groups may be allowed to write there, as in /usr/local.
func rootsProgram(path string) bool {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false
	}
	for ; ; path = filepath.Dir(path) {
		info, err := os.Lstat(path)
		if err != nil {
			return false
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || st.Uid != 0 || info.Mode().Perm()&0o002 != 0 && info.Mode()&os.ModeSticky == 0 {
			return false
		}
		if path == "/" {
			return true
		}
	}
}

// openFolder opens a folder, and makes it and those above it as far as they are missing.
// The path is one without symbolic links; whoever puts one there meanwhile stops it.
func openFolder(path string) (*os.Root, error) {
	fd, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/", Err: err}
	}
	defer func() { _ = unix.Close(fd) }() // nothing is written through it
	for name := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if name == "" {
			continue
		}
		next, err := unix.Openat(fd, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOENT) {
			if err = unix.Mkdirat(fd, name, 0o777); err == nil {
				next, err = unix.Openat(fd, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
			}
		}
		if err != nil {
			return nil, &os.PathError{Op: "open " + name + " of", Path: path, Err: err}
		}
		_ = unix.Close(fd)
		fd = next
	}
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
