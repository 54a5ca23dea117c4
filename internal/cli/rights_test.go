package cli_test

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mbk/internal/sys/fsuser"
	"mbk/internal/test/mariadbtest"
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
		fine(t, os.Mkdir(filepath.Join(dir, "closed"), 0o700),
			os.WriteFile(filepath.Join(dir, "closed", "id.MYD"), big, 0o644))
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
		"shop/t.MYD": "/proc/self/environ", "shop/s.MYD": "/proc/self/fd/0",
		"shop/r.MYD": "/proc/1/root" + s.root + "/shadow", "shop/q.CSV": "y.MYD", "ib_buffer_pool": s.open + "/shadow",
		"debian-10.11.flag": s.root + "/shadow", "mysql_upgrade_info": s.open + "/shadow", "closeddb": s.open + "/closed",
		"rootdb": s.root, "nested": "closeddb/..", "shop/hidden.frm": s.open + "/shadow",
	} {
		if name == "ib_buffer_pool" || name == "mysql_upgrade_info" {
			os.Remove(filepath.Join(s.srv.Datadir, name))
		}
		s.link(t, to, name)
	}
	external := filepath.Join(s.open, "far") // of the server, and followed
	fine(t, os.Mkdir(external, 0o700), os.WriteFile(filepath.Join(external, "db.opt"), nil, 0o600),
		os.Chown(external, mysqlUser.UID, mysqlUser.GID),
		os.Chown(filepath.Join(external, "db.opt"), mysqlUser.UID, mysqlUser.GID))
	s.link(t, external, "fardb")
	// as without fs.protected_hardlinks
	fine(t, os.Link(filepath.Join(s.open, "shadow"), filepath.Join(s.srv.Datadir, "shop", "hard.MYD")))
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
	o := launch(t, command(t, "backup", "--repo", repository, "--socket", s.srv.Socket, "--user", "root",
		"--no-defaults")).wait(t, time.Minute)
	if check.code != 0 || o.code != 0 {
		t.Fatalf("check exits %d, backup %d: %s", check.code, o.code, o.stderr)
	}
	for _, want := range []string{
		"fardb", external, "debian-10.11.flag", "ib_buffer_pool", "mysql_upgrade_info", "closeddb", "rootdb",
		"nested", "fifo", "definition shop/hidden.frm cannot be read (permission denied",
		"(permission denied for the server's user (uid 64999", "hard.MYD (permission denied)", "(a FIFO)", "(a device)",
		"(a socket)", "/z.MYD", "/y.MYD", "/x.ARZ", "/w.TRG", "/v.MYI", "/u.ibd", "/t.MYD", "/s.MYD", "/r.MYD", "/q.CSV",
		"/p.MYD", "/o.isl", "/n.isl", "/l.MYD", "/k.MYD", "/j.isl", "/sock.MYD",
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
		"shop/m.MYD": {s.open + "/shadow", fifo, "/dev/zero"}, "shop/m.MYI": {s.root + "/shadow"},
		"shop/m.frm": {s.open + "/shadow", fifo}, "shop/new.frm": {fifo, "/dev/zero"},
		"shop/i.ibd": {s.open + "/space.ibd", fifo}, "shop/db.opt": {s.open + "/shadow"},
		"aria_log.00000001": {s.open + "/shadow", fifo}, "aria_log_control": {fifo},
		"ibdata1": {s.open + "/shadow", "/dev/zero"}, "undo009": {s.open + "/shadow", fifo},
		"ib_logfile0": {s.open + "/shadow", fifo, "/dev/zero"},
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
				if found, err := filepath.Glob(filepath.Join(repository, "backups", "*", "manifest*")); err != nil ||
					len(found) > 0 {
					t.Errorf("there is a backup: %v, %v", found, err)
				}
			})
		}
	}
	wantFree(t, s.srv)

	wantRefusalOfRootsFiles(t, s)

	// A root who cannot act for others must say so.
	repository := t.TempDir()
	cmd := command(t, backupArgs(s.srv, repository)...)
	cmd.Args = append([]string{"setpriv", "--bounding-set=-setuid,-setgid", "--", cmd.Path}, cmd.Args[1:]...)
	var err error
	cmd.Path, err = exec.LookPath("setpriv")
	fine(t, err)
	launch(t, cmd).wait(t, time.Minute).wantRefusal(t, 2, "CAP_SETUID", "datadir: ", "act as uid 64999")
}

// wantRefusalOfRootsFiles gives files of tables to root: advice names these files and
// tables, and nobody calls the files missing.
func wantRefusalOfRootsFiles(t *testing.T, s scene) {
	t.Helper()
	rows, space := filepath.Join(s.srv.Datadir, "shop/m.MYD"), filepath.Join(s.srv.Datadir, "shop/i.ibd")
	s.srv.MustExec(t, "FLUSH TABLES shop.m")
	for _, file := range []string{rows, space} {
		fine(t, os.Chown(file, 0, 0), os.Chmod(file, 0o600))
		defer os.Chown(file, mysqlUser.UID, mysqlUser.GID) //nolint:errcheck // of a test
	}
	repository := t.TempDir()
	o := launch(t, command(t, checkArgs(s.srv, repository)...)).wait(t, time.Minute)
	for _, want := range []string{
		space + ", " + rows + ": permission denied", "either: chown 64999:64999 " + space + " " + rows,
		"--exclude-table 'shop.i' --exclude-table 'shop.m' leave them out",
	} {
		if !strings.Contains(o.stdout+o.stderr, want) {
			t.Errorf("the check does not say %q:\n%s%s", want, o.stdout, o.stderr)
		}
	}
	for _, wrong := range []string{"is missing", "a backup goes on", "-R"} {
		if strings.Contains(o.stdout+o.stderr, wrong) {
			t.Errorf("the check says %q:\n%s%s", wrong, o.stdout, o.stderr)
		}
	}
	without := append(backupArgs(s.srv, repository), "--exclude-table", "shop.i", "--exclude-table", "shop.m")
	if o := launch(t, command(t, without...)).wait(t, time.Minute); o.code != 0 {
		t.Errorf("a backup without these tables exits %d: %s", o.code, o.stderr)
	}
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

// An option file of somebody else had root run its hooks, and write where it said.
func TestOptionFilesOfOthers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	t.Parallel()
	for command, lines := range map[string][]string{
		"backup": {
			"hook-before = /bin/true", "hook_success = /bin/true", "hook-failure = /bin/true", "repo = /r", "metrics-file = /m",
			"spool-dir = /s", "history-table = a.b", "datadir = /d", "table-file = /t", "mail-password-file = /p",
			"webhook = https://x.invalid/",
			"allow-damaged-pages", "password-file = /p", "enable-cleartext-plugin", "ssl-ca = /c",
			"ssl-capath = /c", "skip-ssl-verify-server-cert",
		},
		"restore": {"mariadbd = /bin/true", "loose-mariadbd-option = --x", "owner = root", "target = /t", "map-dir = /a=/b"},
		"verify":  {"scratch = /s"},
		"expire":  {"keep-last = 1", "metrics-file = /m"},
		"metrics": {"output = /o"},
		"extract": {"to = /t"},
	} {
		group := "[mbk-" + command + "]"
		if o := mbk(t, "config", command,
			"--defaults-file="+optionFile(t, append([]string{group}, lines...)...)); o.code != 0 {
			t.Errorf("%s of root: exits %d: %s", group, o.code, o.stderr)
		}
		for _, line := range lines {
			file := optionFile(t, group, line)
			fine(t, os.Chown(file, mysqlUser.UID, mysqlUser.GID))
			mbk(t, "config", command, "--defaults-file="+file).wantRefusal(t, 2, "--help",
				"my.cnf, line 2: the file belongs to user 64999")
		}
	}
	file := optionFile(t, "[client]", "password = s", "user = u", "host = h", "port = 1", "socket = /s", "protocol = tcp",
		"skip-ssl", "connect-timeout = 3")
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

// A file of root is not root's alone if others can write to it, or have put it there.
func TestOptionFilesThatOthersCanChange(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	t.Parallel()
	user := make([]byte, 0, 44) // an access control list: version 2, then (tag, rights, id)
	user = binary.LittleEndian.AppendUint32(user, 2)
	for _, entry := range [][3]uint32{{1, 6, 1<<32 - 1}, {2, 6, 64999}, {4, 4, 1<<32 - 1}, {16, 6, 1<<32 - 1},
		{32, 4, 1<<32 - 1}} {
		user = binary.LittleEndian.AppendUint16(user, uint16(entry[0]))
		user = binary.LittleEndian.AppendUint16(user, uint16(entry[1]))
		user = binary.LittleEndian.AppendUint32(user, entry[2])
	}
	for _, tt := range []struct {
		name string
		set  func(file string) error
		want string // "": it is accepted
	}{
		{"as it was", func(string) error { return nil }, ""},
		{"readable by a group", func(f string) error { return errors.Join(os.Chown(f, 0, 64999), os.Chmod(f, 0o640)) }, ""},
		{"writable by a group", func(f string) error { return errors.Join(os.Chown(f, 0, 64999), os.Chmod(f, 0o664)) },
			"group 64999 can write to the file"},
		{"writable by root's group", func(f string) error { return os.Chmod(f, 0o664) }, ""},
		{"writable by an access control list",
			func(f string) error { return unix.Setxattr(f, "system.posix_acl_access", user, 0) }, "access list"},
		{"by a link of another user", func(f string) error {
			return errors.Join(os.Rename(f, f+".real"), os.Symlink(f+".real", f), os.Lchown(f, 64999, 64999))
		}, "the link belongs to user 64999"},
		{"by a link of root", func(f string) error { return errors.Join(os.Rename(f, f+".real"), os.Symlink(f+".real", f)) },
			""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := optionFile(t, "[mbk]", "hook-before = /bin/true")
			if err := tt.set(file); errors.Is(err, unix.EOPNOTSUPP) {
				t.Skip("no access control lists on this file system")
			} else if err != nil {
				t.Fatal(err)
			}
			for _, o := range []outcome{mbk(t, "config", "--defaults-file="+file),
				in(t, []string{"HOME=" + filepath.Dir(file)}, "config", "--defaults-extra-file="+file)} {
				if tt.want == "" && o.code != 0 {
					t.Errorf("exits %d: %s", o.code, o.stderr)
				} else if tt.want != "" {
					o.wantRefusal(t, 2, "--help", "my.cnf, line 2: ", tt.want)
				}
			}
		})
	}
}

// checkArgs are those of a check of a server.
func checkArgs(srv *mariadbtest.Server, repository string) []string {
	return []string{"check", "--repo", repository, "--socket", srv.Socket, "--user", "root", "--no-defaults"}
}
