package restore

import (
	"path/filepath"
	"strings"
	"testing"
)

func FuzzParseDirMap(f *testing.F) {
	for _, text := range []string{"/a=/b", "/a/../..=/b", "a=b", "/=/b", "/a=/b=/c", "/a//=/./b/"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := ParseDirMap(text)
		if err != nil {
			return
		}
		for _, path := range []string{m.From, m.To} {
			if !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/" {
				t.Errorf("%q leads from %q to %q", text, m.From, m.To)
			}
		}
	})
}

// Whoever mounts something may give the place any name.
func FuzzListsMount(f *testing.F) {
	const line = "36 35 98:0 / /mnt/a\\040b rw,noatime - ext4 /dev/sda rw\n"
	f.Add(line, "/mnt/a b")
	f.Add("36 35 98:0 /mnt1\n\n \n"+line, "/mnt2")
	f.Fuzz(func(t *testing.T, text, path string) {
		found, err := listsMount(strings.NewReader(text), path)
		if found && (err != nil || path == "") {
			t.Errorf("%q is found in %q, %v", path, text, err)
		}
	})
}
