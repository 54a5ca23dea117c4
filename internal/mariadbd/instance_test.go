package mariadbd

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mbk/internal/sys/fsuser"
	"mbk/internal/test/executable"
	"mbk/internal/test/rights"
	"mbk/stage"
)

// Passwords in mbk's own variables were in the environment of the private server,
// which the server's user can read.
func TestEnvironment(t *testing.T) {
	kept := []string{"PATH=/bin", "TZ=UTC", "LANG=C", "LC_ALL=C", "LD_LIBRARY_PATH=/x", "HOME=/root"}
	environ := append(slices.Clone(kept), "MBK_PASSWORD=x", "MBK_MAIL_PASSWORD=x", "MBK_WEBHOOK=x",
		"AWS_SECRET_ACCESS_KEY=x", "VAULT_TOKEN=x", "MYSQL_PWD=x",
		"MYSQL_HOME=/x", "MARIADB_PLUGIN_DIR=x", "NOTIFY_SOCKET=/x", "LISTEN_FDS=1", "UMASK=0", "ANYTHING=x", "TMPDIR=/x",
		"PATHX=1", "=x", "")
	for _, c := range []struct {
		options []string
		more    []string
	}{
		{nil, nil},
		{[]string{"--plugin-load-add=file_key_management.so"}, nil},
		{[]string{"--plugin-load-add=hashicorp_key_management.so"}, []string{"VAULT_TOKEN=x"}},
		{[]string{"--x", "--plugin-load-add=aws_key_management"}, []string{"AWS_SECRET_ACCESS_KEY=x"}},
	} {
		got, want := Environment(environ, c.options...), append(slices.Clone(kept), c.more...)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("Environment with %q = %q, want %q", c.options, got, want)
		}
	}
}

// What the private server is started with: an environment of its own, no way to more
// rights, and no list of folders with our path in it.
func TestHowTheServerIsStarted(t *testing.T) {
	t.Setenv("MBK_PASSWORD", "secret")
	dir := t.TempDir()
	data, tmp, program := filepath.Join(dir, "a:b"), filepath.Join(dir, "tmp"), filepath.Join(dir, "mariadbd")
	script := "#!/bin/sh\nenv\ngrep NoNewPrivs /proc/self/status\npwd\nfor o; do echo \"option $o\"; done\n"
	if err := errors.Join(os.Mkdir(data, 0o700), os.Mkdir(tmp, 0o700),
		executable.Write(program, []byte(script))); err != nil {
		t.Fatal(err)
	}
	i := Instance{Program: Program{Path: program}, Owner: fsuser.Current(), Data: data, Temp: tmp,
		Log: filepath.Join(dir, "mariadbd.log")}
	var lines []string
	log, err := i.newLog(func(line string) { lines = append(lines, line) })
	if err != nil {
		t.Fatal(err)
	}
	defer log.close()
	p, err := start(i.command(i.common(96<<20)), log)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(time.Minute):
		t.Fatal("it does not end")
	}
	text := strings.Join(lines, "\n")
	for _, want := range []string{"NoNewPrivs:\t1", data, "option --tmpdir=../tmp", "option --slave-load-tmpdir=../tmp"} {
		if !slices.Contains(lines, want) {
			t.Errorf("no line %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "secret") {
		t.Errorf("a password is in the environment:\n%s", text)
	}
}

// The socket lies in a folder of the server's user. Led to the socket of another server,
// root logged in there as root, and dropped tables.
func TestOtherServerAtTheSocket(t *testing.T) {
	dir := rights.Public(t)
	socket, link := filepath.Join(dir, "other"), filepath.Join(dir, "socket")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // nobody else uses it
	i := Instance{Program: Program{Path: "/bin/sleep"}, Owner: fsuser.Current(), Data: dir, Temp: dir,
		Log: filepath.Join(dir, "mariadbd.log")}
	log, err := i.newLog(nil)
	if err == nil {
		err = os.Symlink(socket, link)
	}
	if err != nil {
		t.Fatal(err)
	}
	p, err := start(i.command([]string{"300"}), log)
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{instance: i, process: p, log: log}
	defer s.Close()
	if _, err := s.connect(t.Context(), link, login{}); !errors.Is(err, stage.ErrOtherServer) {
		t.Errorf("connect = %v, want %v", err, stage.ErrOtherServer)
	}
}
