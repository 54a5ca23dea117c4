package fsuser

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Entries of an access list, as in linux/posix_acl_xattr.h and posix_acl.h.
const (
	aclVersion  = 2
	aclUser     = 0x02 // a user by number
	aclOwnGroup = 0x04 // the group of the file
	aclGroup    = 0x08 // a group by number
	aclMask     = 0x10 // the most that these, and the file's group, are granted
	aclWrite    = 2
)

// GroupWriter names a user or group that may write to a file through its group permission
// bits, or "" if only root and trusted may. gid is the group of the file. If the file has
// an access control list (ACL), these bits are the mask of that list, and its entries say
// who may write.
func GroupWriter(path string, gid int, trusted User) (string, error) {
	list := make([]byte, 64<<10) // no attribute is larger
	n, err := unix.Lgetxattr(path, "system.posix_acl_access", list)
	// no ACL, or not supported
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ENOSYS) {
		if gid != trusted.GID {
			return fmt.Sprintf("group %d", gid), nil
		}
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("access control list of %s: %w", path, err)
	}
	return listedWriter(list[:n], gid, trusted)
}

// listedWriter is GroupWriter for an ACL in the form that the kernel returns.
func listedWriter(list []byte, gid int, trusted User) (string, error) {
	if len(list) < 4 || len(list)%8 != 4 || binary.LittleEndian.Uint32(list) != aclVersion {
		return "", errors.New("access control list in an unknown form")
	}
	found, mask := "", uint16(0o7)
	for e := list[4:]; len(e) > 0; e = e[8:] {
		tag, perm, id := binary.LittleEndian.Uint16(e), binary.LittleEndian.Uint16(e[2:]),
			int(binary.LittleEndian.Uint32(e[4:]))
		if tag == aclOwnGroup {
			tag, id = aclGroup, gid
		}
		switch {
		case tag == aclMask:
			mask = perm
		case perm&aclWrite == 0:
		case tag == aclUser && id != 0 && id != trusted.UID:
			found = fmt.Sprintf("user %d", id)
		case tag == aclGroup && id != trusted.GID:
			found = fmt.Sprintf("group %d", id)
		}
	}
	if mask&aclWrite == 0 {
		return "", nil
	}
	return found, nil
}
