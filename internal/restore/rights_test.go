package restore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mbk/internal/repo"
	"mbk/internal/sys/fsuser"
	"mbk/internal/test/coldbackup"
	"mbk/internal/test/rights"
)

// A symbolic link of somebody else's on the way to the target led root to any folder,
// without a race.
func TestResolveFollowsRootsLinks(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("playing another user takes root")
	}
	top := rights.Public(t)
	v, his, tmp := rights.Victim(t, top), rights.Give(t, filepath.Join(top, "his"), rights.Attacker,
		0o755), rights.Give(t, filepath.Join(top, "tmp"), fsuser.User{}, 0o777|os.ModeSticky)
	for name, to := range map[string]string{
		"link": v, "relative": "victim/shop", "chain": "link/shop", "nowhere": v +
			"/none/at/all", "loop": "loop", "via": his + "/link", "tmp/roots": v, "tmp/his": v,
		"his/link": v, "his/up": "../victim", "up": "his/../victim",
	} {
		if err := os.Symlink(to, filepath.Join(top, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Lchown(filepath.Join(tmp, "his"), rights.Attacker.UID, rights.Attacker.GID); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"victim":           "victim",
		"victim/new":       "victim/new",
		"link":             "victim",
		"link/new":         "victim/new",
		"relative":         "victim/shop",
		"chain/x":          "victim/shop/x",
		"up/shop":          "victim/shop",
		"tmp/roots":        "victim",
		"his":              "his",
		"his/new":          "his/new",
		"victim/../his/a":  "his/a",
		"none/at/all":      "no such file",
		"nowhere":          "leads nowhere",
		"loop":             "too many levels",
		"victim/shadow/x":  "not a directory",
		"his/link":         "users other than root can have made",
		"his/link/new":     "users other than root can have made",
		"his/link/shop/..": "users other than root can have made",
		"his/up":           "users other than root can have made",
		"via":              "users other than root can have made",
		"via/new":          "users other than root can have made",
		"tmp/his/x":        "users other than root can have made",
	} {
		got, err := fsuser.Resolve(top + "/" + path)
		if err != nil {
			got = err.Error()
		} else {
			want = filepath.Join(top, want)
		}
		if err == nil && got != want || err != nil && !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	owner := Owner(rights.Attacker)
	_, objections, err := inspectTarget(Options{Target: filepath.Join(his, "link", "new"),
		Preparation: Preparation{Owner: &owner}})
	if err != nil || len(objections) != 1 || objections[0].Hint == "" {
		t.Errorf("inspectTarget = %+v, %v", objections, err)
	}
}

// A folder that an access list opens to a third user counted as one of root's or of the
// owner's.
func TestDistrusts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("playing another user takes root")
	}
	third := fsuser.User{UID: 64998, GID: 64998}
	for _, tt := range []struct {
		name    string
		of      fsuser.User
		mode    os.FileMode
		granted fsuser.User // by the list
		want    string
	}{
		{"root's", fsuser.User{}, 0o755, fsuser.User{}, ""},
		{"his", rights.Attacker, 0o775, fsuser.User{}, ""},
		{"root's, of his group", fsuser.User{GID: rights.Attacker.GID}, 0o775, fsuser.User{}, ""},
		{"root's, of root's group", fsuser.User{}, 0o775, fsuser.User{}, "group 0 can change"},
		{"root's, listed for him", fsuser.User{}, 0o755, rights.Attacker, ""},
		{"root's, listed for a third", fsuser.User{}, 0o755, third, "user 64998 can change"},
		{"his, listed for a third", rights.Attacker, 0o755, third, "user 64998 can change"},
		{"like /tmp, listed for a third", fsuser.User{}, 0o777 | os.ModeSticky, third, ""},
		{"a third user's", third, 0o755, fsuser.User{}, "belongs to user 64998"},
		{"everybody's", fsuser.User{}, 0o777, fsuser.User{}, "everybody can change"},
	} {
		dir := rights.Give(t, filepath.Join(rights.Public(t), "dir"), tt.of, tt.mode)
		if tt.granted.UID != 0 {
			rights.Grant(t, dir, tt.granted)
		}
		if tt.mode&os.ModeSticky != 0 {
			if err := os.Chmod(dir, tt.mode); err != nil {
				t.Fatal(err)
			}
		}
		info, err := os.Lstat(dir)
		if err != nil {
			t.Fatal(err)
		}
		if got := Owner(rights.Attacker).distrusts(dir, info); got != tt.want &&
			(tt.want == "" || !strings.HasPrefix(got, tt.want)) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// Files that root extracts into somebody's folder were written wherever a link led that
// was put in the place of that folder.
func testExtractAttacked(t *testing.T, f *coldbackup.Fixture, _ string) {
	if os.Geteuid() != 0 {
		t.Skip("playing another user takes root")
	}
	top := rights.Public(t)
	v, his := rights.Victim(t, top), rights.Give(t, filepath.Join(top, "his"), rights.Attacker, 0o755)
	before, link, out := rights.Look(t, v), filepath.Join(his, "link"), filepath.Join(his, "out")
	var swapped int64
	stop := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		_ = rights.Attacker.Do(func() error {
			_ = errors.Join(os.Symlink(v, link), os.Mkdir(out, 0o755))
			for {
				select {
				case <-stop:
					return nil
				default:
				}
				if unix.Renameat2(unix.AT_FDCWD, link, unix.AT_FDCWD, out, unix.RENAME_EXCHANGE) == nil {
					swapped++
				}
			}
		})
	})
	done := 0
	for i := range 100 {
		if _, err := Extract(t.Context(), options(f, "").Preparation, []string{"shop/db.opt"},
			filepath.Join(out, fmt.Sprint("new-", i))); err == nil {
			done++
		}
	}
	close(stop)
	wait.Wait()
	if after := rights.Look(t, v); after != before || swapped == 0 || done == 0 {
		t.Errorf("%d times, %d were extracted; was\n%sis\n%s", swapped, done, before, after)
	}
}

// A file that was made is opened again for its next bytes: in a folder of somebody
// else's another one may have taken its place.
func TestReopen(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close() //nolint:errcheck // only a test
	x := &extraction{root: root}
	for name, exchange := range map[string]func(path, other string) error{
		"nothing":     nil,
		"a link":      os.Symlink,
		"a hard link": os.Link,
		"a copy":      func(path, _ string) error { return touch(path) },
		"a pipe":      func(path, _ string) error { return unix.Mkfifo(path, 0o600) },
		"a folder":    func(path, _ string) error { return mkdir(path) },
	} {
		path, other := filepath.Join(dir, name), filepath.Join(dir, "other of "+name)
		file := &outFile{File: &repo.File{}, path: name}
		f, err := x.open(file)
		if err != nil {
			t.Fatal(err)
		}
		if exchange != nil {
			err = errors.Join(os.Rename(path, path+" was"), touch(other))
			if strings.HasSuffix(name, "link") {
				err = errors.Join(err, exchange(other, path))
			} else {
				err = errors.Join(err, exchange(path, other))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		again, err := x.open(file)
		if (err == nil) != (exchange == nil) {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil {
			_ = again.Close() // nothing was written
		}
		_ = f.Close() // likewise
	}
}

// Every user could lock the folder above the target, or make the scratch folder's name
// his own, and so keep everybody from restoring.
func TestNobodyBlocksARestore(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("playing another user takes root")
	}
	lock := func(path string) error {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = f.Close() }) // only locked
		return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	}
	for name, block := range map[string]func(parent string) error{
		"locks the folder": lock,
		"locks a folder of such a name": func(parent string) error {
			dir := filepath.Join(parent, ".data.mbk-restore-0")
			return errors.Join(os.Mkdir(dir, 0o755), lock(dir))
		},
		"closes a folder of such a name": func(parent string) error {
			return os.Mkdir(filepath.Join(parent, ".data.mbk-restore-0"), 0)
		},
		"makes a folder of that name": func(parent string) error {
			dir := filepath.Join(parent, ".data.mbk-restore-20261121T201806Z-full")
			return errors.Join(os.Mkdir(dir, 0o755), lock(dir))
		},
		"makes a file of that name": func(parent string) error {
			return touch(filepath.Join(parent, ".data.mbk-restore-20261121T201806Z-full"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			parent := rights.Give(t, filepath.Join(rights.Public(t), "parent"), fsuser.User{}, 0o777|os.ModeSticky)
			if err := rights.Attacker.Do(func() error { return block(parent) }); err != nil {
				t.Fatal(err)
			}
			before := names(t, parent)
			s, err := newScratch(t.Context(), target{path: filepath.Join(parent, "data"), owner: Owner(rights.Attacker)},
				"20261121T201806Z-full", time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if err := rights.Attacker.Do(func() error { return lock(s.dir) }); err == nil {
				t.Error("he can lock the scratch folder")
			}
			if err := s.remove(); err != nil {
				t.Error(err)
			}
			coldbackup.WantNothingBut(t, parent, before...)
		})
	}
}

// Of restores into the same target that begin at once, one goes on, and the others name
// it.
func TestRestoresThatBeginAtOnce(t *testing.T) {
	for range 2 {
		parent := t.TempDir()
		tg := target{path: filepath.Join(parent, "data"), owner: self()}
		var mu sync.Mutex
		var wait sync.WaitGroup
		var at []*scratch
		for i := range 6 {
			wait.Go(func() {
				s, err := newScratch(t.Context(), tg, fmt.Sprint(i), time.Now())
				mu.Lock()
				defer mu.Unlock()
				if busy, ok := errors.AsType[*BusyError](err); err != nil && !ok {
					t.Error(err)
				} else if ok && !strings.Contains(busy.Owner, fmt.Sprint("pid ", os.Getpid())) {
					t.Errorf("holder: %q", busy.Owner)
				}
				if err == nil {
					at = append(at, s)
				}
			})
		}
		wait.Wait()
		if len(at) != 1 {
			t.Errorf("%d restores are at work", len(at))
		}
		for _, s := range at {
			if err := s.remove(); err != nil {
				t.Error(err)
			}
		}
		coldbackup.WantNothingBut(t, parent)
	}
}
