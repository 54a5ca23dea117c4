package restore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mbk/internal/sys/fsuser"
	"mbk/internal/test/coldbackup"
	"mbk/internal/test/rights"
)

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
			parent := rights.Give(t, filepath.Join(rights.Give(t, filepath.Join(top, "parent"), rights.Attacker, 0o755),
				"inner"), fsuser.User{}, 0o755)
			return filepath.Dir(parent), filepath.Join(parent, "data")
		}},
		{"a folder of his below a third user's", rights.Attacker, false, false,
			func(t *testing.T, top string) (string, string) {
				target := rights.Give(t, filepath.Join(rights.Give(t, filepath.Join(top, "parent"), third, 0o755), "data"),
					rights.Attacker, 0o755)
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
func testAttacked(t *testing.T, f *coldbackup.Fixture, _ string) {
	if os.Geteuid() != 0 {
		t.Skip("playing another user takes root")
	}
	for _, p := range places() {
		t.Run(p.name, func(t *testing.T) {
			for _, s := range rights.Tricks() {
				t.Run(s.Name, func(t *testing.T) { attackRestore(t, f, p, s, true) })
				if s.Inner && p.name == "in a folder of root's" || s.Name == "to and fro" && p.name == "in his folder" {
					t.Run(s.Name+", with recovery", func(t *testing.T) { attackRestore(t, f, p, s, false) })
				}
			}
			if !p.refused && !p.safe {
				nothing := rights.Trick{Name: "nothing", Do: func(string, string, string, int64) bool { return false }}
				t.Run("nobody attacks", func(t *testing.T) {
					attackRestore(t, f, p, nothing, p.name != "in his folder" && p.name != "a mount point of his")
				})
			}
		})
	}
}

// attackRestore restores while somebody does his worst.
func attackRestore(t *testing.T, f *coldbackup.Fixture, p placeCase, s rights.Trick, raw bool) {
	top := rights.Public(t)
	v := rights.Victim(t, top)
	parent, target := p.make(t, top)
	keep := filepath.Join(parent, ".snapshot") // may be in a target
	if err := errors.Join(os.Mkdir(keep, 0o755),
		os.WriteFile(filepath.Join(keep, "file"), []byte("of root"), 0o600)); err != nil {
		t.Fatal(err)
	}
	held, err := os.Open(keep)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close() //nolint:errcheck // only read
	o := options(f, target)
	o.Owner, o.Raw = &Owner{UID: rights.Attacker.UID, GID: rights.Attacker.GID}, raw
	if !raw {
		o.Mariadbd, o.MariadbdArgs = f.PublicServer(t)
	}
	before := rights.Look(t, v)
	stop := rights.Attack(p.who, s, v, parent)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err = Restore(ctx, o)
	n := stop()
	t.Logf("%d times; Restore: %v", n, err)
	if after := rights.Look(t, v); after != before {
		t.Errorf("was\n%sis\n%s", before, after)
	}
	inKeep := fmt.Sprintf("/proc/self/fd/%d/", held.Fd())
	if got := rights.Look(t, inKeep); !strings.Contains(got, `-rw------- 0:0 "of root"`) ||
		!strings.Contains(got, "drwxr-xr-x 0:0") {
		t.Errorf("a folder of root's holds\n%s", got)
	}
	_, refused := errors.AsType[*ObjectionsError](err)
	if refused != p.refused || p.safe && !s.Inner && (err != nil || n > 0) || ctx.Err() != nil {
		t.Errorf("Restore = %v", err)
	}
	// The last try may have taken a folder away, and been ended before it put a link there.
	if n == 0 && !refused && err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Restore = %v", err)
	}
	if err == nil && n == 0 {
		if parent == target {
			if err := errors.Join(os.RemoveAll(keep), os.Remove(filepath.Join(target, "link"))); err != nil &&
				!errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
		}
		wantOwnedBy(t, target, rights.Attacker)
	}
}

// wantOwnedBy makes sure that everything in a folder belongs to a user.
func wantOwnedBy(t *testing.T, dir string, who fsuser.User) {
	t.Helper()
	for line := range strings.Lines(rights.Look(t, dir)) {
		if !strings.Contains(line, fmt.Sprintf(" %d:%d ", who.UID, who.GID)) {
			t.Errorf("in %s: %s", dir, line)
		}
	}
}
