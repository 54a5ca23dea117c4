package cli_test

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"mbk/internal/repo"
	"mbk/internal/test/executable"
	"mbk/internal/test/mariadbtest"
	"mbk/internal/test/smtptest"
)

// judged is what the tests read of "verify --json".
type judged struct {
	OK         bool             `json:"ok"`
	Verdict    repo.Outcome     `json:"verdict"`
	Reason     string           `json:"reason"`
	Findings   []repo.Finding   `json:"findings"`
	AsOnSource []repo.TableNote `json:"as_on_source"`
	Proved     []string         `json:"proved"`
	Notes      []string         `json:"notes"`
}

// court is a repository with those who hear of its verifications.
type court struct {
	repository, metrics string
	server              string // mariadbd
	desk                *desk
	web                 string
	smtp                *smtptest.Server
}

func newCourt(t *testing.T, version string) *court {
	d, err := mariadbtest.Get(t.Context(), version)
	if err != nil {
		t.Fatal(err)
	}
	c := &court{repository: t.TempDir(), metrics: filepath.Join(t.TempDir(), "mbk.prom"), server: d.Program("mariadbd"),
		desk: &desk{status: 200}, smtp: smtptest.Start(t, smtptest.Options{})}
	web := httptest.NewServer(c.desk)
	t.Cleanup(web.Close)
	c.web = web.URL
	return c
}

// verify verifies, and tells everybody.
func (c *court) verify(t *testing.T, id, mariadbd string, more ...string) (judged, outcome) {
	t.Helper()
	args := []string{"verify", id, "--repo", c.repository, "--depth", "boot", "--mariadbd", mariadbd, "--scratch",
		t.TempDir(), "--owner", strconv.Itoa(os.Getuid()), "--metrics-file", c.metrics, "--json", "--quiet", "--no-defaults",
		"--notify", "always", "--mail-to", "dba@example.com", "--mail-from", "mbk@example.com", "--mail-server", c.smtp.Addr,
		"--mail-tls", "none", "--webhook", c.web}
	cmd := command(t, append(args, more...)...)
	o := launch(t, cmd).wait(t, 3*time.Minute)
	var v judged
	if o.stdout != "" {
		wantValid(t, "verify", o.stdout)
		if err := json.Unmarshal([]byte(o.stdout), &v); err != nil {
			t.Fatal(err)
		}
	}
	return v, o
}

// standing is what all that shows the state of a repository says.
type standing struct {
	list, show         string // parts of what list and show print
	damaged, lastOK    float64
	carriedOut         float64
	ageCode            int
	kept, told, posted string
	exit               int
}

// oneLine lets a text be folded and spaced as it is.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// want compares that.
func (c *court) want(t *testing.T, id string, w standing) {
	t.Helper()
	says := func(what, part string, args ...string) {
		t.Helper()
		if o := must(t, append(args, "--repo", c.repository)...); !strings.Contains(oneLine(o.stdout), oneLine(part)) {
			t.Errorf("%s does not say %q but\n%s", what, part, o.stdout)
		}
	}
	says("list", w.list, "list")
	says("show", w.show, "show", id)
	says("history", w.show, "history", id)
	says("expire", w.kept, "expire", "--keep-last", "1", "--dry-run")
	if o := mbk(t, "check", "--repo", c.repository, "--max-age", "26h", "--max-verify-age", "26h"); o.code != w.ageCode {
		t.Errorf("check --max-age ends with %d, want %d:\n%s", o.code, w.ageCode, o.stdout)
	}
	b, err := os.ReadFile(c.metrics)
	if err != nil {
		t.Fatal(err)
	}
	scrape(t, string(b), c.repository).want(t, "metrics",
		scraped{"mbk_repository_damaged_backups": w.damaged, "mbk_verify_last_success,boot": w.lastOK,
			"mbk_verify_last_carried_out,boot": w.carriedOut})
	mails := c.smtp.Mails()
	if len(mails) == 0 {
		t.Fatal("no mail came")
	}
	if subject, err := subjectOf(mails[len(mails)-1]); err != nil || !strings.Contains(subject, w.told) {
		t.Errorf("the mail is %q, %v, want %q", subject, err, w.told)
	}
	if got := c.posted(t); len(got) != 1 || got[0].Outcome != w.posted || got[0].ExitCode != w.exit ||
		!strings.Contains(got[0].Text, w.told) {
		t.Errorf("posted %+v, want %q, exit code %d", got, w.posted, w.exit)
	}
}

// posted is what a webhook was told of a verification.
type posted struct {
	Outcome  string `json:"outcome"`
	Text     string `json:"text"`
	ExitCode int    `json:"exit_code"`
}

// posted is what the webhook was told since it was last asked.
func (c *court) posted(t *testing.T) (all []posted) {
	t.Helper()
	for _, text := range c.desk.taken() {
		wantValid(t, "notice", text)
		var p posted
		if err := json.Unmarshal([]byte(text), &p); err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	return all
}

// A verification comes to one of four verdicts, and all that speaks of it keeps them
// apart. Whatever happened to the verification's own server was damage once: it took
// the proof from a backup, and a good one out of the expiry.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	const old, late = "10.11", "11.8" // from 11.5 on, the form of versioned tables is another
	c := newCourt(t, old)
	source := mariadbtest.New(t, old, "--plugin-load-add=ha_archive")
	source.MustExec(t, "CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY, s VARCHAR(100))",
		"INSERT INTO shop.t SELECT seq, MD5(seq) FROM mysql.seq_1_to_2000",
		"CREATE TABLE shop.arc (id INT) ENGINE=ARCHIVE", "INSERT INTO shop.arc VALUES (1)",
		"CREATE TABLE shop.versioned (id INT PRIMARY KEY) WITH SYSTEM VERSIONING",
		"INSERT INTO shop.versioned VALUES (1), (2)", "CREATE TABLE shop.gone (id INT PRIMARY KEY)",
		"CREATE TABLE shop.parts (id INT PRIMARY KEY) PARTITION BY HASH (id) PARTITIONS 2",
		"CREATE TABLE shop.crashed (s CHAR(200)) ENGINE=MyISAM", "INSERT INTO shop.crashed SELECT s FROM shop.t")
	id := document[taken](t, backupArgs(source, c.repository)...).ID

	v, o := c.verify(t, id, c.server)
	if o.code != 0 || !v.OK || v.Verdict != repo.VerdictProven || v.Reason != "" {
		t.Fatalf("exit code %d, %+v: %s", o.code, v, o.stderr)
	}
	proven := standing{list: "boot, ", show: "boot  ok", lastOK: 1, carriedOut: 1, kept: "last", told: " ok", posted: "ok"}
	c.want(t, id, proven)
	undone(t, c, id)

	// A newer server finds tables that wait for its mariadb-upgrade. Others have lost their files.
	if err := source.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"gone.ibd", "parts#P#p1.ibd"} {
		if err := os.Remove(filepath.Join(source.Datadir, "shop", name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Truncate(filepath.Join(source.Datadir, "shop", "crashed.MYD"), 10000); err != nil {
		t.Fatal(err)
	}
	asOnSource(t, newCourt(t, late), mariadbtest.Open(t, late, source.Datadir, "--plugin-load-add=ha_archive"))

	packs, err := filepath.Glob(filepath.Join(c.repository, "backups", id, "data-*.pack"))
	if err != nil || len(packs) == 0 {
		t.Fatal(packs, err)
	}
	b, err := os.ReadFile(packs[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	rewrite(t, packs[0], b)
	v, o = c.verify(t, id, c.server)
	if o.code != 3 || v.OK || v.Verdict != repo.VerdictDamaged || len(v.Findings) == 0 ||
		!strings.Contains(v.Reason, packs[0][len(c.repository)+1:]) {
		t.Errorf("exit code %d, %+v: %s", o.code, v, o.stderr)
	}
	c.want(t, id, standing{list: "DAMAGED: 1 finding at depth boot", show: "1 finding", damaged: 1, carriedOut: 1,
		ageCode: 1, kept: "damaged", told: "DAMAGED, 1 finding", posted: "failed", exit: 3})
}

// undone makes verifications fail in many ways that say nothing of the backup.
func undone(t *testing.T, c *court, id string) {
	folder := t.TempDir()
	// What is run instead of the server: it asks the real one for its version.
	program := func(name, text string) string {
		dir := filepath.Join(folder, name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		script := fmt.Sprintf("#!/bin/bash\nreal=%s\ncase \" $* \" in *' --version '*|*' --help '*) exec $real \"$@\";; "+
			"esac\n%s\n", c.server, text)
		if err := executable.Write(filepath.Join(dir, "mariadbd"), []byte(script)); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, "mariadbd")
	}
	const recovers = `case " $* " in *' --bootstrap '*) exec $real "$@";; esac` + "\n"
	const socket = `for a in "$@"; do case "$a" in --socket=*) s=${a#--socket=};; esac; done` + "\n"
	const killed = "kill -9 $p; wait $p; ulimit -c 0; kill -9 $$"
	empty := t.TempDir()
	option := func(o string) []string { return []string{"--mariadbd-option", o} }
	for name, f := range map[string]struct {
		program string
		more    []string
		code    int
		says    string
	}{
		"killed in recovery": {program("recovery", "$real \"$@\" & p=$!; "+killed), nil, 1, "killed"},
		"killed while checking": {program("check",
			recovers+socket+"$real \"$@\" & p=$!; while ! [ -S \"$s\" ]; do sleep .01; done; "+killed), nil, 1, "killed"},
		"no memory":             {program("memory", "ulimit -v 150000; exec $real \"$@\""), nil, 1, "emory"},
		"no memory to check":    {program("memory2", recovers+"ulimit -v 150000; exec $real \"$@\""), nil, 1, "emory"},
		"few open files":        {program("files", recovers+"ulimit -n 28; exec $real \"$@\""), nil, 1, "oo many open files"},
		"files of 1 MB at most": {program("size", "trap '' XFSZ; ulimit -f 1024; exec $real \"$@\""), nil, 1, "during write"},
		"a mistyped option":     {c.server, option("--bogus=1"), 2, "unknown variable 'bogus=1'"},
		"no folder for files":   {c.server, option("--tmpdir=/nowhere"), 1, "/nowhere"},
		"no plugin of a table":  {c.server, option("--plugin-dir=" + empty), 1, "Unknown storage engine 'ARCHIVE'"},
		"a server that ends":    {program("ends", "exit 7"), nil, 1, "exit status 7"},
	} {
		t.Run(name, func(t *testing.T) {
			v, o := c.verify(t, id, f.program, f.more...)
			if o.code != f.code || v.OK || v.Verdict != repo.VerdictUndone || len(v.Findings) > 0 ||
				!strings.Contains(v.Reason, f.says) || !strings.Contains(o.stderr, f.says) ||
				!strings.Contains(o.stderr, "mbk: hint: ") {
				t.Errorf("exit code %d, %+v: %s", o.code, v, o.stderr)
			}
			c.want(t, id, standing{list: "boot, ", show: "not carried out: ", lastOK: 1, kept: "last", told: "NOT CARRIED OUT: ",
				posted: "failed", exit: f.code})
		})
	}
	// A server that cannot be asked for its version, because mbk has no descriptor left, is not to blame.
	args := []string{"verify", id, "--repo", c.repository, "--depth", "boot", "--mariadbd", c.server, "--scratch",
		t.TempDir(), "--owner", strconv.Itoa(os.Getuid()), "--quiet", "--no-defaults"}
	limited := command(t, append([]string{"-c", `ulimit -n 15; exec "$0" "$@"`, os.Args[0]}, args...)...)
	limited.Path, limited.Args[0] = "/bin/sh", "sh"
	if o := launch(t, limited).wait(t, time.Minute); o.code != 1 || !strings.Contains(o.stderr, "too many open files") ||
		!strings.Contains(o.stderr, "ulimit -n") || strings.Contains(o.stderr, "name the server's program") {
		t.Errorf("few files for mbk: exit code %d: %s", o.code, o.stderr)
	}
	// Such a failure is news after a proof, and a proof after such a failure, but not another one.
	for _, step := range []struct {
		more []string
		told int
	}{{option("--bogus=1"), 0}, {nil, 1}, {option("--bogus=1"), 1}, {option("--bogus=2"), 0}} {
		c.verify(t, id, c.server, append(step.more, "--notify", "change")...)
		if got := c.posted(t); len(got) != step.told {
			t.Errorf("%q: posted %+v, want %d", step.more, got, step.told)
		}
	}
	// What is mistyped otherwise, or cannot begin, leaves no record.
	before := historyRecords(t, c.repository)
	if _, o := c.verify(t, id, "/nowhere/mariadbd"); o.code != 2 {
		t.Errorf("without a server: exit code %d: %s", o.code, o.stderr)
	}
	c.desk.taken()
	if after := historyRecords(t, c.repository); !slices.Equal(after, before) {
		t.Errorf("records %q, want %q", after, before)
	}
}

// historyRecords lists the objects of a repository's history.
func historyRecords(t *testing.T, repository string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(repository, "history", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// asOnSource verifies a backup of files that an older release has made.
func asOnSource(t *testing.T, c *court, source *mariadbtest.Server) {
	id := document[taken](t, backupArgs(source, c.repository)...).ID
	v, o := c.verify(t, id, c.server)
	named := func(n repo.TableNote) bool {
		return n.Table == "shop.versioned" && strings.Contains(n.Problem, "mariadb-upgrade")
	}
	if o.code != 0 || !v.OK || v.Verdict != repo.VerdictAsOnSource || !slices.ContainsFunc(v.AsOnSource, named) ||
		len(v.Findings) > 0 {
		t.Errorf("exit code %d, %+v: %s", o.code, v, o.stderr)
	}
	c.want(t, id, standing{list: "boot, ", show: " as on the source", lastOK: 1, carriedOut: 1, kept: "last",
		told: " as on the source", posted: "ok"})
}
