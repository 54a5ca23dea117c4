package restore

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mbk/internal/repo"
	"mbk/internal/sys/fsuser"
	"mbk/internal/test/coldbackup"
	"mbk/internal/test/rights"
)

// Any file that the server's user had made a symbolic link could be put anywhere.
func TestMayLieOutside(t *testing.T) {
	for _, c := range []struct {
		path, origin, link string
		want               bool
	}{
		{"shop/a.MYD", "/x/a.MYD", repo.LinkSymbolic, true},
		{"shop/a#P#p0.MAI", "/x/a#P#p0.MAI", repo.LinkSymbolic, true},
		{"shop/a.ibd", "/x/shop/a.ibd", repo.LinkISL, true},
		{"shop/a.ARZ", "/x/a.ARZ", repo.LinkSymbolic, true},
		{"shop/a.MYD", "/x/b.MYD", repo.LinkSymbolic, false},
		{"shop/a.MYD", "/etc/cron.d/a", repo.LinkSymbolic, false},
		{"shop/rc.sh", "/etc/profile.d/rc.sh", repo.LinkSymbolic, false},
		{"shop/a.frm", "/x/a.frm", repo.LinkSymbolic, false},
		{"shop/a.MYD", "/x/shop/a.MYD", repo.LinkISL, false},
		{"ib_buffer_pool", "/x/ib_buffer_pool", repo.LinkSymbolic, false},
		{"shop/a.MYD.sh", "/x/a.MYD.sh", repo.LinkSymbolic, false},
	} {
		if got := mayLieOutside(&repo.File{Path: c.path, Origin: c.origin, Link: c.link}); got != c.want {
			t.Errorf("%s from %s, %s: %v, want %v", c.path, c.origin, c.link, got, c.want)
		}
	}
}

// outsideCase is a file of a backup that a restore is to put somewhere.
type outsideCase struct {
	name, path   string
	origin, maps string // below a folder of the test's
	objection    string // "" if it is restored
	stays        bool   // in the data directory
}

// A restore by root put files that the server's user, or a manifest, had chosen into
// folders that are root's.
func testOutside(t *testing.T, f *coldbackup.Fixture, _ string) {
	if os.Geteuid() != 0 {
		t.Skip("playing another user takes root")
	}
	const table = "shop/old.MYD"
	for _, c := range []outsideCase{
		{"a file of no table", "shop/db.opt", "his/db.opt", "", "", true},
		{"a program", "shop/db.opt", "victim/rc.sh", "", "", true},
		{"under another name", table, "victim/rc.MYD", "", "", true},
		{"in a folder of root's", table, "victim/old.MYD", "", "may not write in", false},
		{"in a third user's folder", table, "third/old.MYD", "", "belongs to user 64998", false},
		{"below a third user's folder", table, "third/his/old.MYD", "", "belongs to user 64998", false},
		{"in everybody's folder", table, "all/old.MYD", "", "everybody can change", false},
		{"by way of a link", table, "his/link/old.MYD", "", "is a symbolic link", false},
		{"by way of a link below", table, "his/link/shop/old.MYD", "", "is a symbolic link", false},
		{"by way of a link, mapped", table, "no/link/old.MYD", "no=his", "is a symbolic link", false},
		{"mapped to a link", table, "no/old.MYD", "no=his/link", "is a symbolic link", false},
		{"something is there", table, "his/there/old.MYD", "", "there already", false},
		{"a link that leads nowhere is there", table, "his/nowhere/old.MYD", "", "there already", false},
		{"in his folder", table, "his/old.MYD", "", "", false},
		{"in his folder, mapped, in a new folder", table, "no/a/b/old.MYD", "no=his", "", false},
	} {
		t.Run(c.name, func(t *testing.T) { restoreOutside(t, f, c) })
	}
	for _, s := range append(rights.Tricks(),
		rights.Trick{Name: "its place is a link", Do: func(victim, parent, _ string, n int64) bool {
			return unix.Renameat2(unix.AT_FDCWD, filepath.Join(parent, "link"), unix.AT_FDCWD, filepath.Join(parent, "shop"),
				unix.RENAME_EXCHANGE) == nil
		}}) {
		t.Run("attacked: "+s.Name, func(t *testing.T) {
			top := outsideFolders(t)
			g := f.LinkedTo(t, table, filepath.Join(top, "his", "shop", "old.MYD"))
			o := options(g, filepath.Join(top, "data"))
			o.Owner, o.DirMaps = &Owner{UID: rights.Attacker.UID,
				GID: rights.Attacker.GID}, []DirMap{{filepath.Join(top, "his"), filepath.Join(top, "his")}}
			o.Mariadbd, o.MariadbdArgs = f.PublicServer(t)
			rights.Give(t, filepath.Join(top, "his", "shop"), rights.Attacker, 0o755)
			before := rights.Look(t, filepath.Join(top, "victim"))
			stop := rights.Attack(rights.Attacker, s, filepath.Join(top, "victim"), filepath.Join(top, "his"))
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			_, err := Restore(ctx, o)
			t.Logf("%d times; Restore: %v", stop(), err)
			if after := rights.Look(t, filepath.Join(top, "victim")); after != before || ctx.Err() != nil {
				t.Errorf("was\n%sis\n%s", before, after)
			}
		})
	}
}

// outsideFolders makes folders of several users.
func outsideFolders(t *testing.T) string {
	t.Helper()
	top, third := rights.Public(t), fsuser.User{UID: 64998, GID: 64998}
	rights.Victim(t, top)
	his := rights.Give(t, filepath.Join(top, "his"), rights.Attacker, 0o755)
	rights.Give(t, filepath.Join(top, "third"), third, 0o755)
	rights.Give(t, filepath.Join(top, "third", "his"), rights.Attacker, 0o755)
	rights.Give(t, filepath.Join(top, "all"), fsuser.User{}, 0o777)
	rights.Give(t, filepath.Join(his, "there"), rights.Attacker, 0o755)
	rights.Give(t, filepath.Join(his, "nowhere"), rights.Attacker, 0o755)
	rights.Give(t, filepath.Join(his, ".snapshot"), fsuser.User{}, 0o755)
	err := errors.Join(os.Symlink(filepath.Join(top, "victim"), filepath.Join(his, "link")),
		touch(filepath.Join(his, "there", "old.MYD")),
		os.Symlink(filepath.Join(top, "victim", "new"), filepath.Join(his, "nowhere", "old.MYD")))
	if err != nil {
		t.Fatal(err)
	}
	return top
}

func restoreOutside(t *testing.T, f *coldbackup.Fixture, c outsideCase) {
	top := outsideFolders(t)
	g := f.LinkedTo(t, c.path, filepath.Join(top, c.origin))
	o := options(g, filepath.Join(top, "data"))
	o.Owner, o.DirMaps = &Owner{UID: rights.Attacker.UID, GID: rights.Attacker.GID}, []DirMap{{"/", "/"}}
	o.Mariadbd, o.MariadbdArgs = f.PublicServer(t)
	to := c.origin
	if from, new, ok := strings.Cut(c.maps, "="); ok {
		o.DirMaps = append(o.DirMaps, DirMap{filepath.Join(top, from), filepath.Join(top, new)})
		to = new + strings.TrimPrefix(c.origin, from)
	}
	p, err := NewPlan(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if want := (OutsideFile{c.path, filepath.Join(top, to)}); c.stays != (len(p.Outside) == 0) || !c.stays &&
		p.Outside[0] != want {
		t.Errorf("the plan lists %+v, want %+v", p.Outside, want)
	}
	if err := p.Err(); c.objection != "" {
		if err == nil || !strings.Contains(err.Error(), c.objection) {
			t.Errorf("the plan objects: %v, want %q", err, c.objection)
		}
		return
	}
	before := rights.Look(t, filepath.Join(top, "victim"))
	if _, err = Restore(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if after := rights.Look(t, filepath.Join(top, "victim")); after != before {
		t.Errorf("was\n%sis\n%s", before, after)
	}
	info, err := os.Lstat(filepath.Join(o.Target, c.path))
	if err != nil || info.Mode().IsRegular() != c.stays {
		t.Errorf("in the data directory: %v, %v", info, err)
	}
	wantOwnedBy(t, o.Target, rights.Attacker)
	if !c.stays {
		wantOwnedBy(t, filepath.Join(top, to), rights.Attacker)
		coldbackup.WantNothingBut(t, filepath.Join(top, "his"), "a", "old.MYD", "link", "there", "nowhere", ".snapshot")
	}
}

func FuzzParseDirMap(f *testing.F) {
	for _, text := range []string{"/a=/b", "/a/../..=/b", "a=b", "/=/b", "/a=/b=/c", "/a//=/./b/"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := ParseDirMap(text)
		if err != nil {
			return
		}
		for _, path := range []string{m.From, m.To} {
			if !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" {
				t.Errorf("%q leads from %q to %q", text, m.From, m.To)
			}
		}
	})
}
