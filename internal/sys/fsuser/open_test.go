package fsuser

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"
)

// Links of /proc led the thread that acts for another user to what only the process
// could reach: its working directory and its open files.
func TestOpenatFollowsNoLinkOfAProcess(t *testing.T) {
	dir := folder(t)
	outer := filepath.Join(dir, "closed") // of root
	closed := filepath.Join(outer, "inner")
	if err := errors.Join(os.Mkdir(outer, 0o700), os.Mkdir(closed, 0o755),
		os.WriteFile(filepath.Join(closed, "secret"), nil, 0o644),
		os.WriteFile(filepath.Join(dir, "file"), nil, 0o644), os.Mkdir(filepath.Join(dir, "db"), 0o755)); err != nil {
		t.Fatal(err)
	}
	held, err := os.Open(closed)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	t.Chdir(closed)
	fd, pid := strconv.Itoa(int(held.Fd())), strconv.Itoa(os.Getpid())
	for name, to := range map[string]string{
		"cwd": "/proc/self/cwd/secret", "folder": "/proc/self/fd/" + fd, "pid": "/proc/" + pid + "/cwd/secret",
		"task": "/proc/thread-self/cwd/secret",
		"root": "/proc/self/root" + dir + "/file", "up": "../../../../../../proc/self/cwd", "dev": "/dev/fd/" + fd,
		"plain": "file", "absolute": filepath.Join(dir, "plain"), "around": "db/../absolute",
		"folder of folders": "./db//", "ring": "ring", "dead": "none", "chain": "up",
	} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	at, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer at.Close()
	for _, tt := range []struct {
		path  string
		flags int
		want  error
	}{
		{"file", 0, nil}, {"plain", 0, nil}, {"absolute", 0, nil}, {"around", 0, nil},
		{"folder of folders", unix.O_DIRECTORY, nil}, {".", unix.O_DIRECTORY, nil},
		{filepath.Join(dir, "file"), 0, nil}, {"/", unix.O_DIRECTORY, nil}, {"db/../plain", 0, nil},
		{"db/..", unix.O_DIRECTORY, nil},
		{"none", 0, unix.ENOENT}, {"dead", 0, unix.ENOENT}, {"file/x", 0, unix.ENOTDIR}, {"plain/x", 0, unix.ENOTDIR},
		{"ring", 0, unix.ELOOP},
		{"plain", unix.O_DIRECTORY, unix.ENOTDIR}, {"plain", unix.O_NOFOLLOW, unix.ELOOP},
		{"cwd", 0, ErrProcess}, {"folder/secret", 0, ErrProcess}, {"folder", unix.O_DIRECTORY, ErrProcess},
		{"pid", 0, ErrProcess}, {"task", 0, ErrProcess},
		{"root", 0, ErrProcess}, {"up/secret", 0, ErrProcess}, {"chain/secret", 0, ErrProcess},
		{"dev/secret", 0, ErrProcess}, {"/proc/self/cwd/secret", 0, ErrProcess},
	} {
		for name, open := range map[string]func(int, string, int) (int, error){"openat2": Openat,
			"without openat2": walk} {
			for _, as := range []User{Current(), other} {
				for _, flags := range []int{unix.O_RDONLY, unix.O_PATH} {
					if as == other && os.Geteuid() != 0 {
						continue
					}
					got, err := Value(as, func() (int, error) { return open(int(at.Fd()), tt.path, flags|tt.flags) })
					if err == nil {
						unix.Close(got)
					}
					want := tt.want
					if flags == unix.O_PATH && tt.flags == unix.O_NOFOLLOW {
						want = nil // the link itself
					}
					if !errors.Is(err, want) {
						t.Errorf("%s: %s with flags %#x as %v: %v, want %v", name, tt.path, flags|tt.flags, as, err,
							want)
					}
				}
			}
		}
	}
	if !errors.Is(ErrProcess, fs.ErrPermission) {
		t.Error("it does not say that something is not permitted")
	}
}
