package cli_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"mbk/internal/binlog"
	"mbk/internal/moment"
	"mbk/internal/repo"
	"mbk/internal/repo/store/folder"
	"mbk/internal/test/mariadbtest"
)

// untilDocument is what the tests read of "restore --until --json", or of the plan.
type untilDocument struct {
	ID     string `json:"id"`
	Replay struct {
		Timeline string `json:"timeline"`
		From     string `json:"from"`
		To       string `json:"to"`
		Last     string `json:"last"`
		Next     string `json:"next"`
		Way      string `json:"way"`
	} `json:"replay"`
}

// archiving archives what a server has.
func archiving(t *testing.T, source *mariadbtest.Server, repository string, more ...string) {
	t.Helper()
	must(t, append([]string{"archive", "--once", "--repo", repository, "--socket", source.Socket, "--user", "root",
		"--quiet"}, more...)...)
}

// loggedSince lists the transactions of a server's log that follow a position.
func loggedSince(t *testing.T, source *mariadbtest.Server, position string) []string {
	t.Helper()
	at, err := binlog.ParsePosition(position)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, p := range placesOf(t, source) {
		g, err := binlog.ParseGTID(p.gtid)
		if err != nil {
			t.Fatal(err)
		}
		if g.Sequence > at[g.Domain].Sequence {
			list = append(list, p.gtid)
		}
	}
	return list
}

// placed is a transaction in the files of a server's log, from and to offsets, as the server says.
type placed struct {
	gtid, file, from, to string
}

// placesOf lists the transactions of a server's log.
func placesOf(t *testing.T, source *mariadbtest.Server) []placed {
	t.Helper()
	var list []placed
	rows, err := source.DB().QueryContext(t.Context(), "SHOW BINARY LOGS")
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for rows.Next() {
		var name, size string
		if err := rows.Scan(&name, &size); err != nil {
			t.Fatal(err)
		}
		files = append(files, name)
	}
	if err := rows.Close(); err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		events, err := source.DB().QueryContext(t.Context(), "SHOW BINLOG EVENTS IN '"+file+"'")
		if err != nil {
			t.Fatal(err)
		}
		for events.Next() {
			var name, pos, kind, server, end, info string
			if err := events.Scan(&name, &pos, &kind, &server, &end, &info); err != nil {
				t.Fatal(err)
			}
			if kind == "Gtid" {
				_, text, _ := strings.Cut(info, "GTID ")
				text, _, _ = strings.Cut(text, " ")
				list = append(list, placed{gtid: text, file: file, from: pos})
			}
			if n := len(list) - 1; n >= 0 && list[n].file == file && slices.Contains(inTransaction(), kind) {
				list[n].to = end
			}
		}
		if err := events.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return list
}

// inTransaction lists kinds of events that end transactions, in the server's words.
func inTransaction() []string {
	return []string{"Query", "Query_compressed", "Xid", "XA_prepare"}
}

// At any moment that is asked for, the restored server is what a replica of the source is that
// was stopped there: under writes of all kinds and formats, DDL, and several domains.
func TestRestoreUntil(t *testing.T) {
	t.Parallel()
	for _, version := range mariadbtest.Some(t, "10.5", "10.11", "11.8") {
		t.Run(version, func(t *testing.T) { restoreUntil(t, version) })
	}
}

func restoreUntil(t *testing.T, version string) {
	formats := []string{"ROW", "MIXED"}
	source := mariadbtest.New(t, version, "--binlog-format="+formats[rand.IntN(2)], "--log-bin-compress=ON",
		"--log-bin-compress-min-len=10")
	if err := mariadbtest.Populate(t.Context(), source, mariadbtest.Fill{InnoDBMiB: 1}); err != nil {
		t.Fatal(err)
	}
	// A table that is in no binary log, as if sql_log_bin had been 0.
	source.MustExec(t, "SET sql_log_bin=0", "DROP TABLE mbk_load.idle_innodb")
	source.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.t (a INT AUTO_INCREMENT PRIMARY KEY, b TEXT)",
		"CREATE TABLE d.m (a INT AUTO_INCREMENT PRIMARY KEY, b DOUBLE) ENGINE=MyISAM")
	load, err := mariadbtest.Write(t.Context(), source, mariadbtest.WriteOptions{Pause: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	repository := t.TempDir()
	b := document[taken](t, "backup", "--repo", repository, "--socket", source.Socket, "--user", "root", "--quiet")
	archiving(t, source, repository)
	domains(t, source)
	if _, err := load.Stop(); err != nil {
		t.Fatal(err)
	}
	archiving(t, source, repository)
	after := loggedSince(t, source, b.Binlog.GTID)
	if len(after) < 50 {
		t.Fatalf("only %d transactions after the backup", len(after))
	}
	some := []string{"gtid:" + after[rand.IntN(len(after))], "before-gtid:" + after[rand.IntN(len(after)-5)+5]}
	atPlaces(t, source, b, repository)
	for i, to := range []string{some[rand.IntN(2)], "end"} {
		target := filepath.Join(t.TempDir(), fmt.Sprint("restored", i))
		args := append(restoreArgs("latest", repository, target), "--until", to)
		plan := document[untilDocument](t, append(args, "--dry-run")...)
		got := document[untilDocument](t, args...)
		plan.Replay.Way = got.Replay.Way // a plan has none
		if got.Replay != plan.Replay || got.ID != b.ID || got.Replay.From != b.Binlog.GTID ||
			i == 0 && "gtid:"+got.Replay.Last != to && "before-gtid:"+got.Replay.Next != to {
			t.Errorf("to %s: %+v, the plan was %+v", to, got, plan)
		}
		wantAsReplica(t, source, target, version, got.Replay.To)
	}
	for to, code := range map[string]int{"gtid:0-1-999999": 2, "gtid:0-1-1": 2, "2020-01-01T00:00:00Z": 2,
		"2099-01-01T00:00:00Z": 2, "tomorrow": 2} {
		o := mbk(t, append(restoreArgs("latest", repository, filepath.Join(t.TempDir(), "none")), "--until", to)...)
		if o.code != code {
			t.Errorf("to %s: exit code %d, want %d: %s", to, o.code, code, o.stderr)
		}
	}
}

// atPlaces names moments by files and offsets, which are found as transactions.
func atPlaces(t *testing.T, source *mariadbtest.Server, b taken, repository string) {
	t.Helper()
	all := placesOf(t, source)
	after := loggedSince(t, source, b.Binlog.GTID)
	all = slices.DeleteFunc(all, func(p placed) bool { return !slices.Contains(after, p.gtid) })
	last := all[len(all)-1]
	some := []placed{all[0], last, all[rand.IntN(len(all))], all[rand.IntN(len(all))]}
	for i, p := range all[1:] { // the beginnings and ends of files
		if p.file != all[i].file {
			some = append(some, all[i], p)
		}
	}
	plan := func(file, offset string, more ...string) outcome {
		return mbk(t, append(append(restoreArgs("latest", repository, filepath.Join(t.TempDir(), "none")), more...),
			"--dry-run", "--until", "position:"+file+":"+offset)...)
	}
	for _, p := range some {
		var got untilDocument
		o := plan(p.file, p.to, "--json")
		if err := json.Unmarshal([]byte(o.stdout), &got); err != nil || got.Replay.Last != p.gtid {
			t.Errorf("%+v: %+v, %v: %s", p, got.Replay, err, o.stderr)
		}
	}
	from, err := strconv.Atoi(last.from)
	if err != nil {
		t.Fatal(err)
	}
	for want, o := range map[string]outcome{
		"is within the transaction " + last.gtid: plan(last.file, strconv.Itoa(from+19)),
		"there is no such place":                 plan(last.file, "1000000000"),
		"no such place in the log":               plan("other.000001", last.to),
		"before the end of the backup":           plan(placesOf(t, source)[0].file, placesOf(t, source)[0].to),
	} {
		if o.code != 2 || !strings.Contains(o.stderr, want) {
			t.Errorf("exit code %d, want 2 and %q: %s", o.code, want, o.stderr)
		}
	}
}

// Files of one name in two histories: the backup says which is meant, and if none is named both
// are listed.
func TestRestoreUntilAmbiguous(t *testing.T) {
	t.Parallel()
	source := mariadbtest.New(t, mariadbtest.Some(t, "10.5", "10.11", "11.8")[0])
	repository := t.TempDir()
	var ids, firsts []string
	for range 2 {
		source.MustExec(t, "RESET MASTER", "CREATE OR REPLACE DATABASE d", "CREATE TABLE d.t (a INT)")
		ids = append(ids, document[taken](t, "backup", "--repo", repository, "--socket", source.Socket, "--user", "root",
			"--quiet").ID)
		source.MustExec(t, "INSERT INTO d.t VALUES (1)", "INSERT INTO d.t VALUES (2)")
		firsts = append(firsts, placesOf(t, source)[2].to)
		// The second history is a gap.
		_ = mbk(t, "archive", "--once", "--repo", repository, "--socket", source.Socket, "--user", "root", "--quiet")
		time.Sleep(1100 * time.Millisecond) // the log has whole seconds
	}
	if firsts[0] != firsts[1] {
		t.Fatalf("the histories differ: %v", firsts)
	}
	to := "position:" + placesOf(t, source)[0].file + ":" + firsts[0]
	target := filepath.Join(t.TempDir(), "none")
	o := mbk(t, append(restoreArgs("latest", repository, target), "--until", to)...)
	if o.code != 2 || strings.Count(o.stderr, "gtid:") < 2 || !strings.Contains(o.stderr, "more than once") {
		t.Errorf("exit code %d: %s", o.code, o.stderr)
	}
	seen := map[string]bool{}
	for _, id := range ids {
		got := document[untilDocument](t, append(restoreArgs(id, repository, target), "--until", to, "--dry-run")...)
		seen[got.Replay.Timeline] = true
		if got.ID != id {
			t.Errorf("backup %s, want %s", got.ID, id)
		}
	}
	if len(seen) != 2 {
		t.Errorf("timelines %v", seen)
	}
	// So it is with GTIDs, which began again as well.
	got := document[untilDocument](t, append(restoreArgs(ids[0], repository, target), "--until", "end", "--dry-run")...)
	if seen[got.Replay.Timeline] = false; !seen[document[untilDocument](t, append(restoreArgs(ids[1], repository, target),
		"--until", "end", "--dry-run")...).Replay.Timeline] {
		t.Errorf("both backups lead along the timeline %s", got.Replay.Timeline)
	}
	wantPoints(t, repository, ids)
}

// pointsOf is what the tests read of "points --json".
type pointsOf struct {
	Spans []struct {
		ID        string `json:"id"`
		Timeline  string `json:"timeline"`
		FromGTID  string `json:"from_gtid"`
		UntilGTID string `json:"until_gtid"`
		Next      string `json:"next"`
	} `json:"spans"`
	Gaps []struct {
		Missing string `json:"missing"`
	} `json:"gaps"`
	Without []struct {
		ID     string `json:"id"`
		Reason string `json:"reason"`
	} `json:"without"`
}

// wantPoints checks the points of two backups in two histories, and then without what leads on from
// the first one.
func wantPoints(t *testing.T, repository string, ids []string) {
	t.Helper()
	p := document[pointsOf](t, "points", "--repo", repository)
	if len(p.Spans) != 2 || len(p.Gaps) != 1 || p.Spans[0].ID != ids[0] || p.Spans[1].ID != ids[1] ||
		p.Spans[0].Timeline == p.Spans[1].Timeline || p.Spans[0].UntilGTID != "0-1-4" ||
		p.Spans[1].UntilGTID != "0-1-4" ||
		!strings.Contains(p.Gaps[0].Missing, "another history") || p.Spans[0].Next != p.Gaps[0].Missing ||
		p.Spans[1].Next != "" {
		t.Errorf("points: %+v", p)
	}
	target := filepath.Join(t.TempDir(), "none")
	o := mbk(t, append(restoreArgs("latest", repository, target), "--until", "2099-01-01T00:00:00Z")...)
	if o.code != 2 || strings.Count(o.stderr, "what can be reached: from "+ids[0]) != 1 ||
		!strings.Contains(o.stderr, "(GTID 0-1-4)") {
		t.Errorf("a moment in a far future: %d: %s", o.code, o.stderr)
	}
	segments, err := filepath.Glob(filepath.Join(repository, "binlog", p.Spans[0].Timeline, "*.seg"))
	if err != nil || len(segments) != 1 {
		t.Fatal(segments, err)
	}
	if err := os.Remove(segments[0]); err != nil {
		t.Fatal(err)
	}
	p = document[pointsOf](t, "points", "--repo", repository)
	if len(p.Spans) != 1 || len(p.Without) != 1 || p.Without[0].ID != ids[0] || len(p.Gaps) != 1 {
		t.Errorf("points without a segment: %+v", p)
	}
}

// domains makes transactions in several domains, of all kinds.
func domains(t *testing.T, source *mariadbtest.Server) {
	t.Helper()
	for i := range 20 {
		source.MustExec(t, fmt.Sprintf("SET gtid_domain_id=%d", i%3), "INSERT INTO d.t (b) VALUES (REPEAT('x', 3000))",
			"SET binlog_format=STATEMENT", "INSERT INTO d.m (b) VALUES (RAND())", "SET @a=7",
			"UPDATE d.t SET b=@a ORDER BY a DESC LIMIT 1", "BEGIN", "INSERT INTO d.t (b) VALUES (2)", "SAVEPOINT a",
			"INSERT INTO d.t (b) VALUES (3)", "ROLLBACK TO a", "COMMIT",
			fmt.Sprintf("CREATE TABLE d.x%d (a INT PRIMARY KEY) SELECT a FROM d.t", i),
			fmt.Sprintf("CREATE USER u%d@localhost IDENTIFIED BY 'word'", i),
			fmt.Sprintf("GRANT SELECT ON d.* TO u%d@localhost", i),
			fmt.Sprintf("XA START 'x%d'", i), "INSERT INTO d.t (b) VALUES (4)", fmt.Sprintf("XA END 'x%d'", i),
			fmt.Sprintf("XA PREPARE 'x%d'", i), fmt.Sprintf("XA COMMIT 'x%d'", i))
		if i == 10 {
			source.MustExec(t, "FLUSH BINARY LOGS", "CREATE TEMPORARY TABLE d.tt (a INT)")
		}
	}
}

// wantAsReplica compares a restored data directory with a replica that was stopped at a position.
func wantAsReplica(t *testing.T, source *mariadbtest.Server, target, version, position string) {
	t.Helper()
	replica := mariadbtest.New(t, version)
	if err := mariadbtest.ReplicateUntil(t.Context(), source, replica, position); err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"relay*", "master.info", "multi-master.info", "*.relay"} {
		if left, err := filepath.Glob(filepath.Join(target, pattern)); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
	restored := mariadbtest.Open(t, version, target)
	const enable = "UPDATE mysql.event SET status='ENABLED', created=created, modified=modified" // a replica disables them
	replica.MustExec(t, "SET sql_log_bin=0", enable)
	restored.MustExec(t, "SET sql_log_bin=0", enable)
	if at := restored.MustValue(t, "SELECT @@gtid_slave_pos"); at != position {
		t.Errorf("gtid_slave_pos = %s, want %s", at, position)
	}
	// Transactions that are prepared are there, and would keep purge waiting.
	if got, want := rollBackPrepared(t, restored), rollBackPrepared(t, replica); !slices.Equal(got, want) {
		t.Errorf("prepared: %v, want %v", got, want)
	}
	wantSame(t, replica, restored)
	const loaded = "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = 'mbk_load'"
	if restored.MustValue(t, loaded) == "1" {
		wantInvariants(t, restored)
	}
	if err := errors.Join(restored.Close(), replica.Close(), os.RemoveAll(target)); err != nil {
		t.Error(err)
	}
}

// rollBackPrepared rolls back the prepared transactions of a server, and lists them.
func rollBackPrepared(t *testing.T, s *mariadbtest.Server) []string {
	t.Helper()
	rows, err := s.DB().QueryContext(t.Context(), "XA RECOVER")
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for rows.Next() {
		var format, length, branch int
		var name string
		if err := rows.Scan(&format, &length, &branch, &name); err != nil {
			t.Fatal(err)
		}
		list = append(list, name)
	}
	if err := rows.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range list {
		s.MustExec(t, "SET sql_log_bin=0", "XA ROLLBACK '"+name+"'")
	}
	slices.Sort(list)
	return list
}

// The service is killed at random moments and goes on: no transaction is missing, and none is there
// twice. What the commands around it say of an archive is true, and what no backup needs goes.
func TestArchiveKilled(t *testing.T) {
	t.Parallel()
	program := built(t)
	source := mariadbtest.New(t, mariadbtest.Some(t, "10.5", "10.11", "11.8")[0])
	source.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.t (a INT AUTO_INCREMENT PRIMARY KEY, b TEXT)")
	repository := t.TempDir()
	connection := []string{"--repo", repository, "--socket", source.Socket, "--user", "root", "--quiet"}
	for range 5 {
		cmd := exec.Command(program, append([]string{"archive", "--every", "1s"}, connection...)...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		end := time.Now().Add(time.Duration(500+rand.IntN(2500)) * time.Millisecond)
		for i := 0; time.Now().Before(end); i++ {
			source.MustExec(t, fmt.Sprintf("SET gtid_domain_id=%d", i%2), "INSERT INTO d.t (b) VALUES (REPEAT('x', 500))")
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was killed
	}
	archiving(t, source, repository)
	want := loggedSince(t, source, "")
	if got := archivedIn(t, repository); !slices.Equal(got, want) {
		t.Errorf("%d transactions are archived, the server has %d", len(got), len(want))
	}
	if o := must(t, "archive", "--status", "--repo", repository); !strings.Contains(o.stdout, "running      no") ||
		!strings.Contains(o.stdout, source.MustValue(t, "SELECT @@gtid_binlog_pos")) {
		t.Errorf("status: %s", o.stdout)
	}
	if o := must(t, append([]string{"check"}, connection...)...); !strings.Contains(o.stdout, "binlog") {
		t.Errorf("check: %s", o.stdout)
	}

	// Another history is a gap, until a backup was taken after it.
	source.MustExec(t, "RESET MASTER", "INSERT INTO d.t (b) VALUES (1)")
	if o := mbk(t, append([]string{"archive", "--once"}, connection...)...); o.code != 1 ||
		!strings.Contains(o.stderr, "another history") {
		t.Errorf("after RESET MASTER: %d: %s", o.code, o.stderr)
	}
	if o := mbk(t, "archive", "--status", "--repo", repository); o.code != 1 {
		t.Errorf("status after a gap: %d: %s", o.code, o.stdout)
	}
	if o := must(t, "metrics", "--repo", repository); !strings.Contains(o.stdout, "mbk_archive_gap{") ||
		!strings.Contains(o.stdout, "} 1\n# HELP mbk_archive_segments") {
		t.Errorf("metrics: %s", o.stdout)
	}
	time.Sleep(time.Second)
	must(t, append([]string{"backup"}, connection...)...)
	must(t, "archive", "--status", "--repo", repository)
	plan := document[struct {
		Segments int `json:"segments"`
	}](t, "expire", "--repo", repository, "--keep-last", "1")
	all, err := filepath.Glob(filepath.Join(repository, "binlog", "*", "*"))
	if err != nil || plan.Segments < 2 || len(all) != 2 {
		t.Errorf("%d segments expired, left: %v, %v", plan.Segments, all, err)
	}
}

// archivedIn lists the transactions of the newest timeline of a repository, in their order.
func archivedIn(t *testing.T, repository string) []string {
	t.Helper()
	st, err := folder.Open(repository)
	if err != nil {
		t.Fatal(err)
	}
	r, err := repo.Open(t.Context(), st)
	if err != nil {
		t.Fatal(err)
	}
	end, err := moment.Parse("end", time.UTC)
	if err != nil {
		t.Fatal(err)
	}
	path, err := moment.Find(t.Context(), r, end, moment.Start{})
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	var c binlog.Cutter
	_, err = path.Send(t.Context(), nil, func(event []byte) error {
		part, _, err := c.Next(event)
		if begin, _ := c.Begun(); part == binlog.Closing {
			list = append(list, begin.GTID.String())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// A server whose files and log are encrypted, into an encrypted repository: archived without an
// identity, and restored with one to the second before a mistake.
func TestRestoreUntilEncrypted(t *testing.T) {
	t.Parallel()
	ownEncryption(t)
	keys, err := mariadbtest.EncryptionArgs(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	args := append(keys, "--encrypt-binlog=ON", "--innodb-encrypt-log=OFF") // the redo log is another matter
	version := mariadbtest.Some(t, "10.5", "10.11", "11.8")[0]
	source := mariadbtest.New(t, version, args...)
	identity, recipient := newIdentity(t)
	repository := newEncrypted(t, recipient)
	source.MustExec(t, "CREATE DATABASE zebraledger", "CREATE TABLE zebraledger.t (a INT PRIMARY KEY)")
	must(t, "backup", "--repo", repository, "--socket", source.Socket, "--user", "root", "--quiet")
	time.Sleep(1100 * time.Millisecond) // the log has whole seconds
	source.MustExec(t, "INSERT INTO zebraledger.t VALUES (1), (2)")
	time.Sleep(1100 * time.Millisecond)
	mistake := time.Now().UTC().Truncate(time.Second)
	source.MustExec(t, "DROP TABLE zebraledger.t")
	archiving(t, source, repository)

	target := filepath.Join(t.TempDir(), "restored")
	to := append(restoreArgs("latest", repository, target), "--until", mistake.Format(time.RFC3339Nano))
	if o := mbk(t, to...); o.code != 2 {
		t.Errorf("without an identity: exit code %d: %s", o.code, o.stderr)
	}
	must(t, append(to, "--identity", identity)...)
	restored := mariadbtest.Open(t, version, target, args...)
	if n := restored.MustValue(t, "SELECT COUNT(*) FROM zebraledger.t"); n != "2" {
		t.Errorf("%s rows, want 2", n)
	}
	segments, err := filepath.Glob(filepath.Join(repository, "binlog", "*", "*"))
	if err != nil || len(segments) < 2 {
		t.Fatal(segments, err)
	}
	for _, name := range segments {
		if b, err := os.ReadFile(name); err != nil || strings.Contains(string(b), "zebra") {
			t.Errorf("%s shows a name: %v", name, err)
		}
	}
}

// verified is what the tests read of "verify --until --json".
type verifiedUntil struct {
	OK     bool     `json:"ok"`
	Proved []string `json:"proved"`
	Replay struct {
		Verdict string `json:"verdict"`
		To      string `json:"to"`
		Dir     string `json:"binlog_dir"`
	} `json:"replay"`
}

// A verification replays the archive and records what that proves. Damage of the archive is none of
// the backup.
func TestVerifyUntil(t *testing.T) {
	t.Parallel()
	source := mariadbtest.New(t, mariadbtest.Some(t, "10.5", "10.11", "11.8")[0])
	repository := t.TempDir()
	source.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY)")
	b := document[taken](t, "backup", "--repo", repository, "--socket", source.Socket, "--user", "root", "--quiet")
	source.MustExec(t, "INSERT INTO d.t VALUES (1)", "CREATE TABLE d.u (a INT PRIMARY KEY) ENGINE=Aria")
	archiving(t, source, repository)
	end := source.MustValue(t, "SELECT @@gtid_binlog_pos")
	verify := []string{"verify", "latest", "--repo", repository, "--depth", "boot", "--owner", strconv.Itoa(os.Getuid()),
		"--quiet", "--until"}
	got := document[verifiedUntil](t, append(verify, "end")...)
	if !got.OK || got.Replay.Verdict != "proven" || got.Replay.To != end {
		t.Errorf("%+v", got)
	}
	for _, args := range [][]string{{"list"}, {"show", b.ID}, {"points"}} {
		if o := must(t, append(args, "--repo", repository)...); !strings.Contains(o.stdout, "GTID "+end) {
			t.Errorf("%s does not say what is proven: %s", args[0], o.stdout)
		}
	}
	if o := mbk(t, append(verify, "gtid:0-1-999999")...); o.code != 2 {
		t.Errorf("to nowhere: exit code %d: %s", o.code, o.stderr)
	}

	segments, err := filepath.Glob(filepath.Join(repository, "binlog", "*", "*.seg"))
	if err != nil || len(segments) != 1 {
		t.Fatal(segments, err)
	}
	damage(t, segments[0])
	o := mbk(t, append(verify, "end", "--json")...)
	got = verifiedUntil{}
	err = json.Unmarshal([]byte(o.stdout), &got)
	if err != nil || o.code != 3 || !got.OK || got.Replay.Verdict != "damaged" {
		t.Errorf("a damaged segment: exit code %d, %+v, %v: %s", o.code, got, err, o.stderr)
	}
	if o := must(t, "list", "--repo", repository); !strings.Contains(o.stdout, "DAMAGED: the log after it") {
		t.Errorf("list: %s", o.stdout)
	}
	target := filepath.Join(t.TempDir(), "restored")
	must(t, restoreArgs("latest", repository, target)...) // the backup is not damaged
}

// damage changes the last byte but eight of a file.
func damage(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)-8] ^= 1
	if err := errors.Join(os.Chmod(path, 0o600), os.WriteFile(path, b, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// A replay that fails is done again in simpler ways, from the backup on. Here the server that is given
// fails to replicate in parallel, or at all.
func TestRestoreUntilSimpler(t *testing.T) {
	t.Parallel()
	version := mariadbtest.Some(t, "10.5", "10.11", "11.8")[0]
	source := mariadbtest.New(t, version)
	repository := t.TempDir()
	source.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY)",
		"CREATE TABLE d.m (a INT) ENGINE=MyISAM")
	must(t, "backup", "--repo", repository, "--socket", source.Socket, "--user", "root", "--quiet")
	source.MustExec(t, "INSERT INTO d.t VALUES (1)", "INSERT INTO d.m VALUES (1)",
		"INSERT INTO d.t VALUES (2)", "UPDATE d.t SET a=a+10")
	archiving(t, source, repository)
	end := source.MustValue(t, "SELECT @@gtid_binlog_pos")
	patterns := map[string]string{"single": "*--slave-parallel-threads=[1-9]*", "session": "*--relay-log=*"}
	for way, pattern := range patterns {
		server := filepath.Join(t.TempDir(), "mariadbd")
		script := "#!/bin/sh\ncase \"$*\" in " + pattern + ") exec " + source.Dist.Program("mariadbd") +
			" \"$@\" --init-slave='SELECT * FROM no.table';; esac\nexec " + source.Dist.Program("mariadbd") + " \"$@\"\n"
		if err := os.WriteFile(server, []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"mariadb-binlog", "mariadb"} {
			if err := os.Symlink(source.Dist.Program(name), filepath.Join(filepath.Dir(server), name)); err != nil {
				t.Fatal(err)
			}
		}
		target := filepath.Join(t.TempDir(), "restored")
		got := document[struct {
			Notes  []string `json:"notes"`
			Replay struct {
				Way string `json:"way"`
			} `json:"replay"`
		}](t, append(restoreArgs("latest", repository, target), "--until", "end", "--mariadbd", server)...)
		if got.Replay.Way != way || !strings.Contains(strings.Join(got.Notes, " "), "the replay failed") {
			t.Errorf("%+v, want the way %s", got, way)
		}
		wantAsReplica(t, source, target, version, end)
	}
}
