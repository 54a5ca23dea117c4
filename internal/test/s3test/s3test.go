// Package s3test runs versitygw, an object store that speaks S3, for tests. Its program is
// built once and kept beside the test servers of package mariadbtest.
package s3test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"mbk/internal/test/mariadbtest"
)

// version is that of versitygw.
const version = "v1.8.0"

// Credentials that every Server accepts.
const (
	AccessKey = "mbk-test-access"
	SecretKey = "mbk-test-secret-key"
)

// Bucket is a bucket that every Server has.
const Bucket = "backups"

// Server is a running store with its objects in a folder. It ends with the process. Its
// methods may not be called concurrently.
type Server struct {
	Addr            string // 127.0.0.1:PORT
	Dir             string // the objects are files in Dir/BUCKET
	CredentialsFile string // as programs of AWS read it

	versions string // the folder of objects that were replaced or removed in a bucket with versions
	program  string
	command  *exec.Cmd
	log      *os.File
}

// New starts a server, which ends with the test.
func New(t testing.TB) *Server {
	t.Helper()
	s, err := Run(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Kill()
		if text, err := os.ReadFile(s.log.Name()); t.Failed() && err == nil {
			t.Logf("end of the log of versitygw:\n%s", text[max(0, len(text)-4000):])
		}
		_ = s.log.Close()
	})
	return s
}

// Run starts a server with everything it has in a folder. The caller ends it with Kill.
func Run(ctx context.Context, dir string) (s *Server, err error) {
	s = &Server{Dir: filepath.Join(dir, "store"), CredentialsFile: filepath.Join(dir, "credentials"),
		versions: filepath.Join(dir, "versions")}
	if s.program, err = build(ctx); err != nil {
		return nil, err
	}
	if s.Addr, err = freeAddress(); err != nil {
		return nil, err
	}
	text := "[default]\naws_access_key_id = " + AccessKey + "\naws_secret_access_key = " + SecretKey + "\n"
	err = errors.Join(os.MkdirAll(filepath.Join(s.Dir, Bucket), 0o700), os.MkdirAll(s.versions, 0o700),
		os.WriteFile(s.CredentialsFile, []byte(text), 0o600))
	if err != nil {
		return nil, err
	}
	if s.log, err = os.Create(filepath.Join(dir, "versitygw.log")); err != nil {
		return nil, err
	}
	return s, s.start()
}

// Endpoint is the URL of the server.
func (s *Server) Endpoint() string { return "http://" + s.Addr }

// Program is the path of the server's program.
func (s *Server) Program() string { return s.program }

// Link returns a bucket whose objects are the files of a folder. It may be called
// concurrently.
func (s *Server) Link(folder string) (bucket string, err error) {
	sum := sha256.Sum256([]byte(folder))
	bucket = hex.EncodeToString(sum[:16])
	if err = os.Symlink(folder, filepath.Join(s.Dir, bucket)); errors.Is(err, fs.ErrExist) {
		err = nil
	}
	return bucket, err
}

// Start starts the server again after Kill, at the same address.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) start() error {
	s.command = exec.Command(s.program, "--port", s.Addr, "--quiet", "posix", "--bucketlinks", "--versioning-dir",
		s.versions, s.Dir)
	s.command.Env = append(os.Environ(), "ROOT_ACCESS_KEY="+AccessKey, "ROOT_SECRET_KEY="+SecretKey)
	s.command.Stdout, s.command.Stderr = s.log, s.log
	s.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.command.Start(); err != nil {
		return err
	}
	for until := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.DialTimeout("tcp", s.Addr, time.Second)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(until) {
			s.Kill()
			return fmt.Errorf("versitygw does not listen: %w", err)
		}
	}
}

// Locking makes a bucket with Object Lock, and returns its client.
func (s *Server) Locking(t testing.TB, bucket string) *minio.Client {
	t.Helper()
	client, err := minio.New(s.Addr, &minio.Options{Creds: credentials.NewStaticV4(AccessKey, SecretKey, "")})
	if err == nil {
		err = client.MakeBucket(t.Context(), bucket, minio.MakeBucketOptions{ObjectLocking: true})
	}
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// Kill ends the server at once.
func (s *Server) Kill() {
	if s.command != nil && s.command.Process != nil {
		_ = s.command.Process.Kill() // it may have ended
		_ = s.command.Wait()
	}
	s.command = nil
}

// freeAddress returns an address that nobody listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// build returns the program, which it builds if it is not there yet. That takes minutes.
func build(ctx context.Context) (string, error) {
	cache, err := mariadbtest.CacheFolder()
	if err != nil {
		return "", err
	}
	folder := filepath.Join(cache, "versitygw-"+version)
	program := filepath.Join(folder, "versitygw")
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	lock, err := os.OpenFile(folder+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", fmt.Errorf("build versitygw: %w", err)
	}
	defer lock.Close() //nolint:errcheck // it ends the lock
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", fmt.Errorf("build versitygw: %w", err)
	}
	if _, err := os.Stat(program); err == nil {
		return program, nil // another process was faster
	}
	temp, err := os.MkdirTemp(cache, ".versitygw-")
	if err != nil {
		return "", fmt.Errorf("build versitygw: %w", err)
	}
	defer os.RemoveAll(temp) //nolint:errcheck // it was renamed, or the next one makes another
	install := exec.CommandContext(ctx, "go", "install", "-trimpath", "-ldflags=-s -w",
		"github.com/versity/versitygw/cmd/versitygw@"+version)
	install.Dir = temp // outside of this module
	install.Env = append(os.Environ(), "GOBIN="+temp, "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := install.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build versitygw: %w:\n%s", err, out)
	}
	if err := errors.Join(os.Chmod(temp, 0o755), os.Rename(temp, folder)); err != nil {
		return "", fmt.Errorf("build versitygw: %w", err)
	}
	return program, nil
}
