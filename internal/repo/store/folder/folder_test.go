package folder_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mbk/internal/repo/store"
	"mbk/internal/repo/store/folder"
	"mbk/internal/repo/store/storetest"
)

// childEnv makes the test binary act as another process that uses the folder.
const childEnv = "MBK_STORE_TEST_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := child(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// child takes a lock, begins a Put, says so, and never ends.
func child(dir string) error {
	st, err := folder.Open(dir)
	if err != nil {
		return err
	}
	ctx := context.Background()
	if _, err := st.Lock(ctx, "repository", "the child"); err != nil {
		return err
	}
	return st.Put(ctx, "backups/b1/data-0001.pack", func(w io.Writer) error {
		if _, err := w.Write(make([]byte, 1<<20)); err != nil {
			return err
		}
		fmt.Println("writing")
		time.Sleep(time.Hour)
		return nil
	})
}

func newStore(t *testing.T) *folder.Store {
	t.Helper()
	st, err := folder.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return newStore(t) })
}

// Larger than two units of write-back, and not a multiple of one.
func TestFolderLargeObject(t *testing.T) {
	st := newStore(t)
	const pieces = 85
	piece := func(i int) []byte { return bytes.Repeat([]byte{byte(i), 1}, 1<<19) }
	err := st.Put(t.Context(), "large", func(w io.Writer) error {
		for i := range pieces {
			if n, err := w.Write(piece(i)); err != nil || n != 1<<20 {
				return fmt.Errorf("wrote %d: %w", n, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("Put: %v", err)
	}
	r, err := st.Open(t.Context(), "large", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b := make([]byte, 1<<20)
	for i := range pieces {
		if _, err := io.ReadFull(r, b); err != nil || !bytes.Equal(b, piece(i)) {
			t.Fatalf("piece %d is damaged, %v", i, err)
		}
	}
	if n, err := r.Read(b); err != io.EOF {
		t.Errorf("after the last piece: %d bytes, %v", n, err)
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, path string
		want       error
	}{
		{"missing", filepath.Join(dir, "none"), fs.ErrNotExist},
		{"a file", file, syscall.ENOTDIR},
		{"below a file", filepath.Join(file, "x"), syscall.ENOTDIR},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := folder.Open(c.path)
			if !errors.Is(err, c.want) {
				t.Errorf("Open = %v, want %v", err, c.want)
			}
			if err != nil && strings.Count(err.Error(), c.path) != 1 {
				t.Errorf("the message names the path %d times: %v", strings.Count(err.Error(), c.path), err)
			}
		})
	}
}

func wantMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != want {
		t.Errorf("mode of %s = %v, want %v", path, info.Mode(), want)
	}
}

// Backups hold everything the server knows: other users must not read them.
func TestFolderModes(t *testing.T) {
	defer unix.Umask(unix.Umask(0))
	st := newStore(t)
	if err := store.PutBytes(t.Context(), st, "backups/b1/x.pack", []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Lock(t.Context(), "repository", "me"); err != nil {
		t.Fatal(err)
	}
	wantMode(t, filepath.Join(st.String(), "backups"), fs.ModeDir|0o700)
	wantMode(t, filepath.Join(st.String(), "backups/b1"), fs.ModeDir|0o700)
	wantMode(t, filepath.Join(st.String(), "backups/b1/x.pack"), 0o600)
	wantMode(t, filepath.Join(st.String(), ".lock-repository"), 0o600)
}

// files returns all files and folders below a store's folder but locks.
func files(t *testing.T, st store.Store) []string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(st.String(), func(path string, _ fs.DirEntry, err error) error {
		if rel, _ := filepath.Rel(st.String(), path); rel != "." && !strings.HasPrefix(rel, ".lock-") {
			all = append(all, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestFolderLeavesNoEmptyFolders(t *testing.T) {
	st := newStore(t)
	if err := st.Put(t.Context(), "a/b/c", func(io.Writer) error { return errors.New("no") }); err == nil {
		t.Error("Put succeeded")
	}
	if got := files(t, st); len(got) > 0 {
		t.Errorf("a failed Put left %q", got)
	}
	if err := store.PutBytes(t.Context(), st, "a/b/c", nil); err != nil {
		t.Fatal(err)
	}
	if err := st.Delete(t.Context(), "a/b/c"); err != nil {
		t.Fatal(err)
	}
	if got := files(t, st); len(got) > 0 {
		t.Errorf("Delete left %q", got)
	}
}

// What is not ours is shown, so that nobody takes the folder for empty, except
// for what belongs to the system.
func TestFolderForeignFiles(t *testing.T) {
	st := newStore(t)
	for _, dir := range []string{"lost+found", ".snapshot", ".put-0.x"} {
		if err := os.Mkdir(filepath.Join(st.String(), dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(st.String(), ".fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if empty, err := st.Empty(t.Context()); err != nil || !empty {
		t.Errorf("Empty = %v, %v, want true", empty, err)
	}
	for _, name := range []string{"lost+found/x", ".snapshot/x", ".bashrc", "holiday photo.jpg"} {
		if err := os.WriteFile(filepath.Join(st.String(), name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	list, err := st.List(t.Context(), "")
	if err != nil || len(list) != 1 || list[0].Name != "holiday photo.jpg" {
		t.Errorf("List = %v, %v, want the photo only", list, err)
	}
	if empty, err := st.Empty(t.Context()); err != nil || empty {
		t.Errorf("Empty = %v, %v, want false", empty, err)
	}
	// A pipe or device under an object's name must not stop a reader.
	if err := unix.Mkfifo(filepath.Join(st.String(), "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Open(t.Context(), "fifo", 0, -1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open(fifo) = %v, want fs.ErrNotExist", err)
	}
}

// An operator may move old backups to another disk and leave links.
func TestFolderFollowsLinks(t *testing.T) {
	st, elsewhere := newStore(t), t.TempDir()
	if err := os.Symlink(elsewhere, filepath.Join(st.String(), "backups")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(st.String(), filepath.Join(elsewhere, "loop")); err != nil {
		t.Fatal(err)
	}
	if err := store.PutBytes(t.Context(), st, "backups/b1/x", []byte("x")); err != nil {
		t.Fatal(err)
	}
	list, err := st.List(t.Context(), "backups/b1/")
	if err != nil || len(list) != 1 {
		t.Errorf("List = %v, %v, want one object", list, err)
	}
	if _, err := st.List(t.Context(), ""); err != nil {
		t.Errorf("List over a loop of links: %v", err)
	}
	if err := st.Delete(t.Context(), "backups/b1/x"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(st.String(), "backups")); err != nil {
		t.Errorf("Delete removed the operator's link: %v", err)
	}
}

// A killed process must hold nothing up: its lock is gone, its half object is
// not listed and is swept, and while it lives it is left alone.
func TestFolderKilledProcess(t *testing.T) {
	st := newStore(t)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+st.String())
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "writing\n" {
		t.Fatalf("child said %q, %v", line, err)
	}

	var locked *store.LockedError
	if _, err := st.Lock(t.Context(), "repository", "me"); !errors.As(err, &locked) || locked.Owner != "the child" {
		t.Errorf("Lock = %v, want it held by the child", err)
	}
	if swept, err := st.SweepTemp(t.Context(), ""); err != nil || len(swept) > 0 {
		t.Errorf("SweepTemp = %q, %v, want nothing while the writer lives", swept, err)
	}
	if list, err := st.List(t.Context(), ""); err != nil || len(list) > 0 {
		t.Errorf("List = %v, %v, want nothing", list, err)
	}

	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // "signal: killed"

	lock, err := st.Lock(t.Context(), "repository", "me")
	if err != nil {
		t.Fatalf("Lock after the holder was killed: %v", err)
	}
	defer lock.Release()
	if swept, err := st.SweepTemp(t.Context(), "history/"); err != nil || len(swept) > 0 {
		t.Errorf("SweepTemp(history/) = %q, %v, want nothing there", swept, err)
	}
	swept, err := st.SweepTemp(t.Context(), "backups/")
	if err != nil || len(swept) != 1 || !strings.HasSuffix(swept[0], ".data-0001.pack") {
		t.Errorf("SweepTemp = %q, %v, want the child's file", swept, err)
	}
	if got := files(t, st); len(got) > 0 {
		t.Errorf("left after the sweep: %q", got)
	}
}

// A writer that was killed after it had made a folder and before it made a file
// there once left the folder forever.
func TestFolderSweepsEmptyFolders(t *testing.T) {
	st := newStore(t)
	if err := st.Put(t.Context(), "backups/kept/a", func(io.Writer) error { return nil }); err != nil {
		t.Fatal(err)
	}
	empty := filepath.Join(st.String(), "backups", "empty")
	if err := os.Mkdir(empty, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := st.SweepTemp(t.Context(), "backups/"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(empty); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the empty folder is there: %v", err)
	}
	if list, err := st.List(t.Context(), "backups/"); err != nil || len(list) != 1 {
		t.Errorf("List = %v, %v, want the one object", list, err)
	}
}

// A child process that outlives us, a mariadbd, must not inherit the lock.
func TestFolderLockIsNotInherited(t *testing.T) {
	st := newStore(t)
	lock, err := st.Lock(t.Context(), "repository", "me")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
	lock, err = st.Lock(t.Context(), "repository", "me")
	if err != nil {
		t.Fatalf("Lock after release, with a child running: %v", err)
	}
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
}

func TestFolderLockOwnerText(t *testing.T) {
	st := newStore(t)
	lockFile := filepath.Join(st.String(), ".lock-repository")
	lock, err := st.Lock(t.Context(), "repository", "me")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Release()
	for _, c := range []struct{ name, text, want string }{
		{"not yet written", "", "held by another process"},
		{"hostile", "a\x1b[31m\xff\x00b\nline two", "held by a[31mb"},
		{"huge", strings.Repeat("x", 5000), "held by " + strings.Repeat("x", 1000)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := os.WriteFile(lockFile, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := st.Lock(t.Context(), "repository", "other"); err == nil || err.Error() != c.want {
				t.Errorf("Lock = %v, want %q", err, c.want)
			}
		})
	}
}

func TestFolderHolder(t *testing.T) {
	st := newStore(t)
	wants := func(want string) {
		t.Helper()
		if got, err := st.Holder(t.Context(), "repository"); err != nil || got != want {
			t.Errorf("Holder = %q, %v, want %q", got, err, want)
		}
	}
	wants("")
	lock, err := st.Lock(t.Context(), "repository", "me")
	if err != nil {
		t.Fatal(err)
	}
	wants("me")
	if err := lock.Release(); err != nil {
		t.Fatal(err)
	}
	wants("")
	if err := os.WriteFile(filepath.Join(st.String(), ".lock-repository"), []byte("one who was killed\n"),
		0o600); err != nil {
		t.Fatal(err)
	}
	wants("")
	if _, err := st.Holder(t.Context(), "../x"); !errors.Is(err, store.ErrName) {
		t.Errorf("Holder of a path: %v", err)
	}
}

// asNobody runs a function with the file system rights of an unprivileged user,
// if we are root. The goroutine's thread ends with it.
func asNobody(t *testing.T, run func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread must not be used again
		if os.Getuid() == 0 {
			if err := unix.Setfsgid(65534); err != nil {
				t.Error(err)
			}
			if err := unix.Setfsuid(65534); err != nil {
				t.Error(err)
			}
		}
		run()
	}()
	<-done
}

func TestFolderNotWritable(t *testing.T) {
	st := newStore(t)
	if err := store.PutBytes(t.Context(), st, "a", []byte("x")); err != nil {
		t.Fatal(err)
	}
	// The way to the folder must be open to nobody; the folder itself not writable.
	for dir := st.String(); dir != filepath.Clean(os.TempDir()) && dir != "/"; dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o555); err != nil {
			t.Fatal(err)
		}
		defer os.Chmod(dir, 0o700)
	}
	asNobody(t, func() {
		_, lockErr := st.Lock(t.Context(), "repository", "me")
		for what, err := range map[string]error{
			"Put":  store.PutBytes(t.Context(), st, "b", []byte("x")),
			"Lock": lockErr,
		} {
			if !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "folder "+st.String()+" is not writable") {
				t.Errorf("%s = %v, want a clear permission error", what, err)
			}
		}
		if err := st.Delete(t.Context(), "a"); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("Delete = %v, want a permission error", err)
		}
	})
}

// A full disk, for real: a small file system.
func TestFolderFull(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m,mode=0755"); err != nil {
		if errors.Is(err, fs.ErrPermission) {
			t.Skip("not permitted to mount; the same path is tested with an injected ENOSPC")
		}
		t.Fatal(err)
	}
	defer unix.Unmount(dir, unix.MNT_DETACH)
	st, err := folder.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	err = st.Put(t.Context(), "backups/b1/data-0001.pack", func(w io.Writer) error {
		for {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				return fmt.Errorf("copy t1: %w", err)
			}
		}
	})
	var full *store.NoSpaceError
	if !errors.Is(err, syscall.ENOSPC) || !errors.As(err, &full) {
		t.Fatalf("Put = %v, want *NoSpaceError with ENOSPC", err)
	}
	if !full.Space.Known || full.Space.Total != 1<<20 || full.Space.Free > 64<<10 || full.Where != dir {
		t.Errorf("NoSpaceError = %+v, want the space as it was when the write failed", full)
	}
	for _, want := range []string{"copy t1: write backups/b1/data-0001.pack", dir + " is full", "of 1.0 MiB free"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("message %q does not say %q", err, want)
		}
	}
	if got := files(t, st); len(got) > 0 {
		t.Errorf("left behind: %q", got)
	}
	// The lock that an expiry needs works on a full disk.
	if err := os.WriteFile(filepath.Join(dir, "fill"), make([]byte, 2<<20), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling the disk: %v", err)
	}
	lock, err := st.Lock(t.Context(), "repository", "me")
	if err != nil {
		t.Fatalf("Lock on a full disk: %v", err)
	}
	if err := lock.Release(); err != nil {
		t.Errorf("release on a full disk: %v", err)
	}
}
