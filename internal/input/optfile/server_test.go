package optfile

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"mbk/internal/test/mariadbtest"
)

// printDefaults returns the path of a server's my_print_defaults.
func printDefaults(t *testing.T, series string) string {
	t.Helper()
	d, err := mariadbtest.Get(t.Context(), series)
	if err != nil {
		t.Fatal(err)
	}
	const name = "my_print_defaults"
	for _, path := range []string{
		d.Program(name),
		filepath.Join(filepath.Dir(d.Program("mariadbd")), "..", "root", "usr", "bin", name), // fetched, but not wrapped
	} {
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	t.Fatalf("MariaDB %s came without %s", d.Version, name)
	return ""
}

// compare has a file read by MariaDB and by Read. Names in it must be those that
// Read leaves alone.
func compare(t *testing.T, program, path string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, "--defaults-file="+path, "--defaults-group-suffix=2", "client", "mbk")
	home := filepath.Dir(path)
	cmd.Env = []string{"HOME=" + home}
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, wantErr := cmd.Output()
	if exit := (*exec.ExitError)(nil); wantErr != nil && (!errors.As(wantErr, &exit) || !exit.Exited()) {
		t.Fatalf("run %s: %v", program, wantErr)
	}
	warnings := 0
	settings, err := Read(Options{
		File: path, Suffix: "2", Groups: []string{"client", "mbk"}, Getenv: environment("HOME=" + home),
		Warn: func(string) { warnings++ },
	})
	var got strings.Builder
	for _, word := range words(settings) {
		fmt.Fprintf(&got, "--%s\n", word)
	}
	switch {
	case (err == nil) != (wantErr == nil):
		t.Errorf("Read: %v, MariaDB: %v %s", err, wantErr, &complaints)
	case err == nil && got.String() != string(out):
		t.Errorf("Read:\n%q\nMariaDB:\n%q", &got, out)
	case err == nil && (warnings == 0) != (complaints.Len() == 0):
		t.Errorf("%d warnings, MariaDB: %s", warnings, &complaints)
	default:
		return
	}
	if text, err := os.ReadFile(path); err == nil {
		t.Logf("of the file\n%q", text)
	}
}

// oddFiles are read alike by MariaDB and by Read. DIR is the folder of tree.
var oddFiles = []struct{ name, text string }{
	{"empty", ""},
	{"groups",
		"[client2]\na=1\n[CLIENT]\nb\n[ client]\nc\n[client " +
			"]\nd\n[clie]\ne\n[client]x\nf\n[Mbk2]\ng\n[]\nh\n[client22]\ni\n"},
	{"quotes",
		"[client]\na='x'y\nb=\"x'\nc='\nd=''\ne='a\"\nf=\"a#b\" # c\ng='a\\'#b'\nh=\"x\ni=x'#'y\nj=\"a\\\\\" # b\n"},
	{"escapes", "[client]\na=\\n\\t\\r\\b\\s\\\"\\'\\\\\\x\nb=c:\\dir\\\nc='\\'\nd=\"a\\\"\ne=\\#x\nf='\\#x\n"},
	{"odd names", "[client]\nk k=1\nl l\n[m=1\n]n=1\n"},
	{"odd names without error", "[client]\nk k=1\nl l\n]n=1\n-o=1\n--p\n\\q=1\n'r'=1\n's#'t=1\nABC=1\n"},
	{"empty name", "[client]\na=1\n=v\nb\n"},
	{"no end of line", "[client]\na=1"},
	{"carriage returns", "[client]\r\na=1\r\nb\r\n!include DIR/home.cnf\r\n"},
	{"NUL bytes", "[client]\na=\x00b\nb=1\x00\nc\n\x00d\n"},
	{"latin1 space", "[client]\na=voil\u00e0\nb='voil\u00e0'\n\u00a0c=1\nd=\xa0x\n"},
	{"vertical space", "[client]\n\v\fa\v=\f1\v\n"},
	{"byte order mark", "\ufeff[client]\na=1\n"},
	{"line of the most bytes", "[client]\na=" + strings.Repeat("x", lineBytes-3) + "\nb=1\n"},
	{"line one too long", "[client]\na=" + strings.Repeat("x", lineBytes-2) + "\nb=1\n"},
	{"line two too long", "[client]\na=" + strings.Repeat("x", lineBytes-2) + "y\nb=1\n"},
	{"long comment goes on as an option", "[client]\n#" + strings.Repeat("x", lineBytes) + "=1\nb=1\n"},
	{"long comment before a group", "#" + strings.Repeat("x", lineBytes) + "=1\n[client]\nb=1\n"},
	{"directives", "[client]\n!foo\n!includes x\n!includedirs x\n!\n! \na=1\n"},
	{"include", "[client]\na=1\n!include DIR/home.cnf\nb=1\n  !  include\tDIR/home.cnf \t \n!include ~/my.cnf2\n"},
	{"include of a missing file", "[client]\na=1\n!include DIR/missing.cnf\nb=1\n"},
	{"include of nothing", "[client]\na=1\n!include\nb=1\n"},
	{"include with a comment", "[client]\n!include DIR/home.cnf # x\nb=1\n"},
	{"include in quotes", "[client]\n!include 'DIR/home.cnf'\nb=1\n"},
	{"include of itself", "!include DIR/self.cnf\n"},
	{"include of an open file", "!include DIR/open.cnf\n"},
	{"includedir", "[client]\na=1\n!includedir DIR/d\nb=1\n"},
	{"includedir with a slash", "[client]\na=1\n!includedir DIR/d/\nb=1\n"},
	{"includedir of the home folder", "[client]\n!includedir ~/d\n"},
	{"includedir of a missing folder", "[client]\n!includedir DIR/missing\n"},
	{"includedir of nothing", "[client]\n!includedir \n"},
	{"option before a group", "a=1\n[client]\n"},
	{"group without end", "[client\na=1\n"},
	{"comments before a group", "\n# a\n ; b\n\t\n[client]\na=1\n"},
}

func TestAsMariaDB(t *testing.T) {
	for _, series := range mariadbtest.Versions() {
		t.Run(series, func(t *testing.T) {
			program, dir := printDefaults(t, series), tree(t)
			for _, tt := range oddFiles {
				t.Run(tt.name, func(t *testing.T) {
					compare(t, program, write(t, t.TempDir(), "my.cnf", strings.ReplaceAll(tt.text, "DIR", dir)))
				})
			}
			t.Run("open file", func(t *testing.T) { compare(t, program, dir+"/open.cnf") })
			t.Run("missing file", func(t *testing.T) { compare(t, program, dir+"/missing.cnf") })
		})
	}
}

// TestRandomFilesAsMariaDB makes files out of the pieces that matter.
func TestRandomFilesAsMariaDB(t *testing.T) {
	pieces := []string{"[client]", "[mbk2]", "[x]", "[", "]", "\n", "\n", "\n", "\n", "a", "b", "=", "=", " ", "\t", "#",
		";", "'", "'", `"`, `"`, `\`, `\`, "n", "s", "-", "\r\n", "\xa0"}
	const seed = 1
	rnd := rand.New(rand.NewPCG(seed, seed))
	series := mariadbtest.Versions()[0]
	program, dir := printDefaults(t, series), t.TempDir()
	for i := range 150 {
		text := "[client]\n"
		for range rnd.IntN(60) {
			text += pieces[rnd.IntN(len(pieces))]
		}
		lines := strings.Split(text, "\n")
		for n, line := range lines {
			// With space before it, an empty name reaches into memory before the
			// line, in MariaDB.
			if bytes.HasPrefix(trimLeft([]byte(line)), []byte("=")) {
				lines[n] = "a" + line
			}
		}
		compare(t, program, write(t, dir, fmt.Sprintf("%d.cnf", i), strings.Join(lines, "\n")+"\n"))
		if t.Failed() {
			return
		}
	}
}
