package sftp

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"mbk/internal/fault"
	"mbk/internal/hint"
	"mbk/internal/repo/store"
	"mbk/internal/repo/store/lease"
	"mbk/internal/repo/store/storetest"
	"mbk/internal/test/sshtest"
)

// holdLock names the environment variable by which this program, run again, takes a lock.
const holdLock = "MBK_TEST_HOLD_LOCK"

func TestMain(m *testing.M) {
	if args := strings.Split(os.Getenv(holdLock), " "); len(args) == 3 {
		if err := hold(args[0], args[1], args[2]); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// fast are times of locks for tests.
func fast() lease.Times {
	return lease.Times{Renew: 200 * time.Millisecond, Hold: 2 * time.Second, Dead: 3 * time.Second,
		Poll: 50 * time.Millisecond}
}

// options are those for a folder on a server.
func options(t testing.TB, srv *sshtest.Server, path string) Options {
	t.Helper()
	target, err := ParseURL(srv.URL(path))
	if err != nil {
		t.Fatal(err)
	}
	return Options{Target: target, Key: srv.Key, KnownHosts: srv.KnownHosts, lease: fast()}
}

func open(t testing.TB, o Options) *Store {
	t.Helper()
	st, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func TestStore(t *testing.T) {
	t.Parallel()
	srv := sshtest.New(t)
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, options(t, srv, t.TempDir())) })
}

// A server that has none of OpenSSH's extensions.
func TestPlainServer(t *testing.T) {
	t.Parallel()
	srv := sshtest.New(t, "Subsystem sftp internal-sftp -P posix-rename,fsync,statvfs,limits")
	c, err := open(t, options(t, srv, t.TempDir())).link.get(t.Context())
	if err != nil || c.posixRename || c.fsync || c.statvfs {
		t.Fatalf("posix-rename %t, fsync %t, statvfs %t, %v, want none", c.posixRename, c.fsync, c.statvfs, err)
	}
	storetest.Run(t, func(t *testing.T) store.Store { return open(t, options(t, srv, t.TempDir())) })
}

func TestRights(t *testing.T) {
	t.Parallel()
	srv, dir := sshtest.New(t), t.TempDir()
	st := open(t, options(t, srv, dir))
	if err := store.PutBytes(t.Context(), st, "backups/a/label.json", []byte("x")); err != nil {
		t.Fatal(err)
	}
	lock, err := st.Lock(t.Context(), "repository", "me")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release()
	for name, want := range map[string]fs.FileMode{
		"backups": 0o700, "backups/a": 0o700, "backups/a/label.json": 0o600, ".locks": 0o700,
	} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want mode %o", name, info, err, want)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "backups"), 0o777); err != nil {
		t.Fatal(err)
	}
	if found, err := st.Exposed(t.Context()); err != nil || len(found) != 1 || !strings.Contains(found[0], "every user") {
		t.Errorf("Exposed = %q, %v", found, err)
	}
}

// wantConfig checks an error that has to be changed by its reader, and its advice.
func wantConfig(t *testing.T, err error, kind error, says, advice string) {
	t.Helper()
	all := strings.Join(hint.Strings(hint.Attached(err)), "\n")
	if !errors.Is(err, kind) || fault.Of(err) != fault.Config || !strings.Contains(err.Error(), says) ||
		!strings.Contains(all, advice) {
		t.Errorf("error %v, with advice %q; want %q, and advice on %q", err, all, says, advice)
	}
}

func TestHostKeys(t *testing.T) {
	t.Parallel()
	srv, other := sshtest.New(t), sshtest.WriteKey(t, filepath.Join(t.TempDir(), "other"))
	fingerprint := ssh.FingerprintSHA256(srv.HostKey.PublicKey())
	for name, c := range map[string]struct {
		known        string
		says, advice string // "" if it is trusted
	}{
		"known":   {srv.KnownLine(srv.HostKey.PublicKey()), "", ""},
		"unknown": {"", "127.0.0.1 is not known, and has ssh-ed25519 " + fingerprint, "ssh-keyscan -t ed25519 -p"},
		"changed": {srv.KnownLine(other.PublicKey()), "which differs from the one in ", "ssh-keygen -f"},
		"revoked": {"@revoked " + srv.KnownLine(srv.HostKey.PublicKey()), "revoked", ""},
		"another port": {strings.Replace(srv.KnownLine(srv.HostKey.PublicKey()), ":", ":1", 1), "is not known",
			"ssh-keyscan"},
		"two keys":          {srv.KnownLine(other.PublicKey()) + srv.KnownLine(srv.HostKey.PublicKey()), "", ""},
		"not a known_hosts": {"garbage\n", "known_hosts:1", "correct"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, srv, t.TempDir())
			o.KnownHosts = filepath.Join(t.TempDir(), "known_hosts")
			if err := os.WriteFile(o.KnownHosts, []byte(c.known), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Open(t.Context(), o)
			if c.says == "" && err != nil {
				t.Errorf("Open = %v", err)
			} else if c.says != "" {
				wantConfig(t, err, ErrHostKey, c.says, c.advice)
			}
			now, err := os.ReadFile(o.KnownHosts)
			if err != nil || string(now) != c.known {
				t.Errorf("known_hosts was changed to %q, %v", now, err)
			}
		})
	}
	o := options(t, srv, t.TempDir())
	o.KnownHosts += ".missing"
	_, err := Open(t.Context(), o)
	wantConfig(t, err, ErrHostKey, "no such file", "ssh-known-hosts")
}

func TestKeys(t *testing.T) {
	ca := sshtest.WriteKey(t, filepath.Join(t.TempDir(), "ca"))
	authority := filepath.Join(t.TempDir(), "ca.pub")
	if err := os.WriteFile(authority, ssh.MarshalAuthorizedKey(ca.PublicKey()), 0o600); err != nil {
		t.Fatal(err)
	}
	srv := sshtest.New(t, "TrustedUserCAKeys "+authority)
	t.Setenv("SSH_AUTH_SOCK", "")
	t.Setenv("HOME", t.TempDir())
	with := func(key string) error {
		o := options(t, srv, t.TempDir())
		o.Key = key
		_, err := Open(t.Context(), o)
		return err
	}
	wrong := filepath.Join(t.TempDir(), "wrong")
	signer := sshtest.WriteKey(t, wrong)
	wantConfig(t, with(wrong), ErrKey, "accepts none of these keys", "authorized_keys")
	wantConfig(t, with(wrong+".missing"), ErrKey, "no such file", "ssh-key")
	wantConfig(t, with(srv.KnownHosts), ErrKey, "known_hosts", "ssh-key")
	wantConfig(t, with(""), ErrKey, "there is no key", "ssh-keygen")

	// The same key with a certificate.
	certificate := &ssh.Certificate{
		Key: signer.PublicKey(), CertType: ssh.UserCert, ValidPrincipals: []string{srv.User},
		ValidBefore: ssh.CertTimeInfinity,
	}
	if err := certificate.SignCert(bytesReader{}, ca); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(wrong+"-cert.pub", ssh.MarshalAuthorizedKey(certificate), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := with(wrong); err != nil {
		t.Errorf("with a certificate: %v", err)
	}

	// A key with a passphrase, without and with an agent.
	locked := filepath.Join(t.TempDir(), "locked")
	private := lockedKey(t, locked)
	lockedSigner, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Authorize(lockedSigner.PublicKey()); err != nil {
		t.Fatal(err)
	}
	wantConfig(t, with(locked), ErrKey, "no key", "ssh-add "+locked)
	t.Setenv("SSH_AUTH_SOCK", serveAgent(t, private))
	if err := errors.Join(with(locked), with("")); err != nil {
		t.Errorf("with an agent: %v", err)
	}
}

// bytesReader is random enough for a serial number.
type bytesReader struct{}

func (bytesReader) Read(p []byte) (int, error) { return len(p), nil }

// lockedKey writes a new key with a passphrase into a file, and returns it.
func lockedKey(t *testing.T, file string) any {
	t.Helper()
	plain := file + ".plain"
	sshtest.WriteKey(t, plain)
	b, err := os.ReadFile(plain)
	if err != nil {
		t.Fatal(err)
	}
	private, err := ssh.ParseRawPrivateKey(b)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKeyWithPassphrase(private, "test", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	return private
}

// serveAgent serves an agent with one key, and returns its socket.
func serveAgent(t *testing.T, key any) string {
	t.Helper()
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "agent")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() { _ = agent.ServeAgent(ring, conn) }()
		}
	}()
	return socket
}

func TestOpenElsewhere(t *testing.T) {
	t.Parallel()
	srv := sshtest.New(t)
	dir := t.TempDir()
	if _, err := Open(t.Context(), options(t, srv, dir+"/missing")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open = %v, want fs.ErrNotExist", err)
	}
	if err := os.WriteFile(dir+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), options(t, srv, dir+"/file")); !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("Open = %v, want ENOTDIR", err)
	}
	o := options(t, srv, dir)
	srv.Stop()
	began := time.Now()
	_, err := Open(t.Context(), o)
	if _, ok := errors.AsType[*ConnectionError](err); !ok || fault.Of(err) != fault.Failed ||
		!strings.Contains(err.Error(), "connection refused") || time.Since(began) > 10*time.Second {
		t.Errorf("Open of a server that is down = %v, after %s", err, time.Since(began))
	}
}

// By the ssh program, with its configuration.
func TestCommand(t *testing.T) {
	t.Parallel()
	srv, dir := sshtest.New(t), t.TempDir()
	config := filepath.Join(dir, "config")
	if err := os.WriteFile(config, fmt.Appendf(nil, "Host backup-host\n\tHostName 127.0.0.1\n\tPort %d\n\tUser %s\n"+
		"\tIdentityFile %s\n\tUserKnownHostsFile %s\n", srv.Port, srv.User, srv.Key, srv.KnownHosts), 0o600); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "myssh")
	if err := os.WriteFile(program, []byte("#!/bin/sh\nexec ssh -F "+config+" \"$@\"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, command := range map[string][]string{
		"a program": {program}, "with arguments": {"ssh", "-F", config, "-oBatchMode=yes", "-s", "backup-host", "sftp"},
	} {
		t.Run(name, func(t *testing.T) {
			target, err := ParseURL("sftp://backup-host" + t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			st := open(t, Options{Target: target, Command: command, lease: fast()})
			content := bytes.Repeat([]byte("0123456789"), 500_000)
			if err := store.PutBytes(t.Context(), st, "a/b", content); err != nil {
				t.Fatal(err)
			}
			srv.Cut()
			if got, err := store.ReadAll(t.Context(), st, "a/b", 1<<30); err != nil || !bytes.Equal(got, content) {
				t.Errorf("ReadAll = %d bytes, %v", len(got), err)
			}
		})
	}
	_, err := Open(t.Context(), Options{Target: Target{Host: "nowhere.invalid", Path: "/x"}, Command: []string{program}})
	if err == nil || !strings.Contains(err.Error(), "nowhere.invalid") || fault.Of(err) != fault.Failed {
		t.Errorf("Open = %v, want what ssh says", err)
	}
	_, err = Open(t.Context(), Options{Target: Target{Host: "h", Path: "/x"}, Command: []string{dir + "/missing"}})
	if fault.Of(err) != fault.Config {
		t.Errorf("Open by a missing program = %v", err)
	}
}

// The server goes away in the middle of an object: it is not there, and the next one is
// stored by a new connection. What is left is removed when nobody can be writing it.
func TestCutInPut(t *testing.T) {
	t.Parallel()
	srv, dir := sshtest.New(t), t.TempDir()
	st := open(t, options(t, srv, dir))
	err := st.Put(t.Context(), "backups/x/data", func(w io.Writer) error {
		for n := range 100 {
			if n == 20 {
				srv.Cut()
			}
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return err
			}
		}
		return nil
	})
	if _, lost := errors.AsType[*ConnectionError](err); !lost {
		t.Errorf("Put = %v, want *ConnectionError", err)
	}
	if list, err := st.List(t.Context(), ""); err != nil || len(list) > 0 {
		t.Errorf("List = %v, %v", list, err)
	}
	if err := store.PutBytes(t.Context(), st, "backups/x/data", []byte("whole")); err != nil {
		t.Errorf("the next Put: %v", err)
	}
	if swept, err := st.SweepTemp(t.Context(), ""); err != nil || len(swept) > 0 {
		t.Errorf("SweepTemp of a young file = %q, %v", swept, err)
	}
	temps, err := filepath.Glob(dir + "/backups/x/.put-*")
	if err != nil || len(temps) != 1 {
		t.Fatalf("left: %q, %v", temps, err)
	}
	old := time.Now().Add(-orphanAge - time.Minute)
	if err := os.Chtimes(temps[0], old, old); err != nil {
		t.Fatal(err)
	}
	swept, err := st.SweepTemp(t.Context(), "backups/")
	if err != nil || !slices.Equal(swept, []string{"backups/x/data"}) {
		t.Errorf("SweepTemp = %q, %v", swept, err)
	}
	if got, err := store.ReadAll(t.Context(), st, "backups/x/data", 100); err != nil || string(got) != "whole" {
		t.Errorf("the object is %q, %v", got, err)
	}
}

// A read goes on by a new connection, except in another object.
func TestCutInRead(t *testing.T) {
	t.Parallel()
	srv := sshtest.New(t)
	for _, replaced := range []bool{false, true} {
		st := open(t, options(t, srv, t.TempDir()))
		content := bytes.Repeat([]byte("0123456789abcdef"), 1<<18)
		if err := store.PutBytes(t.Context(), st, "a", content); err != nil {
			t.Fatal(err)
		}
		r, err := st.Open(t.Context(), "a", 3, -1)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 1000)
		if _, err := io.ReadFull(r, got); err != nil {
			t.Fatal(err)
		}
		if replaced {
			if err := store.PutBytes(t.Context(), st, "a", content[:1<<21]); err != nil {
				t.Fatal(err)
			}
		}
		srv.Cut()
		rest, err := io.ReadAll(r)
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if replaced {
			if err == nil || !strings.Contains(err.Error(), "replaced") {
				t.Errorf("read of two objects: %v", err)
			}
		} else if err != nil || !bytes.Equal(append(got, rest...), content[3:]) {
			t.Errorf("read %d bytes, %v", len(rest), err)
		}
	}
}

// A connection whose other end is silent ends, whatever waits for it.
func TestFrozenServer(t *testing.T) {
	t.Parallel()
	srv := sshtest.New(t)
	o := options(t, srv, t.TempDir())
	o.silence = 2 * time.Second
	st := open(t, o)
	began := time.Now()
	thaw := func() {}
	err := st.Put(t.Context(), "a", func(w io.Writer) error {
		thaw = srv.Freeze()
		for range 100 {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return err
			}
		}
		return nil
	})
	thaw()
	if err == nil || !strings.Contains(err.Error(), "silent for 2s") || time.Since(began) > 20*time.Second {
		t.Errorf("Put = %v after %s", err, time.Since(began))
	}
	if err := store.PutBytes(t.Context(), st, "a", []byte("x")); err != nil {
		t.Errorf("the next Put: %v", err)
	}
}

// Symbolic links in the repository lead nowhere.
func TestLinks(t *testing.T) {
	t.Parallel()
	srv, dir, outside := sshtest.New(t), t.TempDir(), t.TempDir()
	if err := errors.Join(os.WriteFile(outside+"/secret", []byte("x"), 0o600), os.Symlink(outside, dir+"/backups"),
		os.Symlink(outside+"/secret", dir+"/object"), syscall.Mkfifo(dir+"/pipe", 0o600)); err != nil {
		t.Fatal(err)
	}
	st := open(t, options(t, srv, dir))
	for _, name := range []string{"backups/secret", "object", "pipe"} {
		if r, err := st.Open(t.Context(), name, 0, -1); !errors.Is(err, fs.ErrNotExist) {
			if err == nil {
				r.Close()
			}
			t.Errorf("Open(%s) = %v, want fs.ErrNotExist", name, err)
		}
	}
	if err := st.Delete(t.Context(), "backups/secret"); !errors.Is(err, store.ErrThroughLink) {
		t.Errorf("Delete = %v, want ErrThroughLink", err)
	}
	if err := store.PutBytes(t.Context(), st, "backups/new", []byte("x")); !errors.Is(err, store.ErrThroughLink) {
		t.Errorf("Put = %v, want ErrThroughLink", err)
	}
	if list, err := st.List(t.Context(), ""); err != nil || len(list) > 0 {
		t.Errorf("List = %v, %v", list, err)
	}
	if list, err := st.List(t.Context(), "backups/"); err != nil || len(list) > 0 {
		t.Errorf("List = %v, %v", list, err)
	}
	if entries, err := os.ReadDir(outside); err != nil || len(entries) != 1 {
		t.Errorf("outside there are %v, %v", entries, err)
	}
	// The folder itself may be one.
	link := filepath.Join(t.TempDir(), "link")
	if err := errors.Join(os.Symlink(t.TempDir(), link)); err != nil {
		t.Fatal(err)
	}
	if err := store.PutBytes(t.Context(), open(t, options(t, srv, link)), "a", []byte("x")); err != nil {
		t.Error(err)
	}
}

// A full disk has no code of its own in the protocol.
func TestFull(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("cannot mount: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	st := open(t, options(t, sshtest.New(t), dir))
	err := store.PutBytes(t.Context(), st, "a/b", make([]byte, 16<<20))
	var full *store.NoSpaceError
	if !errors.As(err, &full) || !errors.Is(err, syscall.ENOSPC) || !full.Space.Known {
		t.Errorf("Put = %v, want *store.NoSpaceError", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
	if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if err := st.Writable(t.Context()); !errors.Is(err, syscall.EROFS) {
		t.Errorf("Writable = %v, want EROFS", err)
	}
}

// hold takes a lock in a process of its own, says so, waits for a line, and tells what
// became of the lock.
func hold(url, key, known string) error {
	target, err := ParseURL(url)
	if err != nil {
		return err
	}
	st, err := Open(context.Background(), Options{Target: target, Key: key, KnownHosts: known, lease: fast()})
	if err != nil {
		return err
	}
	lock, err := st.Lock(context.Background(), "repository", "the child")
	if err != nil {
		return err
	}
	fmt.Println("locked")
	_, _ = fmt.Scanln() // its end is enough
	fmt.Printf("%v\n", lock.Check())
	return nil
}

// A process that holds the lock is frozen, or killed: another one takes over, and the
// frozen one knows it when it wakes up.
func TestHolderFrozenAndKilled(t *testing.T) {
	t.Parallel()
	srv := sshtest.New(t)
	for name, sig := range map[string]syscall.Signal{"frozen": syscall.SIGSTOP, "killed": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			child := exec.Command(os.Args[0])
			child.Env = append(os.Environ(), holdLock+"="+strings.Join([]string{srv.URL(dir), srv.Key, srv.KnownHosts}, " "))
			in, err := child.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := child.StdoutPipe()
			if err == nil {
				err = child.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				_ = child.Process.Kill() // it has ended, if the test went well
				_ = child.Wait()
			}()
			said := make([]byte, 7)
			if _, err := io.ReadFull(out, said); err != nil {
				t.Fatalf("%s: %v", said, err)
			}
			st := open(t, options(t, srv, dir))
			_, err = st.Lock(t.Context(), "repository", "me")
			var locked *store.LockedError
			if !errors.As(err, &locked) || !strings.HasPrefix(locked.Owner, "the child, last sign of life at 20") {
				t.Errorf("Lock = %v, want held by the child", err)
			}
			if err := child.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			lock, err := st.Lock(t.Context(), "repository", "me")
			if err != nil {
				t.Fatalf("after %s: %v", time.Since(began), err)
			}
			defer lock.Release()
			if took := time.Since(began); took < 2*time.Second || took > 30*time.Second {
				t.Errorf("taken over after %s", took)
			}
			if sig == syscall.SIGKILL {
				return
			}
			if err := errors.Join(child.Process.Signal(syscall.SIGCONT), in.Close()); err != nil {
				t.Fatal(err)
			}
			rest, err := io.ReadAll(out)
			if err != nil || !strings.Contains(string(rest), `the lock "repository" was lost`) {
				t.Errorf("the frozen process says %q, %v", rest, err)
			}
			if err := errors.Join(lock.Check(), lock.Confirm(t.Context())); err != nil {
				t.Errorf("the new holder: %v", err)
			}
		})
	}
}

func TestParseURL(t *testing.T) {
	for text, want := range map[string]Target{
		"sftp://db1/backup":                       {Host: "db1", Path: "/backup"},
		"sftp://b@db1:2222/srv/b/":                {User: "b", Host: "db1", Port: 2222, Path: "/srv/b"},
		"sftp://[::1]:22/x":                       {Host: "::1", Port: 22, Path: "/x"},
		"sftp://db1/~/backups/db1":                {Host: "db1", Path: "backups/db1"},
		"sftp://db1/~/":                           {Host: "db1", Path: "."},
		"sftp://db1/a%20b%3f":                     {Host: "db1", Path: "/a b?"},
		"sftp://db1/a/../b":                       {Host: "db1", Path: "/b"},
		"sftp://b:secret@db1/x":                   {},
		"sftp://:secret@db1/x":                    {},
		"sftp://db1":                              {},
		"sftp://db1/":                             {},
		"sftp:///x":                               {},
		"s3://db1/x":                              {},
		"sftp://-oProxyCommand=x/x":               {},
		"sftp://-l@db1/x":                         {},
		"sftp://db1:0/x":                          {},
		"sftp://db1:99999/x":                      {},
		"sftp://db1/~/../../etc":                  {},
		"sftp://db1/x?secret":                     {},
		"sftp://db1/x#secret":                     {},
		"sftp://db1/x%0ay":                        {},
		"sftp://secret:%zz@db1/x":                 {},
		"sftp://user:sec\x01ret@db1/x":            {},
		"sftp://db1/" + strings.Repeat("../", 50): {},
	} {
		got, err := ParseURL(text)
		if want.Host == "" {
			if !errors.Is(err, ErrURL) || strings.Contains(err.Error(), "secret") {
				t.Errorf("ParseURL(%q) = %+v, %v", text, got, err)
			}
			continue
		}
		if err != nil || got != want {
			t.Errorf("ParseURL(%q) = %+v, %v, want %+v", text, got, err, want)
		}
		if again, err := ParseURL(got.String()); err != nil || again != got {
			t.Errorf("ParseURL(%q) = %+v, %v, want %+v", got, again, err, got)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	f.Add("sftp://b@db1:2222/srv/b")
	f.Add("sftp://[::1]/~/x")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := ParseURL(text)
		if err != nil {
			return
		}
		if again, err := ParseURL(got.String()); err != nil || again != got {
			t.Errorf("ParseURL(%q) = %+v, whose URL %q is %+v, %v", text, got, got, again, err)
		}
	})
}
