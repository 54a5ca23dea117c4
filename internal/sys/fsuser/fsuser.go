// Package fsuser makes file system calls with the rights of another user. A root process
// uses it for files that belong to somebody else: whatever that user has arranged, with
// symbolic links or swapped directories, then leads only to places that he could reach
// himself. It changes no thread permanently, and it does not start programs as another
// user. It also reports which paths only root can change.
package fsuser

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// User is a user and group ID for file access, without supplementary groups. The zero
// User is root.
type User struct {
	UID, GID int
}

// Current returns the user that this process runs as.
func Current() User { return User{UID: os.Geteuid(), GID: os.Getegid()} }

// OwnerOf returns the owner and group of a file or directory. It follows symbolic links.
func OwnerOf(path string) (User, error) {
	info, err := os.Stat(path)
	if err != nil {
		return User{}, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return User{}, fmt.Errorf("%s: the system does not say who owns it", path)
	}
	return User{UID: int(st.Uid), GID: int(st.Gid)}, nil
}

// Other reports whether Do changes the rights of a call: this process runs as root, and
// the user is not root.
func (u User) Other() bool { return u.UID != 0 && os.Geteuid() == 0 }

// RunAs returns the attributes with which root runs a program as the user. A program of
// anybody else runs with the rights of this process.
func (u User) RunAs() *syscall.SysProcAttr {
	if !u.Other() {
		return &syscall.SysProcAttr{}
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(u.UID), Gid: uint32(u.GID)}}
}

// String names the user by number: "uid 112, gid 118".
func (u User) String() string { return fmt.Sprintf("uid %d, gid %d", u.UID, u.GID) }

// Do calls f with the user's rights to files: new files belong to the user, and root's
// power to ignore permissions is gone. If this process does not run as root, or if the
// user is root, f is called unchanged.
//
// f runs on a separate thread. Goroutines and programs that it starts have the rights of
// the process; descriptors that it opens can be used anywhere.
func (u User) Do(f func() error) error {
	if !u.Other() {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		// If the thread's rights cannot be restored, it stays locked and ends with
		// this goroutine.
		runtime.LockOSThread()
		groups, err := threadGroups()
		if err == nil {
			if err = u.enter(); err == nil {
				err = f()
			}
			if leave(groups) == nil {
				runtime.UnlockOSThread()
			}
		}
		done <- err
	}()
	return <-done
}

// Value is Do for a function that returns something.
func Value[T any](u User, f func() (T, error)) (T, error) {
	var value T
	err := u.Do(func() (err error) {
		value, err = f()
		return err
	})
	return value, err
}

// errRefused is returned if the kernel did not change the thread's user.
var errRefused = errors.New("the kernel refuses to change the thread's user")

// enter gives this thread the user's rights to files. With the user ID the kernel also
// drops root's capabilities for files, see setfsuid(2).
func (u User) enter() error {
	if err := setThreadGroups(nil); err != nil {
		return fmt.Errorf("act as %v: give up the groups: %w", u, err)
	}
	unix.SetfsgidRetGid(u.GID)
	unix.SetfsuidRetUid(u.UID)
	if uid, gid := fsIDs(); uid != u.UID || gid != u.GID {
		return fmt.Errorf("act as %v: %w", u, errRefused)
	}
	return nil
}

// leave restores the rights of the process for this thread.
func leave(groups []uint32) error {
	me := Current()
	unix.SetfsuidRetUid(me.UID)
	unix.SetfsgidRetGid(me.GID)
	if uid, gid := fsIDs(); uid != me.UID || gid != me.GID {
		return errRefused
	}
	return setThreadGroups(groups)
}

// fsIDs returns the IDs of this thread: setting an invalid ID returns the current one.
func fsIDs() (uid, gid int) {
	uid, _ = unix.SetfsuidRetUid(-1)
	gid, _ = unix.SetfsgidRetGid(-1)
	return uid, gid
}

// threadGroups returns the supplementary groups of this thread.
func threadGroups() ([]uint32, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_GETGROUPS, 0, 0, 0)
	if errno != 0 || n == 0 {
		return nil, asError(errno)
	}
	groups := make([]uint32, n)
	n, _, errno = unix.RawSyscall(unix.SYS_GETGROUPS, n, uintptr(unsafe.Pointer(&groups[0])), 0)
	return groups[:n], asError(errno)
}

// setThreadGroups sets them. syscall.Setgroups would do that for all threads.
func setThreadGroups(groups []uint32) error {
	var first unsafe.Pointer
	if len(groups) > 0 {
		first = unsafe.Pointer(&groups[0])
	}
	_, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(first), 0)
	return asError(errno)
}

func asError(errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return errno
}
