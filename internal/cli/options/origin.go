package options

import (
	"fmt"
	"os"
	"slices"
	"syscall"

	xattr "golang.org/x/sys/unix"

	"mbk/internal/input/optfile"
)

// origin describes who may have written an option file, and who can read it.
type origin struct {
	others string // who may have written it, other than root and the user who runs mbk; "": nobody
	advice string // how to prevent that
	public bool   // everyone can read it
}

// originOf examines an open file. A pipe, as from the shell's <(...), is the caller's
// own.
func originOf(path string, f *os.File) origin {
	var st syscall.Stat_t
	if err := syscall.Fstat(int(f.Fd()), &st); err != nil {
		return origin{others: "the owner of the file is unknown", advice: "look at " + path}
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFREG {
		return origin{}
	}
	o := origin{public: st.Mode&0o004 != 0}
	ours := func(uid uint32) bool { return uid == 0 || int(uid) == os.Geteuid() }
	link, err := os.Lstat(path)
	switch {
	case !ours(st.Uid):
		o.others = fmt.Sprintf("the file belongs to user %d", st.Uid)
		o.advice = "give the file to root or to the user who runs mbk"
	case err == nil && link.Mode()&os.ModeSymlink != 0 && !ours(link.Sys().(*syscall.Stat_t).Uid):
		o.others = fmt.Sprintf("the link belongs to user %d", link.Sys().(*syscall.Stat_t).Uid)
		o.advice = "name the file itself: --defaults-file"
	case st.Mode&0o020 != 0 && listed(f):
		o.others, o.advice = "the file's access list lets others write to it", "setfacl -b "+path
	case st.Mode&0o020 != 0 && st.Gid != 0 && int(st.Gid) != os.Getegid():
		o.others, o.advice = fmt.Sprintf("group %d can write to the file", st.Gid), "chmod g-w "+path
	}
	return o
}

// listed reports whether a file has an access control list. Its group bits are then the
// upper bound of what the list allows.
func listed(f *os.File) bool {
	n, err := xattr.Fgetxattr(int(f.Fd()), "system.posix_acl_access", nil)
	return err == nil && n > 0
}

// judgeFiles checks who may have written the option files, and who can read them.
// Users other than root and the one who runs mbk may set how a server is reached, but
// not what is run, written, read or removed with that user's rights.
func (s *Set) judgeFiles(env Environment, lines []optfile.Setting, opened map[string]origin) error {
	told := map[string]bool{}
	for _, line := range lines {
		o, _ := s.Find(line.Name)
		if o == nil || line.Group != ownGroup && line.Group != ownGroup+"-"+env.Command && !o.shared {
			continue
		}
		from := opened[line.File]
		if o.Name == PasswordOption && line.Value != "" && from.public && !told[line.File] {
			told[line.File] = true
			env.Warn(fmt.Sprintf("everyone can read the password in %s: chmod 600 %s", line.File, line.File))
		}
		if from.others != "" && !othersMaySet(o.Name) {
			return Usagef("%s: %s, and so %s may not be set in it: only root and the user who runs mbk may; %s",
				Source{Strength: ByFile, Line: line}, from.others, o.Name, from.advice)
		}
	}
	return nil
}

// othersMaySet reports whether an option only sets how a server is reached. It must not
// name a file with a password, nor decide which server gets to see one.
func othersMaySet(name string) bool {
	return slices.Contains([]string{
		"socket", "host", "port", "protocol", "user", PasswordOption, "ssl", "ssl-cert", "ssl-key", "connect-timeout",
	}, name)
}
