package cli_test

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

	"mbk/backup"
	"mbk/backup/preflight"
	"mbk/internal/fault"
	"mbk/internal/repo"
	"mbk/internal/repo/repotest"
	"mbk/internal/repo/store"
	"mbk/internal/repo/store/folder"
	"mbk/internal/repo/store/storetest"
	"mbk/internal/test/mariadbtest"
	"mbk/stage"
)

// Whatever call of the store fails while a backup continues on an interrupted one, every
// backup that is listed is whole, and the next one succeeds.
func TestResumeFailsAnywhere(t *testing.T) {
	t.Parallel()
	t.Log(resumeFails(t, newest(), 23))
}

// resumeFails lets each step-th call of the store fail.
func resumeFails(t *testing.T, version string, step int) string {
	srv := mariadbtest.New(t, version)
	srv.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.i (a INT PRIMARY KEY, b BLOB)",
		"CREATE TABLE d.m (a INT PRIMARY KEY, b BLOB) ENGINE=MyISAM",
		"INSERT INTO d.i SELECT seq, "+noise(16)+" FROM mysql.seq_1_to_3000",
		"INSERT INTO d.m SELECT * FROM d.i WHERE a < 1000")
	server, err := stage.Connect(t.Context(), stage.Config{Socket: srv.Socket, User: "root"})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	x := &failures{t: t, server: server}
	// One that was interrupted when it was complete but for its label.
	begun := t.TempDir()
	if err := x.backup(&withoutLabels{x.open(begun)}); !errors.Is(err, errNoLabels) {
		t.Fatal(err)
	}
	if left := interrupted(t, begun); len(left) != 1 || len(left[0].Progress) < 2 {
		t.Fatalf("of the first backup there is %+v", left)
	}
	n := 0
	for gone := false; ; n, gone = n+step, !gone {
		repository := filepath.Join(t.TempDir(), "repository")
		linkAll(t, begun, repository)
		failing := storetest.FailAt(x.open(repository), n)
		if gone {
			failing = storetest.FailFrom(x.open(repository), n)
		}
		err := x.backup(failing)
		if !failing.Fired() {
			if err != nil {
				t.Error(err)
			}
			break
		}
		wantListedWhole(t, repository)
		before := len(interrupted(t, repository))
		if err := x.backup(x.open(repository)); err != nil {
			t.Errorf("call %d failed (for good: %v), and then the next backup: %v", n, gone, err)
		}
		must(t, "verify", "latest", "--repo", repository, "--depth", "pages", "--quiet")
		wantListedWhole(t, repository)
		if left := interrupted(t, repository); len(left) > 0 {
			t.Errorf("call %d failed: %d attempts could be continued on, and %d are left", n, before, len(left))
		}
		_ = os.RemoveAll(repository)
	}
	return fmt.Sprintf("each %dth of %d calls failed", step, n)
}

// The lock of the repository is lost in the middle of a backup, as a lease is whose holder
// was frozen, and another mbk takes it over and cleans up. The backup ends with an error that
// says so, is not listed, and holds nothing of the server.
func TestLockLostDuringBackup(t *testing.T) {
	t.Parallel()
	srv := newBusyServer(t, newest())
	server, err := stage.Connect(t.Context(), stage.Config{Socket: srv.Socket, User: "root"})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	x := &failures{t: t, server: server}
	repository := t.TempDir()
	if err := x.backup(x.open(repository)); err != nil {
		t.Fatal(err)
	}
	for n := 8; ; n += 7 {
		release := func() error { return nil }
		losing := storetest.LoseAt(x.open(repository), n, func() {
			r, err := repo.Open(t.Context(), x.open(repository))
			if err == nil {
				release, err = r.Lock(t.Context())
			}
			if err == nil {
				_, err = r.Sweep(t.Context(), repo.SweepOptions{})
			}
			if err != nil {
				t.Error(err)
			}
		})
		before := len(repotest.WantListedWhole(t, x.open(repository)))
		err := x.backup(losing)
		if !losing.Lost() {
			if err != nil {
				t.Error(err)
			}
			break
		}
		lost, ok := errors.AsType[*store.LostError](err)
		if _, early := errors.AsType[*store.LockedError](err); early { // it had no lock yet
			ok = true
		} else if ok && (!strings.Contains(lost.Error(), "taken over by a test") || fault.Of(err) != fault.Busy) {
			t.Errorf("call %d: %v", n, err)
		}
		after := len(repotest.WantListedWhole(t, x.open(repository)))
		if after > before != (err == nil) || !ok && err != nil {
			t.Errorf("call %d: %d backups before, %d after, and %v", n, before, after, err)
		}
		wantFree(t, srv)
		if err := release(); err != nil {
			t.Error(err)
		}
		if n > 200 {
			t.Fatal("the backup does not end")
		}
	}
	must(t, "verify", "latest", "--repo", repository, "--depth", "pages", "--quiet")
}

// failures makes backups into stores that fail.
type failures struct {
	t      *testing.T
	server *stage.Server
}

// open opens the store in a folder.
func (x *failures) open(repository string) store.Store {
	x.t.Helper()
	st, err := folder.Open(repository)
	if err != nil {
		x.t.Fatal(err)
	}
	return st
}

func (x *failures) backup(st store.Store) error {
	r, err := repo.OpenOrNew(x.t.Context(), st, "mbk")
	if err != nil {
		return err
	}
	_, err = backup.Run(x.t.Context(), backup.Options{
		Options: preflight.Options{Server: x.server, Repository: r, SpoolDir: x.t.TempDir()}, Tool: "mbk",
		ResumeWithin: time.Hour, PackLimit: 1 << 20,
	})
	return err
}

// withoutLabels is a store that takes no label.
type withoutLabels struct{ store.Store }

var errNoLabels = errors.New("no label")

func (s *withoutLabels) Put(ctx context.Context, name string, write func(io.Writer) error) error {
	if strings.HasSuffix(name, "/label.json") {
		return errNoLabels
	}
	return s.Store.Put(ctx, name, write)
}

// linkAll makes a second tree of the same files.
func linkAll(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		target := filepath.Join(to, strings.TrimPrefix(name, from))
		if d.IsDir() {
			return os.MkdirAll(target, 0o700)
		}
		return os.Link(name, target)
	})
	if err != nil {
		t.Fatal(err)
	}
}
