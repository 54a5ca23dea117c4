package serverfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mbk/internal/hint"
	"mbk/internal/sys/fsuser"
)

// server is the user of the server in these tests.
var server = fsuser.User{UID: 64999, GID: 64999}

// needRoot skips a test that acts for another user, which only root can.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// must fails the test at the first error.
func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// folder is a folder that everybody can reach.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "serverfs")
	must(t, err, os.Chmod(dir, 0o755))
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// datadir makes a data directory of the server's user with a file "own", and beside
// it a file "secret" and a folder "closed" of root.
func datadir(t *testing.T) (dir, secret, closed string) {
	t.Helper()
	top := folder(t)
	dir, secret, closed = filepath.Join(top, "data"), filepath.Join(top, "secret"), filepath.Join(top, "closed")
	must(t, os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "own"), []byte("rows"), 0o600),
		os.Mkdir(filepath.Join(dir, "db"), 0o700),
		os.WriteFile(secret, []byte("secret"), 0o600), os.Mkdir(closed, 0o700), os.WriteFile(filepath.Join(closed, "public"),
			[]byte("secret"), 0o644))
	for _, name := range []string{dir, filepath.Join(dir, "own"), filepath.Join(dir, "db")} {
		must(t, os.Chown(name, server.UID, server.GID))
	}
	return dir, secret, closed
}

// open makes an FS of the server's user.
func open(t *testing.T, dir string) *FS {
	t.Helper()
	f, err := New(dir, server)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func TestOpenHasTheRightsOfTheServer(t *testing.T) {
	needRoot(t)
	dir, secret, closed := datadir(t)
	f := open(t, dir)
	inner := filepath.Join(closed, "inner") // open to all, and out of their reach
	must(t, os.Mkdir(inner, 0o755), os.WriteFile(filepath.Join(inner, "public"), []byte("secret"), 0o644))
	held, err := os.Open(inner)
	must(t, err)
	defer held.Close()
	t.Chdir(inner)
	link := func(name, to string) string {
		must(t, os.Symlink(to, filepath.Join(dir, name)))
		return filepath.Join(dir, name)
	}
	for _, tt := range []struct{ name, path string }{
		{"a file of root", secret},
		{"a link to it", link("a", secret)},
		{"a link that climbs", link("b", "../secret")},
		{"a link to a link", link("c", filepath.Join(dir, "a"))},
		{"through a link to a folder", filepath.Join(link("d", closed), "public")},
		{"through a link in a database", filepath.Join(dir, "db", "..", "d", "public")},
		{"a link to a descriptor of root", link("e", "/proc/self/fd/0")},
		{"root's environment", link("f", "/proc/1/environ")},
		{"root's root", filepath.Join(link("g", "/proc/1/root"), secret)},
		{"a file in root's working directory", link("h", "/proc/self/cwd/public")},
		{"through a link to that directory", filepath.Join(link("i", "/proc/self/cwd"), "public")},
		{"in a folder that root has open", link("j", fmt.Sprintf("/proc/self/fd/%d/public", held.Fd()))},
		{"in that folder, by the thread", link("k", fmt.Sprintf("/proc/thread-self/fd/%d/public", held.Fd()))},
		{"a link to a link to that folder", filepath.Join(link("l", filepath.Join(dir, "i")), "public")},
		{"how the memory of root is laid out", link("m", "/proc/self/maps")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file, err := f.Open(tt.path)
			if err == nil {
				b, _ := io.ReadAll(file)
				t.Errorf("opened, and read %q", b)
			}
			if _, kind := errors.AsType[*KindError](err); !errors.Is(err, fs.ErrPermission) && !kind {
				t.Errorf("Open: %v, want permission denied", err)
			}
			if b, err := f.ReadFile(tt.path, 100); err == nil {
				t.Errorf("ReadFile: %q", b)
			}
		})
	}
	for name, look := range map[string]func(string) error{
		"Stat":     func(path string) error { _, err := f.Stat(path); return err },
		"Statx":    func(path string) error { _, err := f.Statx(path, 0, unix.STATX_SIZE); return err },
		"Readable": f.Readable,
		"ReadDir":  func(path string) error { _, err := f.ReadDir(filepath.Dir(path)); return err },
		"Readlink": func(path string) error { _, err := f.Readlink(path); return err },
	} {
		if err := look(filepath.Join(dir, "i", "public")); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s in root's working directory: %v", name, err)
		}
	}
	if b, err := f.ReadFile(filepath.Join(dir, "own"), 4); err != nil || string(b) != "rows" {
		t.Errorf("a file of the server: %q, %v", b, err)
	}
	if _, err := f.ReadFile(filepath.Join(dir, "own"), 3); err == nil {
		t.Error("a file that is too large was read")
	}
	if _, err := f.ReadDir(closed); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("list a folder of root: %v", err)
	}
	if err := f.Readable(secret); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Readable: %v", err)
	}
	if err := f.Readable(filepath.Join(dir, "own")); err != nil {
		t.Errorf("Readable: %v", err)
	}
	if _, err := f.Stat(filepath.Join(closed, "public")); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("Stat: %v", err)
	}
	denied, ok := errors.AsType[*DeniedError](f.Readable(secret))
	if !ok || denied.User != server {
		t.Errorf("the error does not name the user: %v", denied)
	}
}

// Nothing but a regular file is opened, and nothing makes the caller wait.
func TestOpenTakesRegularFilesOnly(t *testing.T) {
	for _, user := range []fsuser.User{fsuser.Current(), server} {
		t.Run(user.String(), func(t *testing.T) {
			if user == server {
				needRoot(t)
			}
			dir := folder(t)
			must(t, os.Chown(dir, user.UID, user.GID), unix.Mkfifo(filepath.Join(dir, "fifo"), 0o666),
				os.Mkdir(filepath.Join(dir, "folder"), 0o755))
			l, err := net.Listen("unix", filepath.Join(dir, "socket"))
			must(t, err)
			defer l.Close()
			for name, to := range map[string]string{"linked fifo": "fifo", "zero": "/dev/zero", "terminal": "/dev/tty",
				"ring": "ring"} {
				must(t, os.Symlink(to, filepath.Join(dir, name)))
			}
			f, err := New(dir, user)
			must(t, err)
			defer f.Close()
			for name, want := range map[string]string{
				"fifo": "FIFO", "linked fifo": "FIFO", "socket": "socket", "zero": "device", "terminal": "device",
				"folder": "directory",
			} {
				done := make(chan error, 1)
				go func() {
					file, err := f.Open(filepath.Join(dir, name))
					if err == nil {
						file.Close()
					}
					done <- err
				}()
				select {
				case err := <-done:
					if kind, ok := errors.AsType[*KindError](err); !ok || kind.Kind != want {
						t.Errorf("%s: %v, want that it is a %s", name, err, want)
					}
				case <-time.After(10 * time.Second):
					t.Fatalf("%s: Open waits", name)
				}
			}
			if _, err := f.Open(filepath.Join(dir, "ring")); !errors.Is(err, unix.ELOOP) {
				t.Errorf("a link to itself: %v", err)
			}
			if _, err := f.ReadDir(filepath.Join(dir, "fifo")); !errors.Is(err, unix.ENOTDIR) {
				t.Errorf("list a FIFO: %v", err)
			}
		})
	}
}

// The data directory is reached through folders of root, as below /var/lib/docker;
// what is beside it is not.
func TestNewReachesTheDataDirectoryAsRoot(t *testing.T) {
	needRoot(t)
	dir, secret, _ := datadir(t)
	must(t, os.Chmod(filepath.Dir(dir), 0o710))
	must(t, os.Chmod(secret, 0o644), os.Symlink("../secret", filepath.Join(dir, "beside")))
	f := open(t, dir)
	if b, err := f.ReadFile(filepath.Join(dir, "own"), 4); err != nil || string(b) != "rows" {
		t.Errorf("a file of the server: %q, %v", b, err)
	}
	list, err := f.ReadDir(dir)
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	if err != nil || !slices.Equal(names, []string{"beside", "db", "own"}) {
		t.Errorf("ReadDir: %v, %v", names, err)
	}
	for _, path := range []string{secret, filepath.Join(dir, "beside"), filepath.Join(dir, "..", "secret")} {
		if b, err := f.ReadFile(path, 100); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: %q, %v", path, b, err)
		}
	}
}

// A folder of somebody else is not reached with root's rights, whoever calls it his
// data directory.
func TestNewReachesNoOtherDirectoryAsRoot(t *testing.T) {
	needRoot(t)
	top := folder(t)
	other := filepath.Join(top, "other")
	must(t, os.Mkdir(other, 0o755), os.WriteFile(filepath.Join(other, "secret"), []byte("secret"), 0o644),
		os.Chmod(top, 0o700))
	f := open(t, other)
	if b, err := f.ReadFile(filepath.Join(other, "secret"), 100); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("read %q, %v", b, err)
	}
	if list, err := f.ReadDir(other); !errors.Is(err, fs.ErrPermission) {
		t.Errorf("listed %v, %v", list, err)
	}
}

// Whatever takes the place of a name meanwhile, what is read belongs to the server.
func TestOpenWhileNamesAreExchanged(t *testing.T) {
	needRoot(t)
	dir, secret, _ := datadir(t)
	swapped := filepath.Join(dir, "db", "swapped")
	must(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o666))
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			for _, to := range []string{filepath.Join(dir, "own"), secret, "/dev/zero", filepath.Join(dir, "fifo")} {
				select {
				case <-stop:
					return
				default:
				}
				os.Remove(swapped + "~")
				if err := errors.Join(os.Symlink(to, swapped+"~"), os.Rename(swapped+"~", swapped)); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	defer func() { close(stop); <-stopped }()
	f, opened := open(t, dir), 0
	for range 3000 {
		b, err := f.ReadFile(swapped, 100)
		if err != nil {
			continue
		}
		if opened++; string(b) != "rows" {
			t.Fatalf("read %q", b)
		}
	}
	if opened == 0 {
		t.Error("the server's file was never read")
	}
}

// One change of the user does for many files.
func TestDo(t *testing.T) {
	dir := folder(t)
	must(t, os.WriteFile(filepath.Join(dir, "a"), []byte("a"), 0o644))
	for name, f := range map[string]*FS{"nil": nil, "own": {user: fsuser.Current()}, "other": {user: server}} {
		want := errors.New("an error")
		err := f.Do(func(f *FS) error {
			return f.Do(func(f *FS) error { // once more
				if b, err := f.ReadFile(filepath.Join(dir, "a"), 9); err != nil || string(b) != "a" {
					t.Errorf("%s: %q, %v", name, b, err)
				}
				if x, err := f.Statx(filepath.Join(dir, "a"), 0, unix.STATX_TYPE); err != nil ||
					Kind(uint32(x.Mode)) != "regular file" {
					t.Errorf("%s: %v, %v", name, x.Mode, err)
				}
				return want
			})
		})
		if err != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestStatIsForSameFile(t *testing.T) {
	dir := folder(t)
	path := filepath.Join(dir, "a")
	must(t, os.WriteFile(path, []byte("a"), 0o644), os.Symlink("a", filepath.Join(dir, "b")))
	var f *FS
	file, err := f.Open(path)
	must(t, err)
	defer file.Close()
	opened, err := file.Stat()
	must(t, err)
	for _, name := range []string{"a", "b"} {
		if info, err := f.Stat(filepath.Join(dir, name)); err != nil || !os.SameFile(info, opened) || info.Size() != 1 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if to, err := f.Readlink(filepath.Join(dir, "b")); to != "a" || err != nil {
		t.Errorf("Readlink: %q, %v", to, err)
	}
	if _, err := f.Stat(filepath.Join(dir, "c")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Stat: %v", err)
	}
}

func TestUserOf(t *testing.T) {
	needRoot(t)
	dir, secret, _ := datadir(t)
	own, top := filepath.Join(dir, "own"), filepath.Dir(dir)
	link := func(name, to string, owner int) string {
		path := filepath.Join(top, name)
		must(t, os.Symlink(to, path), os.Lchown(path, owner, owner))
		return path
	}
	hisToOwn, hisToSecret, rootsToOwn, rootsToSecret := link("a", own, 64998), link("b", secret, 64998), link("c", own,
		0), link("d", secret, 0)
	rooted := folder(t)
	roots := func(name string, mode os.FileMode) string { // a directory of root's
		path := filepath.Join(rooted, name)
		must(t, os.Mkdir(path, 0o700), os.Chmod(path, mode), os.WriteFile(filepath.Join(path, "ib_logfile0"), nil, 0o600))
		return path
	}
	inside := func(path string) []string { return []string{filepath.Join(path, "ib_logfile0")} }
	closed, group, staff, all, sticky := roots("closed", 0o755), roots("group", 0o775), roots("staff", 0o770), roots("all",
		0o777), roots("sticky", 0o777|os.ModeSticky)
	must(t, os.Chown(staff, 0, 64999))
	listed := roots("listed", 0o755)
	// user::rwx, user:64999:rwx, group::r-x, mask::rwx, other::r-x
	acl := []byte{2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 7, 0, 0xe7, 0xfd, 0, 0, 4, 0, 5, 0, 255, 255, 255, 255,
		16, 0, 7, 0, 255, 255, 255, 255, 32, 0, 5, 0, 255, 255, 255, 255}
	if err := unix.Setxattr(listed, "system.posix_acl_access", acl, 0); errors.Is(err, unix.ENOTSUP) {
		must(t, os.Chmod(listed, 0o775)) // no lists on this file system
	} else {
		must(t, err)
	}
	his := filepath.Join(folder(t), "his")
	must(t, os.Mkdir(his, 0o755), os.Mkdir(filepath.Join(his, "roots"), 0o755),
		os.WriteFile(filepath.Join(his, "roots", "ib_logfile0"), nil, 0o600), os.Chown(his, server.UID, server.GID))
	inHis := filepath.Join(his, "roots")
	peer := func(uid int) *fsuser.User { return &fsuser.User{UID: uid, GID: uid} }
	root, none := fsuser.User{}, fsuser.User{UID: -1}
	for _, tt := range []struct {
		name    string
		datadir string
		peer    *fsuser.User
		files   []string
		want    fsuser.User // none: an error
	}{
		{"owner of the data directory", dir, nil, nil, server},
		{"socket made by systemd", dir, peer(0), nil, server},
		{"peer in another namespace", dir, peer(nobody), nil, server},
		{"server with another user", dir, peer(64998), nil, *peer(64998)},
		{"false server names a folder of root", rooted, peer(64998), nil, *peer(64998)},
		{"server of root", rooted, peer(0), []string{secret}, root},
		{"server of root without files", rooted, peer(0), nil, root},
		{"server of root at a port", closed, nil, inside(closed), root},
		{"data directory of root, files of the server", rooted, nil, []string{filepath.Join(dir, "none"), secret, own},
			server},
		{"files of the server, and others can write", all, nil, []string{own}, server},
		{"his link", rooted, nil, []string{hisToOwn}, *peer(64998)},
		{"his links to files of root", rooted, nil, []string{hisToSecret, hisToSecret}, *peer(64998)},
		{"root's link to a file of the server", rooted, nil, []string{rootsToOwn}, server},
		{"root's link to a file of root", closed, nil, []string{rootsToSecret}, root},
		{"nothing says root", rooted, nil, nil, none},
		{"nothing says root, and the files are missing", rooted, nil, []string{filepath.Join(rooted, "none")}, none},
		{"nothing says root in another namespace", rooted, peer(nobody), nil, none},
		{"a file of root where others can write says nothing", closed, nil, inside(all), none},
		{"root's group can write", group, nil, inside(group), none},
		{"another group can write", staff, nil, inside(staff), none},
		{"everybody can write", all, nil, inside(all), none},
		{"everybody can write, and removes only his own", sticky, nil, inside(sticky), none},
		{"a list lets him write", listed, nil, inside(listed), none},
		{"a list lets him write, and the peer is root", listed, peer(0), inside(listed), none},
		{"a directory that he can exchange", inHis, nil, inside(inHis), none},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := UserOf(tt.datadir, tt.peer, tt.files...)
			if tt.want == none {
				if !errors.Is(err, ErrUnknownUser) || len(hint.Attached(err)) != 1 {
					t.Errorf("got %v, %v, want an error with advice", got, err)
				}
			} else if got != tt.want || err != nil {
				t.Errorf("got %v, %v, want %v", got, err, tt.want)
			}
		})
	}
	if _, err := UserOf(filepath.Join(dir, "none"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no data directory: %v", err)
	}
}

// Files are made and removed with the rights of the server's user, and never through a link.
func TestCreateAndRemove(t *testing.T) {
	needRoot(t)
	dir, secret, closed := datadir(t)
	f := open(t, dir)
	path := filepath.Join(dir, "shop.cfg")
	file, err := f.Create(path)
	must(t, err)
	must(t, file.Close())
	if owner, err := fsuser.OwnerOf(path); err != nil || owner.UID == 0 {
		t.Errorf("the new file belongs to %v (%v)", owner, err)
	}
	link := filepath.Join(dir, "link.cfg")
	must(t, os.Symlink(filepath.Join(dir, "made.cfg"), link))
	for _, taken := range []string{path, link, secret, filepath.Join(closed, "x"), "/proc/self/cwd/x"} {
		if file, err := f.Create(taken); err == nil {
			t.Errorf("%s was made", file.Name())
			must(t, file.Close())
		}
	}
	for _, kept := range []string{secret, filepath.Join(closed, "x")} {
		if err := f.Remove(kept); err == nil {
			t.Errorf("%s was removed", kept)
		}
	}
	renamed := filepath.Join(dir, "shop.ibd")
	if err := f.Rename(path, link); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a file takes the place of a link: %v", err)
	}
	must(t, f.Rename(path, renamed), f.Rename(renamed, path))
	must(t, f.Remove(path), f.Remove(link))
	if err := f.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what is not there: %v", err)
	}
}
