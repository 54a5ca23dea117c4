package cli_test

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mbk/internal/fsuser"
	"mbk/internal/mariadbtest"
)

// mysqlUser is the user of a server that may not do what root may.
var mysqlUser = fsuser.User{UID: 64999, GID: 64999}

// secret is in every file that only root may read.
const secret = "root:$y$SECRETHASH"

// scene is a server that runs as mysqlUser, and beside it files of root.
type scene struct {
	srv  *mariadbtest.Server
	root string // a folder that only root can enter
	open string // a folder that everybody can enter, with files of root
}

func newScene(t *testing.T) scene {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	place := publicFolder(t)
	dist, err := mariadbtest.Get(t.Context(), oldest())
	if err != nil {
		t.Fatal(err)
	}
	s := scene{root: filepath.Join(place, "root"), open: filepath.Join(place, "open")}
	s.srv, err = mariadbtest.Start(t.Context(), mariadbtest.Options{
		Dist: dist, Dir: filepath.Join(place, "server"), Args: []string{"--debug-no-sync"}, UID: uint32(mysqlUser.UID),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.srv.Close(); err != nil {
			t.Error(err)
		}
	})
	big := []byte(strings.Repeat(secret, 4096)) // as large as a log
	fine(t, os.Mkdir(s.root, 0o700), os.Mkdir(s.open, 0o755))
	for _, dir := range []string{s.root, s.open} {
		fine(t, os.Mkdir(filepath.Join(dir, "closed"), 0o700), os.WriteFile(filepath.Join(dir, "closed", "id.MYD"), big, 0o644))
		for _, name := range []string{"shadow", "space.ibd"} {
			fine(t, os.WriteFile(filepath.Join(dir, name), big, 0o600))
		}
	}
	s.srv.MustExec(t, "CREATE DATABASE shop", "CREATE TABLE shop.m (a INT) ENGINE=MyISAM", "INSERT INTO shop.m VALUES (1)",
		"CREATE TABLE shop.i (a INT PRIMARY KEY) ENGINE=InnoDB", "INSERT INTO shop.i VALUES (1)")
	return s
}

// fine fails the test at the first error.
func fine(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// attack does something in the data directory as the server's user.
func (s scene) attack(t *testing.T, do func(datadir string) error) {
	t.Helper()
	fine(t, mysqlUser.Do(func() error { return do(s.srv.Datadir) }))
}

// link makes a symbolic link in the data directory, as the server's user.
func (s scene) link(t *testing.T, to, name string) {
	t.Helper()
	s.attack(t, func(datadir string) error { return os.Symlink(to, filepath.Join(datadir, name)) })
}

// wantNoSecret looks for the secret in everything that a backup holds.
func wantNoSecret(t *testing.T, repository string) {
	t.Helper()
	to := filepath.Join(t.TempDir(), "all")
	must(t, append(restoreArgs("latest", repository, to), "--no-recover")...)
	for name, text := range contents(t, to) {
		if strings.Contains(text, secret) {
			t.Errorf("%s holds a secret of root", name)
		}
	}
}

// contents are all files below a folder.
func contents(t *testing.T, folder string) map[string]string {
	t.Helper()
	all := map[string]string{}
	fine(t, filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		all[path] = string(b)
		return err
	}))
	return all
}

// Whoever could write into the data directory got any file of the machine into the
// backups of root.
func TestRootReadsNothingForTheServer(t *testing.T) {
	s := newScene(t)
	for name, to := range map[string]string{
		"shop/z.MYD": s.root + "/shadow", "shop/y.MYD": s.open + "/shadow", "shop/x.ARZ": "../../../open/shadow",
		"shop/w.TRG": s.open + "/shadow", "shop/v.MYI": s.open + "/closed/id.MYD", "shop/u.ibd": s.open + "/space.ibd",
		"shop/t.MYD": "/proc/self/environ", "shop/s.MYD": "/proc/self/fd/0", "shop/r.MYD": "/proc/1/root" + s.root + "/shadow",
		"shop/q.CSV": "y.MYD", "ib_buffer_pool": s.open + "/shadow", "debian-10.11.flag": s.root + "/shadow",
		"mysql_upgrade_info": s.open + "/shadow", "closeddb": s.open + "/closed", "rootdb": s.root, "nested": "closeddb/..",
	} {
		if name == "ib_buffer_pool" || name == "mysql_upgrade_info" {
			os.Remove(filepath.Join(s.srv.Datadir, name))
		}
		s.link(t, to, name)
	}
	far := filepath.Join(s.open, "far") // of the server, and followed
	fine(t, os.Mkdir(far, 0o700), os.WriteFile(filepath.Join(far, "db.opt"), nil, 0o600), os.Chown(far, mysqlUser.UID, mysqlUser.GID),
		os.Chown(filepath.Join(far, "db.opt"), mysqlUser.UID, mysqlUser.GID))
	s.link(t, far, "fardb")
	fine(t, os.Link(filepath.Join(s.open, "shadow"), filepath.Join(s.srv.Datadir, "shop", "hard.MYD"))) // as without fs.protected_hardlinks
	s.attack(t, func(datadir string) error {
		l, err := net.Listen("unix", filepath.Join(datadir, "shop", "sock.MYD"))
		if err == nil {
			t.Cleanup(func() { l.Close() })
		}
		return errors.Join(err, unix.Mkfifo(filepath.Join(datadir, "shop", "p.MYD"), 0o666),
			unix.Mkfifo(filepath.Join(datadir, "shop", "o.isl"), 0o666), unix.Mkfifo(filepath.Join(datadir, "fifo"), 0o666),
			os.WriteFile(filepath.Join(datadir, "shop", "n.isl"), []byte(s.open+"/space.ibd"), 0o600),
			os.Symlink(filepath.Join(datadir, "shop", "p.MYD"), filepath.Join(datadir, "shop", "l.MYD")),
			os.Symlink("/dev/zero", filepath.Join(datadir, "shop", "k.MYD")),
			os.Symlink(filepath.Join(datadir, "shop", "p.MYD"), filepath.Join(datadir, "shop", "j.isl")))
	})
	repository := t.TempDir()
	check := launch(t, command(t, checkArgs(s.srv, repository)...)).wait(t, time.Minute)
	o := launch(t, command(t, "backup", "--repo", repository, "--socket", s.srv.Socket, "--user", "root", "--no-defaults")).wait(t, time.Minute)
	if check.code != 0 || o.code != 0 {
		t.Fatalf("check exits %d, backup %d: %s", check.code, o.code, o.stderr)
	}
	for _, want := range []string{
		"fardb", far, "debian-10.11.flag", "ib_buffer_pool", "mysql_upgrade_info", "closeddb", "rootdb", "nested", "fifo", "(permission denied for the server's user (uid 64999", "hard.MYD (permission denied)",
		"(a FIFO)", "(a device)", "(a socket)", "/z.MYD", "/y.MYD", "/x.ARZ", "/w.TRG", "/v.MYI", "/u.ibd", "/t.MYD", "/s.MYD", "/r.MYD", "/q.CSV", "/p.MYD", "/o.isl", "/n.isl", "/l.MYD", "/k.MYD", "/j.isl", "/sock.MYD",
	} {
		for program, text := range map[string]string{"check": check.stdout, "backup": o.stdout} {
			if !strings.Contains(text, want) {
				t.Errorf("%s does not name %q: %s", program, want, text)
			}
		}
	}
	wantNoSecret(t, repository)
}

// What a table or the server itself needs is not passed over, and its file is named.
func TestRootReadsNothingInThePlaceOfATable(t *testing.T) {
	s := newScene(t)
	fifo := filepath.Join(s.open, "fifo")
	fine(t, unix.Mkfifo(fifo, 0o666))
	for name, places := range map[string][]string{
		"shop/m.MYD": {s.open + "/shadow", fifo, "/dev/zero"}, "shop/m.MYI": {s.root + "/shadow"}, "shop/m.frm": {s.open + "/shadow"},
		"shop/i.ibd": {s.open + "/space.ibd", fifo}, "shop/db.opt": {s.open + "/shadow"},
		"aria_log.00000001": {s.open + "/shadow", fifo}, "aria_log_control": {fifo}, "ibdata1": {s.open + "/shadow", "/dev/zero"},
		"undo009": {s.open + "/shadow", fifo}, "ib_logfile0": {s.open + "/shadow", fifo, "/dev/zero"},
	} {
		for _, to := range places {
			t.Run(name+" to "+filepath.Base(to), func(t *testing.T) {
				path := filepath.Join(s.srv.Datadir, name)
				s.attack(t, func(string) error {
					if err := os.Rename(path, path+"~"); err != nil && !errors.Is(err, os.ErrNotExist) {
						return err
					}
					return os.Symlink(to, path)
				})
				defer s.attack(t, func(string) error {
					if err := os.Rename(path+"~", path); !errors.Is(err, os.ErrNotExist) {
						return err
					}
					return os.Remove(path)
				})
				repository := t.TempDir()
				o := launch(t, command(t, backupArgs(s.srv, repository)...)).wait(t, time.Minute)
				if o.code == 0 || !strings.Contains(o.stderr, filepath.Base(name)) {
					t.Errorf("backup exits %d: %s", o.code, o.stderr)
				}
				if found, err := filepath.Glob(filepath.Join(repository, "backups", "*", "manifest*")); err != nil || len(found) > 0 {
					t.Errorf("there is a backup: %v, %v", found, err)
				}
			})
		}
	}
	wantFree(t, s.srv)

	// A root who cannot act for others must say so.
	repository := t.TempDir()
	cmd := command(t, backupArgs(s.srv, repository)...)
	cmd.Args = append([]string{"setpriv", "--bounding-set=-setuid,-setgid", "--", cmd.Path}, cmd.Args[1:]...)
	var err error
	cmd.Path, err = exec.LookPath("setpriv")
	fine(t, err)
	launch(t, cmd).wait(t, time.Minute).wantRefusal(t, 2, "CAP_SETUID", "datadir: ", "act as uid 64999")
}

// Names are exchanged while a backup runs. It may fail, but holds nothing of root's.
func TestRootReadsNothingThatIsExchangedMeanwhile(t *testing.T) {
	s := newScene(t)
	path := filepath.Join(s.srv.Datadir, "shop", "m.MYD")
	fifo := filepath.Join(s.open, "fifo")
	fine(t, unix.Mkfifo(fifo, 0o666), mysqlUser.Do(func() error { return os.Rename(path, path+"~") }))
	stop, stopped := make(chan struct{}), make(chan error, 1)
	go func() {
		stopped <- mysqlUser.Do(func() error {
			for {
				for _, to := range []string{path + "~", s.open + "/shadow", path + "~", fifo, "/dev/zero"} {
					select {
					case <-stop:
						return nil
					default:
					}
					if err := errors.Join(os.Symlink(to, path+"+"), os.Rename(path+"+", path)); err != nil {
						return err
					}
				}
			}
		})
	}()
	for range 4 {
		repository := t.TempDir()
		o := launch(t, command(t, backupArgs(s.srv, repository)...)).wait(t, time.Minute)
		if o.code == 0 {
			wantNoSecret(t, repository)
		}
	}
	close(stop)
	fine(t, <-stopped)
	wantFree(t, s.srv)
}

// An option file of somebody else had root run its hooks.
func TestOptionFilesOfOthers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	t.Parallel()
	for _, line := range []string{"hook-before = /bin/true", "hook_success = /bin/true", "hook-failure = /bin/true", "mariadbd = /bin/true", "loose-mariadbd-option = --x", "owner = root"} {
		file := optionFile(t, "[mbk]", "repo = /r", line)
		command := "backup"
		if strings.Contains(line, "mariadbd") || strings.Contains(line, "owner") {
			command = "restore"
		}
		if o := mbk(t, "config", command, "--defaults-file="+file); o.code != 0 {
			t.Errorf("%s of root: exits %d: %s", line, o.code, o.stderr)
		}
		fine(t, os.Chown(file, mysqlUser.UID, mysqlUser.GID))
		mbk(t, "config", command, "--defaults-file="+file).wantRefusal(t, 2, "--help", "my.cnf, line 3: the file belongs to user 64999")
		home := filepath.Join(t.TempDir(), ".my.cnf")
		fine(t, os.Rename(file, home))
		in(t, []string{"HOME=" + filepath.Dir(home)}, "config", command).wantRefusal(t, 2, "--help", ".my.cnf, line 3: the file belongs to user 64999")
	}
	file := optionFile(t, "[mbk]", "repo = /r", "hook-timeout = 1m", "[client]", "password = s")
	fine(t, os.Chown(file, mysqlUser.UID, mysqlUser.GID), os.Chmod(file, 0o644))
	o := mbk(t, "config", "--defaults-file="+file)
	if o.code != 0 || strings.Count(o.stderr, "everyone can read the password in "+file+": chmod 600 "+file) != 1 {
		t.Errorf("exits %d: %s", o.code, o.stderr)
	}
	fine(t, os.Chmod(file, 0o640))
	if o := mbk(t, "config", "--defaults-file="+file); o.code != 0 || strings.Contains(o.stderr, "password") {
		t.Errorf("exits %d: %s", o.code, o.stderr)
	}
}

// checkArgs are those of a check of a server.
func checkArgs(srv *mariadbtest.Server, repository string) []string {
	return []string{"check", "--repo", repository, "--socket", srv.Socket, "--user", "root", "--no-defaults"}
}
