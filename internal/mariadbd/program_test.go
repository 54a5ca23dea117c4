package mariadbd

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"mbk/internal/sys/fsuser"
	"mbk/internal/test/rights"
	"mbk/stage"
)

func TestFitOf(t *testing.T) {
	for _, c := range []struct {
		server, source string
		want           Fit
	}{
		{"10.11.19-MariaDB", "10.11.19-MariaDB-log", Fits},
		{"10.11.20-MariaDB", "10.11.19-MariaDB", Fits},
		{"10.11.18-MariaDB", "10.11.19-MariaDB", OlderRelease},
		{"11.8.6-MariaDB", "10.11.19-MariaDB", NewerSeries},
		{"11.4.1-MariaDB", "10.11.19-MariaDB", NewerSeries},
		{"10.11.1-MariaDB", "10.6.19-MariaDB", NewerSeries},
		{"10.6.30-MariaDB", "10.11.19-MariaDB", OlderSeries},
		{"10.11.19-MariaDB", "11.4.2-MariaDB", OlderSeries},
	} {
		server, err1 := stage.ParseVersion(c.server)
		source, err2 := stage.ParseVersion(c.source)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		if got := FitOf(server, source); got != c.want {
			t.Errorf("FitOf(%s, %s) = %v, want %v", c.server, c.source, got, c.want)
		}
	}
}

// A repository must not be able to make us run a program of its choice.
func TestPlausibleProgram(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"mariadbd", "rm"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	open := filepath.Join(dir, "open")
	if err := os.Mkdir(open, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(open, "mariadbd"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(open, 0o777); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		"/bin/ls":                           false, // no server
		filepath.Join(dir, "rm"):            false,
		filepath.Join(dir, "none/mariadbd"): false,
		"mariadbd":                          false,
		dir + "/x/../mariadbd":              false,
		filepath.Join(open, "mariadbd"):     false, // others can exchange it
	} {
		if got := plausible(path); got != want {
			t.Errorf("plausible(%s) = %v, want %v", path, got, want)
		}
	}
	if !trusted("/bin/ls") {
		t.Error("/bin/ls is not trusted")
	}
}

// Root asked each program for its version that it found below /opt, whoever had put it
// there.
func TestRootsProgram(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("playing another user takes root")
	}
	top := rights.Public(t)
	staff := fsuser.User{GID: 50}
	for name, folder := range map[string]struct {
		of   fsuser.User
		mode os.FileMode
	}{"roots": {fsuser.User{}, 0o755}, "staff": {staff, 0o775 | os.ModeSetgid}, "his": {rights.Attacker,
		0o755}, "all": {fsuser.User{}, 0o777}, "tmp": {fsuser.User{}, 0o777 | os.ModeSticky}, "list": {staff, 0o775}} {
		if err := touch(filepath.Join(rights.Give(t, filepath.Join(top, name), folder.of, folder.mode),
			"mariadbd")); err != nil {
			t.Fatal(err)
		}
	}
	rights.Grant(t, filepath.Join(top, "list"), rights.Attacker)
	err := errors.Join(touch(filepath.Join(top, "roots", "his")),
		os.Chown(filepath.Join(top, "roots", "his"), rights.Attacker.UID,
			rights.Attacker.GID), os.Symlink("../his/mariadbd", filepath.Join(top, "roots", "link")))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]bool{
		"roots/mariadbd": true, "staff/mariadbd": true, "tmp/mariadbd": true,
		"his/mariadbd": false, "all/mariadbd": false, "roots/his": false, "roots/link": false, "roots/none": false,
		"list/mariadbd": false,
	} {
		if got := rootsProgram(filepath.Join(top, path)); got != want {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
	}
}

// touch makes an empty file.
func touch(path string) error { return os.WriteFile(path, nil, 0o600) }
