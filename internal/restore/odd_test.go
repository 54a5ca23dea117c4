package restore

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"mbk/internal/test/coldbackup"
)

// A backup was restored into a folder with a colon in its path: the server took the
// path for a list.
func testOddPaths(t *testing.T, f *coldbackup.Fixture, series string) {
	parent := filepath.Join(t.TempDir(), coldbackup.OddName)
	if err := os.Mkdir(parent, 0o755); err != nil {
		t.Fatal(err)
	}
	o := options(f, filepath.Join(parent, "data:"+coldbackup.OddName))
	if _, err := Restore(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	coldbackup.WantSmall(t, series, o.Target)
}

// A health check's file stood in the way of a restore into a mount point.
func TestWhatMayStayInTheTarget(t *testing.T) {
	for _, c := range []struct {
		name   string
		make   func(path string) error
		stays  bool
		folder bool
	}{
		{"lost+found", mkdir, true, true},
		{".my-healthcheck.cnf", touch, true, false},
		{".keep", touch, true, false},
		{"aquota.user", touch, true, false},
		{".snapshot", mkdir, true, true},
		{".snapshot", touch, true, false},
		{".hidden", mkdir, false, true},
		{".link", func(path string) error { return os.Symlink("/etc", path) }, false, false},
		{".pipe", func(path string) error { return unix.Mkfifo(path, 0o600) }, false, false},
		{"ibdata1", touch, false, false},
		{"shop", mkdir, false, true},
		{"#rocksdb", mkdir, false, true},
		{"my.cnf", touch, false, false},
		{"binlog.000001", touch, false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := c.make(filepath.Join(dir, c.name)); err != nil {
				t.Fatal(err)
			}
			owner := self()
			tg, objections, err := inspectTarget(Options{Target: dir, Preparation: Preparation{Owner: &owner}})
			if err != nil {
				t.Fatal(err)
			}
			if !c.stays {
				if len(objections) != 1 || !strings.Contains(objections[0].Problem, "is not empty: it holds "+c.name) {
					t.Errorf("objections = %+v", objections)
				}
				return
			}
			if len(objections) > 0 || !tg.inside {
				t.Fatalf("objections = %+v, %+v", objections, tg)
			}
			s := fakeScratch(t, tg)
			if err := errors.Join(s.place("ibdata1"), s.clean(false)); err != nil {
				t.Fatal(err)
			}
			want := append(dataEntries(), c.name)
			slices.Sort(want)
			if got := names(t, dir); !slices.Equal(got, want) {
				t.Errorf("the target holds %q, want %q", got, want)
			}
		})
	}
}

func mkdir(path string) error { return os.Mkdir(path, 0o700) }

func touch(path string) error { return os.WriteFile(path, nil, 0o600) }

// A link into a disk that is not there any more was refused without advice.
func TestTargetThatLeadsNowhere(t *testing.T) {
	dir := t.TempDir()
	if err := errors.Join(os.Symlink("../b", filepath.Join(dir, "a")), os.Symlink("a b/c", filepath.Join(dir, "blank")), os.Symlink("blank", filepath.Join(dir, "two"))); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"a":     "mkdir -p " + filepath.Join(dir, "../b"),
		"blank": "mkdir -p '" + filepath.Join(dir, "a b/c") + "'",
		"two":   "mkdir -p '" + filepath.Join(dir, "a b/c") + "'",
	} {
		_, objections, err := inspectTarget(Options{Target: filepath.Join(dir, name)})
		if err != nil || len(objections) != 1 || !strings.HasSuffix(objections[0].Hint.String(), want) {
			t.Errorf("%s: %+v, %v, want the hint %s", name, objections, err, want)
		}
	}
}
