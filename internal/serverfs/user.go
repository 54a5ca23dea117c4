package serverfs

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"mbk/internal/fsuser"
)

// nobody is what the kernel calls a user that has no number in our namespace.
const nobody = 65534

// UserOf finds the user with whose rights the files of a server are read. For a
// process of root that is the user of the process that listens at the server's
// socket: whatever data directory a false server names, nothing is read that this
// server could not read. Where the peer is not known, or is root because systemd has made the
// socket, it is the owner of the data directory. A data directory that belongs to
// root may still be that of a server with a user of its own: then the owner of one
// of the files tells, which the server has made.
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
	for _, file := range files {
		info, err := os.Lstat(file)
		if err != nil {
			continue // whoever needs it says so
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return user, fmt.Errorf("%s: the system does not say who owns it", file)
		}
		if info.Mode()&fs.ModeSymlink == 0 && st.Uid != 0 {
			return fsuser.User{UID: int(st.Uid), GID: int(st.Gid)}, nil
		}
	}
	return user, nil
}
