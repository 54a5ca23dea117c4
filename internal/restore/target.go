package restore

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"mbk/internal/hint"
	"mbk/internal/sys/fsuser"
)

// target is the data directory to make, as it is found.
type target struct {
	path   string // absolute, symbolic links resolved
	exists bool   // it is a directory, and an empty one unless old is set
	old    string // where the data directory goes that is there, "" for none
	label  string // its SELinux context, "" if it has none
	inside bool   // it cannot be replaced by a rename: its entries are moved in
	owner  Owner
	mode   os.FileMode // of the data directory itself
	writer fsuser.User // with whose rights the scratch folder is made, and the target
	inbox  string      // name of a folder beside the scratch folder that belongs to this restore, "" for none
}

// parent is the folder that holds the scratch folder.
func (t target) parent() string {
	if t.inside {
		return t.path
	}
	return filepath.Dir(t.path)
}

// scratchPrefix is what the names of scratch folders for this target begin with.
func (t target) scratchPrefix() string {
	if t.inside {
		return ".mbk-restore-"
	}
	return "." + filepath.Base(t.path) + ".mbk-restore-"
}

// Advice on targets.
const (
	makeParent    = "make the folder that is to hold the data directory"
	anotherTarget = "name another target: a folder that is missing or empty"
)

// inspectTarget looks at the target. What stands against restoring into it is
// returned as objections; the error is for a target that cannot be looked at.
func inspectTarget(o Options) (target, []Objection, error) {
	var t target
	if to := danglingLink(o.Target); to != "" {
		return t, []Objection{{
			Problem: fmt.Sprintf("target %s is a symbolic link to %s, which does not exist", o.Target, to),
			Hint:    hint.Textf("mount what belongs there, or make that folder: mkdir -p %s", shellQuote(to)),
		}}, nil
	}
	path, err := fsuser.Resolve(o.Target)
	if link, ok := errors.AsType[*fsuser.ForeignLinkError](err); ok {
		return t, []Objection{{Problem: fmt.Sprintf("target %s: %v", o.Target, err), Hint: hint.Text(link.Advice())}}, nil
	}
	if errors.Is(err, fs.ErrNotExist) {
		return t, []Objection{{Problem: fmt.Sprintf("target %s: %v", o.Target, err), Hint: makeParent}}, nil
	}
	if err != nil {
		return t, nil, fmt.Errorf("look at target %s: %w", o.Target, err)
	}
	t.path, t.mode, t.inbox = path, 0o700, o.Inbox.name()
	if path == "/" {
		return t, []Objection{{Problem: "the target is the root directory", Hint: anotherTarget}}, nil
	}
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return t, nil, fmt.Errorf("look at target: %w", err)
	case !info.IsDir():
		return t, []Objection{{Problem: fmt.Sprintf("target %s is not a directory", path), Hint: anotherTarget}}, nil
	default:
		// Whoever made it may have left it open; all that the server knows comes in there.
		t.exists, t.mode, t.label = true, info.Mode().Perm()&^0o022, labelOf(path)
	}
	var objections []Objection
	var objection *Objection
	if t.owner, objection = chooseOwner(o, info); objection != nil {
		return t, []Objection{*objection}, nil
	}
	if t.exists {
		objections = t.doubtOwner(o)
		existing, err := t.inspectExisting(o)
		if err != nil {
			return t, nil, err
		}
		objections = append(objections, existing...)
	}
	return t, append(objections, t.inspectParent()...), nil
}

// danglingLink is where a symbolic link leads if nothing is there, "" if it is none or
// something is.
func danglingLink(path string) string {
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	to := ""
	for range 40 { // no kernel follows more
		next, err := os.Readlink(path)
		if err != nil {
			break
		}
		if !filepath.IsAbs(next) {
			next = filepath.Join(filepath.Dir(path), next)
		}
		path, to = next, next
	}
	return to
}

// shellQuote writes a word as a shell reads it.
func shellQuote(word string) string {
	const plain = letters + "0123456789/._-+:,@"
	if word != "" && strings.Trim(word, plain) == "" {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// inspectExisting checks that an existing target is empty, or a data directory that
// can be moved aside, and finds out how it can be filled.
func (t *target) inspectExisting(o Options) ([]Objection, error) {
	mount, err := isMountPoint(t.path)
	if err != nil {
		return nil, fmt.Errorf("look at target: %w", err)
	}
	t.inside = mount || !t.canReplace()
	names, tolerated, err := entriesOf(t.path)
	if err != nil {
		return nil, fmt.Errorf("look at target: %w", err)
	}
	left, err := t.leftovers()
	if err != nil {
		return nil, err
	}
	rest := without(names, left)
	if len(rest) == 0 && (tolerated || len(left) > 0) {
		t.inside = true // a rename would have to remove what is there
	}
	if t.inside {
		names = rest
	}
	if len(names) == 0 {
		return nil, nil
	}
	var objections []Objection
	if pid, running := runningServer(t.path); running {
		who := fmt.Sprintf("pid %d", pid)
		if pid <= 0 {
			who = "whose process cannot be seen from here: it is in another container or on another machine"
		}
		objections = append(objections, Objection{
			Problem: fmt.Sprintf("target %s is the data directory of a running server, %s", t.path, who),
			Hint:    "restore into another directory, or stop that server and move its data directory away",
		})
	}
	if o.KeepOld {
		return append(objections, t.moveAside(o.WithDefaults().Now(), names)...), nil
	}
	what := names[0]
	if len(names) > 1 {
		what += fmt.Sprintf(" and %d more", len(names)-1)
	}
	return append(objections, Objection{
		Problem: fmt.Sprintf("target %s is not empty: it holds %s", t.path, what),
		Hint: "a restore never overwrites anything: move what is there away (" + hint.Option("keep-old") +
			" does that with a data directory), or name another target",
	}), nil
}

// canReplace reports whether an existing target can be replaced by a rename.
func (t *target) canReplace() bool {
	parent := filepath.Dir(t.path)
	if unix.Access(parent, unix.W_OK|unix.X_OK) != nil {
		return false
	}
	return os.Geteuid() != 0 || fsuser.OpenTo(parent) == "" || t.owner.UID == 0 || t.owner.mayWrite(parent)
}

// moveAside decides where the data directory goes that is in the target.
func (t *target) moveAside(now time.Time, names []string) []Objection {
	if t.inside {
		return []Objection{{
			Problem: fmt.Sprintf("target %s is a mount point, or its parent cannot be written: "+
				"it cannot be moved aside as a whole", t.path),
			Hint: "move what is in there away, or name another target",
		}}
	}
	if !slices.Contains(names, "ibdata1") && !slices.Contains(names, "aria_log_control") {
		return []Objection{{
			Problem: fmt.Sprintf("target %s is no data directory: it has neither ibdata1 nor aria_log_control", t.path),
			Hint:    "check " + hint.Option("target") + ": only a data directory is moved aside",
		}}
	}
	t.old = t.path + ".old-" + now.UTC().Format("20060102T150405Z")
	return nil
}

// inspectParent checks that the folder for the scratch folder can be written,
// and that the server's user can get there.
func (t *target) inspectParent() []Objection {
	dir := t.parent()
	info, err := os.Stat(dir)
	if err != nil {
		return []Objection{{Problem: fmt.Sprintf("target %s: %v", t.path, err), Hint: makeParent}}
	}
	if !info.IsDir() {
		return []Objection{{Problem: fmt.Sprintf("target %s: %s is not a directory", t.path, dir)}}
	}
	if objections := t.chooseWriter(); len(objections) > 0 {
		return objections
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil && t.writer == fsuser.Current() {
		return []Objection{{
			Problem: fmt.Sprintf("target %s: cannot write in %s: %v", t.path, dir, err),
			Hint:    "make the target an empty folder that belongs to this user, or run mbk as root",
		}}
	}
	return t.owner.reaches(filepath.Dir(t.path))
}

// reaches reports whether the owner may go through every folder down to dir: the
// server runs as that user.
func (o Owner) reaches(dir string) []Objection {
	if os.Geteuid() != 0 || o.UID == 0 {
		return nil
	}
	for d := dir; ; d = filepath.Dir(d) {
		info, err := os.Stat(d)
		if err != nil {
			return []Objection{{Problem: fmt.Sprintf("target: %v", err)}}
		}
		if !o.may(info, 0o1) {
			return []Objection{{
				Problem: fmt.Sprintf("user %d, who is to own the data directory, has no access to %s", o.UID, d),
				Hint:    "choose a folder that this user can reach, or another user with " + hint.Option("owner"),
			}}
		}
		if d == "/" {
			return nil
		}
	}
}

// may reports whether the permission bits of a file grant the owner a right: 4 to
// read, 1 to go through.
func (o Owner) may(info os.FileInfo, right os.FileMode) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok || o.UID == 0:
		return true
	case int(st.Uid) == o.UID:
		right <<= 6
	case int(st.Gid) == o.GID:
		right <<= 3
	}
	return info.Mode().Perm()&right == right
}

// chooseOwner decides who will own the data directory, and so runs the private server.
// info is of the existing target, nil if there is none. Root is chosen only if somebody
// says so: by name, or by moving a data directory of root's aside.
func chooseOwner(o Options, info os.FileInfo) (Owner, *Objection) {
	self := Owner{UID: os.Geteuid(), GID: os.Getegid()}
	if self.UID != 0 {
		if o.Owner != nil && o.Owner.UID != self.UID {
			return self, &Objection{Problem: "only root can restore for another owner"}
		}
		return self, nil
	}
	if o.Owner != nil {
		return *o.Owner, nil
	}
	if info != nil {
		// A folder of root's was made for the purpose; root runs no server.
		if st, ok := info.Sys().(*syscall.Stat_t); ok && (st.Uid != 0 || o.KeepOld && rootsServer(o.Target)) {
			return Owner{UID: int(st.Uid), GID: int(st.Gid)}, nil
		}
	}
	owner, err := userMysql()
	if err == nil || o.Raw { // then no server is run
		return owner, nil
	}
	return self, &Objection{
		Problem: fmt.Sprintf("nobody is known who could run mariadbd on the files, and root does not do that unasked: %v",
			err),
		Hint: "name a user with " + hint.Option("owner") + "; " + hint.Option("owner") +
			" root is for a server that root itself runs, as in some containers",
	}
}

// doubtOwner objects to an owner whom nobody has named, if anybody can have made the
// target that belongs to him: all of the data would be his.
func (t *target) doubtOwner(o Options) []Objection {
	if os.Geteuid() != 0 || o.Owner != nil || t.owner.UID == 0 {
		return nil
	}
	if mysql, err := userMysql(); err == nil && mysql.UID == t.owner.UID {
		return nil
	}
	parent := filepath.Dir(t.path)
	info, err := os.Lstat(parent)
	if err == nil && info.Mode().Perm()&0o022 == 0 && fsuser.OpenTo(parent) == "" {
		return nil // root has made it, or let it be made
	}
	return []Objection{{
		Problem: fmt.Sprintf("target %s belongs to user %d, who is not mysql, in a folder that others than root can write "+
			"to: all data would be that user's", t.path, t.owner.UID),
		Hint: hint.Textf("if they are meant to be, say so with %s %d, else name another target", hint.Option("owner"),
			t.owner.UID),
	}}
}

// userMysql is the user that servers run as, or root and an error on a machine without.
func userMysql() (Owner, error) {
	u, err := user.Lookup("mysql")
	if err != nil {
		return Owner{}, err
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	return Owner{UID: uid, GID: gid}, errors.Join(err1, err2)
}

// rootsServer reports whether a folder of root's holds the data directory of a server that
// root ran: its files are root's too.
func rootsServer(dir string) bool {
	for _, name := range []string{"ibdata1", "aria_log_control"} {
		if info, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			st, ok := info.Sys().(*syscall.Stat_t)
			return ok && st.Uid == 0
		}
	}
	return false
}

// isMountPoint reports whether a file system is mounted at a directory.
func isMountPoint(path string) (bool, error) {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, 0, &st)
	if err == nil && st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 {
		return st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0, nil
	}
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return false, err
	}
	defer f.Close() //nolint:errcheck // only read
	return listsMount(f, path)
}

// listsMount looks for a mount point in the text of /proc/self/mountinfo, which
// writes spaces and the like as three octal digits.
func listsMount(r io.Reader, path string) (bool, error) {
	octal := strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)
	sc := bufio.NewScanner(r)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		if fields := strings.Fields(sc.Text()); len(fields) > 4 && octal.Replace(fields[4]) == path {
			return true, nil
		}
	}
	return false, sc.Err()
}

// entriesOf lists a directory, without what is nobody's data and may stay; tolerated
// reports whether there is such a thing.
func entriesOf(dir string) (names []string, tolerated bool, err error) {
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, false, err
	}
	for _, e := range list {
		if harmless(e) {
			tolerated = true
		} else {
			names = append(names, e.Name())
		}
	}
	return names, tolerated, nil
}

// harmless reports whether an entry of a directory is no server's data: what a file
// system or its storage keeps there, and hidden files such as that of a health check.
// No server calls a file or database so.
func harmless(e fs.DirEntry) bool {
	switch e.Name() {
	case "lost+found", "aquota.user", "aquota.group":
		return true
	case ".snapshot", ".snapshots", ".zfs":
		if e.IsDir() {
			return true
		}
	}
	return strings.HasPrefix(e.Name(), ".") && e.Type().IsRegular()
}

// without returns the names that are not in drop.
func without(names, drop []string) []string {
	skip := map[string]bool{}
	for _, n := range drop {
		skip[n] = true
	}
	var rest []string
	for _, n := range names {
		if !skip[n] {
			rest = append(rest, n)
		}
	}
	return rest
}

// runningServer reports whether a server has the files of a data directory open, and
// which process that is, 0 or less if it lives in another container.
func runningServer(dir string) (pid int, running bool) {
	for _, name := range []string{"aria_log_control", "ibdata1"} {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if err != nil {
			continue
		}
		lock := unix.Flock_t{Type: unix.F_WRLCK}
		err = unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lock)
		_ = f.Close() // only read
		if err == nil && lock.Type != unix.F_UNLCK {
			return int(lock.Pid), true
		}
	}
	return 0, false
}
