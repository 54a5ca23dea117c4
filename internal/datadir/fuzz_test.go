package datadir

import (
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// The tables that a view reads come out of a file that any user of the server may
// shape.
func FuzzViewTables(f *testing.F) {
	f.Add([]byte("TYPE=VIEW\nquery=select `shop`.`orders`.`id` AS `id` from `shop`.`orders`\nmd5=0\n"))
	f.Add([]byte("TYPE=VIEW\nquery=select `a``b`.`c``d` from ```.`.`\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, q := range ViewTables(b) {
			if q.Database == "" || q.Name == "" || len(q.Database)+len(q.Name) > len(b) {
				t.Errorf("%q reads %+v", b, q)
			}
		}
	})
}

func FuzzSystemFiles(f *testing.F) {
	for _, path := range []string{"", "ibdata1:12M;ibdata2:50M:autoextend:max:500M", "/dev/sda:3Graw", "a:1;", ":",
		"a;b"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		names, err := systemFiles(path)
		if err == nil && (len(names) == 0 || len(names) != strings.Count(path, ";")+1) {
			t.Errorf("%q has the files %q", path, names)
		}
		for _, name := range names {
			if name == "" || strings.ContainsAny(name, ":;") {
				t.Errorf("%q has a file %q", path, name)
			}
		}
	})
}

// A path of the server is one of this machine, and one below its data directory is
// below ours.
func FuzzResolve(f *testing.F) {
	for _, path := range []string{"", ".", "/srv/data/x", "/srv/data/../y", "../z", "/etc", "a//b/"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		l := Layout{Dir: "/mnt/data", ServerDir: "/srv/data"}
		got := l.Resolve(path)
		if !filepath.IsAbs(got) || filepath.Clean(got) != got {
			t.Errorf("%q is %q", path, got)
		}
		if rel, err := filepath.Rel("/srv/data", path); err == nil && filepath.IsAbs(path) && filepath.IsLocal(rel) &&
			got != filepath.Join("/mnt/data", rel) {
			t.Errorf("%q is %q", path, got)
		}
	})
}

// Whoever may write into a data directory may put anything into an .isl file.
func FuzzReadISL(f *testing.F) {
	for _, text := range []string{"/ext/shop/t.ibd\n", "./t.ibd \x00", "", "/etc/passwd", "a\x00b.ibd",
		strings.Repeat("x", 4096) + ".ibd"} {
		f.Add([]byte(text))
	}
	name := filepath.Join(f.TempDir(), "t.isl")
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(name, text, 0o600); err != nil {
			t.Fatal(err)
		}
		to, err := Layout{}.readISL(name)
		if err != nil || to != "" && (path.Ext(to) != ".ibd" || strings.ContainsRune(to, 0) ||
			!strings.HasPrefix(string(text), to) || len(to) > 4000) {
			t.Errorf("%q leads to %q, %v", text, to, err)
		}
	})
}
