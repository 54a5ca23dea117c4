package cli_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"mbk/internal/cli"
	"mbk/internal/repo"
	"mbk/internal/test/mariadbtest"
)

// backupArgs backs up as root, reading no option file and printing no progress.
func backupArgs(srv *mariadbtest.Server, repository string, more ...string) []string {
	args := []string{"backup", "--repo", repository, "--socket", srv.Socket, "--user", "root", "--no-defaults", "--quiet"}
	return append(args, more...)
}

// Calls that cannot be carried out as they are. None may change anything.
func TestRefusedCalls(t *testing.T) {
	onlyIn(t, "its repositories are folders in which something is wrong", inFolder)
	t.Parallel()
	versions := mariadbtest.Versions()
	srv := mariadbtest.New(t, versions[0], "--skip-ssl")
	srv.MustExec(t, "CREATE USER bob@localhost IDENTIFIED BY 'secret'", "CREATE DATABASE d", "CREATE TABLE d.t (a INT)",
		"INSERT INTO d.t VALUES (1)")
	repository, fresh, place := t.TempDir(), t.TempDir(), t.TempDir()
	must(t, backupArgs(srv, repository)...)
	must(t, backupArgs(srv, repository)...)

	file, strange, newer, damaged := filepath.Join(place, "file"), filepath.Join(place, "strange"),
		filepath.Join(place, "newer"), filepath.Join(place, "damaged")
	for path, text := range map[string]string{
		file: "x", filepath.Join(strange, "photo.jpeg"): "x",
		filepath.Join(newer, "mbk-repository.json"):   `{"format_version": 99, "id": "00112233-4455-4677-8899-aabbccddeeff"}`,
		filepath.Join(damaged, "mbk-repository.json"): `{"format_version": 2, "id": "0011`,
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	inside := filepath.Join(srv.Datadir, "backup")
	if err := os.Mkdir(inside, 0o700); err != nil {
		t.Fatal(err)
	}
	b := func(more ...string) []string { return backupArgs(srv, fresh, more...) }
	r := func(more ...string) []string {
		return append([]string{"restore", "--repo", repository, "--owner", self(), "--quiet"}, more...)
	}
	target := filepath.Join(place, "target")
	help := func(command string) string { return `"mbk ` + command + ` --help" lists the options` }
	for _, c := range []struct {
		name   string
		args   []string
		code   int
		advice string
		parts  []string
	}{
		{"no server: no socket", b("--socket", "/nowhere.sock"), 1, "is mariadbd running here?",
			[]string{"connect as user root at socket /nowhere.sock: no server answers"}},
		{"no server: nobody listens at the socket", b("--socket", file), 1, "is mariadbd running here?",
			[]string{"no server answers", file}},
		{"no server: nobody listens at the port", b("--host", "127.0.0.1", "--port", "1"), 1, "is mariadbd running here?",
			[]string{"port 127.0.0.1:1: no server answers"}},
		{"no password", b("--user", "bob"), 2, "check --user and the password",
			[]string{"connect as user bob", "access denied"}},
		{"wrong password", b("--user", "bob", "--password=wrong"), 2, "check --user and the password",
			[]string{"connect as user bob", "access denied"}},
		{"unknown account", b("--user", "alice"), 2, "check --user and the password",
			[]string{"connect as user alice", "access denied"}},
		{"port that is none", b("--host", "127.0.0.1", "--port", "99999"), 2, help("backup"),
			[]string{"--port is 99999, want 1 to 65535"}},
		{"certificate without its key", b("--ssl-cert", file), 2, help("backup"),
			[]string{"--ssl-cert and --ssl-key belong together"}},
		{"filter for a look at the repository alone",
			[]string{"check", "--repo", repository, "--no-defaults", "--quiet", "--max-age", "26h", "--database", "shop"}, 2,
			help("check"),
			[]string{"--database asks the server", "--max-age"}},
		{"no encryption on the server", b("--ssl"), 2, "or connect without encryption: --skip-ssl",
			[]string{"no protected connection"}},
		{"authorities missing", b("--host", "127.0.0.1", "--ssl-ca", "/nowhere.pem"), 2, "check --ssl-ca",
			[]string{"no protected connection", "/nowhere.pem"}},
		{"protocol that is none", b("--protocol", "pipe"), 2, help("backup"),
			[]string{`--protocol is tcp or socket, not "pipe"`}},
		{"option file missing", []string{"list", "--repo", repository, "--defaults-file", "/nowhere.cnf", "--quiet"}, 2,
			help("list"), []string{"/nowhere.cnf"}},

		{"data directory missing", b("--datadir", "/nowhere"), 2, "run mbk on the server's machine",
			[]string{"datadir: ", "/nowhere"}},
		{"data directory is a file", b("--datadir", file), 2, "run mbk on the server's machine", []string{"datadir: ", file}},
		{"data directory is another folder", b("--datadir", strange), 2, "run mbk on the server's machine",
			[]string{"datadir: ", strange}},

		{"no repository named", []string{"backup", "--no-defaults", "--quiet"}, 2, "in $MBK_REPO",
			[]string{"no repository is named"}},
		{"repository missing", b("--repo", "/nowhere/db1"), 2, "mkdir -m 700 -p /nowhere/db1",
			[]string{"repository: ", "/nowhere/db1"}},
		{"repository is a file", b("--repo", file), 2, "check --repo", []string{file}},
		{"repository is something else", b("--repo", strange), 2, "check --repo", []string{strange, "not an mbk repository"}},
		{"repository empty", []string{"list", "--repo", fresh, "--quiet"}, 2, `the first "mbk backup"`,
			[]string{fresh, "not an mbk repository"}},
		{"repository of a newer format", b("--repo", newer), 2, "a newer one",
			[]string{newer, "format 99", "made by a newer mbk"}},
		{"repository with a damaged mbk-repository.json", b("--repo", damaged), 3, "bring mbk-repository.json back",
			[]string{damaged, "mbk-repository.json", "damaged"}},

		{"unknown command", []string{"backups"}, 2, `"mbk --help" lists the commands`, []string{`no command "backups"`}},
		{"unknown option", b("--nonsense"), 2, help("backup"), []string{"no option --nonsense"}},
		{"unknown short option", b("-x"), 2, help("backup"), []string{"no option -x"}},
		{"argument where none belongs", b("db1"), 2, help("backup"), []string{`takes no argument, but "db1" was given`}},
		{"value missing at the end", []string{"backup", "--repo"}, 2, help("backup"), []string{"--repo needs a value"}},
		{"codec that is none", b("--compress", "lzma"), 2, help("backup"), []string{`--compress: codec "lzma"`}},
		{"level that is none", b("--compress", "zstd:99"), 2, help("backup"), []string{"--compress", "no level 99"}},
		{"rate that is none", b("--rate-limit", "fast"), 2, help("backup"), []string{`--rate-limit "fast"`}},
		{"number that is none", b("--threads", "x"), 2, help("backup"), []string{`invalid value "x" for option --threads`}},
		{"too many threads", b("--threads", "100000"), 2, help("backup"), []string{"--threads is 100000"}},
		{"repository in the data directory", b("--repo", inside), 2, "not in " + srv.Datadir,
			[]string{"repository: ", inside, "lies in the data directory"}},
		{"target in the repository", r("latest", "--target", filepath.Join(repository, "target")), 2,
			"name a target outside of " + repository, []string{filepath.Join(repository, "target"), "lies in the repository"}},
		{"negative number", b("--threads", "-1"), 2, help("backup"), []string{"--threads is negative"}},
		{"negative duration", b("--lock-wait", "-1s"), 2, help("backup"), []string{"--lock-wait is negative"}},
		{"progress of an unknown kind", b("--progress", "loud"), 2, help("backup"), []string{`not "loud"`}},
		{"spool folder missing", b("--spool-dir", "/nowhere"), 2, "name a folder with --spool-dir",
			[]string{"--spool-dir", "/nowhere"}},
		{"spool folder is a file", b("--spool-dir", file), 2, "name a folder with --spool-dir",
			[]string{"--spool-dir", file}},

		{"restore without an id", r("--target", target), 2, help("restore"), []string{"needs the id of a backup"}},
		{"restore of two", r("latest", "x", "--target", target), 2, help("restore"),
			[]string{`takes one id, but "x" was given too`}},
		{"restore without a target", r("latest"), 2, help("restore"), []string{"needs --target FOLDER"}},
		{"target forgotten at the end", r("latest", "--target"), 2, help("restore"), []string{"--target needs a value"}},
		{"target forgotten before an option", r("latest", "--target", "--dry-run"), 2, help("restore"),
			[]string{"--target needs a value, but --dry-run follows"}},
		{"unknown id", r("20010101T000000Z-full", "--target", target), 2, `"mbk list" names all backups`,
			[]string{`no backup "20010101T000000Z-full" in ` + repository}},
		{"id with a path in it", r("../../etc", "--target", target), 2, `"mbk list" names all backups`,
			[]string{`no backup "../../etc"`}},
		{"ambiguous beginning of an id", r("2", "--target", target), 2, "give more of the id",
			[]string{`"2" stands for 2 backups`}},
		{"target not empty", r("latest", "--target", strange), 2, "a restore never overwrites anything",
			[]string{strange, "is not empty: it holds photo.jpeg"}},
		{"target of a running server", r("latest", "--target", srv.Datadir), 2, "stop that server",
			[]string{srv.Datadir, "is the data directory of a running server, pid "}},
		{"target is a file", r("latest", "--target", file), 2, "name another target", []string{file, "is not a directory"}},
		{"target's parent missing", r("latest", "--target", "/nowhere/at/all"), 2,
			"make the folder that is to hold the data directory", []string{"/nowhere/at/all"}},
		{"owner that is none", r("latest", "--target", target, "--owner", "no-such-user"), 2, help("restore"),
			[]string{`no user "no-such-user"`}},
		{"mariadbd that is not there", r("latest", "--target", target, "--mariadbd", "/nowhere"), 2, "--mariadbd",
			[]string{"/nowhere"}},
		{"mariadbd that is something else", r("latest", "--target", target, "--mariadbd", "/bin/true"), 2, "--mariadbd",
			[]string{"/bin/true", "is no MariaDB server's answer"}},

		{"verify at an unknown depth", []string{"verify", "latest", "--repo", repository, "--depth", "deep", "--quiet"}, 2,
			help("verify"), []string{`not "deep"`}},
		{"verify with what is of another depth", []string{"verify", "latest", "--repo", repository, "--extended", "--quiet"},
			2, help("verify"), []string{"--extended is about --depth boot"}},
		{"verify in no folder", []string{"verify", "latest", "--repo", repository, "--depth", "boot", "--owner", self(),
			"--scratch", "/nowhere/at/all", "--quiet"}, 2, "with --scratch", []string{"/nowhere"}},
		{"a little memory", []string{"verify", "latest", "--repo", repository, "--use-memory", "10M", "--quiet"}, 2,
			help("verify"), []string{`--use-memory "10M" is not a size of 64MiB or more`}},
		{"memory that is no size", []string{"restore", "latest", "--repo", repository, "--target", target, "--use-memory",
			"much", "--quiet"}, 2, help("restore"), []string{`--use-memory "much"`}},
		{"an upgrade without recovery",
			[]string{"restore", "latest", "--repo", repository, "--target", target, "--upgrade", "--no-recover", "--quiet"}, 2,
			help("restore"), []string{"--upgrade needs the recovery"}},
		{"extract of nothing", []string{"extract", "latest", "--repo", repository, "--to", target, "--quiet"}, 2,
			help("extract"), []string{"at least one table"}},
		{"extract to nowhere", []string{"extract", "latest", "d.t", "--repo", repository, "--quiet"}, 2, help("extract"),
			[]string{"needs --to FOLDER"}},
		{"extract of an unknown table", []string{"extract", "latest", "d.x", "--repo", repository, "--to", target, "--quiet"},
			2, "name tables as database.table", []string{`"d.x" matches no table`}},
		{"expire without a rule", []string{"expire", "--repo", repository, "--quiet"}, 2, help("expire"),
			[]string{"at least one rule"}},
		{"expire with a negative rule", []string{"expire", "--repo", repository, "--keep-last", "-1", "--quiet"}, 2,
			help("expire"), []string{"--keep-last is negative"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := tree(t, repository, fresh, place)
			mbk(t, c.args...).wantRefusal(t, c.code, c.advice, c.parts...)
			wantUnchanged(t, before, repository, fresh, place)
		})
	}
	// What stands against depth boot is said before everything is read.
	if o := mbk(t, "verify", "latest", "--repo", repository, "--depth", "boot", "--owner", self(), "--mariadbd",
		"/bin/true", "--progress", "plain"); o.code != 2 || strings.Contains(o.stderr, "reading all objects") {
		t.Errorf("verify by /bin/true exits %d, stderr:\n%s", o.code, o.stderr)
	}
	wantFree(t, srv)
}

// The files of another server must never be taken for those of the one that
// answers.
func TestDatadirOfAnotherServer(t *testing.T) {
	t.Parallel()
	for _, version := range mariadbtest.Some(t, mariadbtest.Versions()...) {
		t.Run(version, func(t *testing.T) {
			ours, other := mariadbtest.New(t, version), mariadbtest.New(t, version)
			const advice = "--datadir and --socket: they must belong to the same server"
			const refused = "is not the data directory of the server that answers"
			repository := t.TempDir()
			lsn := func(srv *mariadbtest.Server) string {
				return srv.MustValue(t,
					"SELECT GROUP_CONCAT(VARIABLE_VALUE ORDER BY VARIABLE_NAME) FROM information_schema.GLOBAL_STATUS WHERE "+
						"VARIABLE_NAME IN ('INNODB_LSN_CURRENT', 'INNODB_LSN_LAST_CHECKPOINT')")
			}
			// Servers made from one template come to rest at the same checkpoint.
			last, since := "", time.Now()
			until(t, "rest at the same checkpoint", func() bool {
				a, b := lsn(ours), lsn(other)
				if a+b != last {
					last, since = a+b, time.Now()
				}
				return a == b && time.Since(since) > time.Second
			})
			// Both logs say the same, and the other server has never seen a backup.
			mbk(t, backupArgs(ours, repository, "--datadir", other.Datadir)...).wantRefusal(t, 2, advice, other.Datadir,
				refused, "ddl.log")
			// The other server has seen one.
			other.MustExec(t, "BACKUP STAGE START", "BACKUP STAGE END")
			mbk(t, backupArgs(ours, repository, "--datadir", other.Datadir)...).wantRefusal(t, 2, advice, other.Datadir,
				refused, "ddl.log")
			wantNoBackup(t, repository, 2)
			// Their logs differ, so that nothing needs to be locked.
			other.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.t (a INT)",
				"INSERT INTO d.t SELECT seq FROM mysql.seq_1_to_1000")
			if err := other.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			empty := t.TempDir()
			before := tree(t, empty)
			mbk(t, backupArgs(ours, empty, "--datadir", other.Datadir)...).wantRefusal(t, 2, advice, other.Datadir, refused,
				"its redo log has checkpoint")
			wantUnchanged(t, before, empty)
			// Another path to the right one will do.
			link := filepath.Join(t.TempDir(), "link")
			if err := os.Symlink(ours.Datadir, link); err != nil {
				t.Fatal(err)
			}
			must(t, backupArgs(ours, repository, "--datadir", link)...)
			wantFree(t, ours)
			wantFree(t, other)
		})
	}
}

// A user of the machine who may talk to the server, but not read its files, or
// not write into the repository.
func TestRightsOnThisMachine(t *testing.T) {
	onlyIn(t, "it is about the rights to the repository's folder", inFolder)
	place := publicFolder(t)
	dist, err := mariadbtest.Get(t.Context(), mariadbtest.Versions()[0])
	if err != nil {
		t.Fatal(err)
	}
	srv, err := mariadbtest.Start(t.Context(),
		mariadbtest.Options{Dist: dist, Dir: filepath.Join(place, "server"), Args: []string{"--debug-no-sync"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
	repository := filepath.Join(place, "repository")
	if err := os.Mkdir(repository, 0o777); err != nil {
		t.Fatal(err)
	}
	mode := func(path string, mode os.FileMode) {
		t.Helper()
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(advice string, parts ...string) {
		t.Helper()
		cmd := command(t, backupArgs(srv, repository)...)
		asNobody(t, cmd)
		before := tree(t, repository)
		launch(t, cmd).wait(t, time.Minute).wantRefusal(t, 2, advice, parts...)
		wantUnchanged(t, before, repository)
	}
	mode(repository, 0o777)
	mode(srv.Datadir, 0)
	refused("run mbk as root or as the user that the server runs as", "datadir: ", srv.Datadir, "permission denied")
	mode(srv.Datadir, 0o755)
	log := filepath.Join(srv.Datadir, "ib_logfile0")
	mode(log, 0)
	refused("run mbk as root or as the user that the server runs as", "datadir: ", log, "permission denied")
	if out, err := exec.Command("chmod", "-R", "a+rX", srv.Datadir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if os.Geteuid() == 0 { // a server that is not root's could not go on
		folder, table := filepath.Join(srv.Datadir, "mysql"), filepath.Join(srv.Datadir, "mysql", "db.MAI")
		mode(folder, 0)
		refused("run mbk as root or as the user that the server runs as", "datadir: ", "mysql", "permission denied")
		mode(folder, 0o755)
		mode(table, 0)
		refused("run mbk as root or as the user that the server runs as", "datadir: ", table, "permission denied")
		mode(table, 0o664)
	}
	mode(repository, 0o555)
	refused("as the user who owns the repository", repository, "not writable", "permission denied")
	mode(repository, 0)
	refused("who may read that folder", repository, "permission denied")
	mode(repository, 0o755)
	must(t, backupArgs(srv, repository)...)
	if os.Geteuid() == 0 {
		refused("as the user who owns the repository", repository, "permission denied")
		mode(filepath.Join(repository, "mbk-repository.json"), 0o644)
		cmd := command(t, "verify", "latest", "--repo", repository, "--no-defaults")
		asNobody(t, cmd)
		launch(t, cmd).wait(t, time.Minute).wantRefusal(t, 1, "run mbk as root, or as the user", repository,
			"permission denied")
	}
	wantFree(t, srv)
}

// An account without rights is told the very statement that gives it those it
// lacks. With them a backup works.
func TestLeastPrivileges(t *testing.T) {
	t.Parallel()
	for _, version := range mariadbtest.Some(t, mariadbtest.Versions()...) {
		t.Run(version, func(t *testing.T) {
			srv := mariadbtest.New(t, version)
			srv.MustExec(t, "CREATE USER 'mbk'@'localhost' IDENTIFIED BY 'secret'", "CREATE DATABASE d",
				"CREATE TABLE d.t (a INT)", "INSERT INTO d.t VALUES (1), (2)",
				"CREATE VIEW d.v AS SELECT a FROM d.t", "CREATE TABLE d.m (a INT) ENGINE=MyISAM")
			repository := t.TempDir()
			backup := []string{"backup", "--repo", repository, "--socket", srv.Socket, "--user", "mbk", "--password=secret",
				"--no-defaults", "--quiet"}
			before := tree(t, repository)
			const grant = "GRANT RELOAD, PROCESS, BINLOG MONITOR, SLAVE MONITOR, SHOW VIEW ON *.* TO 'mbk'@'localhost'"
			mbk(t, backup...).wantRefusal(t, 2, grant, "privileges: account 'mbk'@'localhost' lacks RELOAD, PROCESS")
			srv.MustExec(t, "GRANT RELOAD, PROCESS, SHOW VIEW ON *.* TO 'mbk'@'localhost'")
			const rest = "GRANT BINLOG MONITOR, SLAVE MONITOR ON *.* TO 'mbk'@'localhost'"
			mbk(t, backup...).wantRefusal(t, 2, rest, "account 'mbk'@'localhost' lacks BINLOG MONITOR, SLAVE MONITOR")
			wantUnchanged(t, before, repository)
			srv.MustExec(t, rest)
			b := document[taken](t, backup...)
			if b.Binlog.File == "" {
				t.Error("the backup has no binlog position")
			}
			target := filepath.Join(t.TempDir(), "restored")
			must(t, restoreArgs(b.ID, repository, target)...)
			mariadbtest.MustEqual(t, mariadbtest.Open(t, version, target), srv)
			wantFree(t, srv)
		})
	}
}

// A password reaches mbk in five ways, and nobody else.
func TestPassword(t *testing.T) {
	srv := mariadbtest.New(t, mariadbtest.Versions()[0])
	const word = "Zs7-Tq9-glass-onion"
	srv.MustExec(t, "CREATE USER mbk@localhost IDENTIFIED BY '"+word+"'", "GRANT ALL ON *.* TO mbk@localhost",
		"CREATE DATABASE d",
		"CREATE TABLE d.t (a INT PRIMARY KEY, b BLOB)",
		"INSERT INTO d.t SELECT seq, RANDOM_BYTES(1000) FROM mysql.seq_1_to_3000")
	repository := t.TempDir()
	backup := []string{"backup", "--repo", repository, "--socket", srv.Socket, "--user", "mbk", "--quiet"}
	file := filepath.Join(t.TempDir(), "my.cnf")
	if err := os.WriteFile(file, []byte("[client]\nuser = nobody\npassword = wrong\n[mbk]\nuser = mbk\npassword = \""+word+
		"\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	outputs := must(t, append(backup, "--no-defaults", "-p"+word)...).stdout
	outputs += must(t, "backup", "--repo", repository, "--socket", srv.Socket, "--quiet", "--defaults-file", file).stdout
	environment := command(t, append(backup, "--no-defaults")...)
	environment.Env = append(environment.Env, "MBK_PASSWORD="+word)
	o := launch(t, environment).wait(t, time.Minute)
	if o.code != 0 {
		t.Errorf("MBK_PASSWORD: exit code %d: %s", o.code, o.stderr)
	}
	outputs += o.stdout + o.stderr
	secret := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(secret, []byte(word+"\nsecond line\n"), 0o604); err != nil {
		t.Fatal(err)
	}
	o = in(t, []string{"MBK_PASSWORD=wrong"}, append(backup, "--no-defaults", "--password-file", secret)...)
	if want := "mbk: warning: everyone can get at the password in " + secret + ": chmod 600 " + secret +
		"\n"; o.code != 0 || o.stderr != want {
		t.Errorf("--password-file: exit code %d: %s, want %s", o.code, o.stderr, want)
	}
	if err := os.Chmod(secret, 0o600); err != nil {
		t.Fatal(err)
	}
	o = in(t, []string{"MBK_PASSWORD_FILE=" + secret}, append(backup, "--defaults-file", file, "--user", "mbk")...)
	if o.code != 0 || o.stderr != "" {
		t.Errorf("MBK_PASSWORD_FILE: exit code %d: %s", o.code, o.stderr)
	}
	outputs += o.stdout
	o = mbk(t, append(backup, "--no-defaults", "--password="+word+"x", "--verbose")...)
	o.wantRefusal(t, 2, "check --user and the password", "access denied")
	outputs += o.stderr

	lonely := command(t, append(backup, "--no-defaults", "-p")...)
	launch(t, lonely).wait(t, time.Minute).wantRefusal(t, 2, "$MBK_PASSWORD", "no terminal to ask for the password")

	r := launch(t, command(t, append(backup, "--no-defaults", "--password="+word, "--rate-limit", "10MB", "--verbose")...))
	visible := time.Now()
	until(t, "command line without the password", func() bool {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", r.cmd.Process.Pid))
		return err == nil && len(b) > 0 && !strings.Contains(string(b), word)
	})
	if d := time.Since(visible); d > 5*time.Second {
		t.Errorf("the password was on the command line for %s", d)
	}
	if o = r.wait(t, time.Minute); o.code != 0 {
		t.Errorf("--password=WORD: exit code %d: %s", o.code, o.stderr)
	}
	outputs += o.stdout + o.stderr
	for _, id := range ids(t, repository) {
		outputs += must(t, "show", id, "--repo", repository, "--json", "--no-defaults").stdout
	}
	history, err := filepath.Glob(filepath.Join(repository, "history", "*"))
	if err != nil || len(history) < 4 {
		t.Fatalf("history: %v, %v", history, err)
	}
	for _, path := range history {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		outputs += string(b)
	}
	if strings.Contains(outputs, word) {
		t.Error("the password is in an output or in the history")
	}
}

// ids lists the backups of a repository.
func ids(t *testing.T, repository string) []string {
	t.Helper()
	var all []string
	for _, b := range document[struct {
		Backups []struct {
			ID string `json:"id"`
		} `json:"backups"`
	}](t, "list", "--repo", repository, "--no-defaults").Backups {
		all = append(all, b.ID)
	}
	return all
}

// wantNoBackup makes sure that a repository holds nothing of failed attempts but
// their history, and returns that, oldest first.
func wantNoBackup(t *testing.T, repository string, attempts int) []repo.Attempt {
	t.Helper()
	if have := ids(t, repository); len(have) > 0 {
		t.Errorf("listed: %v", have)
	}
	left, err := filepath.Glob(filepath.Join(repository, "backups", "*", "*"))
	for _, kept := range interrupted(t, repository) { // for the next backup to continue on
		left = slices.DeleteFunc(left, func(name string) bool { return filepath.Base(filepath.Dir(name)) == kept.ID })
	}
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	hidden, err := filepath.Glob(filepath.Join(repository, "backups", "*", ".*"))
	if err != nil || len(hidden) > 0 {
		t.Errorf("left behind: %v, %v", hidden, err)
	}
	all, err := opened(t, repository).Attempts(t.Context())
	if err != nil || len(all) != attempts {
		t.Fatalf("the history has %d attempts, %v; want %d", len(all), err, attempts)
	}
	for _, a := range all {
		if a.Outcome != repo.OutcomeFailed || a.Error == "" || a.Started.IsZero() || a.Finished.Before(a.Started) ||
			a.ServerVersion == "" {
			t.Errorf("the history has the attempt %+v", a)
		}
	}
	return all
}

// With --json stdout is one JSON document and stderr is silent with --quiet;
// without --quiet every line of stderr is one too, if so asked.
func TestDocuments(t *testing.T) {
	t.Parallel()
	srv := mariadbtest.New(t, mariadbtest.Versions()[0])
	srv.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.t (a INT)", "INSERT INTO d.t VALUES (1)")
	repository, place := t.TempDir(), t.TempDir()
	server := []string{"--socket", srv.Socket, "--user", "root"}
	owner := []string{"--owner", self()}
	for _, args := range [][]string{
		append([]string{"check"}, server...),
		append([]string{"backup"}, server...),
		append([]string{"backup", "--progress", "json"}, server...),
		{"list"}, {"show", "latest"}, {"show", "latest", "--tables"}, {"history"}, {"history", "latest"},
		{"report", "latest"},
		{"verify", "latest"}, {"verify", "latest", "--depth", "stored", "--progress=json"},
		append([]string{"restore", "latest", "--target", filepath.Join(place, "a"), "--dry-run"}, owner...),
		append([]string{"restore", "latest", "--target", filepath.Join(place, "a")}, owner...),
		append([]string{"restore", "latest", "--target", filepath.Join(place, "b"), "--progress=json", "--no-recover"},
			owner...),
		{"extract", "latest", "d.t", "--to", filepath.Join(place, "c")},
		{"expire", "--keep-last", "1", "--dry-run"}, {"expire", "--keep-last", "1"},
		{"config"}, {"config", "restore"},
		append([]string{"backup", "--log-format=json", "--verbose"}, server...),
	} {
		progress := strings.Contains(strings.Join(args, " "), "progress") || slices.Contains(args, "--log-format=json")
		args = append(args, "--repo", repository, "--no-defaults", "--json")
		if !progress {
			args = append(args, "--quiet")
		}
		o := must(t, args...)
		wantValid(t, schemaOf(args), o.stdout)
		if (o.stderr != "") != progress {
			t.Errorf("mbk %q says %q", args, o.stderr)
		}
		wantLines(t, o.stderr)
	}
	// Errors too, whether or not the call was understood.
	for _, args := range [][]string{
		{"list", "--repo", filepath.Join(place, "none"), "--log-format=json"},
		{"list", "--log-format", "json", "--nonsense"},
		{"verify", "latest", "--progress", "json", "--depth", "deep", "--repo", repository},
	} {
		o := mbk(t, args...)
		if kinds := wantLines(t, o.stderr); o.code != 2 || !slices.Equal(kinds, []string{"error", "hint"}) {
			t.Errorf("mbk %q exits %d: %s", args, o.code, o.stderr)
		}
	}
	// Without --repo.
	environment := command(t, "list", "--json", "--no-defaults")
	environment.Env = append(environment.Env, "MBK_REPO="+repository)
	file := filepath.Join(place, "my.cnf")
	if err := os.WriteFile(file, []byte("[mbk]\nrepo = "+repository+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, cmd := range []*exec.Cmd{environment, command(t, "list", "--json", "--defaults-file="+file)} {
		if o := launch(t, cmd).wait(t, time.Minute); o.code != 0 || !strings.Contains(o.stdout, repository) {
			t.Errorf("mbk %q exits %d: %s%s", cmd.Args, o.code, o.stdout, o.stderr)
		}
	}
	// All that a night needs out of an option file.
	nightly := optionFile(t, "[client]", "socket = "+srv.Socket, "user = root", "[mbk]", "repo = "+repository, "quiet",
		"depth = stored",
		"[mbk-backup]", "compress = s2", "json", "[mbk-list]", "json")
	if o := must(t, "backup", "--defaults-file="+nightly); !strings.Contains(o.stdout, `"codec": "s2"`) || o.stderr != "" {
		t.Errorf("mbk backup out of an option file prints %s%s", o.stdout, o.stderr)
	}
	if o := must(t, "verify", "latest", "--defaults-file="+nightly); o.stdout+o.stderr != "" {
		t.Errorf("mbk verify out of an option file prints %s%s", o.stdout, o.stderr)
	}
	// An error does not spoil the promise.
	o := mbk(t, "list", "--repo", filepath.Join(place, "none"), "--json", "--quiet", "--no-defaults")
	o.wantRefusal(t, 2, "mkdir", "none")
}

// The help of every command names all of its options, and fits a screen. The long
// help explains them.
func TestHelp(t *testing.T) {
	help, long := map[string]string{"": must(t, "--help").stdout}, map[string]string{}
	for _, f := range cli.Flags() {
		if help[f.Command] == "" {
			help[f.Command], long[f.Command] = must(t, f.Command, "--help").stdout, must(t, f.Command, "--help-all").stdout
		}
		for _, name := range f.Names {
			name = strings.Replace(name, "--ssl", "ssl", 1) // --[skip-]ssl
			if !strings.Contains(help[f.Command], name) {
				t.Errorf("the help of %s does not name %s", f.Command, name)
			}
			if explained := regexp.MustCompile(`(?m)^ .*` + name +
				`[^\n]*?(  +|\n {10,})[^ -]`); !explained.MatchString(long[f.Command]) {
				t.Errorf("the long help of %s does not explain %s", f.Command, name)
			}
		}
	}
	if must(t, "help", "backup").stdout != help["backup"] || must(t, "help").stdout != help[""] ||
		must(t).stdout != help[""] {
		t.Error("mbk help is not what --help is")
	}
	mbk(t, "help", "backups").wantRefusal(t, 2, `"mbk --help" lists the commands`, `no command "backups"`)
	for command, text := range help {
		wantHelp(t, command, text, 90)
		if command != "" {
			wantHelp(t, command, long[command], 230)
		}
	}
}

// wantHelp checks the layout of a help text.
func wantHelp(t *testing.T, command, text string, lines int) {
	t.Helper()
	for _, part := range []string{"USAGE\n", "EXAMPLES\n", "EXIT STATUS\n"} {
		if !strings.Contains(text, part) {
			t.Errorf("the help of %q has no %q", command, part)
		}
	}
	count := 0
	for line := range strings.Lines(text) {
		if count++; utf8.RuneCountInString(strings.TrimSuffix(line, "\n")) > 80 || strings.Contains(line, "default: false") ||
			strings.Contains(line, "`") {
			t.Errorf("the help of %q has the line %q", command, line)
		}
	}
	if count > lines {
		t.Errorf("the help of %q has %d lines", command, count)
	}
}

// Options may stand behind arguments, and paths may be relative.
func TestOrderAndRelativePaths(t *testing.T) {
	t.Parallel()
	srv := mariadbtest.New(t, mariadbtest.Versions()[0])
	place := t.TempDir()
	if err := os.Mkdir(filepath.Join(place, "repository"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		backupArgs(srv, "repository"),
		{"restore", "--no-defaults", "latest", "--quiet", "--repo=repository", "--target", "data", "--owner", self(),
			"--no-recover"},
		{"extract", "latest", "mysql.proc", "--to", "files", "-r", "repository", "mysql.db"},
		{"verify", "--repo", "repository", "--", "latest"},
		{"backup", "-rrepository", "-S" + srv.Socket, "-uroot", "-q", "--no-defaults"},
	} {
		cmd := command(t, args...)
		cmd.Dir = place
		if o := launch(t, cmd).wait(t, time.Minute); o.code != 0 {
			t.Fatalf("mbk %q exits %d: %s", args, o.code, o.stderr)
		}
	}
	for _, path := range []string{"data/ibdata1", "files/mysql/proc.MAD", "files/mysql/db.MAD"} {
		if _, err := os.Stat(filepath.Join(place, path)); err != nil {
			t.Error(err)
		}
	}
}

// A log belongs to one series of servers, and no older release of it.
func TestRestoreByAnotherSeries(t *testing.T) {
	t.Parallel()
	versions := mariadbtest.Versions()
	for i, version := range versions {
		srv := mariadbtest.New(t, version)
		other, err := mariadbtest.Get(t.Context(), versions[(i+1)%len(versions)])
		if err != nil {
			t.Fatal(err)
		}
		if other.Version == srv.Dist.Version {
			t.Skip("only one version to test")
		}
		repository, place := t.TempDir(), t.TempDir()
		b := document[taken](t, backupArgs(srv, repository)...)
		before := tree(t, repository, place)
		args := append(restoreArgs(b.ID, repository, filepath.Join(place, "target")), "--mariadbd", other.Program("mariadbd"))
		mbk(t, args...).wantRefusal(t, 2, "install mariadbd "+srv.Dist.Version+" or a later "+srv.Dist.Series,
			"recovers files of "+srv.Dist.Version, "is "+other.Version)
		wantUnchanged(t, before, repository, place)
	}
}
