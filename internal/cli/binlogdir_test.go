package cli_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mbk/internal/test/mariadbtest"
)

// Without an archive the server's own files lead to any moment: while it runs, and when it is dead.
func TestRestoreUntilBinlogDir(t *testing.T) {
	t.Parallel()
	version := mariadbtest.Some(t, "10.5", "10.11", "11.8")[0]
	other := mariadbtest.New(t, version)
	other.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.t (a INT AUTO_INCREMENT PRIMARY KEY, b TEXT)",
		"FLUSH BINARY LOGS")
	for range 10 { // the same numbers in the same files
		other.MustExec(t, "INSERT INTO d.t (b) VALUES ('another server')")
	}
	source := mariadbtest.New(t, version, "--log-bin-compress=ON", "--log-bin-compress-min-len=10")
	source.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.t (a INT AUTO_INCREMENT PRIMARY KEY, b TEXT)",
		"CREATE TABLE d.m (a INT AUTO_INCREMENT PRIMARY KEY, b DOUBLE) ENGINE=MyISAM", "FLUSH BINARY LOGS",
		"INSERT INTO d.t (b) VALUES ('in the backup')")
	repository := t.TempDir()
	b := document[taken](t, "backup", "--repo", repository, "--socket", source.Socket, "--user", "root", "--quiet")
	domains(t, source)
	source.MustExec(t, "FLUSH BINARY LOGS", "INSERT INTO d.t (b) VALUES ('almost the last')", "FLUSH BINARY LOGS")
	target := func() string { return filepath.Join(t.TempDir(), "restored") }
	until := func(dir, moment string, more ...string) []string {
		return append(append(restoreArgs("latest", repository, target()), "--until", moment, "--binlog-dir", dir), more...)
	}

	after := loggedSince(t, source, b.Binlog.GTID)
	p := document[pointsOf](t, "points", "--repo", repository, "--binlog-dir", source.Datadir)
	last := source.MustValue(t, "SELECT @@gtid_binlog_pos")
	if len(p.Spans) != 1 || p.Spans[0].FromGTID != b.Binlog.GTID || p.Spans[0].UntilGTID != last || len(p.Gaps) != 0 {
		t.Errorf("points: %+v, the log ends with %s", p, last)
	}
	to := after[len(after)*2/3]
	for _, moment := range []string{"gtid:" + to, "end"} {
		dir := filepath.Join(t.TempDir(), "restored")
		args := append(restoreArgs("latest", repository, dir), "--until", moment, "--binlog-dir", source.Datadir)
		plan := document[untilDocument](t, append(args, "--dry-run")...)
		got := document[untilDocument](t, args...)
		plan.Replay.Way = got.Replay.Way // a plan has none
		if got.Replay != plan.Replay || got.Replay.Timeline != "binlog.000001" || moment != "end" && got.Replay.Last != to {
			t.Errorf("to %s: %+v, the plan was %+v", moment, got, plan)
		}
		wantAsReplica(t, source, dir, version, got.Replay.To)
	}
	at := placesOf(t, source)
	place := at[len(at)-2]
	got := document[untilDocument](t, until(source.Datadir, "position:"+place.file+":"+place.to, "--dry-run")...)
	if got.Replay.Last != place.gtid {
		t.Errorf("at %+v: %+v", place, got)
	}

	wantProvenByFiles(t, source, repository, last)
	// Of a dead server the last file ends within an event.
	source.MustExec(t, "INSERT INTO d.t (b) VALUES ('it is cut off')")
	if err := source.Kill(); err != nil {
		t.Fatal(err)
	}
	wantTorn(t, source, until, last)
	wantFilesRefused(t, source, other, repository, until)
}

// wantProvenByFiles verifies to the end of a server's own log, and to that of a log of which a byte is
// flipped. Neither says anything of an archive.
func wantProvenByFiles(t *testing.T, source *mariadbtest.Server, repository, end string) {
	t.Helper()
	verify := []string{"verify", "latest", "--repo", repository, "--depth", "boot", "--owner", self(), "--json",
		"--until", "end", "--binlog-dir"}
	flipped := flippedLog(t, source)
	for dir, want := range map[string]struct {
		code    int
		verdict string
	}{source.Datadir: {0, "proven"}, flipped: {3, "damaged"}} {
		o := mbk(t, append(verify, dir)...)
		var got verifiedUntil
		if err := json.Unmarshal([]byte(o.stdout), &got); err != nil {
			t.Fatalf("%v: %s%s", err, o.stdout, o.stderr)
		}
		if o.code != want.code || !got.OK || got.Replay.Verdict != want.verdict || got.Replay.Dir != dir ||
			want.code == 0 && got.Replay.To != end {
			t.Errorf("%s: exit code %d, %+v, want %+v: %s", dir, o.code, got, want, o.stderr)
		}
		if list := must(t, "list", "--repo", repository).stdout; !strings.Contains(list, " in "+dir) &&
			!strings.Contains(list, "in "+dir+",") {
			t.Errorf("list does not name %s: %s", dir, list)
		}
	}
	if o := must(t, "points", "--repo", repository, "--json"); strings.Contains(o.stdout, `"proven"`) {
		t.Errorf("the archive is proven by a server's files: %s", o.stdout)
	}
	mbk(t, "verify", "latest", "--repo", repository, "--depth", "boot", "--binlog-dir", flipped).wantRefusal(t, 2,
		`"mbk verify --help" lists the options`, "--binlog-dir", "--until")
}

// flippedLog is a copy of a server's log that is damaged in binlog.000003.
func flippedLog(t *testing.T, source *mariadbtest.Server) string {
	t.Helper()
	dir := source.CopyLog(t)
	path := filepath.Join(dir, "binlog.000003")
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 1
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// wantTorn restores to the end of a log of which the last transaction was cut off.
func wantTorn(t *testing.T, source *mariadbtest.Server, until func(dir, moment string, more ...string) []string,
	last string,
) {
	t.Helper()
	dir := source.CopyLog(t)
	path := filepath.Join(dir, "binlog.000005")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, info.Size()-3); err != nil {
		t.Fatal(err)
	}
	if got := document[untilDocument](t, until(dir, "end", "--dry-run")...); got.Replay.To != last {
		t.Errorf("to the end of a torn log: %+v, want %s", got, last)
	}
}

// wantFilesRefused names logs that do not lead from the backup to the moment.
func wantFilesRefused(t *testing.T, source, other *mariadbtest.Server, repository string,
	until func(dir, moment string, more ...string) []string,
) {
	t.Helper()
	third := mariadbtest.New(t, source.Dist.Series, "--server-id=77")
	for i := range 10 {
		third.MustExec(t, fmt.Sprintf("CREATE DATABASE d%d", i))
	}
	keys, err := mariadbtest.EncryptionArgs(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	secret := mariadbtest.New(t, source.Dist.Series, append(keys[:2:2], "--encrypt-binlog=ON")...)
	middle := source.CopyLog(t, "binlog.000003")
	flipped := flippedLog(t, source)
	for _, c := range []struct {
		name, dir, moment string
		code              int
		want              []string
	}{
		{"no log", t.TempDir(), "end", 2, []string{"--binlog-dir", "no binary log"}},
		{"no folder", filepath.Join(t.TempDir(), "none"), "end", 2, []string{"--binlog-dir", "no such file"}},
		{"purged", source.CopyLog(t, "binlog.000001", "binlog.000002", "binlog.000003"), "end", 2,
			[]string{"binlog.000004 begins after GTID", "is not in the log"}},
		{"before the backup", source.CopyLog(t, "binlog.000002", "binlog.000003", "binlog.000004", "binlog.000005"), "end",
			2, []string{"ends with GTID 0-1-3, before it"}},
		{"another server of the same id", other.Datadir, "end", 2, []string{"another place", "another server"}},
		{"another server", third.Datadir, "end", 2, []string{"another server"}},
		{"encrypted", secret.Datadir, "end", 2, []string{"has encrypted this file", "mbk archive --once"}},
		{"a file is missing", middle, "gtid:0-1-999999", 2, []string{"what can be reached: from "}},
		{"damage", flipped, "end", 3, []string{"binlog.000003 is damaged", "the checksum"}},
		{"the future", source.Datadir, "2099-01-01T00:00:00Z", 2,
			[]string{"the log ends with GTID", "what can be reached: from "}},
	} {
		o := mbk(t, until(c.dir, c.moment)...)
		missing := slices.DeleteFunc(c.want, func(text string) bool { return strings.Contains(o.stderr, text) })
		if o.code != c.code || len(missing) > 0 {
			t.Errorf("%s: exit code %d, want %d and %q: %s", c.name, o.code, c.code, missing, o.stderr)
		}
	}
	o := mbk(t, "restore", "latest", "--repo", repository, "--target", filepath.Join(t.TempDir(), "x"), "--binlog-dir",
		source.Datadir)
	if o.code != 2 || !strings.Contains(o.stderr, "--until") {
		t.Errorf("without a moment: %d: %s", o.code, o.stderr)
	}
}
