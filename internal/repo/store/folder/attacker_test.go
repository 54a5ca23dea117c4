package folder_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mbk/internal/hint"
	"mbk/internal/repo/store"
	"mbk/internal/repo/store/folder"
	"mbk/internal/sys/fsuser"
)

// attacker is another user, who can write to a repository in which root works.
var attacker = fsuser.User{UID: 64999, GID: 64999}

// scene is a repository, and beside it what the attacker must not reach.
type scene struct {
	repository string
	victim     string // root's, with files
	own        string // a folder of the attacker outside of the repository
}

const backupID = "20200101T000000Z-full"

func newScene(t *testing.T, owner fsuser.User, mode fs.FileMode) scene {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir, err := os.MkdirTemp("/tmp", "mbk-scene") // every user can reach it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := scene{filepath.Join(dir, "repository"), filepath.Join(dir, "victim"), filepath.Join(dir, "own")}
	err = errors.Join(os.Chmod(dir, 0o755), os.Mkdir(s.repository, 0o700), os.Chown(s.repository, owner.UID, owner.GID),
		os.Chmod(s.repository, mode),
		os.MkdirAll(filepath.Join(s.victim, "deep", "deeper"), 0o755), os.Mkdir(s.own, 0o700),
		os.Chown(s.own, attacker.UID, attacker.GID))
	for _, name := range []string{"precious.conf", "manifest.json.zst", "deep/x", "deep/deeper/y",
		".put-0123456789abcdef.x"} {
		err = errors.Join(err, os.WriteFile(filepath.Join(s.victim, name), []byte("precious"), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// snapshot describes everything below a folder.
func snapshot(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		content := []byte(nil)
		if d.Type().IsRegular() {
			content, err = os.ReadFile(path)
		}
		fmt.Fprintf(&all, "%s %o %d:%d %q %v\n", path, st.Mode, st.Uid, st.Gid, content, time.Unix(st.Mtim.Unix()))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

// useAll does with a repository what commands do. Errors are no matter here.
func useAll(ctx context.Context, st *folder.Store, midway func()) {
	lock, err := st.Lock(ctx, "repository", "root")
	if err == nil {
		defer lock.Release()
	}
	_, _ = st.Holder(ctx, "repository")
	_, _ = st.SweepTemp(ctx, "backups/")
	_, _ = st.SweepTemp(ctx, "")
	for _, prefix := range []string{"", "backups/", "backups/" + backupID + "/", "history/"} {
		list, _ := st.List(ctx, prefix)
		for _, o := range list {
			if r, err := st.Open(ctx, o.Name, 0, -1); err == nil {
				_, _ = io.Copy(io.Discard, r)
				_ = r.Close()
			}
		}
	}
	for _, name := range []string{"backups/" + backupID + "/new", "history/new.json", "mbk-repository.json",
		"backups/20210101T000000Z-full/new"} {
		_ = st.Put(ctx, name, func(w io.Writer) error {
			midway()
			_, err := w.Write([]byte("x"))
			return err
		})
	}
	list, _ := st.List(ctx, "")
	for _, o := range list {
		_ = st.Delete(ctx, o.Name)
	}
	for _, name := range []string{"precious.conf", "manifest.json.zst", "deep/x", "deep/deeper/y"} {
		_ = st.Delete(ctx, "backups/"+backupID+"/"+name)
	}
	_ = st.Writable(ctx)
	_, _ = st.Empty(ctx)
}

// Whatever somebody who can write to a repository puts there, root's hand does
// nothing elsewhere. A link in it once made "mbk backup" of root remove every file of
// another folder, and the file of the lock truncated or made any file.
func TestNothingPlantedLeadsRootElsewhere(t *testing.T) {
	link := func(target, name string) func(s scene) error {
		return func(s scene) error {
			name := filepath.Join(s.repository, name)
			return errors.Join(os.MkdirAll(filepath.Dir(name), 0o755),
				os.Symlink(strings.ReplaceAll(target, "VICTIM", s.victim), name))
		}
	}
	for _, tt := range []struct {
		name   string
		plant  func(s scene) error // by the attacker
		asRoot func(s scene) error // what somebody else may have arranged for him
		midway func(s scene) error // by the attacker, while an object is written
	}{
		{name: "a backup is a link to a folder", plant: link("VICTIM", "backups/"+backupID)},
		{name: "a folder in a backup is one", plant: link("VICTIM", "backups/"+backupID+"/deep")},
		{name: "all backups are one", plant: link("VICTIM", "backups")},
		{name: "the history is one", plant: link("VICTIM", "history")},
		{name: "links behind links", plant: func(s scene) error {
			return errors.Join(os.Symlink(s.victim, filepath.Join(s.own, "b")), os.Symlink("b", filepath.Join(s.own, "a")),
				link(s.own+"/a", "backups/"+backupID)(s))
		}},
		{name: "a relative link", plant: link("../../victim", "backups/"+backupID)},
		{name: "an object is a link to a file", plant: link("VICTIM/precious.conf", "mbk-repository.json")},
		{name: "an object is a dead link", plant: link("VICTIM/new.conf", "history/new.json")},
		{name: "a temporary file is a link",
			plant: link("VICTIM/precious.conf", "backups/"+backupID+"/.put-0123456789abcdef.x")},
		{name: "the lock is a link to a file", plant: link("VICTIM/precious.conf", ".lock-repository")},
		{name: "the lock is a dead link", plant: link("VICTIM/new.conf", ".lock-repository")},
		{name: "the lock is a link to a folder", plant: link("VICTIM", ".lock-repository")},
		{name: "the lock is another name of a file", asRoot: func(s scene) error {
			return os.Link(filepath.Join(s.victim, "precious.conf"), filepath.Join(s.repository, ".lock-repository"))
		}},
		{name: "objects are other names of files", asRoot: func(s scene) error {
			dir := filepath.Join(s.repository, "backups", backupID)
			return errors.Join(os.MkdirAll(dir, 0o777), os.Chown(dir, attacker.UID, 0),
				os.Link(filepath.Join(s.victim, "precious.conf"), filepath.Join(dir, "new")),
				os.Link(filepath.Join(s.victim, "deep/x"), filepath.Join(dir, ".put-0123456789abcdef.y")),
				os.Link(filepath.Join(s.victim, "deep/deeper/y"), filepath.Join(s.repository, "mbk-repository.json")))
		}},
		{name: "the backup is exchanged while an object is written", midway: func(s scene) error {
			dir := filepath.Join(s.repository, "backups", backupID)
			if err := os.Rename(dir, filepath.Join(s.own, "aside")); err != nil {
				return err
			}
			return os.Symlink(s.victim, dir)
		}},
		{name: "all backups are exchanged while an object is written", midway: func(s scene) error {
			dir := filepath.Join(s.repository, "backups")
			if err := os.Rename(dir, filepath.Join(s.own, "aside")); err != nil {
				return err
			}
			return os.Symlink(s.victim, dir)
		}},
	} {
		for kind, open := range map[string]func(t *testing.T) scene{
			"his repository":                  func(t *testing.T) scene { return newScene(t, attacker, 0o700) },
			"root's, which all can write to":  func(t *testing.T) scene { return newScene(t, fsuser.User{}, 0o777) },
			"root's, and links are his there": func(t *testing.T) scene { return newScene(t, fsuser.User{}, 0o1777) },
		} {
			t.Run(tt.name+"/"+kind, func(t *testing.T) {
				s := open(t)
				if tt.plant != nil {
					if err := attacker.Do(func() error { return tt.plant(s) }); err != nil {
						t.Fatal(err)
					}
				}
				if tt.asRoot != nil {
					if err := tt.asRoot(s); err != nil {
						t.Fatal(err)
					}
				}
				before := snapshot(t, s.victim) // after the plant: hard links count as names
				st, err := folder.Open(s.repository)
				if err != nil {
					t.Fatal(err)
				}
				useAll(t.Context(), st, func() {
					if tt.midway != nil {
						_ = attacker.Do(func() error { return tt.midway(s) }) // he may not always succeed
					}
				})
				if after := snapshot(t, s.victim); after != before {
					t.Errorf("the victim was\n%s and is\n%s", before, after)
				}
			})
		}
	}
}

// A mount that leads elsewhere gives root no more rights than the owner has.
func TestMountInRepository(t *testing.T) {
	s := newScene(t, attacker, 0o700)
	dir := filepath.Join(s.repository, "backups", backupID)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(s.victim, dir, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("cannot mount here: %v", err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	before := snapshot(t, s.victim)
	st, err := folder.Open(s.repository)
	if err != nil {
		t.Fatal(err)
	}
	useAll(t.Context(), st, func() {})
	if after := snapshot(t, s.victim); after != before {
		t.Errorf("the victim was\n%s and is\n%s", before, after)
	}
}

// The folder is exchanged between two calls, by somebody who owns the one above.
func TestRepositoryExchanged(t *testing.T) {
	s := newScene(t, fsuser.User{}, 0o700)
	st, err := folder.Open(s.repository)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Rename(s.repository, s.repository+".old"), os.Symlink(s.victim, s.repository)); err != nil {
		t.Fatal(err)
	}
	before := snapshot(t, s.victim)
	useAll(t.Context(), st, func() {})
	if err := store.PutBytes(t.Context(), st, "x", nil); err == nil ||
		!strings.Contains(err.Error(), "no longer the folder") {
		t.Errorf("Put: %v", err)
	}
	if after := snapshot(t, s.victim); after != before {
		t.Errorf("the victim was\n%s and is\n%s", before, after)
	}
}

// Nothing is removed through a link, whoever runs mbk and whoever made the link.
func TestDeleteThroughOperatorsLink(t *testing.T) {
	st, elsewhere := newStore(t), t.TempDir()
	name := "backups/" + backupID + "/x"
	object := filepath.Join(elsewhere, "x")
	err := errors.Join(os.Mkdir(filepath.Join(st.String(), "backups"), 0o700),
		os.Symlink(elsewhere, filepath.Join(st.String(), "backups", backupID)),
		os.WriteFile(object, []byte("x"), 0o600),
		os.WriteFile(filepath.Join(elsewhere, ".put-0123456789abcdef.x"), nil, 0o600))
	if err != nil {
		t.Fatal(err)
	}
	if list, err := st.List(t.Context(), "backups/"); err != nil || len(list) != 1 || list[0].Name != name {
		t.Errorf("List = %v, %v, want what the link leads to", list, err)
	}
	if err := st.Delete(t.Context(), name); err == nil || !strings.Contains(err.Error(), backupID+": is a symbolic link") {
		t.Errorf("Delete = %v", err)
	}
	if swept, err := st.SweepTemp(t.Context(), "backups/"); err != nil || len(swept) > 0 {
		t.Errorf("SweepTemp = %v, %v", swept, err)
	}
	for _, path := range []string{object, filepath.Join(elsewhere, ".put-0123456789abcdef.x")} {
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}
}

// What root writes into somebody's repository is his.
func TestRootWritesForTheOwner(t *testing.T) {
	s := newScene(t, attacker, 0o700)
	st, err := folder.Open(s.repository)
	if err != nil {
		t.Fatal(err)
	}
	lock, err := st.Lock(t.Context(), "repository", "root")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(store.PutBytes(t.Context(), st, "backups/b1/x", []byte("x")),
		store.PutBytes(t.Context(), st, "history/b1.json", []byte("x")), lock.Release()); err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(s.repository, func(path string, _ fs.DirEntry, err error) error {
		if owner, statErr := fsuser.OwnerOf(path); owner != attacker || statErr != nil {
			t.Errorf("%s belongs to %v, %v", path, owner, statErr)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Special files under the names of objects, of temporary ones and of the lock hang
// nobody, and are not opened.
func TestSpecialFiles(t *testing.T) {
	s := newScene(t, fsuser.User{}, 0o700)
	names := []string{"mbk-repository.json", "history/a.json", "backups/" + backupID + "/new",
		"backups/" + backupID + "/.put-0123456789abcdef.x", ".lock-repository"}
	for kind, mode := range map[string]uint32{"a named pipe": unix.S_IFIFO, "a device": unix.S_IFCHR,
		"a socket": unix.S_IFSOCK} {
		t.Run(kind, func(t *testing.T) {
			for _, name := range names {
				path := filepath.Join(s.repository, name)
				_ = os.RemoveAll(path)
				// /dev/zero
				err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), unix.Mknod(path, mode|0o600, int(unix.Mkdev(1, 5))))
				if err != nil {
					t.Fatal(err)
				}
			}
			st, err := folder.Open(s.repository)
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				if _, err := st.Lock(t.Context(), "repository", "me"); err == nil ||
					!strings.Contains(err.Error(), "not a plain file") {
					t.Errorf("Lock = %v", err)
				}
				if _, err := st.Open(t.Context(), "history/a.json", 0, -1); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("Open = %v", err)
				}
				useAll(t.Context(), st, func() {})
			}()
			select {
			case <-done:
			case <-time.After(time.Minute):
				t.Fatal("it hangs")
			}
		})
	}
}

func TestExposed(t *testing.T) {
	for _, tt := range []struct {
		name  string
		spoil func(s scene) error
		want  string
	}{
		{"nothing", func(scene) error { return nil }, ""},
		{"everybody", func(s scene) error { return os.Chmod(s.repository, 0o777) },
			"can be written to by every user (mode 0777)"},
		{"everybody, sticky", func(s scene) error { return os.Chmod(s.repository, 0o777|fs.ModeSticky) },
			"can be written to by every user (mode 1777)"},
		{"a group", func(s scene) error { return os.Chmod(s.repository, 0o770) }, "can be written to by group 0 (mode 0770)"},
		{"a folder in it", func(s scene) error { return os.Chmod(filepath.Join(s.repository, "backups"), 0o777) },
			"backups can be written to by every user"},
		{"a folder of another user",
			func(s scene) error { return os.Chown(filepath.Join(s.repository, "backups"), attacker.UID, 0) },
			"belongs to another user, 64999, than the repository, 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newScene(t, fsuser.User{}, 0o700)
			if err := errors.Join(os.Mkdir(filepath.Join(s.repository, "backups"), 0o700), tt.spoil(s)); err != nil {
				t.Fatal(err)
			}
			st, err := folder.Open(s.repository)
			if err != nil {
				t.Fatal(err)
			}
			found, err := st.Exposed(t.Context())
			if got := strings.Join(found, "; "); err != nil || !strings.Contains(got, tt.want) ||
				(got == "") != (tt.want == "") {
				t.Errorf("Exposed = %q, %v, want %q", got, err, tt.want)
			}
		})
	}
}

// A folder that cannot be looked into hides nothing else.
func TestListUnreadableFolder(t *testing.T) {
	s := newScene(t, attacker, 0o700)
	st, err := folder.Open(s.repository)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.PutBytes(t.Context(), st, "backups/good/x", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(s.repository, "backups", "bad"), 0o700); err != nil { // root's
		t.Fatal(err)
	}
	list, err := st.List(t.Context(), "backups/")
	if err != nil || len(list) != 2 || !errors.Is(list[0].Err, fs.ErrPermission) || list[0].Name != "backups/bad" ||
		list[1].Name != "backups/good/x" {
		t.Errorf("List = %v, %v", list, err)
	}
}

// A link of somebody else's chose the repository: an expiry of root's, meant for another
// one, removed root's own backups.
func TestLinksOnTheWayToARepository(t *testing.T) {
	s := newScene(t, fsuser.User{}, 0o700)
	top := filepath.Dir(s.repository)
	tmp, his := filepath.Join(top, "tmp"), filepath.Join(s.own, "repository")
	err := errors.Join(os.Mkdir(tmp, 0o755), os.Chmod(tmp, 0o777|os.ModeSticky), os.Mkdir(his, 0o700),
		os.Chown(his, attacker.UID, attacker.GID), os.Chmod(s.own, 0o755))
	for link, to := range map[string]string{"link": s.repository, "relative": "repository", "via": s.own + "/link",
		"tmp/roots": s.repository, "dead": top + "/none"} {
		err = errors.Join(err, os.Symlink(to, filepath.Join(top, link)))
	}
	err = errors.Join(err, attacker.Do(func() error {
		return errors.Join(os.Symlink(s.repository, filepath.Join(s.own, "link")),
			os.Symlink(top, filepath.Join(s.own, "up")),
			os.Symlink(his, filepath.Join(s.own, "his")), os.Symlink(s.repository, filepath.Join(tmp, "his")))
	}), os.Symlink(s.repository, filepath.Join(s.own, "of root")))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"repository": "repository", "link": "repository", "relative": "repository", "tmp/roots": "repository",
		"own/repository": "own/repository", "own/../link": "repository", "own/link": "", "own/up/repository": "",
		"own/his": "", "own/of root": "", "tmp/his": "", "via": "",
	} {
		t.Run(path, func(t *testing.T) {
			st, err := folder.Open(top + "/" + path)
			_, foreign := errors.AsType[*fsuser.ForeignLinkError](err)
			if foreign != (want == "") || !foreign && err != nil || foreign && len(hint.Attached(err)) != 1 {
				t.Errorf("got %v", err)
			}
			if err == nil && st.String() != filepath.Join(top, want) {
				t.Errorf("got %s, want %s", st, want)
			}
		})
	}
	if _, err := folder.Open(top + "/dead"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a dead link: %v, want fs.ErrNotExist", err)
	}
	// A folder above the repository that becomes a link later leads nowhere either.
	st, err := folder.Open(his)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(os.Mkdir(filepath.Join(s.own, "aside"), 0o700),
		os.Rename(his, filepath.Join(s.own, "aside", "repository")),
		attacker.Do(func() error { return os.Symlink("aside/repository", his) }))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Empty(t.Context()); err == nil || !strings.Contains(err.Error(), "no longer the folder") {
		t.Errorf("a link in the place of the repository: %v", err)
	}
}
