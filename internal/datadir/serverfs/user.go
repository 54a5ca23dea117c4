package serverfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"mbk/internal/hint"
	"mbk/internal/sys/fsuser"
)

// nobody is what the kernel calls a user that has no number in our namespace.
const nobody = 65534

// ErrUnknownUser is returned if root cannot find out whose files those of a server
// are, or if others could have made them look like root's.
var ErrUnknownUser = errors.New("the user of the server is not known for sure")

// UserOf finds the user with whose rights the files of a server are read. For a
// process of root that is the user of the process that listens at the server's
// socket: whatever data directory a false server names, nothing is read that this
// server could not read. Where the peer is not known, or is root because systemd has made the
// socket, it is the owner of the data directory. A data directory that belongs to
// root may still be that of a server with a user of its own: then the owner of one
// of the files tells, or of a link in its place, which the server has made. It is root
// only if the peer or a file is root's, and nobody else can write to the directory.
//
// Any other process keeps its own rights.
func UserOf(datadir string, peer *fsuser.User, files ...string) (fsuser.User, error) {
	if os.Geteuid() != 0 {
		return fsuser.Current(), nil
	}
	if peer != nil && peer.UID != 0 && peer.UID != nobody {
		return *peer, nil
	}
	user, err := fsuser.OwnerOf(datadir)
	if err != nil || user.UID != 0 {
		return user, err
	}
	said := peer != nil && peer.UID == 0
	for _, file := range files {
		owner, err := makerOf(file)
		if err != nil {
			continue // whoever needs it says so
		}
		if owner.UID != 0 {
			return owner, nil
		}
		said = said || onlyRoots(filepath.Dir(file)) == nil
	}
	if err := onlyRoots(datadir); err != nil {
		return fsuser.User{}, hint.Wrap(fmt.Errorf("%s belongs to root: %w", datadir, err), ownerHint)
	}
	if !said {
		return fsuser.User{}, hint.Wrap(fmt.Errorf("%s belongs to root, and neither the connection nor a file says that "+
			"the server is root's: %w", datadir, ErrUnknownUser), ownerHint)
	}
	return user, nil
}

const ownerHint = "give the data directory to the user that the server runs as (chown), or run mbk as that user"

// makerOf is the user who has made a file, or a link in its place. Where root has made
// the link, it is the owner of what it leads to.
func makerOf(file string) (fsuser.User, error) {
	link, err := os.Lstat(file)
	if err != nil {
		return fsuser.User{}, err
	}
	st, ok := link.Sys().(*syscall.Stat_t)
	if !ok || link.Mode()&fs.ModeSymlink == 0 || st.Uid != 0 {
		return ownerOf(file, link)
	}
	return fsuser.OwnerOf(file)
}

func ownerOf(file string, info fs.FileInfo) (fsuser.User, error) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fsuser.User{}, fmt.Errorf("%s: the system does not say who owns it", file)
	}
	return fsuser.User{UID: int(st.Uid), GID: int(st.Gid)}, nil
}

// onlyRoots returns an ErrUnknownUser if somebody else than root can change what a
// directory holds, or put another one in its place. With an access control list the
// bits of the group are the most that the list gives to anybody.
func onlyRoots(dir string) error {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	for at := dir; ; at = filepath.Dir(at) {
		info, err := os.Lstat(at)
		if err != nil {
			return err
		}
		owner, err := ownerOf(at, info)
		if err != nil {
			return err
		}
		held := at != dir && info.Mode()&fs.ModeSticky != 0 // what root has in it stays
		switch {
		case owner.UID != 0:
			return fmt.Errorf("user %d can write to %s: %w", owner.UID, at, ErrUnknownUser)
		case info.Mode()&0o022 != 0 && !held:
			return fmt.Errorf("others can write to %s (mode %04o): %w", at, info.Mode().Perm(), ErrUnknownUser)
		case at == filepath.Dir(at):
			return nil
		}
	}
}
