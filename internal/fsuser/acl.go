package fsuser

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Entries of an access list, as in linux/posix_acl_xattr.h and posix_acl.h.
const (
	aclVersion = 2
	aclUser    = 0x02 // a user by number
	aclGroup   = 0x08 // a group by number
	aclMask    = 0x10 // the most that these, and the group of the file, are granted
	aclWrite   = 2
)

// ListedWriter names a user or group whom the access list (ACL) of a file grants to
// change it, "" if there is none but root and those of trusted. The bits of the mode do
// not tell: with a list those of the group are the most that anybody in it is granted.
func ListedWriter(path string, trusted User) (string, error) {
	list := make([]byte, 64<<10) // no attribute is larger
	n, err := unix.Lgetxattr(path, "system.posix_acl_access", list)
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ENOSYS) {
		return "", nil // there is none, or no such thing here
	}
	if err != nil {
		return "", fmt.Errorf("access list of %s: %w", path, err)
	}
	return listedWriter(list[:n], trusted)
}

// listedWriter is ListedWriter for the list as the kernel gives it.
func listedWriter(list []byte, trusted User) (string, error) {
	if len(list) < 4 || len(list)%8 != 4 || binary.LittleEndian.Uint32(list) != aclVersion {
		return "", errors.New("access list of an unknown form")
	}
	found, mask := "", uint16(0o7)
	for e := list[4:]; len(e) > 0; e = e[8:] {
		tag, perm, id := binary.LittleEndian.Uint16(e), binary.LittleEndian.Uint16(e[2:]), int(binary.LittleEndian.Uint32(e[4:]))
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
