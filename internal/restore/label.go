package restore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"mbk/internal/mariadbd"
)

// labelName is the extended attribute that holds the SELinux context of a file.
const labelName = "security.selinux"

// labelOf reads the SELinux context of a file, "" if it has none.
func labelOf(path string) string {
	b := make([]byte, 4096) // no context is longer
	n, err := unix.Lgetxattr(path, labelName, b)
	if err != nil {
		return ""
	}
	return string(bytes.TrimRight(b[:n], "\x00"))
}

// label gives everything in the data directory the SELinux context that the target
// had. Files that are made beside it get another one, with which a confined server
// may not open them. Each file is held by a descriptor meanwhile.
func (d *dataDir) label(label string) error {
	value := append([]byte(label), 0)
	return fs.WalkDir(d.root.FS(), ".", func(path string, _ fs.DirEntry, err error) error {
		if err == nil {
			err = d.labelOne(path, value)
		}
		if err != nil {
			return fmt.Errorf("set the SELinux context of %s to %s: %w", path, label, err)
		}
		return nil
	})
}

// labelOne sets the SELinux context of one file, folder or link.
func (d *dataDir) labelOne(path string, value []byte) error {
	f, err := d.root.OpenFile(path, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	// The kernel's own name of the descriptor leads to what it stands for, and no further.
	err = unix.Setxattr(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), labelName, value, 0)
	return errors.Join(err, f.Close())
}

// seLinux is there if the kernel enforces SELinux contexts.
const seLinux = "/sys/fs/selinux/enforce"

// relabel has the system's policy decide on the SELinux contexts of a new data
// directory that took the place of none. It returns a warning if that could not be
// done; the data are in place all the same.
func (t target) relabel(ctx context.Context, enabled string) string {
	if _, err := os.Stat(enabled); err != nil || t.label != "" {
		return ""
	}
	const advice = "the server may not be allowed to read %s: give it the right SELinux contexts (restorecon -R): %v"
	program, err := exec.LookPath("restorecon")
	if err != nil {
		return fmt.Sprintf(advice, t.path, err)
	}
	cmd := exec.CommandContext(ctx, program, "-R", t.path)
	cmd.Env = mariadbd.Environment(os.Environ())
	cmd.SysProcAttr = t.owner.user().RunAs()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Sprintf(advice, t.path, errors.Join(err, errors.New(strings.TrimSpace(string(out)))))
	}
	return ""
}
