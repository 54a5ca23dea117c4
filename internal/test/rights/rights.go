// Package rights makes folders of several users, for tests of what root does among them.
package rights

import (
	"encoding/binary"
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"mbk/internal/sys/fsuser"
)

// Attacker is a user who would like to be root. Nothing on a machine belongs to him.
var Attacker = fsuser.User{UID: 64999, GID: 64999}

// Public makes a folder that every user reaches.
func Public(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "mbk-attack-")
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// Give makes a folder that belongs to a user.
func Give(t testing.TB, dir string, who fsuser.User, mode os.FileMode) string {
	t.Helper()
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.Chown(dir, who.UID, who.GID), os.Chmod(dir, mode)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// Grant gives a user the right to change a folder by an access list (ACL).
func Grant(t testing.TB, dir string, who fsuser.User) {
	t.Helper()
	list := []byte{2, 0, 0, 0}
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{1, 7, ^uint32(0)}, {2, 7, uint32(who.UID)}, {4, 5, ^uint32(0)}, {0x10, 7, ^uint32(0)}, {0x20, 5, ^uint32(0)}} {
		list = binary.LittleEndian.AppendUint16(list, e.tag)
		list = binary.LittleEndian.AppendUint16(list, e.perm)
		list = binary.LittleEndian.AppendUint32(list, e.id)
	}
	if err := unix.Setxattr(dir, "system.posix_acl_access", list, 0); err != nil {
		t.Fatal(err)
	}
}
