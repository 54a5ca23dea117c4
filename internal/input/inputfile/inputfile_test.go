package inputfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	pipe, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close() //nolint:errcheck // of a test
	_, err = w.WriteString("piped")
	if err := errors.Join(err, w.Close(), os.WriteFile(in("file"), []byte("text"), 0o600), os.Symlink("file", in("link")),
		os.WriteFile(in("huge"), nil, 0o600), os.Truncate(in("huge"), maxBytes+1), unix.Mkfifo(in("fifo"), 0o600),
		os.Symlink("fifo", in("way"))); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ path, want, refused string }{
		{path: in("file"), want: "text"},
		{path: in("link"), want: "text"},
		{path: fmt.Sprintf("/dev/fd/%d", pipe.Fd()), want: "piped"},
		{path: in("fifo"), refused: "open " + in("fifo") + ": is a FIFO"},
		{path: in("way"), refused: "is a FIFO"},
		{path: "/dev/zero", refused: "open /dev/zero: is a device"},
		{path: dir, refused: "is a directory"},
		{path: in("none"), refused: "no such file"},
		{path: in("huge"), refused: "file is larger than"},
	} {
		text, err := Read(tt.path)
		if tt.refused == "" && (err != nil || string(text) != tt.want) {
			t.Errorf("%s: %q, %v, want %q", tt.path, text, err, tt.want)
		}
		if _, ok := errors.AsType[*fs.PathError](err); tt.refused != "" &&
			(!ok || !strings.Contains(err.Error(), tt.refused)) {
			t.Errorf("%s: %v, want %q", tt.path, err, tt.refused)
		}
	}
}
