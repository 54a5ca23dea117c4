package rights

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mbk/internal/sys/fsuser"
)

// Victim makes a folder of root's, with what a restore that was led there would change.
func Victim(t *testing.T, top string) string {
	t.Helper()
	dir := filepath.Join(top, "victim")
	for _, name := range []string{"", "data", "tmp", "files", "mysql", "shop"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, mode := range map[string]os.FileMode{"shadow": 0o600, "public": 0o666, "data/kept": 0o644,
		"mysql/db.opt": 0o600, "ib_buffer_pool": 0o640} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, []byte("of root"), mode), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Look tells all that is in a folder: names, owners, modes and contents.
func Look(t *testing.T, dir string) string {
	t.Helper()
	var text strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		var content []byte
		if info.Mode().IsRegular() {
			content, err = os.ReadFile(path)
		}
		st := info.Sys().(*syscall.Stat_t)
		fmt.Fprintf(&text, "%s %v %d:%d %.20q %x\n", strings.TrimPrefix(path, dir), info.Mode(), st.Uid, st.Gid, content,
			crc32.ChecksumIEEE(content))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// Trick is what an attacker does with a folder that a restore has made, or with what is
// in it. It reports whether he could.
type Trick struct {
	Name  string
	Inner bool // in what is the attacker's already when the server runs
	Do    func(victim, parent, name string, n int64) bool
}

// aside gives a folder another name.
func aside(parent, name string, n int64) bool {
	return os.Rename(filepath.Join(parent, name), filepath.Join(parent, fmt.Sprintf("stolen-%d", n))) == nil
}

// links puts links to a victim's files and folders into a folder.
func links(dir, victim string, names ...string) {
	for i, name := range names {
		path := filepath.Join(dir, name)
		switch {
		case i%3 == 0:
			_ = os.Symlink(filepath.Join(victim, "shadow"), path)
		case os.Link(filepath.Join(victim, "public"), path) != nil || i%3 == 2:
			_ = os.Symlink(victim, path)
		}
	}
}

// Tricks are all that are known.
func Tricks() []Trick {
	return []Trick{
		{"a link", false, func(victim, parent, name string, n int64) bool {
			return aside(parent, name, n) && os.Symlink(victim, filepath.Join(parent, name)) == nil
		}},
		{"a folder of links to folders", false, func(victim, parent, name string, n int64) bool {
			evil := filepath.Join(parent, fmt.Sprintf("evil-%d", n))
			_ = os.Mkdir(evil, 0o777)
			for _, inner := range []string{"data", "tmp", "files"} {
				_ = os.Symlink(victim, filepath.Join(evil, inner))
			}
			links(evil, victim, "mariadbd.log", "owner", "placing")
			return aside(parent, name, n) && os.Rename(evil, filepath.Join(parent, name)) == nil
		}},
		{"a folder of links to files", false, func(victim, parent, name string, n int64) bool {
			evil := filepath.Join(parent, fmt.Sprintf("evil-%d", n))
			_ = os.Mkdir(evil, 0o777)
			links(evil, victim, "data", "tmp", "files", "mariadbd.log", "placing", "owner")
			return aside(parent, name, n) && os.Rename(evil, filepath.Join(parent, name)) == nil
		}},
		{"a data directory of links", false, func(victim, parent, name string, n int64) bool {
			data := within(parent, name)
			if os.Rename(data, fmt.Sprintf("%s-%d", data, n)) != nil {
				return false
			}
			if n%2 == 0 {
				return os.Symlink(victim, data) == nil
			}
			_ = os.Mkdir(data, 0o777)
			links(data, victim, "mysql", "ibdata1", "ib_logfile0", "shop", "ib_buffer_pool", "aria_log_control")
			return true
		}},
		{"links in the data directory", true, func(victim, parent, name string, n int64) bool {
			data, done := within(parent, name), false
			for i, e := range entries(data) {
				path := filepath.Join(data, e)
				if os.Rename(path, fmt.Sprintf("%s/.was-%d-%d", data, n, i)) == nil {
					switch (int64(i) + n) % 3 {
					case 0:
						done = os.Symlink(filepath.Join(victim, "shadow"), path) == nil
					case 1:
						done = os.Link(filepath.Join(victim, "public"), path) == nil
					default:
						done = os.Symlink(victim, path) == nil
					}
				}
			}
			return done
		}},
		{"a folder of root's", false, func(_, parent, name string, n int64) bool {
			return aside(parent, name, n) && os.Rename(filepath.Join(parent, ".snapshot"), filepath.Join(parent, name)) == nil
		}},
		{"to and fro", false, func(victim, parent, name string, n int64) bool {
			link := filepath.Join(parent, "link")
			_ = os.Symlink(victim, link) // once
			path := filepath.Join(parent, name)
			return unix.Renameat2(unix.AT_FDCWD, link, unix.AT_FDCWD, path, unix.RENAME_EXCHANGE) == nil
		}},
	}
}

// within is the folder that is filled in a scratch folder.
func within(parent, name string) string {
	if strings.Contains(name, ".mbk-outside-") {
		return filepath.Join(parent, name, "files")
	}
	return filepath.Join(parent, name, "data")
}

// entries lists a folder.
func entries(dir string) []string {
	list, _ := os.ReadDir(dir)
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// Attack plays a trick again and again, as somebody else, until it is stopped. It returns
// how often that worked.
func Attack(who fsuser.User, s Trick, victim string, parents ...string) (stop func() int64) {
	ctx, cancel := context.WithCancel(context.Background())
	var done atomic.Int64
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = who.Do(func() error {
			for n := int64(0); ctx.Err() == nil; n++ {
				for _, parent := range parents {
					for _, name := range entries(parent) {
						if strings.Contains(name, ".mbk-") && s.Do(victim, parent, name, n) {
							done.Add(1)
						}
					}
				}
				time.Sleep(100 * time.Microsecond)
			}
			return nil
		})
	}()
	return func() int64 {
		cancel()
		<-ended
		return done.Load()
	}
}
