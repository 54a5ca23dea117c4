// Package disk tells what a file system can do and how much room it has, and writes large
// files so that neither the page cache nor a sync at the end suffers from them.
package disk

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Space is the room of a file system, in bytes.
type Space struct {
	Free  int64 // what an unprivileged writer could still write
	Total int64
}

// SpaceOf returns the room of the file system that holds a directory.
func SpaceOf(dir string) (Space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return Space{}, fmt.Errorf("free space of %s: %w", dir, err)
	}
	// The numbers are in fragments; Bsize is what is best to transfer at once, and
	// larger than that on some network and FUSE file systems.
	return Space{Free: int64(st.Bavail) * st.Frsize, Total: int64(st.Blocks) * st.Frsize}, nil
}

// KeepsTimes reports whether a file lies on a file system of this machine's disks that
// notes the time of every change, and the birth of each file, with the resolution of the
// kernel's clock.
func KeepsTimes(f *os.File) bool {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return false
	}
	switch uint32(st.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC:
		return true
	}
	return false
}

// IsLocal reports whether a file lies on a file system for disks of this machine, so
// that writing past the page cache is worth it. Over a network every such write would
// wait for the disk at the other end.
func IsLocal(f *os.File) bool {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return false
	}
	switch uint32(st.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC, unix.F2FS_SUPER_MAGIC:
		return true
	}
	return false
}
