package restore

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mbk/internal/hint"
	"mbk/internal/repo"
	"mbk/internal/sys/fsuser"
	"mbk/internal/test/rights"
)

// victim makes a folder of root's, with what a restore that was led there would change.
func victim(t *testing.T, top string) string {
	t.Helper()
	dir := filepath.Join(top, "victim")
	for _, name := range []string{"", dataDir, tmpDir, outsideFiles, "mysql", "shop"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, mode := range map[string]os.FileMode{"shadow": 0o600, "public": 0o666, "data/kept": 0o644, "mysql/db.opt": 0o600, "ib_buffer_pool": 0o640} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, []byte("of root"), mode), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// look tells all that is in a folder: names, owners, modes and contents.
func look(t *testing.T, dir string) string {
	t.Helper()
	var text strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		var content []byte
		if info.Mode().IsRegular() {
			content, err = os.ReadFile(path)
		}
		st := info.Sys().(*syscall.Stat_t)
		fmt.Fprintf(&text, "%s %v %d:%d %.20q %x\n", strings.TrimPrefix(path, dir), info.Mode(), st.Uid, st.Gid, content, crc32.ChecksumIEEE(content))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// trick is what an rights.Attacker does with a folder that a restore has made, or with what is
// in it. It reports whether he could.
type trick struct {
	name  string
	inner bool // in what is the rights.Attacker's already when the server runs
	do    func(victim, parent, name string, n int64) bool
}

// aside gives a folder another name.
func aside(parent, name string, n int64) bool {
	return os.Rename(filepath.Join(parent, name), filepath.Join(parent, fmt.Sprintf("stolen-%d", n))) == nil
}

// links puts links to a victim's files and folders into a folder.
func links(dir, victim string, names ...string) {
	for i, name := range names {
		path := filepath.Join(dir, name)
		switch {
		case i%3 == 0:
			_ = os.Symlink(filepath.Join(victim, "shadow"), path)
		case os.Link(filepath.Join(victim, "public"), path) != nil || i%3 == 2:
			_ = os.Symlink(victim, path)
		}
	}
}

func tricks() []trick {
	return []trick{
		{"a link", false, func(victim, parent, name string, n int64) bool {
			return aside(parent, name, n) && os.Symlink(victim, filepath.Join(parent, name)) == nil
		}},
		{"a folder of links to folders", false, func(victim, parent, name string, n int64) bool {
			evil := filepath.Join(parent, fmt.Sprintf("evil-%d", n))
			_ = os.Mkdir(evil, 0o777)
			for _, inner := range []string{dataDir, tmpDir, outsideFiles} {
				_ = os.Symlink(victim, filepath.Join(evil, inner))
			}
			links(evil, victim, serverLog, ownerFile, placingFile)
			return aside(parent, name, n) && os.Rename(evil, filepath.Join(parent, name)) == nil
		}},
		{"a folder of links to files", false, func(victim, parent, name string, n int64) bool {
			evil := filepath.Join(parent, fmt.Sprintf("evil-%d", n))
			_ = os.Mkdir(evil, 0o777)
			links(evil, victim, dataDir, tmpDir, outsideFiles, serverLog, placingFile, ownerFile)
			return aside(parent, name, n) && os.Rename(evil, filepath.Join(parent, name)) == nil
		}},
		{"a data directory of links", false, func(victim, parent, name string, n int64) bool {
			data := within(parent, name)
			if os.Rename(data, fmt.Sprintf("%s-%d", data, n)) != nil {
				return false
			}
			if n%2 == 0 {
				return os.Symlink(victim, data) == nil
			}
			_ = os.Mkdir(data, 0o777)
			links(data, victim, "mysql", "ibdata1", logName, "shop", "ib_buffer_pool", "aria_log_control")
			return true
		}},
		{"links in the data directory", true, func(victim, parent, name string, n int64) bool {
			data, done := within(parent, name), false
			for i, e := range entries(data) {
				path := filepath.Join(data, e)
				if os.Rename(path, fmt.Sprintf("%s/.was-%d-%d", data, n, i)) == nil {
					switch (int64(i) + n) % 3 {
					case 0:
						done = os.Symlink(filepath.Join(victim, "shadow"), path) == nil
					case 1:
						done = os.Link(filepath.Join(victim, "public"), path) == nil
					default:
						done = os.Symlink(victim, path) == nil
					}
				}
			}
			return done
		}},
		{"a folder of root's", false, func(_, parent, name string, n int64) bool {
			return aside(parent, name, n) && os.Rename(filepath.Join(parent, ".snapshot"), filepath.Join(parent, name)) == nil
		}},
		{"to and fro", false, func(victim, parent, name string, n int64) bool {
			link := filepath.Join(parent, "link")
			_ = os.Symlink(victim, link) // once
			path := filepath.Join(parent, name)
			return unix.Renameat2(unix.AT_FDCWD, link, unix.AT_FDCWD, path, unix.RENAME_EXCHANGE) == nil
		}},
	}
}

// within is the folder that is filled in a scratch folder.
func within(parent, name string) string {
	if strings.Contains(name, ".mbk-outside-") {
		return filepath.Join(parent, name, outsideFiles)
	}
	return filepath.Join(parent, name, dataDir)
}

// entries lists a folder.
func entries(dir string) []string {
	list, _ := os.ReadDir(dir)
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// attack plays a trick again and again, as somebody else, until it is stopped. It returns
// how often that worked.
func attack(who fsuser.User, s trick, victim string, parents ...string) (stop func() int64) {
	ctx, cancel := context.WithCancel(context.Background())
	var done atomic.Int64
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = who.Do(func() error {
			for n := int64(0); ctx.Err() == nil; n++ {
				for _, parent := range parents {
					for _, name := range entries(parent) {
						if strings.Contains(name, ".mbk-") && s.do(victim, parent, name, n) {
							done.Add(1)
						}
					}
				}
				time.Sleep(100 * time.Microsecond)
			}
			return nil
		})
	}()
	return func() int64 {
		cancel()
		<-ended
		return done.Load()
	}
}

// placeCase is where a restore goes.
type placeCase struct {
	name    string
	who     fsuser.User // who attacks
	refused bool        // there is no safe way to restore there
	safe    bool        // nobody can exchange anything
	make    func(t *testing.T, top string) (parent, target string)
}

func places() []placeCase {
	in := func(who fsuser.User, mode os.FileMode) func(t *testing.T, top string) (string, string) {
		return func(t *testing.T, top string) (string, string) {
			parent := rights.Give(t, filepath.Join(top, "parent"), who, mode)
			return parent, filepath.Join(parent, "data")
		}
	}
	third := fsuser.User{UID: 64998, GID: 64998}
	return []placeCase{
		{"in his folder", rights.Attacker, false, false, in(rights.Attacker, 0o755)},
		{"in a folder of his group", rights.Attacker, false, false, in(fsuser.User{GID: rights.Attacker.GID}, 0o775)},
		{"in a folder of root's group", rights.Attacker, true, false, in(fsuser.User{}, 0o775)},
		{"in a folder with an access list", rights.Attacker, false, false, func(t *testing.T, top string) (string, string) {
			parent := rights.Give(t, filepath.Join(top, "parent"), fsuser.User{}, 0o755)
			rights.Grant(t, parent, rights.Attacker)
			return parent, filepath.Join(parent, "data")
		}},
		{"in a folder of everybody's", third, false, false, in(fsuser.User{}, 0o777)},
		{"in a folder like /tmp", rights.Attacker, false, true, in(fsuser.User{}, 0o777|os.ModeSticky)},
		{"in a folder of root's", rights.Attacker, false, true, in(fsuser.User{}, 0o755)},
		{"in a folder of a third user's", third, true, false, in(third, 0o755)},
		{"below his folder", rights.Attacker, true, false, func(t *testing.T, top string) (string, string) {
			parent := rights.Give(t, filepath.Join(rights.Give(t, filepath.Join(top, "parent"), rights.Attacker, 0o755), "inner"), fsuser.User{}, 0o755)
			return filepath.Dir(parent), filepath.Join(parent, "data")
		}},
		{"a folder of his below a third user's", rights.Attacker, false, false, func(t *testing.T, top string) (string, string) {
			target := rights.Give(t, filepath.Join(rights.Give(t, filepath.Join(top, "parent"), third, 0o755), "data"), rights.Attacker, 0o755)
			return target, target
		}},
		{"a mount point of his", rights.Attacker, false, false, func(t *testing.T, top string) (string, string) {
			target := rights.Give(t, filepath.Join(top, "parent"), rights.Attacker, 0o755)
			if err := unix.Mount(target, target, "", unix.MS_BIND, ""); err != nil {
				t.Skipf("no mounts here: %v", err)
			}
			t.Cleanup(func() {
				if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
					t.Error(err)
				}
			})
			return target, target
		}},
	}
}

// A restore by root was led to other folders by whoever could change the one that it
// works in: he renamed the scratch folder away and put something else in its place.
func testAttacked(t *testing.T, f *fixture, _ string) {
	if os.Geteuid() != 0 {
		t.Skip("playing another user takes root")
	}
	for _, p := range places() {
		t.Run(p.name, func(t *testing.T) {
			for _, s := range tricks() {
				t.Run(s.name, func(t *testing.T) { attackRestore(t, f, p, s, true) })
				if s.inner && p.name == "in a folder of root's" || s.name == "to and fro" && p.name == "in his folder" {
					t.Run(s.name+", with recovery", func(t *testing.T) { attackRestore(t, f, p, s, false) })
				}
			}
			if !p.refused && !p.safe {
				nothing := trick{"nothing", false, func(string, string, string, int64) bool { return false }}
				t.Run("nobody attacks", func(t *testing.T) {
					attackRestore(t, f, p, nothing, p.name != "in his folder" && p.name != "a mount point of his")
				})
			}
		})
	}
}

// A verification makes the same folders below --scratch.
func testVerifyAttacked(t *testing.T, f *fixture, _ string) {
	if os.Geteuid() != 0 {
		t.Skip("playing another user takes root")
	}
	for _, s := range tricks() {
		t.Run(s.name, func(t *testing.T) {
			top := rights.Public(t)
			v, his := victim(t, top), rights.Give(t, filepath.Join(top, "his"), rights.Attacker, 0o755)
			rights.Give(t, filepath.Join(his, ".snapshot"), fsuser.User{}, 0o755)
			o := f.options("")
			o.Owner, o.Scratch = &Owner{UID: rights.Attacker.UID, GID: rights.Attacker.GID}, his
			o.Mariadbd, o.MariadbdArgs = publicServer(t, f)
			before := look(t, v)
			stop := attack(rights.Attacker, s, v, his)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			r, err := Verify(ctx, o, repo.DepthBoot)
			n := stop()
			t.Logf("%d times; Verify: %+v, %v", n, r, err)
			if after := look(t, v); after != before || ctx.Err() != nil {
				t.Errorf("was\n%sis\n%s", before, after)
			}
		})
	}
}

// attackRestore restores while somebody does his worst.
func attackRestore(t *testing.T, f *fixture, p placeCase, s trick, raw bool) {
	top := rights.Public(t)
	v := victim(t, top)
	parent, target := p.make(t, top)
	keep := filepath.Join(parent, ".snapshot") // may be in a target
	if err := errors.Join(os.Mkdir(keep, 0o755), os.WriteFile(filepath.Join(keep, "file"), []byte("of root"), 0o600)); err != nil {
		t.Fatal(err)
	}
	held, err := os.Open(keep)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close() //nolint:errcheck // only read
	o := f.options(target)
	o.Owner, o.Raw = &Owner{UID: rights.Attacker.UID, GID: rights.Attacker.GID}, raw
	if !raw {
		o.Mariadbd, o.MariadbdArgs = publicServer(t, f)
	}
	before := look(t, v)
	stop := attack(p.who, s, v, parent)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err = Restore(ctx, o)
	n := stop()
	t.Logf("%d times; Restore: %v", n, err)
	if after := look(t, v); after != before {
		t.Errorf("was\n%sis\n%s", before, after)
	}
	inKeep := fmt.Sprintf("/proc/self/fd/%d/", held.Fd())
	if got := look(t, inKeep); !strings.Contains(got, `-rw------- 0:0 "of root"`) || !strings.Contains(got, "drwxr-xr-x 0:0") {
		t.Errorf("a folder of root's holds\n%s", got)
	}
	_, refused := errors.AsType[*ObjectionsError](err)
	if refused != p.refused || p.safe && !s.inner && (err != nil || n > 0) || ctx.Err() != nil {
		t.Errorf("Restore = %v", err)
	}
	if n == 0 && !refused && err != nil {
		t.Errorf("Restore = %v", err)
	}
	if err == nil && n == 0 {
		if parent == target {
			if err := errors.Join(os.RemoveAll(keep), os.Remove(filepath.Join(target, "link"))); err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		}
		wantOwnedBy(t, target, rights.Attacker)
	}
}

// Without a user mysql, or where he could not get at the files, verify ran mariadbd as
// root without a word.
func testUnaskedRoot(t *testing.T, f *fixture, _ string) {
	if os.Geteuid() != 0 {
		t.Skip("only root can run a server as root")
	}
	o := f.options("")
	o.Owner, o.Scratch = nil, t.TempDir() // nobody else gets there
	begun := time.Now()
	_, err := Verify(t.Context(), o, repo.DepthBoot)
	refused, ok := errors.AsType[*ObjectionsError](err)
	if !ok || !strings.Contains(hint.Join(refused.Hints(), "\n").String(), "--owner") {
		t.Errorf("Verify = %v, want an objection", err)
	}
	last, err := f.repository.LastVerification(t.Context(), time.Now())
	if err != nil || last != nil && last.Time.After(begun) {
		t.Errorf("a record was left: %+v, %v", last, err)
	}
}

func TestChooseOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can choose")
	}
	dir := rights.Public(t)
	his, empty, his2 := rights.Give(t, filepath.Join(dir, "his"), rights.Attacker, 0o755), rights.Give(t, filepath.Join(dir, "empty"), fsuser.User{}, 0o755), rights.Give(t, filepath.Join(dir, "his2"), fsuser.User{}, 0o755)
	roots := rights.Give(t, filepath.Join(dir, "roots"), fsuser.User{}, 0o755)
	if err := errors.Join(touch(filepath.Join(roots, "ibdata1")), touch(filepath.Join(his2, "ibdata1")), os.Chown(filepath.Join(his2, "ibdata1"), rights.Attacker.UID, rights.Attacker.GID)); err != nil {
		t.Fatal(err)
	}
	mysql, err := userMysql()
	none := err != nil // on this machine
	named := Owner{UID: 7, GID: 8}
	for _, c := range []struct {
		name      string
		o         Options
		want      Owner
		objection bool
	}{
		{"by name", Options{Target: his, Owner: &named}, named, false},
		{"root by name", Options{Target: his, Owner: &Owner{}}, Owner{}, false},
		{"the owner of the target", Options{Target: his}, Owner(rights.Attacker), false},
		{"a folder of root's", Options{Target: empty}, mysql, none},
		{"no target", Options{Target: filepath.Join(dir, "new")}, mysql, none},
		{"no target, without a server", Options{Target: filepath.Join(dir, "new"), Raw: true}, mysql, false},
		{"a server of root's, to be kept", Options{Target: roots, KeepOld: true}, Owner{}, false},
		{"a server of root's, in the way", Options{Target: roots}, mysql, none},
		{"a server of somebody else's in a folder of root's", Options{Target: his2, KeepOld: true}, mysql, none},
		{"a folder of root's, nothing to be kept", Options{Target: empty, KeepOld: true}, mysql, none},
	} {
		info, err := os.Lstat(c.o.Target)
		if err != nil {
			info = nil
		}
		got, objection := chooseOwner(c.o, info)
		if (objection != nil) != c.objection || !c.objection && got != c.want || objection != nil && !strings.Contains(objection.Hint.String(), "--owner") {
			t.Errorf("%s: %+v, %+v, want %+v", c.name, got, objection, c.want)
		}
	}
}

// wantOwnedBy makes sure that everything in a folder belongs to a user.
func wantOwnedBy(t *testing.T, dir string, who fsuser.User) {
	t.Helper()
	for line := range strings.Lines(look(t, dir)) {
		if !strings.Contains(line, fmt.Sprintf(" %d:%d ", who.UID, who.GID)) {
			t.Errorf("in %s: %s", dir, line)
		}
	}
}

// publicServer is a server that every user can run, and the options that it needs.
func publicServer(t *testing.T, f *fixture) (program string, args []string) {
	t.Helper()
	program = f.dist.Program("mariadbd")
	real, err := filepath.EvalSymlinks(program)
	if err != nil {
		t.Fatal(err)
	}
	owner := Owner{UID: rights.Attacker.UID, GID: rights.Attacker.GID}
	if len(owner.reaches(filepath.Dir(real))) == 0 {
		return program, nil
	}
	from, to := filepath.Join(filepath.Dir(filepath.Dir(real)), "root", "usr"), rights.Public(t)
	for _, dir := range []string{"sbin", "lib", "share"} {
		if out, err := exec.Command("cp", "-a", filepath.Join(from, dir), to).CombinedOutput(); err != nil {
			t.Fatalf("copy the server: %v: %s", err, out)
		}
	}
	libraries, err := filepath.Glob(filepath.Join(to, "lib", "*-linux-gnu*"))
	if err != nil || len(libraries) == 0 {
		t.Fatalf("no libraries in %s, %v", to, err)
	}
	t.Setenv("LD_LIBRARY_PATH", strings.Join(libraries, ":"))
	return filepath.Join(to, "sbin", "mariadbd"), []string{"--basedir=" + to}
}

// All data went to whoever had made the empty folder that was named as the target, and
// the folder stayed open to everybody.
func TestTargetOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("playing another user takes root")
	}
	him := Owner(rights.Attacker)
	for _, tt := range []struct {
		name   string
		parent fsuser.User
		mode   os.FileMode // of the parent
		owner  *Owner      // as named
		doubt  bool
	}{
		{"in a folder of root's", fsuser.User{}, 0o755, nil, false},
		{"in a folder like /tmp", fsuser.User{}, 0o777 | os.ModeSticky, nil, true},
		{"in a folder of everybody's", fsuser.User{}, 0o777, nil, true},
		{"in a folder of root's group", fsuser.User{}, 0o775, nil, true},
		{"in his folder", rights.Attacker, 0o755, nil, true},
		{"in his folder, and he is named", rights.Attacker, 0o755, &him, false},
		{"in a folder like /tmp, and he is named", fsuser.User{}, 0o777 | os.ModeSticky, &him, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			parent := rights.Give(t, filepath.Join(rights.Public(t), "parent"), tt.parent, tt.mode)
			target := rights.Give(t, filepath.Join(parent, "data"), rights.Attacker, 0o777)
			tg, objections, err := inspectTarget(Options{Target: target, Owner: tt.owner})
			doubt := slices.ContainsFunc(objections, func(o Objection) bool {
				return strings.Contains(o.Problem, "belongs to user 64999") && strings.Contains(o.Hint.String(), "--owner 64999")
			})
			if err != nil || doubt != tt.doubt || tg.owner != him || tg.mode != 0o755 {
				t.Errorf("%+v, %+v, %v", tg, objections, err)
			}
		})
	}
}

// inside is a target that is filled where it is.
func inside(path string) target {
	return target{path: path, exists: true, inside: true, owner: Owner(rights.Attacker)}
}

// A target that cannot be replaced kept its mode.
func TestHandOverTakesRightsAway(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root hands over")
	}
	for mode, want := range map[os.FileMode]os.FileMode{0o777: 0o755, 0o770: 0o750, 0o700: 0o700, 0o775 | os.ModeSetgid: 0o755 | os.ModeSetgid} {
		target := rights.Give(t, filepath.Join(rights.Public(t), "target"), fsuser.User{}, mode)
		s := &scratch{target: inside(target)}
		if err := s.handOver(); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(target)
		if err != nil || info.Mode()&^os.ModeDir != want {
			t.Errorf("%v: %v, %v, want %v", mode, info.Mode(), err, want)
		}
		wantOwnedBy(t, target, rights.Attacker)
	}
}
