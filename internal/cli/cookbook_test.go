package cli_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"mbk/internal/test/executable"
	"mbk/internal/test/mariadbtest"
)

// The recipes of docs/cookbook.md are run as they stand there, with other paths.
func TestCookbook(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/cookbook.md")
	if err != nil {
		t.Fatal(err)
	}
	versions := mariadbtest.Versions()
	srv := mariadbtest.Listen(t, versions[len(versions)-1], "")
	srv.MustExec(t, "CREATE DATABASE shop", "CREATE DATABASE archive", "CREATE TABLE shop.log_1 (a INT)",
		"CREATE TABLE archive.old (a INT)",
		"CREATE TABLE shop.orders (id INT PRIMARY KEY AUTO_INCREMENT, b LONGTEXT)",
		"INSERT INTO shop.orders SELECT seq, MD5(seq) FROM shop.seq_1_to_1000")
	k := newKitchen(t, srv)
	newer, err := mariadbtest.Get(t.Context(), "11.8")
	if err != nil {
		t.Fatal(err)
	}
	orders := 1000
	order := func() { orders++; srv.MustExec(t, "INSERT INTO shop.orders (b) VALUES ('one more')") }
	backup := func() { k.cook(t, "mbk backup --repo /backup/db1 --quiet", false); order() }
	// What was written after a backup is in several binary logs, beside which newer
	// servers keep an index, and has a row that needs a large packet.
	severalLogs := func() {
		backup()
		for range 2 {
			srv.MustExec(t, "FLUSH BINARY LOGS")
			order()
		}
		srv.MustExec(t, "UPDATE shop.orders SET b = REPEAT('x', 17 << 20) WHERE id = 1")
	}

	for _, recipe := range []struct {
		title  string
		before func()
		tasted func(t *testing.T, printed string)
	}{
		{"Nightly backup", order, func(t *testing.T, _ string) {
			if metrics := k.read(t, "/var/lib/prometheus/node-exporter/mbk-db1.prom"); !strings.Contains(metrics,
				`mbk_verify_last_success_timestamp_seconds{`) {
				t.Errorf("metrics:\n%s", metrics)
			}
		}},
		{"Nightly increments", order, func(t *testing.T, printed string) {
			if !regexp.MustCompile(`(?m)^20\S+-full .*\n  20\S+-incr .* pages, `).MatchString(printed) {
				t.Errorf("printed:\n%s", printed)
			}
		}},
		{"A full backup without the server", order, func(t *testing.T, printed string) {
			list := k.cook(t, "mbk list --repo /backup/db1", false)
			if !strings.Contains(printed, "would remove") || strings.Count(list, "-full") != 2 {
				t.Errorf("printed:\n%s", printed)
			}
		}},
		{"A backup through a pipe", order, func(t *testing.T, printed string) {
			if !strings.Contains(printed, "-full") {
				t.Errorf("printed:\n%s", printed)
			}
		}},
		{"A second copy elsewhere", order, func(t *testing.T, printed string) {
			if strings.Count(printed, "  pages, ") != 1 || strings.Count(printed, "-full") < 2 {
				t.Errorf("printed:\n%s", printed)
			}
		}},
		{"Before an upgrade", order, func(t *testing.T, printed string) {
			if !strings.Contains(printed, "  pinned: before the upgrade to 11.8\n") ||
				!strings.Contains(printed, "\nunpinned ") {
				t.Errorf("printed:\n%s", printed)
			}
		}},
		{"A backup was interrupted", order, func(t *testing.T, printed string) {
			if !strings.Contains(printed, "-incr") {
				t.Errorf("printed:\n%s", printed)
			}
		}},
		{"Monitoring", func() { k.cook(t, "mbk verify latest --repo /backup/db1 --quiet", false) },
			func(t *testing.T, printed string) {
				if !strings.Contains(printed, "-full") {
					t.Errorf("printed:\n%s", printed)
				}
			}},
		{"Many servers", func() { k.cook(t, "mkdir -p /backup/db2; mbk init --repo /backup/db2", false) },
			func(t *testing.T, printed string) {
				if !strings.Contains(printed, "green  shop\n") || !strings.Contains(printed, "red    mail\n") ||
					!strings.Contains(printed, "-full") {
					t.Errorf("printed:\n%s", printed)
				}
			}},
		{"Restore drill", order, func(t *testing.T, printed string) {
			if !regexp.MustCompile(fmt.Sprintf(`\| +%d \| +%d \|`, orders-1, orders-1)).MatchString(printed) {
				t.Errorf("not %d orders in\n%s", orders-1, printed)
			}
		}},
		{"One table as it was", func() { backup(); backup() }, func(t *testing.T, printed string) {
			if !strings.Contains(printed, "files imported") || !strings.Contains(printed, "shop.orders__before_") ||
				!strings.Contains(printed, fmt.Sprint(orders-1)) {
				t.Errorf("printed:\n%s", printed)
			}
			orders--
			wantValue(t, srv, "SELECT COUNT(*) FROM shop.orders", fmt.Sprint(orders))
			wantValue(t, srv, "SELECT COUNT(*) FROM shop.orders_of_last_night", fmt.Sprint(orders))
		}},
		{"A part of the server", backup, func(t *testing.T, _ string) {
			if _, err := os.Stat(k.path("/var/lib/mysql-dev/shop/orders.ibd")); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(k.path("/var/lib/mysql-dev/archive")); err == nil {
				t.Error("archive was restored")
			}
		}},
		{"New replica", backup, func(t *testing.T, _ string) {
			order()
			until(t, "order on the replica", func() bool {
				return strings.TrimSpace(k.cook(t, `mariadb -N -e "SELECT COUNT(*) FROM shop.orders"`, true)) == fmt.Sprint(orders)
			})
		}},
		{"The server is lost", severalLogs, func(t *testing.T, _ string) {
			wantValue(t, srv, "SELECT COUNT(*) FROM shop.orders", fmt.Sprint(orders))
			wantValue(t, srv, "SELECT LENGTH(b) FROM shop.orders WHERE id = 1", fmt.Sprint(17<<20))
			if got := strings.TrimSpace(k.cook(t, `mariadb -N -e "SELECT @@datadir"`, false)); got != k.path("/var/lib/mysql")+
				"/" {
				t.Errorf("the server runs on %s", got)
			}
		}},
		{"To a larger version", func() {
			old := mariadbtest.New(t, "10.11")
			old.MustExec(t, "CREATE DATABASE shop", "CREATE TABLE shop.orders (id INT PRIMARY KEY)",
				"INSERT INTO shop.orders VALUES (1), (2)")
			k = newKitchen(t, old)
			k.newer = filepath.Dir(newer.Program("mariadbd"))
			k.cook(t, "mbk backup --repo /backup/db1 --quiet", false)
		}, func(t *testing.T, printed string) {
			if !strings.Contains(printed, "\nupgraded ") || !strings.Contains(printed, "\n"+newer.Version) {
				t.Errorf("printed:\n%s", printed)
			}
			if got := strings.TrimSpace(k.cook(t, `mariadb -N -e "SELECT COUNT(*) FROM shop.orders"`, true)); got != "2" {
				t.Errorf("%s orders, want 2", got)
			}
		}},
	} {
		_, rest, found := strings.Cut(string(text), "\n## "+recipe.title+"\n")
		if !found {
			t.Errorf("no recipe %q", recipe.title)
			continue
		}
		rest, _, _ = strings.Cut(rest, "\n## ")
		ok := t.Run(recipe.title, func(t *testing.T) {
			recipe.before()
			printed := ""
			for _, block := range regexp.MustCompile("(?s)```sh( new)?\n(.*?)```").FindAllStringSubmatch(rest, -1) {
				printed += k.cook(t, block[2], block[1] != "")
			}
			if printed == "" && !strings.Contains(rest, "--quiet") {
				t.Error("nothing was run, or nothing printed")
			}
			recipe.tasted(t, printed)
		})
		if !ok {
			return // the next one may build on it
		}
	}
	// TestCookbookOfMoments has five, and TestContainers one.
	if n, have := strings.Count(string(text), "\n## "), 15+5+1; n != have {
		t.Errorf("the cookbook has %d recipes, the tests %d", n, have)
	}
}

// The recipes with the archive of binary logs, on a server of their own.
func TestCookbookOfMoments(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/cookbook.md")
	if err != nil {
		t.Fatal(err)
	}
	srv := mariadbtest.Listen(t, newest(), "")
	srv.MustExec(t, "CREATE DATABASE shop", "CREATE TABLE shop.orders (id INT PRIMARY KEY AUTO_INCREMENT, b TEXT)",
		"INSERT INTO shop.orders SELECT seq, 'right' FROM shop.seq_1_to_200")
	k := newKitchen(t, srv)
	k.cook(t, "mbk backup --repo /backup/db1 --quiet", false)
	for _, recipe := range []struct {
		title  string
		before []string
		want   string // printed
	}{
		{"The table is gone", []string{"INSERT INTO shop.orders (b) VALUES ('right')", "DROP TABLE shop.orders"},
			`\| *201 `},
		{"A moment without an archive", []string{"DROP TABLE shop.orders"}, `table +shop.orders: 201 rows`},
		{"The row is wrong since yesterday", []string{"UPDATE shop.orders SET b='wrong'"}, `(?s)UPDATE shop.*\| *7 \| right `},
		{"A clone as of 11:59", []string{"DO SLEEP(3.1)", "DELETE FROM shop.orders"}, "UTC|20[0-9-]*T"},
		{"The server is lost, and nothing else", []string{"INSERT INTO shop.orders (b) VALUES ('the last')"}, "transactions"},
	} {
		_, rest, found := strings.Cut(string(text), "\n## "+recipe.title+"\n")
		if !found {
			t.Fatalf("no recipe %q", recipe.title)
		}
		rest, _, _ = strings.Cut(rest, "\n## ")
		rest = strings.ReplaceAll(rest, "today 11:59", "2 seconds ago")
		srv.MustExec(t, recipe.before...)
		printed := ""
		for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(rest, -1) {
			printed += k.cook(t, block[1], false)
		}
		if !regexp.MustCompile(recipe.want).MatchString(printed) {
			t.Errorf("%s: printed:\n%s", recipe.title, printed)
		}
	}
	clone := mariadbtest.Open(t, newest(), k.path("/var/lib/mysql-test"))
	wantValue(t, clone, "SELECT COUNT(*) FROM shop.orders WHERE b='wrong'", "201")
	got := k.cook(t, `mariadb -N -e "SELECT GROUP_CONCAT(b) FROM shop.orders"`, false)
	if strings.TrimSpace(got) != "the last" {
		t.Errorf("after the server was lost: %q", got)
	}
}

func wantValue(t *testing.T, srv *mariadbtest.Server, query, want string) {
	t.Helper()
	if got, err := srv.Value(t.Context(), query); err != nil || got != want {
		t.Errorf("%s: %q, %v, want %q", query, got, err, want)
	}
}

// kitchen is where recipes are run: two machines, of which the second is new,
// as folders.
type kitchen struct {
	source, fresh string
	bin           string // folder of the programs that the recipes call
	newer         string // folder of the new machine's server, if not that of the source
	env           []string
}

// newKitchen makes the folders, a client configuration on each machine, and the
// programs that the recipes call.
func newKitchen(t *testing.T, srv *mariadbtest.Server) *kitchen {
	t.Helper()
	k := &kitchen{source: t.TempDir(), fresh: t.TempDir(), bin: t.TempDir()}
	bin := k.bin
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	programs := filepath.Dir(srv.Dist.Program("mariadb"))
	for path, text := range map[string]string{
		filepath.Join(bin, "mbk"):          "#!/bin/sh\n" + asMbk + "=1 exec " + program + " \"$@\"\n",
		filepath.Join(bin, "systemctl"):    systemctl,
		filepath.Join(bin, "ssh"):          "#!/bin/sh\nshift\nexec sh -c \"$*\"\n",
		filepath.Join(k.source, ".my.cnf"): "[client]\nuser=root\nsocket=" + srv.Socket + "\n",
		filepath.Join(k.fresh, ".my.cnf"):  "[client]\nuser=root\nsocket=" + k.socket() + "\n",
		filepath.Join(k.source, "server"): fmt.Sprintf("--server-id=1 --log-bin=binlog2 --port=%d --socket=%s",
			srv.Port, srv.Socket),
		filepath.Join(k.fresh, "server"): "--server-id=2 --skip-networking --socket=" + k.socket(),
	} {
		if err := executable.Write(path, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	for _, client := range []string{"mariadb", "mariadb-admin", "mariadb-dump", "mariadb-binlog"} {
		text := "#!/bin/sh\nexec " + filepath.Join(programs, client) + " --defaults-file=\"$HOME/.my.cnf\" \"$@\"\n"
		if err := executable.Write(filepath.Join(bin, client), []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	for _, folder := range []string{"backup/db1", "mnt/other/db1", "srv/backup/db1", "var/lib/prometheus/node-exporter",
		"run/mysqld"} {
		if err := os.MkdirAll(filepath.Join(k.source, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(k.fresh, "var/lib"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(srv.Datadir, filepath.Join(k.source, "var/lib/mysql")); err != nil {
		t.Fatal(err)
	}
	path := strings.Join([]string{bin, programs, os.Getenv("PATH")}, ":")
	k.env = append(os.Environ(), "PATH="+path, "MBK_REPO=", "MBK_OWNER="+self())
	t.Cleanup(func() { // what systemctl has started
		for _, home := range []string{k.source, k.fresh} {
			cmd := exec.Command(filepath.Join(bin, "mariadb-admin"), "shutdown")
			cmd.Env = append(os.Environ(), "HOME="+home)
			_ = cmd.Run() // it may be down
		}
	})
	return k
}

func (k *kitchen) socket() string { return filepath.Join(k.fresh, "s") }

// path is a path of the source's machine as it is here.
func (k *kitchen) path(path string) string { return filepath.Join(k.source, path) }

func (k *kitchen) read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(k.path(path))
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

// cook runs the commands of a recipe on the source's machine or a new one, and
// returns what they print.
func (k *kitchen) cook(t *testing.T, commands string, onNew bool) string {
	t.Helper()
	home := k.source
	if onNew {
		home = k.fresh
	}
	commands = strings.NewReplacer(
		"/srv/", k.source+"/srv/", "/backup/", k.source+"/backup/", "/mnt/", k.source+"/mnt/",
		"/var/lib/", home+"/var/lib/", "/run/mysqld/", k.source+"/run/mysqld/",
		"--user=mysql", "--user=root", "db1.example.org", "127.0.0.1",
	).Replace(commands)
	return k.run(t, home, commands, onNew)
}

// run runs commands in a home as they stand, and returns what they print.
func (k *kitchen) run(t *testing.T, home, commands string, onNew bool) string {
	t.Helper()
	cmd := exec.Command("bash", "-e", "-c", commands)
	cmd.Dir, cmd.Env = home, append(k.env, "HOME="+home)
	if onNew && k.newer != "" {
		cmd.Env = append(cmd.Env, "PATH="+k.bin+":"+k.newer+":"+os.Getenv("PATH"))
	}
	cmd.WaitDelay = time.Second // a server in the background may have its output
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	all := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // what it has started too
	timer := time.AfterFunc(time.Minute, all)
	defer timer.Stop()
	out, err := cmd.CombinedOutput()
	if err != nil {
		all()
		t.Fatalf("%v:\n%s\nprinted:\n%s", err, commands, out)
	}
	return string(out)
}

// systemctl starts and stops the server of the machine whose home it runs in.
const systemctl = `#!/bin/sh
case "$1" in
stop)
	mariadb-admin shutdown
	while mariadb-admin --silent ping 2>/dev/null; do sleep 0.1; done
	;;
start)
	setsid mariadbd --no-defaults --user="$(id -un)" --datadir="$HOME/var/lib/mysql" --bind-address=127.0.0.1 \
		$(cat "$HOME/server") >"$HOME/error.log" 2>&1 </dev/null &
	until mariadb-admin --silent ping 2>/dev/null; do sleep 0.1; done
	;;
esac
`
