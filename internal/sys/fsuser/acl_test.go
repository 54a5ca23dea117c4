package fsuser

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// entry is one of an access list.
type entry struct {
	tag, perm uint16
	id        uint32
}

// accessList is a list as the kernel takes and gives it.
func accessList(entries ...entry) []byte {
	list := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range entries {
		list = binary.LittleEndian.AppendUint16(list, e.tag)
		list = binary.LittleEndian.AppendUint16(list, e.perm)
		list = binary.LittleEndian.AppendUint32(list, e.id)
	}
	return list
}

// with is a list with an entry and a mask, and what every list has.
func with(e entry, mask uint16) []byte {
	const none = ^uint32(0)
	if e.tag == aclGroup {
		return accessList(entry{1, 7, none}, entry{4, 5, none}, e, entry{0x10, mask, none}, entry{0x20, 5, none})
	}
	return accessList(entry{1, 7, none}, e, entry{4, 5, none}, entry{0x10, mask, none}, entry{0x20, 5, none})
}

// An access list gives others the right to change a folder of root's. Its mode shows that
// as a right of the group root, which was taken for root's own.
func TestFoldersWithAnAccessList(t *testing.T) {
	needRoot(t)
	for _, tt := range []struct {
		name     string
		mode     os.FileMode
		list     []byte
		open     bool // others can exchange what is in there
		writer   string
		trusting string // the same for one who trusts the other user
	}{
		{"no list", 0o755, nil, false, "", ""},
		{"the group root may write", 0o775, nil, true, "", ""},
		{"a user may write", 0o755, with(entry{2, 7, 64999}, 7), true, "user 64999", ""},
		{"a user may write, and the bit is sticky", 0o755 | os.ModeSticky, with(entry{2, 7, 64999}, 7), false,
			"user 64999", ""},
		{"a user may read", 0o755, with(entry{2, 5, 64999}, 5), false, "", ""},
		{"a user may write, and the mask takes that away", 0o755, with(entry{2, 7, 64999}, 5), false, "", ""},
		{"another user may write", 0o755, with(entry{2, 7, 64998}, 7), true, "user 64998", "user 64998"},
		{"a group may write", 0o755, with(entry{8, 6, 64999}, 7), true, "group 64999", "group 64999"},
		{"the user root may write", 0o755, with(entry{2, 7, 0}, 7), true, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(folder(t), "dir")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(dir, tt.mode); err != nil {
				t.Fatal(err)
			}
			if tt.list != nil {
				if err := unix.Setxattr(dir, "system.posix_acl_access", tt.list, 0); err != nil {
					t.Fatal(err)
				}
			}
			if info, err := os.Lstat(dir); err != nil || onlyRoots(info) == tt.open {
				t.Errorf("only root's: %v, want %v (%v)", tt.open, !tt.open, err)
			}
			for who, want := range map[User]string{{}: tt.writer, {UID: other.UID, GID: 0}: tt.trusting} {
				if got, err := GroupWriter(dir, 0, who); got != want || err != nil {
					t.Errorf("trusting %v: %q, %v, want %q", who, got, err, want)
				}
			}
		})
	}
}

func TestGroupWriter(t *testing.T) {
	const none = ^uint32(0)
	for _, tt := range []struct {
		name string
		list []byte
		gid  int
		want string
	}{
		{"the group of the file", accessList(entry{4, 7, none}, entry{0x10, 7, none}), 7, "group 7"},
		{"his own group", accessList(entry{4, 7, none}, entry{0x10, 7, none}), other.GID, ""},
		{"he himself, and the group of the file may not",
			accessList(entry{2, 7, 64999}, entry{4, 5, none}, entry{0x10, 7, none}), 0, ""},
		{"another user, and his group may not", accessList(entry{2, 7, 7}, entry{4, 5, none}, entry{0x10, 7, none}),
			other.GID, "user 7"},
		{"his group, by number", accessList(entry{4, 5, none}, entry{8, 7, 64999}, entry{0x10, 7, none}), 0, ""},
	} {
		if got, err := listedWriter(tt.list, tt.gid, other); got != tt.want || err != nil {
			t.Errorf("%s: %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}
}

func TestListsOfAnUnknownForm(t *testing.T) {
	for name, list := range map[string][]byte{"empty": {}, "short": {2, 0, 0}, "half an entry": {2, 0, 0, 0, 1, 0},
		"another version": {3, 0, 0, 0}} {
		if who, err := listedWriter(list, 0, User{}); err == nil {
			t.Errorf("%s: %q, want an error", name, who)
		}
	}
}
