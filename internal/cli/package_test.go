package cli_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// What is released: the same bytes from the same files, in packages that do what their
// first page promises.
func TestRelease(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip(err)
	}
	t.Parallel()
	first, second := releaseOf(t, "022", "UTC"), releaseOf(t, "077", "Asia/Tokyo")
	sums := readFile(t, filepath.Join(first, "SHA256SUMS"))
	if again := readFile(t, filepath.Join(second, "SHA256SUMS")); sums != again {
		t.Errorf("built twice:\n%s\n%s", sums, again)
	}
	for _, name := range []string{"mbk_1.2.3_linux_amd64.tar.gz", "mbk_1.2.3_amd64.deb", "mbk-1.2.3-1.x86_64.rpm"} {
		if !strings.Contains(sums, "  "+name+"\n") {
			t.Errorf("no %s in\n%s", name, sums)
		}
	}
	deb := filepath.Join(first, "mbk_1.2.3_amd64.deb")
	t.Run("lintian", func(t *testing.T) { lint(t, deb) })
	t.Run("first hour", func(t *testing.T) { testFirstHour(t, deb) })
}

// releaseOf builds the release in a copy of this checkout and returns the folder with
// what was built.
func releaseOf(t *testing.T, umask, zone string) string {
	t.Helper()
	place := t.TempDir()
	script := fmt.Sprintf(`set -eu
umask %s
cd ../..
git ls-files --cached --others --exclude-standard -z | xargs -0 sh -c 'for f; do [ ! -e "$f" ] || cp --parents "$f" %s/; done' -
cd %[2]s
touch main.go
TZ=%s ARCHES=amd64 VERSION=1.2.3 SOURCE_DATE_EPOCH=1790000000 packaging/release tar deb rpm`, umask, place, zone)
	if out, err := exec.Command("bash", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return filepath.Join(place, "dist")
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// lint has Debian's checker look at a package.
func lint(t *testing.T, deb string) {
	if _, err := exec.LookPath("lintian"); err != nil {
		t.Skip(err) // CI installs it
	}
	if out, err := exec.Command("lintian", "--allow-root", "--fail-on", "error,warning",
		deb).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// testFirstHour installs the package beside Debian's server. Root types what README.md says, and
// root and the server's user then use it in turn, with what it is configured for.
func testFirstHour(t *testing.T, deb string) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to install a package")
	}
	oneAtATime(t)
	installDebian(t)
	shared := t.TempDir()
	commands := newcomer(t)
	put(t, shared, "testdata/machine/typed")
	write(t, shared, "commands", strings.Join(commands, "\n")+"\n")
	write(t, shared, "shop.sql", ordersSQL)
	cmd := exec.Command("testdata/machine/install", deb, shared)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Setsid: true}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 77 || errors.Is(err, fs.ErrPermission) {
		t.Skipf("this machine has no namespaces: %v\n%s", err, out)
	}
	wantTyped(t, filepath.Join(shared, "typed-here"), commands)
	var want []string
	for _, order := range [][]string{{"root", "mysql"}, {"mysql", "root", "mysql"}} {
		want = append(want, "installed: mysql:mysql 700")
		for _, user := range order {
			for _, command := range []string{"check", "backup --quiet", "verify latest", "expire --keep-last 2", "list"} {
				want = append(want, user+": mbk "+command+" -> 0")
			}
		}
		want = append(want, strings.Join(order, " ")+": owned by mysql:mysql 600,mysql:mysql 700")
	}
	want = append(want,
		"mysql: mbk verify latest --depth boot --scratch /var/lib/mbk -> 0",
		"root: mbk verify latest --depth boot -> 0",
		"root: mbk restore latest --target /var/lib/mysql-restored -> 0",
		"restored: mysql:mysql 700",
		"again: mysql:mysql 750, full backup",
		"without mysql: ",
		"with mysql: mysql:mysql 700",
		"finished",
	)
	facts := strings.Split(strings.TrimSuffix(readFile(t, filepath.Join(shared, "facts")), "\n"), "\n")
	if !slices.Equal(facts, want) {
		t.Errorf("%v\nfacts:\n%s\nwant:\n%s\noutput:\n%s", err, strings.Join(facts, "\n"), strings.Join(want, "\n"), out)
	}
}
