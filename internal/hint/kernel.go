package hint

import (
	"errors"
	"io/fs"
	"slices"
	"syscall"

	"mbk/internal/fault"
)

// DamagedBackup is advice on damage in a repository.
const DamagedBackup Text = `"mbk verify" names all damage of a backup, "mbk list" the other backups`

// FailingDisk is advice on a disk that does not return what is on it.
const FailingDisk Text = "a disk fails, and the kernel's log names it: save what can be read before you try " +
	"anything else"

// WithKernel returns what Attached does, and advice on errors of the kernel that any call may meet.
func WithKernel(err error) []Text {
	found := Attached(err)
	add := func(advice Text) {
		if !slices.Contains(found, advice) {
			found = append(found, advice)
		}
	}
	if errors.Is(err, fs.ErrPermission) && len(found) == 0 {
		add("run mbk as root, or as the user whom that belongs to")
	}
	if errors.Is(err, syscall.EMFILE) {
		add("let mbk open more files at once: ulimit -n 65536, or LimitNOFILE= of the service")
	}
	if fault.Unreadable(err) {
		add(FailingDisk)
	}
	return found
}
