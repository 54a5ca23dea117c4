package restore

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"mbk/internal/sys/fsuser"
	"mbk/internal/test/rights"
)

func TestListsMount(t *testing.T) {
	const text = `22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
25 22 0:22 / /mnt/a\040b rw shared:2 - tmpfs tmpfs rw
26 22 0:23 / /mnt/plain rw - tmpfs tmpfs rw
odd line
`
	for path, want := range map[string]bool{"/": true, "/mnt/a b": true, "/mnt/plain": true, "/mnt": false,
		"shared:2": false} {
		got, err := listsMount(strings.NewReader(text), path)
		if err != nil || got != want {
			t.Errorf("listsMount(%q) = %v, %v, want %v", path, got, err, want)
		}
	}
}

// Whoever mounts something may give the place any name.
func FuzzListsMount(f *testing.F) {
	const line = "36 35 98:0 / /mnt/a\\040b rw,noatime - ext4 /dev/sda rw\n"
	f.Add(line, "/mnt/a b")
	f.Add("36 35 98:0 /mnt1\n\n \n"+line, "/mnt2")
	f.Fuzz(func(t *testing.T, text, path string) {
		found, err := listsMount(strings.NewReader(text), path)
		if found && (err != nil || path == "") {
			t.Errorf("%q is found in %q, %v", path, text, err)
		}
	})
}

// A health check's file stood in the way of a restore into a mount point.
func TestWhatMayStayInTheTarget(t *testing.T) {
	for _, c := range []struct {
		name   string
		make   func(path string) error
		stays  bool
		folder bool
	}{
		{"lost+found", mkdir, true, true},
		{".my-healthcheck.cnf", touch, true, false},
		{".keep", touch, true, false},
		{"aquota.user", touch, true, false},
		{".snapshot", mkdir, true, true},
		{".snapshot", touch, true, false},
		{".hidden", mkdir, false, true},
		{".link", func(path string) error { return os.Symlink("/etc", path) }, false, false},
		{".pipe", func(path string) error { return unix.Mkfifo(path, 0o600) }, false, false},
		{"ibdata1", touch, false, false},
		{"shop", mkdir, false, true},
		{"#rocksdb", mkdir, false, true},
		{"my.cnf", touch, false, false},
		{"binlog.000001", touch, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := c.make(filepath.Join(dir, c.name)); err != nil {
				t.Fatal(err)
			}
			owner := self()
			tg, objections, err := inspectTarget(Options{Target: dir, Preparation: Preparation{Owner: &owner}})
			if err != nil {
				t.Fatal(err)
			}
			if !c.stays {
				if len(objections) != 1 || !strings.Contains(objections[0].Problem, "is not empty: it holds "+c.name) {
					t.Errorf("objections = %+v", objections)
				}
				return
			}
			if len(objections) > 0 || !tg.inside {
				t.Fatalf("objections = %+v, %+v", objections, tg)
			}
			s := fakeScratch(t, tg)
			if err := errors.Join(s.place("ibdata1"), s.clean(false)); err != nil {
				t.Fatal(err)
			}
			want := append(dataEntries(), c.name)
			slices.Sort(want)
			if got := names(t, dir); !slices.Equal(got, want) {
				t.Errorf("the target holds %q, want %q", got, want)
			}
		})
	}
}

// A link into a disk that is not there any more was refused without advice.
func TestTargetThatLeadsNowhere(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Symlink("../b", filepath.Join(dir, "a")), os.Symlink("a b/c", filepath.Join(dir, "blank")),
		os.Symlink("blank", filepath.Join(dir, "two"))); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"a":     "mkdir -p " + filepath.Join(dir, "../b"),
		"blank": "mkdir -p '" + filepath.Join(dir, "a b/c") + "'",
		"two":   "mkdir -p '" + filepath.Join(dir, "a b/c") + "'",
	} {
		_, objections, err := inspectTarget(Options{Target: filepath.Join(dir, name)})
		if err != nil || len(objections) != 1 || !strings.HasSuffix(objections[0].Hint.String(), want) {
			t.Errorf("%s: %+v, %v, want the hint %s", name, objections, err, want)
		}
	}
}

func TestChooseOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can choose")
	}
	dir := rights.Public(t)
	his, empty, his2 := rights.Give(t, filepath.Join(dir, "his"), rights.Attacker, 0o755), rights.Give(t,
		filepath.Join(dir, "empty"), fsuser.User{}, 0o755), rights.Give(t, filepath.Join(dir, "his2"), fsuser.User{}, 0o755)
	roots := rights.Give(t, filepath.Join(dir, "roots"), fsuser.User{}, 0o755)
	if err := errors.Join(touch(filepath.Join(roots, "ibdata1")), touch(filepath.Join(his2, "ibdata1")),
		os.Chown(filepath.Join(his2, "ibdata1"), rights.Attacker.UID, rights.Attacker.GID)); err != nil {
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
		{"by name", Options{Target: his, Preparation: Preparation{Owner: &named}}, named, false},
		{"root by name", Options{Target: his, Preparation: Preparation{Owner: &Owner{}}}, Owner{}, false},
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
		if (objection != nil) != c.objection || !c.objection && got != c.want || objection != nil &&
			!strings.Contains(objection.Hint.String(), "--owner") {
			t.Errorf("%s: %+v, %+v, want %+v", c.name, got, objection, c.want)
		}
	}
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
			tg, objections, err := inspectTarget(Options{Target: target, Preparation: Preparation{Owner: tt.owner}})
			doubt := slices.ContainsFunc(objections, func(o Objection) bool {
				return strings.Contains(o.Problem, "belongs to user 64999") && strings.Contains(o.Hint.String(), "--owner 64999")
			})
			if err != nil || doubt != tt.doubt || tg.owner != him || tg.mode != 0o755 {
				t.Errorf("%+v, %+v, %v", tg, objections, err)
			}
		})
	}
}

// A target that cannot be replaced kept its mode.
func TestHandOverTakesRightsAway(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root hands over")
	}
	for mode, want := range map[os.FileMode]os.FileMode{0o777: 0o755, 0o770: 0o750, 0o700: 0o700,
		0o775 | os.ModeSetgid: 0o755 | os.ModeSetgid} {
		target := rights.Give(t, filepath.Join(rights.Public(t), "target"), fsuser.User{}, mode)
		if err := inside(target).handOver(); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(target)
		if err != nil || info.Mode()&^os.ModeDir != want {
			t.Errorf("%v: %v, %v, want %v", mode, info.Mode(), err, want)
		}
		wantOwnedBy(t, target, rights.Attacker)
	}
}

func mkdir(path string) error { return os.Mkdir(path, 0o700) }

func touch(path string) error { return os.WriteFile(path, nil, 0o600) }

// inside is a target that is filled where it is.
func inside(path string) target {
	return target{path: path, exists: true, inside: true, owner: Owner(rights.Attacker)}
}
