package cli_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"mbk/internal/repo"
	"mbk/internal/test/mariadbtest"
)

// reported is what these tests read of a report.
type reported struct {
	repo.Attempt
	Kept       bool   `json:"kept"`
	FailedStep string `json:"failed_step"`
	DurationMS int64  `json:"duration_ms"`
}

// update starts a long UPDATE of d.m, behind which a backup waits for FLUSH, and
// returns a function that ends it.
func update(t *testing.T, srv *mariadbtest.Server) (wake func()) {
	t.Helper()
	const running = " FROM information_schema.PROCESSLIST WHERE STATE = 'User sleep'"
	done := make(chan error, 1)
	go func() { done <- srv.Exec(t.Context(), "UPDATE d.m SET a = a + SLEEP(60)") }()
	until(t, "an update", func() bool { return srv.MustValue(t, "SELECT COUNT(*)"+running) == "1" })
	return func() {
		t.Helper()
		srv.MustExec(t, "KILL QUERY "+srv.MustValue(t, "SELECT ID"+running))
		if err := <-done; err == nil {
			t.Error("the update was not interrupted")
		}
	}
}

// A backup with DDL in it, one that fails in mid-run and one that does not even
// begin: the history has all three, and each has its report.
func TestHistoryAndReport(t *testing.T) {
	srv := mariadbtest.New(t, oldest())
	srv.MustExec(t, "CREATE DATABASE d", "CREATE DATABASE gone", "CREATE TABLE d.m (a INT) ENGINE=MyISAM", "INSERT INTO d.m VALUES (1)",
		"CREATE TABLE d.idle (a INT)", "CREATE TABLE d.a (a INT)", "CREATE TABLE d.b (a INT)", "CREATE TABLE d.c (a INT)", "CREATE TABLE d.x (a INT) ENGINE=MyISAM",
		"CREATE TABLE d.t (a INT)", "CREATE TABLE d.old (a INT) ENGINE=Aria", "CREATE TABLE d.instant (a INT)",
		"CREATE TABLE d.large (a INT, b CHAR(250))", "INSERT INTO d.large SELECT seq, 'x' FROM d.seq_1_to_20000")
	repository := t.TempDir()
	report := func(id string) string { return must(t, "report", id, "--repo", repository, "--no-defaults").stdout }

	wake := update(t, srv)
	r := launch(t, command(t, "backup", "--repo", repository, "--socket", srv.Socket, "--user", "root", "--no-defaults", "--verbose", "--json"))
	until(t, "wait for a lock", func() bool {
		return srv.MustValue(t, "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO LIKE 'BACKUP STAGE B%'") == "1"
	})
	srv.MustExec(t, "CREATE TABLE d.new (a INT)", "DROP TABLE d.a", "RENAME TABLE d.b TO d.b2", "ALTER TABLE d.c FORCE", "ALTER TABLE d.x ENGINE=InnoDB",
		"TRUNCATE d.t", "DROP TABLE d.old", "ALTER TABLE d.instant ADD COLUMN b INT, ALGORITHM=INSTANT", "CREATE TABLE d.brief (a INT)", "DROP TABLE d.brief",
		"DROP DATABASE gone", "CREATE DATABASE fresh")
	wake()
	if o := r.wait(t, time.Minute); o.code != 0 {
		t.Fatalf("the backup exits %d: %s", o.code, o.stderr)
	}
	first := document[reported](t, "report", "latest", "--repo", repository, "--no-defaults")
	var events []string
	for _, e := range first.DDL.Events {
		events = append(events, strings.TrimSpace(fmt.Sprintf("%s %s.%s %s", e.Kind, e.Database, e.Name, e.From)))
	}
	want := []string{"dropped d.a", "renamed d.b2 d.b", "transient d.brief", "rebuilt d.c", "altered d.instant", "created d.new", "dropped d.old",
		"rebuilt d.t", "rebuilt d.x", "created fresh.", "dropped gone."}
	if !slices.Equal(events, want) {
		t.Errorf("DDL seen: %q, want %q", events, want)
	}
	if d := first.DDL; d.Created != 2 || d.Dropped != 3 || d.Renamed != 1 || d.Rebuilt != 3 || d.Altered != 1 || d.Transient != 1 {
		t.Errorf("counts of DDL: %+v", d)
	}
	if !first.Kept || first.Outcome != repo.OutcomeOK || first.DurationMS < 1000 || first.Largest[0].Name != "large" || first.Largest[0].Bytes < 5<<20 || first.DataUUID == "" {
		t.Errorf("the report of a good backup: %+v", first)
	}
	if n := len(first.Steps); n != 8 || first.Steps[2].Name != "copying" {
		t.Errorf("steps: %+v", first.Steps)
	}

	wake = update(t, srv)
	if o := mbk(t, backupArgs(srv, repository, "--lock-wait", "1s")...); o.code != 4 {
		t.Errorf("a backup behind an update exits %d: %s", o.code, o.stderr)
	}
	wake()
	failed := document[reported](t, "report", "latest", "--repo", repository, "--no-defaults")
	if failed.Outcome != repo.OutcomeFailed || failed.FailedStep != "waiting for BACKUP STAGE BLOCK_DDL" || len(failed.Hints) == 0 || failed.BytesRead == 0 || failed.Kept {
		t.Errorf("the report of a failed backup: %+v", failed)
	}
	if o := mbk(t, backupArgs(srv, repository, "--user", "nobody", "--password=x")...); o.code != 2 {
		t.Errorf("a backup by an unknown account exits %d: %s", o.code, o.stderr)
	}
	refused := document[reported](t, "report", "latest", "--repo", repository, "--no-defaults")
	if !strings.HasSuffix(refused.ID, "-failed") || !strings.Contains(refused.Error, "access denied") || len(refused.Hints) == 0 {
		t.Errorf("the report of a backup that never began: %+v", refused)
	}

	for id, parts := range map[string][]string{
		first.ID: {"BACKUP OK", "d.large", "InnoDB", "2 created, 3 dropped, 1 renamed, 3 rebuilt, 1 altered, 1 created and dropped", "d.b2, was d.b",
			"BLOCK_COMMIT", "head-room", "copying", "DDL blocked"},
		failed.ID:  {"BACKUP FAILED", "WHAT TO DO", "at step: waiting for BACKUP STAGE BLOCK_DDL", "UPDATE d.m", "DDL and commits were at no time blocked"},
		refused.ID: {"BACKUP FAILED", "access denied", "check --user and the password"},
	} {
		text := report(id)
		for _, part := range parts {
			if !strings.Contains(oneLine(text), part) {
				t.Errorf("the report of %s has no %q:\n%s", id, part, text)
			}
		}
		for line := range strings.Lines(text) {
			if utf8.RuneCountInString(line) > 79 || strings.TrimRight(line, " \n")+"\n" != line && line != "\n" {
				t.Errorf("the report of %s has the line %q", id, line)
			}
		}
		shown := must(t, "history", id, "--repo", repository, "--no-defaults").stdout
		if !strings.Contains(shown, id) || id != first.ID && !strings.Contains(shown, "hint") {
			t.Errorf("mbk history %s prints\n%s", id, shown)
		}
	}
	t.Log("\n" + report(first.ID) + "\n" + report(failed.ID) + "\n" + report(refused.ID))

	t.Run("filters", func(t *testing.T) { historyFilters(t, repository, first.ID, failed.ID, refused.ID) })
	o := must(t, "list", "--repo", repository, "--no-defaults")
	if !strings.Contains(o.stderr, "the newest attempt, "+refused.ID+", failed: ") || !strings.Contains(o.stderr, "mbk history") {
		t.Errorf("mbk list says %q", o.stderr)
	}
	t.Run("expired and damaged records", func(t *testing.T) {
		must(t, backupArgs(srv, repository)...)
		if o := must(t, "list", "--repo", repository, "--no-defaults"); o.stderr != "" {
			t.Errorf("after a good backup mbk list says %q", o.stderr)
		}
		must(t, "expire", "--repo", repository, "--keep-last", "1", "--no-defaults")
		if listed := must(t, "history", "--repo", repository, "--no-defaults").stdout; !strings.Contains(listed, "ok, expired") {
			t.Errorf("mbk history prints\n%s", listed)
		}
		if !strings.Contains(report(first.ID), "d.large") {
			t.Error("the report of an expired backup is gone")
		}
		if err := os.WriteFile(filepath.Join(repository, "history", failed.ID+".json"), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		if text := report(failed.ID); !strings.Contains(text, "OUTCOME NOT KNOWN") || !strings.Contains(text, "damaged") {
			t.Errorf("the report of a damaged record:\n%s", text)
		}
		if listed := must(t, "history", "--repo", repository, "--no-defaults").stdout; !strings.Contains(listed, "unknown") {
			t.Errorf("mbk history prints\n%s", listed)
		}
	})
}

// oneLine is a text without line breaks.
func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// historyFilters looks at the choice of attempts.
func historyFilters(t *testing.T, repository string, ids ...string) {
	for _, c := range []struct {
		args []string
		want []string
	}{
		{nil, ids},
		{[]string{"--failed"}, ids[1:]},
		{[]string{"--last", "1"}, ids[2:]},
		{[]string{"--failed", "--last", "1"}, ids[2:]},
		{[]string{"--last", "9"}, ids},
		{[]string{"--since", "1h"}, ids},
		{[]string{"--since", "7d"}, ids},
		{[]string{"--since", "1ns"}, nil},
		{[]string{"--since", "2001-02-03"}, ids},
		{[]string{"--since", "2099-02-03 04:05"}, nil},
	} {
		args := append([]string{"history", "--repo", repository, "--no-defaults"}, c.args...)
		d := document[struct{ Attempts []repo.Attempt }](t, args...)
		var got []string
		for _, a := range d.Attempts {
			got = append(got, a.ID)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("mbk %q: %q, want %q", args, got, c.want)
		}
		text := must(t, args...).stdout
		if n := bytes.Count([]byte(text), []byte("Z-f")); n != len(c.want) {
			t.Errorf("mbk %q prints %d attempts, want %d:\n%s", args, n, len(c.want), text)
		}
	}
	for _, c := range []struct {
		args, parts []string
		advice      string
	}{
		{[]string{"--since", "yesterday"}, []string{`--since "yesterday" is neither a time`}, "lists the options"},
		{[]string{"--last", "-1"}, []string{"--last is negative"}, "lists the options"},
		{[]string{"latest", "--failed"}, []string{`--failed chooses among all attempts, but the attempt "latest" was named`}, "lists the options"},
		{[]string{"20010101T000000Z-full"}, []string{`no attempt "20010101T000000Z-full" in ` + repository}, `"mbk history" names all attempts`},
		{[]string{"2"}, []string{`"2" stands for 3 attempts`}, "give more of the id"},
	} {
		mbk(t, append([]string{"history", "--repo", repository, "--no-defaults"}, c.args...)...).wantRefusal(t, 2, c.advice, c.parts...)
	}
}
