package disk

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWithin(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	inside, link := filepath.Join(dir, "a", "b"), filepath.Join(dir, "link")
	if err := os.MkdirAll(inside, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(dir, "a"), link); err != nil {
		t.Fatal(err)
	}
	a := filepath.Join(dir, "a")
	for _, tt := range []struct {
		path, dir string
		want      bool
	}{
		{a, a, true}, {inside, a, true}, {filepath.Join(link, "b"), a, true}, {inside, link, true},
		{filepath.Join(a, "not", "there"), a, true},
		{dir, a, false}, {a + "b", a, false}, {filepath.Join(a, "..", "c"), a, false}, {"a", a, false},
	} {
		if got := Within(tt.path, tt.dir); got != tt.want {
			t.Errorf("Within(%q, %q) = %t, want %t", tt.path, tt.dir, got, tt.want)
		}
	}
}

func TestSame(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	for _, c := range []struct {
		a, b string
		want bool
	}{{dir, other, true}, {dir, "/proc", false}, {dir, dir + "/missing", false}, {"", dir, false}} {
		if got := Same(c.a, c.b); got != c.want {
			t.Errorf("Same(%q, %q) = %v", c.a, c.b, got)
		}
	}
}
