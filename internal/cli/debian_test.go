package cli_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbk/internal/test/apt"
)

// Places of Debian's packages.
const (
	debianServer  = "/usr/sbin/mariadbd"
	debianDatadir = "/var/lib/mysql"
	debianRun     = "/run/mysqld"
	debianSocket  = "/run/mysqld/mysqld.sock"
)

// On Debian's stock server, as apt installs and configures it, mbk needs no
// option but --repo. What it restores belongs to the user mysql, and the server
// starts on it with Debian's own configuration.
func TestDebianStockServer(t *testing.T) {
	onlyIn(t, "the user mysql has neither the credentials nor the identity of the tests", inFolder)
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to install and start Debian's server")
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip("this is not Debian")
	}
	oneAtATime(t)
	installDebian(t)
	account := mysqlAccount(t)
	stop := startDebian(t, account)
	client(t,
		"DROP DATABASE IF EXISTS mbk_stock; CREATE DATABASE mbk_stock; CREATE TABLE mbk_stock.i (a INT PRIMARY KEY) "+
			"ENGINE=InnoDB; "+
			"INSERT INTO mbk_stock.i SELECT seq FROM seq_1_to_1000; CREATE TABLE mbk_stock.a ENGINE=Aria SELECT * FROM "+
			"mbk_stock.i; "+
			"CREATE TABLE mbk_stock.m ENGINE=MyISAM SELECT * FROM mbk_stock.i", "mysql")
	place := publicFolder(t)
	repository := t.TempDir()

	b := document[taken](t, "backup", "--repo", repository)
	if text := must(t, "show", "latest", "--repo", repository).stdout; !strings.Contains(text, debianDatadir) {
		t.Errorf("show prints %s", text)
	}
	must(t, "check", "--repo", repository)
	must(t, "verify", "latest", "--repo", repository, "--depth", "boot")
	asMysql(t, account, place)
	target := filepath.Join(place, "mysql")
	must(t, "restore", b.ID, "--repo", repository, "--target", target)
	client(t, "DROP DATABASE mbk_stock", "")
	stop()

	wantOwner(t, target, account)
	stop = startDebian(t, account, "--datadir="+target)
	if got := client(t,
		"SELECT @@datadir, (SELECT COUNT(*) FROM mbk_stock.i), (SELECT COUNT(*) FROM mbk_stock.a), (SELECT COUNT(*) FROM "+
			"mbk_stock.m)", ""); got != target+"/\t1000\t1000\t1000" {
		t.Errorf("the restored server says %q", got)
	}
	// It is a server like any other.
	must(t, "backup", "--repo", repository)
	stop()
}

// asMysql does the same as the user mysql, who has an account on Debian's server.
func asMysql(t *testing.T, account *syscall.Credential, place string) {
	t.Helper()
	repository, target := filepath.Join(place, "repository"), filepath.Join(place, "target")
	for _, folder := range []string{repository, target} {
		if err := errors.Join(os.Mkdir(folder, 0o700), os.Chown(folder, int(account.Uid), int(account.Gid))); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"backup", "--repo", repository},
		{"verify", "latest", "--repo", repository},
		{"restore", "latest", "--repo", repository, "--target", target},
	} {
		cmd := command(t, args...)
		asNobody(t, cmd)
		cmd.SysProcAttr.Credential = account
		if o := launch(t, cmd).wait(t, time.Minute); o.code != 0 {
			t.Errorf("as the user mysql: mbk %q exits %d: %s", args, o.code, o.stderr)
		}
	}
	wantOwner(t, target, account)
}

// oneAtATime keeps other test processes from Debian's server: there is one only.
func oneAtATime(t *testing.T) {
	t.Helper()
	lock, err := os.OpenFile(filepath.Join(os.TempDir(), "mbk-debian-test.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lock.Close() }) // the lock goes with it
}

// installDebian installs the server if it is missing. A server that runs already
// is somebody's, and not touched.
func installDebian(t *testing.T) {
	t.Helper()
	if debianAnswers() {
		t.Skipf("a server runs already at %s", debianSocket)
	}
	if l, err := net.Listen("tcp", "127.0.0.1:3306"); err != nil {
		t.Skipf("port 3306 is taken: %v", err)
	} else if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(debianServer); err == nil {
		return
	}
	if err := apt.Install("mariadb-server"); err != nil {
		t.Fatal(err)
	}
	if debianAnswers() { // it was started all the same, by us
		if out, err := exec.Command("service", "mariadb", "stop").CombinedOutput(); err != nil {
			t.Fatalf("stop the server that was just installed: %v\n%s", err, out)
		}
	}
}

// debianAnswers reports whether a server listens at Debian's socket.
func debianAnswers() bool {
	conn, err := net.Dial("unix", debianSocket)
	if err == nil {
		_ = conn.Close() // nothing was asked
	}
	return err == nil
}

// mysqlAccount is the user that Debian's server runs as.
func mysqlAccount(t *testing.T) *syscall.Credential {
	t.Helper()
	u, err := user.Lookup("mysql")
	if err != nil {
		t.Fatal(err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// startDebian starts the server as Debian's unit for systemd does: as the user
// mysql, with the option files in /etc/mysql. It returns what stops it cleanly.
func startDebian(t *testing.T, account *syscall.Credential, options ...string) (stop func()) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(debianRun, 0o755),
		os.Chown(debianRun, int(account.Uid), int(account.Gid))); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "error.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(debianServer, options...)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: account, Setpgid: true, Pdeathsig: syscall.SIGTERM}
	started, ended := make(chan error), make(chan error, 1)
	go func() {
		// The signal is sent when the thread ends that has started the server.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
		_ = log.Close() // only the server has written
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	running := true
	stop = func() {
		t.Helper()
		if !running {
			return
		}
		running = false
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Debian's server ended with %v", err)
			}
		case <-time.After(time.Minute):
			_ = cmd.Process.Kill() // as above
			t.Errorf("Debian's server did not stop: %v", <-ended)
		}
	}
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name()) // only for a look
			t.Logf("error log:\n%s", text)
		}
	})
	until(t, "answer from Debian's server", debianAnswers)
	return stop
}

// client runs a statement with Debian's own client, as root without a password.
func client(t *testing.T, statement, database string) string {
	t.Helper()
	args := []string{"--batch", "--skip-column-names", "--execute", statement}
	if database != "" {
		args = append(args, database)
	}
	out, err := exec.Command("mariadb", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v: %s", statement, err, out)
	}
	return strings.TrimSpace(string(out))
}

// wantOwner makes sure that everything below a folder belongs to a user and is
// closed to others.
func wantOwner(t *testing.T, folder string, account *syscall.Credential) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		n++
		st := info.Sys().(*syscall.Stat_t)
		public := strings.HasSuffix(path, ".flag") || strings.HasSuffix(path, "mysql_upgrade_info") // as on the source
		if st.Uid != account.Uid || st.Gid != account.Gid || info.Mode().Perm()&0o007 != 0 && !public {
			t.Errorf("%s: %s %d:%d", path, info.Mode(), st.Uid, st.Gid)
		}
		return nil
	})
	if err != nil || n < 100 {
		t.Errorf("%s holds %d files, %v", folder, n, err)
	}
}
