// Package sshtest runs OpenSSH's sshd for tests, with keys and a configuration of its own,
// on 127.0.0.1.
package sshtest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"mbk/internal/test/apt"
)

// program is where Debian has it.
const program = "/usr/sbin/sshd"

// Server is a running sshd to which this user can log in with a key.
type Server struct {
	User       string
	Port       int
	Key        string // file of the private key that is accepted
	Signer     ssh.Signer
	HostKey    ssh.Signer
	KnownHosts string // file with the host key
	Dir        string // with all of these; only this user can read it

	extra []string // lines of its configuration
	cmd   *exec.Cmd
	log   *output
}

// output collects what sshd says.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// New starts a server, which ends with the test. Lines of extra stand before all others of
// its configuration, and so count.
func New(t testing.TB, extra ...string) *Server {
	t.Helper()
	s, err := Run(t.TempDir(), extra...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Stop()
		if t.Failed() {
			t.Logf("end of sshd's log:\n%s", lastLines(s.log.String(), 30))
		}
	})
	return s
}

// Run starts a server with everything it has in a folder that only this user can read. The
// caller ends it with Stop.
func Run(dir string, extra ...string) (*Server, error) {
	if err := install(); err != nil {
		return nil, err
	}
	me, err := user.Current()
	if err != nil {
		return nil, err
	}
	s := &Server{User: me.Username, Dir: dir, extra: extra, log: &output{}}
	s.Key = filepath.Join(s.Dir, "id")
	var wrong error
	s.Signer, wrong = newKey(s.Key)
	s.HostKey, err = newKey(filepath.Join(s.Dir, "host"))
	if err := errors.Join(wrong, err); err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.Port = listener.Addr().(*net.TCPAddr).Port
	s.KnownHosts = filepath.Join(s.Dir, "known_hosts")
	err = errors.Join(listener.Close(), write(s.KnownHosts, s.KnownLine(s.HostKey.PublicKey())),
		write(filepath.Join(s.Dir, "authorized_keys"), string(ssh.MarshalAuthorizedKey(s.Signer.PublicKey()))))
	if err != nil {
		return nil, err
	}
	return s, s.start()
}

// lastLines returns the end of a text.
func lastLines(text string, n int) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// install gets sshd from the package manager if it is not there.
func install() error {
	if _, err := os.Stat(program); err != nil {
		if err := apt.Install("openssh-server"); err != nil {
			return err
		}
	}
	if os.Geteuid() == 0 { // where it puts itself while it does not know who is there
		return os.MkdirAll("/run/sshd", 0o755)
	}
	return nil
}

// WriteKey makes a new ed25519 key, and writes it into a file.
func WriteKey(t testing.TB, file string) ssh.Signer {
	t.Helper()
	signer, err := newKey(file)
	if err != nil {
		t.Fatal(err)
	}
	return signer
}

func newKey(file string) (ssh.Signer, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, "test")
	if err != nil {
		return nil, err
	}
	if err := write(file, string(pem.EncodeToMemory(block))); err != nil {
		return nil, err
	}
	return ssh.NewSignerFromKey(private)
}

func write(file, text string) error { return os.WriteFile(file, []byte(text), 0o600) }

// KnownLine returns the line of known_hosts that says that the server has a key.
func (s *Server) KnownLine(key ssh.PublicKey) string {
	return fmt.Sprintf("[127.0.0.1]:%d %s", s.Port, ssh.MarshalAuthorizedKey(key))
}

// URL returns the URL of a folder on the server.
func (s *Server) URL(path string) string {
	return fmt.Sprintf("sftp://%s@127.0.0.1:%d%s", s.User, s.Port, path)
}

// Start starts the server again after Stop.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) start() error {
	lines := append(slices.Clone(s.extra),
		"ListenAddress 127.0.0.1", "Port "+strconv.Itoa(s.Port), "PidFile none", "UsePAM no", "StrictModes no",
		"HostKey "+filepath.Join(s.Dir, "host"), "AuthorizedKeysFile "+filepath.Join(s.Dir, "authorized_keys"),
		"PasswordAuthentication no", "KbdInteractiveAuthentication no", "PermitRootLogin prohibit-password",
		"MaxStartups 100", "LogLevel VERBOSE")
	if !slices.ContainsFunc(s.extra, func(line string) bool { return strings.HasPrefix(line, "Subsystem") }) {
		lines = append(lines, "Subsystem sftp internal-sftp")
	}
	config := filepath.Join(s.Dir, "sshd_config")
	if err := write(config, strings.Join(lines, "\n")+"\n"); err != nil {
		return err
	}
	s.cmd = exec.Command(program, "-D", "-e", "-f", config)
	s.cmd.Stderr = s.log
	s.cmd.WaitDelay = time.Second // sessions have its stderr, too
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	for range 200 {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", s.Port))
		if err == nil {
			return conn.Close()
		}
		time.Sleep(25 * time.Millisecond)
	}
	s.Stop()
	return fmt.Errorf("sshd does not answer: %s", s.log)
}

// Stop ends the server and all connections.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	sessions := s.sessions()
	_ = s.cmd.Process.Kill() // it may have ended
	_ = s.cmd.Wait()
	s.cmd = nil
	signal(sessions, syscall.SIGKILL)
}

// Cut ends all connections; the server takes new ones.
func (s *Server) Cut() { signal(s.sessions(), syscall.SIGKILL) }

// Freeze stops the processes of all connections, as if the network was gone, until thaw.
func (s *Server) Freeze() (thaw func()) {
	frozen := s.sessions()
	signal(frozen, syscall.SIGSTOP)
	return func() { signal(frozen, syscall.SIGCONT) }
}

// signal sends a signal to processes that may have ended.
func signal(pids []int, sig syscall.Signal) {
	for _, pid := range pids {
		_ = syscall.Kill(pid, sig)
	}
}

// sessions returns the descendants of the server.
func (s *Server) sessions() []int {
	children := map[int][]int{}
	names, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		// The name of the program, in brackets, may hold anything.
		fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if len(fields) < 2 || err != nil {
			continue
		}
		if parent, err := strconv.Atoi(fields[1]); err == nil {
			children[parent] = append(children[parent], pid)
		}
	}
	found := slices.Clone(children[s.cmd.Process.Pid])
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i]]...)
	}
	return found
}

// Authorize lets one more key in.
func (s *Server) Authorize(key ssh.PublicKey) error {
	file, err := os.OpenFile(filepath.Join(s.Dir, "authorized_keys"), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = file.Write(ssh.MarshalAuthorizedKey(key))
	return errors.Join(err, file.Close())
}
