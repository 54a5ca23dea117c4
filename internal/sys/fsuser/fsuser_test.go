package fsuser

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// other is a user who owns nothing but what a test gives him.
var other = User{UID: 64999, GID: 64999}

// needRoot skips a test that acts for another user, which only root can.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// folder is a folder that everybody can reach.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "fsuser")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestDoHasTheRightsOfTheUser(t *testing.T) {
	needRoot(t)
	dir := folder(t)
	own, secret := filepath.Join(dir, "own"), filepath.Join(dir, "secret")
	if err := errors.Join(os.Mkdir(own, 0o700), os.Chown(own, other.UID, other.GID),
		os.WriteFile(secret, []byte("s"), 0o600)); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(own, "link")
	if err := os.Symlink(secret, link); err != nil {
		t.Fatal(err)
	}
	group := filepath.Join(dir, "group") // root is in group 0, and so is this thread otherwise
	if err := errors.Join(os.WriteFile(group, nil, 0o640), os.Chown(group, 0, 0)); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		do   func() error
		ok   bool
	}{
		{"write into his folder", func() error { return os.WriteFile(filepath.Join(own, "new"), nil, 0o600) }, true},
		{"read a file of root", func() error { _, err := os.ReadFile(secret); return err }, false},
		{"read it through a link", func() error { _, err := os.ReadFile(link); return err }, false},
		{"read a file of root's group", func() error { _, err := os.ReadFile(group); return err }, false},
		{"write into a folder of root", func() error { return os.WriteFile(filepath.Join(dir, "new"), nil, 0o600) },
			false},
		{"change a file of root", func() error { return os.Chmod(secret, 0o777) }, false},
		{"give a file away", func() error { return os.Chown(filepath.Join(own, "new"), 0, 0) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := other.Do(tt.do)
			if tt.ok && err != nil || !tt.ok && !errors.Is(err, fs.ErrPermission) {
				t.Errorf("got %v, want ok: %v", err, tt.ok)
			}
		})
	}
	if got, err := OwnerOf(filepath.Join(own, "new")); err != nil || got != other {
		t.Errorf("a new file belongs to %v, %v, want %v", got, err, other)
	}
	if got := Current(); got.UID != 0 {
		t.Errorf("the process runs as %v", got)
	}
	if _, err := os.ReadFile(secret); err != nil {
		t.Errorf("after Do: %v", err)
	}
}

// Threads are given back with all rights of root, however many there are at a time.
func TestDoLeavesOtherThreadsAlone(t *testing.T) {
	needRoot(t)
	before, err := os.ReadFile("/proc/thread-self/status")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if err := other.Do(func() error { return nil }); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	tasks, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		after, err := os.ReadFile(task)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		for _, field := range []string{"Uid:", "Gid:", "Groups:", "CapEff:"} {
			if got, want := line(after, field), line(before, field); got != want {
				t.Errorf("%s: %q, want %q", task, got, want)
			}
		}
	}
}

// line is the line of a status that begins with a field's name.
func line(status []byte, field string) string {
	for l := range strings.Lines(string(status)) {
		if strings.HasPrefix(l, field) {
			return l
		}
	}
	return ""
}

func TestDoReturnsWhatTheFunctionReturns(t *testing.T) {
	want := errors.New("an error")
	for _, u := range []User{{}, Current(), other} {
		if got := u.Do(func() error { return want }); got != want {
			t.Errorf("%v: got %v, want %v", u, got, want)
		}
		got, err := Value(u, func() (int, error) { return 7, nil })
		if got != 7 || err != nil {
			t.Errorf("%v: got %v, %v, want 7", u, got, err)
		}
	}
}
