package mariadbtest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestServer(t *testing.T) {
	for _, series := range Versions() {
		t.Run(series, func(t *testing.T) {
			begin := time.Now()
			s := New(t, series, "--server-id=7")
			t.Logf("%s ready after %v", s.Dist.Version, time.Since(begin))
			s.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.t (a INT)", "INSERT INTO d.t VALUES (1), (2)")
			if got := s.MustValue(t, "SELECT @@server_id"); got != "7" {
				t.Errorf("server_id = %s, want 7", got)
			}
			if !strings.HasPrefix(s.MustValue(t, "SELECT VERSION()"), s.Dist.Version) {
				t.Errorf("server is not of version %s", s.Dist.Version)
			}

			if err := s.Restart(t.Context(), "--read-only"); err != nil {
				t.Fatal(err)
			}
			if got := s.MustValue(t, "SELECT CONCAT(@@read_only + 0, COUNT(*)) FROM d.t"); got != "12" {
				t.Errorf("after Restart: read_only and rows = %s, want 12", got)
			}
			s.MustExec(t, "INSERT INTO d.t VALUES (3)")
			if err := s.Kill(); err != nil {
				t.Fatal(err)
			}
			if s.Pid() != 0 {
				t.Errorf("Pid() = %d after Kill, want 0", s.Pid())
			}
			if err := s.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := s.MustValue(t, "SELECT COUNT(*) FROM d.t"); got != "3" {
				t.Errorf("after a crash: %s rows, want 3", got)
			}
			begin = time.Now()
			if err := s.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
			t.Logf("stopped after %v", time.Since(begin))

			other := Open(t, series, s.Datadir)
			if got := other.MustValue(t, "SELECT COUNT(*) FROM d.t"); got != "3" {
				t.Errorf("second server on the same files: %s rows, want 3", got)
			}
		})
	}
}

func TestServerOptions(t *testing.T) {
	series := Versions()[0]
	t.Run("page size reaches mariadb-install-db", func(t *testing.T) {
		s := New(t, series, "--innodb_page_size=8k", "--innodb-undo-tablespaces=2")
		if got := s.MustValue(t, "SELECT CONCAT(@@innodb_page_size, ' ', @@innodb_undo_tablespaces)"); got != "8192 2" {
			t.Errorf("page size and undo tablespaces = %s, want 8192 2", got)
		}
	})
	t.Run("parts of the data elsewhere", func(t *testing.T) {
		undo := t.TempDir()
		s := New(t, series, "--innodb-undo-directory="+undo, "--innodb-undo-tablespaces=3")
		if !exists(undo + "/undo003") {
			t.Errorf("no undo003 in innodb_undo_directory")
		}
		s.MustExec(t, "CREATE DATABASE d")
	})
	t.Run("network on request only", func(t *testing.T) {
		d := get(t, series)
		s := start(t, Options{Dist: d, Dir: t.TempDir(), Network: true})
		if got := s.MustValue(t, "SELECT @@port"); s.Port == 0 || got == "0" {
			t.Errorf("port = %s, want %d", got, s.Port)
		}
	})
	t.Run("socket outside a folder with a long name", func(t *testing.T) {
		dir := t.TempDir() + "/" + strings.Repeat("long", 30)
		s := start(t, Options{Dist: get(t, series), Dir: dir})
		if len(s.Socket) > 107 {
			t.Errorf("Socket = %s is %d bytes long, want 107 at most", s.Socket, len(s.Socket))
		}
	})
	t.Run("unknown option", func(t *testing.T) {
		_, err := Start(t.Context(), Options{Dist: get(t, series), Dir: t.TempDir(), Args: []string{"--no-such-option"}})
		if err == nil || !strings.Contains(err.Error(), "no-such-option") {
			t.Errorf("Start = %v, want the server's own words about no-such-option", err)
		}
	})
	t.Run("cancelled start leaves no process", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		dir := t.TempDir()
		if _, err := Start(ctx, Options{Dist: get(t, series), Dir: dir}); err == nil {
			t.Fatal("Start = nil, want an error")
		}
		for _, pid := range pidsWith(t, dir) {
			t.Errorf("process %d still runs", pid)
		}
	})
	t.Run("no Dist", func(t *testing.T) {
		if _, err := Start(t.Context(), Options{Dir: t.TempDir()}); err == nil {
			t.Error("Start = nil, want an error")
		}
	})
}

// Many test processes ask for the first data directory at the same time.
func TestTemplateIsMadeOnce(t *testing.T) {
	d := get(t, Versions()[0])
	t.Setenv("MBK_TEST_SERVERS", t.TempDir())
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			path, err := templateDatadir(t.Context(), d, nil)
			if err != nil {
				t.Error(err)
			} else if !exists(path + "/mysql/global_priv.frm") {
				t.Errorf("%s is not a data directory", path)
			}
		})
	}
	group.Wait()
	made, err := filepath.Glob(os.Getenv("MBK_TEST_SERVERS") + "/template-*")
	if err != nil || len(made) != 2 { // the directory and its lock
		t.Errorf("made %q, want one directory and one lock", made)
	}
}

// Whoever runs the tests on a new machine reads what the server said, not only the
// advice at the end.
func TestFailedDatadirSaysWhy(t *testing.T) {
	d := get(t, Versions()[0])
	err := installDB(t.Context(), d, []string{"--innodb-data-file-path=ibdata1:none"}, filepath.Join(t.TempDir(), "data"))
	if err == nil || !strings.Contains(err.Error(), "innodb_data_file_path") {
		t.Errorf("got %v", err)
	}
}

// A test process that is killed must not leave its servers behind.
func TestServerDiesWithItsProcess(t *testing.T) {
	if dir := os.Getenv("MBK_TEST_ORPHAN"); dir != "" {
		start(t, Options{Dist: get(t, Versions()[0]), Dir: dir})
		select {}
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestServerDiesWithItsProcess$")
	cmd.Env = append(os.Environ(), "MBK_TEST_ORPHAN="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	wait := func(what string, done func() bool) {
		for begin := time.Now(); !done(); time.Sleep(10 * time.Millisecond) {
			if time.Since(begin) > 20*time.Second {
				t.Errorf("%s: not after 20 s", what)
				return
			}
		}
	}
	wait("server runs", func() bool { return exists(dir + "/mysqld.sock") })
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("killed process ended with 0")
	}
	wait("server has ended", func() bool { return len(pidsWith(t, dir)) == 0 })
}

func TestVersions(t *testing.T) {
	t.Setenv("MBK_TEST_VERSIONS", "10.5, 11.8")
	if got := strings.Join(Versions(), "|"); got != "10.5|11.8" {
		t.Errorf("Versions() = %s, want 10.5|11.8", got)
	}
}

func TestGetUnknownSeries(t *testing.T) {
	if _, err := Get(t.Context(), "4.1"); err == nil || !strings.Contains(err.Error(), "no such version") {
		t.Errorf("Get(4.1) = %v, want no such version", err)
	}
	if d, err := Get(t.Context(), SystemSeries); err != nil && !errors.Is(err, ErrNoServer) {
		t.Errorf("Get(system) = %v, %v, want a server or ErrNoServer", d, err)
	}
}

// pidsWith returns the processes with word in their command line, this one excepted.
func pidsWith(t *testing.T, word string) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		// A process may end meanwhile; then it does not count.
		line, err := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if err == nil && strings.Contains(string(line), word) {
			pids = append(pids, pid)
		}
	}
	return pids
}
