package cli_test

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"mbk/internal/test/executable"
	"mbk/internal/test/mariadbtest"
	"mbk/internal/test/s3test"
)

// debian is the folder of a fresh Debian with the stock server, of which a machine is made.
func debian(t *testing.T, suite string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make a machine")
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip("this is not Debian")
	}
	cache, err := mariadbtest.CacheFolder()
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(cache, "debian-"+suite)
	if out, err := exec.Command("testdata/machine/get-debian", suite, folder).CombinedOutput(); err != nil {
		t.Fatalf("a fresh Debian: %v\n%s", err, out)
	}
	return filepath.Join(folder, "root")
}

// bootMachine boots a machine for a script of testdata/machine, with the folder shared. prepare is
// called before it boots.
func bootMachine(t *testing.T, root, shared, script string, prepare ...string) {
	t.Helper()
	args := append([]string{root, shared, "testdata/machine/" + script}, prepare...)
	cmd := exec.Command("testdata/machine/boot", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Setsid: true}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == 77 || errors.Is(err, syscall.EPERM) {
		t.Skipf("this machine does not let systemd have namespaces: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("boot: %v\n%s\noutput:\n%s", err, out, shares(t, shared, "output"))
		}
	})
}

// put copies files into a shared folder, from which machines run them.
func put(t *testing.T, shared string, files ...string) {
	t.Helper()
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err == nil {
			err = executable.Write(filepath.Join(shared, filepath.Base(file)), text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// write writes a text into a shared folder.
func write(t *testing.T, shared, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(shared, name), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// ordersSQL are the data of a newcomer's server.
const ordersSQL = `CREATE DATABASE shop;
CREATE TABLE shop.orders (id INT PRIMARY KEY, customer TEXT);
INSERT INTO shop.orders SELECT seq, MD5(seq) FROM shop.seq_1_to_4000;
`

// readme returns the commands and the printed texts of a section of README.md.
func readme(t *testing.T, title string) (commands []string, printed []string) {
	t.Helper()
	_, section, found := strings.Cut(readFile(t, "../../README.md"), "\n## "+title+"\n")
	if !found {
		t.Fatalf("README.md has no section %q", title)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	for i, part := range strings.Split(section, "\n```\n") {
		if i%2 == 1 {
			printed = append(printed, part)
			continue
		}
		for line := range strings.Lines(strings.ReplaceAll(part, "\\\n", "")) {
			if command, is := strings.CutPrefix(line, "    "); is {
				commands = append(commands, strings.Join(strings.Fields(command), " "))
			}
		}
	}
	return commands, printed
}

// newcomer returns what a reader of README.md types, from the installation of the package to the
// restored server, and what happens to a table in between.
func newcomer(t *testing.T) (commands []string) {
	t.Helper()
	for _, title := range []string{"Install", "The first backup", "The first restore"} {
		of, _ := readme(t, title)
		for _, command := range of {
			if strings.HasPrefix(command, "make ") {
				continue // done on another machine
			}
			if strings.Contains(command, "--into-server") {
				commands = append(commands, accident)
			}
			commands = append(commands, command)
		}
	}
	if len(commands) < 12 {
		t.Fatalf("of README.md there are only %q", commands)
	}
	return commands
}

// accident is what happens before a table is restored.
const accident = `mariadb -e "DROP TABLE shop.orders"`

// wantTyped makes sure that all commands succeeded, and that what README.md shows is what they
// print, apart from numbers.
func wantTyped(t *testing.T, shared string, commands []string) {
	t.Helper()
	want := strings.Join(commands, " -> 0\n") + " -> 0\n"
	if facts := shares(t, shared, "facts"); facts != want {
		t.Errorf("facts:\n%s\nwant:\n%s\nscreen:\n%s", facts, want, shares(t, shared, "screen"))
	}
	screen := regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]`).ReplaceAllString(shares(t, shared, "screen"), "")
	_, printed := readme(t, "The first backup")
	if len(printed) != 2 {
		t.Fatalf("README.md shows %q", printed)
	}
	for line := range strings.Lines(strings.Join(printed, "\n")) {
		if line = strings.TrimSpace(line); line == "..." || line == "" {
			continue
		}
		first := strings.Fields(line)[0]
		if strings.HasPrefix(first, "20") {
			first = `20\d{6}T\d{6}Z-full`
		} else {
			first = regexp.QuoteMeta(first)
		}
		if !regexp.MustCompile(`(?m)(^|\r)`+first+`(\s|$)`).MatchString(screen) && !strings.HasPrefix(line, "1 backup") {
			t.Errorf("README.md shows %q, and the screen no %q:\n%s", line, first, screen)
		}
	}
	if orders := strings.TrimSpace(shares(t, shared, "orders")); orders != "4000" {
		t.Errorf("the restored server has %q orders, want 4000", orders)
	}
}

// What README.md promises to a newcomer, word for word: on a fresh Debian, with nothing but
// the package, from the installation to the nights, in less than five minutes.
func TestNewcomer(t *testing.T) {
	mariadbtest.Rare(t)
	deb := filepath.Join(releaseOf(t, "022", "UTC"), "mbk_1.2.3_amd64.deb")
	nights, _ := readme(t, "Every night")
	for _, suite := range []string{"bookworm", "trixie"} {
		t.Run(suite, func(t *testing.T) {
			shared := t.TempDir()
			put(t, shared, deb, "testdata/machine/typed")
			commands := append(newcomer(t), nights[:2]...)
			commands = append(commands, "systemctl start mbk-backup.service", "systemctl start mbk-verify.service")
			write(t, shared, "commands", strings.Join(commands, "\n")+"\n")
			write(t, shared, "shop.sql", ordersSQL)
			bootMachine(t, debian(t, suite), shared, "first")
			wantTyped(t, shared, commands)
			seconds, err := strconv.Atoi(strings.TrimSpace(shares(t, shared, "seconds")))
			if err != nil || seconds >= 300 {
				t.Errorf("a newcomer needs %d s, %v", seconds, err)
			}
			t.Logf("%s: %d s", suite, seconds)
			if screen := shares(t, shared, "screen"); !strings.Contains(screen, "mbk-backup.timer") ||
				!strings.Contains(screen, "mbk-verify.timer") {
				t.Errorf("the timers are not listed:\n%s", screen)
			}
			if picture := os.Getenv("MBK_PICTURE"); picture != "" && !t.Failed() { // make picture
				cmd := exec.Command("testdata/machine/picture", filepath.Join(shared, "screen"), picture)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
			}
			if t.Failed() {
				t.Logf("journal:\n%s", shares(t, shared, "journal"))
			}
		})
	}
}

// The nights that "mbk setup" arranges, by options and by answers, encrypted and in an object
// store. A second machine that has nothing but the restore card, the identity and the
// credentials becomes what the first one was.
func TestNightlyMachine(t *testing.T) {
	mariadbtest.Rare(t)
	deb := filepath.Join(releaseOf(t, "022", "UTC"), "mbk_1.2.3_amd64.deb")
	store := s3test.New(t)
	store.Kill() // the machines run it
	commands, _ := readme(t, "Every night")
	setup := strings.NewReplacer("https://s3.example.com", store.Endpoint()+" --s3-allow-http").Replace(commands[2])
	answers := []string{"s3://backups/db1", store.Endpoint(), "/etc/mbk/s3-credentials", "y", "/root/db1.key", "", "",
		"04:05", "n", "dba@example.org", "y"}
	for _, c := range []struct {
		suite string
		files map[string]string
		want  []string
	}{
		{"bookworm", map[string]string{"setup": setup + " --archive --at 03:15 --yes"}, []string{"setup: 0", "timers: 1",
			"timer: OnCalendar=*-*-* 03:15", "backup: success inactive 0", "archive: success active 0"}},
		{"trixie", map[string]string{"answers": strings.Join(answers, "\n") + "\n"}, []string{"setup: 0", "timers: 1",
			"timer: OnCalendar=*-*-* 04:05", "backup: success inactive 0"}},
	} {
		t.Run(c.suite, func(t *testing.T) {
			shared, root := t.TempDir(), debian(t, c.suite)
			put(t, shared, deb, "testdata/machine/object-store", store.Program())
			write(t, shared, "address", store.Addr)
			write(t, shared, "shop.sql", ordersSQL)
			for name, text := range c.files {
				write(t, shared, name, text)
			}
			bootMachine(t, root, shared, "nightly")
			facts := strings.Split(strings.TrimSpace(shares(t, shared, "facts")), "\n")
			if !slices.Equal(facts, c.want) {
				t.Errorf("facts %q, want %q\njournal:\n%s", facts, c.want, shares(t, shared, "journal"))
			}
			var list struct {
				Backups []struct {
					Verified struct{ Depth string }
				}
			}
			if err := json.Unmarshal([]byte(shares(t, shared, "list.json")), &list); err != nil || len(list.Backups) != 2 ||
				list.Backups[0].Verified.Depth != "boot" || list.Backups[1].Verified.Depth != "stored" {
				t.Errorf("the list is %+v, %v", list, err)
			}
			wantNoName(t, filepath.Join(shared, "store"), []string{"orders", "of the day"})
			bootMachine(t, root, shared, "restored")
			if facts := shares(t, shared, "facts"); facts != "restored: 0\norders: 4001\t4001\n" {
				t.Errorf("the second machine: %s\ncard:\n%s", facts, shares(t, shared, "card"))
			}
		})
	}
}
