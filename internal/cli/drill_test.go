package cli_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"mbk/internal/job"
	"mbk/internal/repo"
	"mbk/internal/test/mariadbtest"
	"mbk/internal/verify"
)

// drillArgs are those of a drill of which nothing is to be left in scratch.
func drillArgs(repository, scratch string, more ...string) []string {
	return append([]string{"drill", "--repo", repository, "--scratch", scratch, "--quiet", "--owner",
		strconv.Itoa(os.Getuid())}, more...)
}

// A drill says how long it takes to be back, which moment is reached, what would be lost, and how
// many rows there are; the history, the metrics and the programs are told.
func TestDrill(t *testing.T) {
	t.Parallel()
	source := mariadbtest.New(t, newest(), "--log-bin=bin", "--server-id=7")
	source.MustExec(t, "CREATE DATABASE shop",
		"CREATE TABLE shop.orders (id INT PRIMARY KEY AUTO_INCREMENT, b INT)",
		"INSERT INTO shop.orders (b) SELECT seq FROM shop.seq_1_to_1000",
		"CREATE TABLE shop.basket (a INT) ENGINE=MyISAM", "INSERT INTO shop.basket VALUES (1), (2)")
	repository, scratch, told := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "told")
	must(t, "backup", "--repo", repository, "--socket", source.Socket, "--user", "root", "--quiet")
	time.Sleep(1100 * time.Millisecond) // the log has times in seconds

	first := document[verify.Report](t, drillArgs(repository, scratch, "--hook-success",
		fmt.Sprintf(`sh -c 'echo $MBK_HOOK $MBK_ID $MBK_OUTCOME >%s; cat >%s.json'`, told, told))...)
	d := first.Drill
	if d == nil || first.Outcome != repo.VerdictProven || first.Objects == 0 || first.Pages == 0 {
		t.Fatalf("the first drill: %+v", first)
	}
	wantRecovery(t, d, "plan", "extract", "recover", "sync", "start")
	if d.Point.AgeMS < 1000 || d.Point.GTID == "" || d.Point.LSN == 0 || d.Point.Lost != nil {
		t.Errorf("the point: %+v", d.Point)
	}
	if d.Rows == nil || d.Rows.Tables != 2 || d.Rows.Rows != 1002 || d.Rows.With != "" {
		t.Errorf("the rows: %+v", d.Rows)
	}
	text, err := os.ReadFile(told)
	if want := "success " + first.ID + " ok\n"; err != nil || string(text) != want {
		t.Errorf("the program was told %q, %v, want %q", text, err, want)
	}
	if text, err = os.ReadFile(told + ".json"); err != nil {
		t.Fatal(err)
	}
	wantValid(t, "drill", string(text))

	// The next one is compared with that.
	next := must(t, drillArgs(repository, scratch)...).stdout
	for _, want := range []string{"back in ", "compared with the drill of " + first.ID +
		": 2 tables with as many rows, 0 with others"} {
		if !strings.Contains(strings.Join(strings.Fields(next), " "), want) {
			t.Errorf("no %q in\n%s", want, next)
		}
	}

	// What has come since is lost, unless the archive has it.
	source.MustExec(t, "DELETE FROM shop.basket", "INSERT INTO shop.orders (b) VALUES (1), (2), (3)",
		"CREATE TABLE shop.returns (a INT)")
	archiving(t, source, repository, "--from", first.ID)
	source.MustExec(t, "INSERT INTO shop.orders (b) VALUES (1)", "INSERT INTO shop.orders (b) VALUES (2)")
	last := document[verify.Report](t, drillArgs(repository, scratch, "--until", "end", "--compare",
		"--socket", source.Socket, "--user", "root")...)
	if d = last.Drill; d == nil || *d.Point.Lost != 2 || d.Rows.With != repo.ComparedServer || d.Rows.Same != 2 ||
		d.Rows.Differ != 1 || *d.Rows.Differences[0].Here != 1003 || *d.Rows.Differences[0].There != 1005 {
		t.Fatalf("with the archive: %+v, %+v", last, d)
	}
	wantRecovery(t, d, "plan", "extract", "recover", "replay", "sync", "start")
	drillIsKept(t, repository, first.ID)
	if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
		t.Errorf("left in the scratch folder: %v, %v", left, err)
	}
}

// wantRecovery compares the steps that a restore waits for, and their sum.
func wantRecovery(t *testing.T, d *repo.Drill, want ...string) {
	t.Helper()
	var names []string
	var sum int64
	for _, s := range d.Recovery {
		names, sum = append(names, s.Name), sum+s.MS
	}
	if !slices.Equal(names, want) || sum != d.RecoveryMS || sum == 0 || len(d.Checks) != 2 {
		t.Errorf("the steps of %+v, want %q and their sum", d, want)
	}
}

// drillIsKept looks for the drills in the history and the metrics.
func drillIsKept(t *testing.T, repository, id string) {
	t.Helper()
	shown := must(t, "history", id, "--repo", repository).stdout
	if strings.Count(shown, "; drill: back in ") != 3 {
		t.Errorf("history %s:\n%s", id, shown)
	}
	metrics := must(t, "metrics", "--repo", repository).stdout
	wantDocumented(t, metrics, "archive|drill")
	for _, name := range []string{"mbk_drill_last_timestamp_seconds{", "mbk_drill_recovery_seconds{",
		"mbk_drill_point_age_seconds{", "mbk_drill_last_success{"} {
		if !strings.Contains(metrics, "\n"+name) {
			t.Errorf("no %s in the metrics", name)
		}
	}
}

// The verdicts of a drill are those of a verification, and so are the exit codes.
func TestDrillVerdicts(t *testing.T) {
	t.Parallel()
	source := mariadbtest.New(t, newest())
	source.MustExec(t, "CREATE DATABASE shop", "CREATE TABLE shop.orders (id INT PRIMARY KEY)",
		"CREATE USER few@localhost", "GRANT PROCESS, SHOW VIEW ON *.* TO few@localhost")
	repository, told := t.TempDir(), filepath.Join(t.TempDir(), "told")
	scratch := t.TempDir()
	must(t, "backup", "--repo", repository, "--socket", source.Socket, "--user", "root", "--quiet")
	wantCode := func(code int, says string, more ...string) {
		t.Helper()
		o := mbk(t, drillArgs(repository, scratch, append(more, "--hook-failure",
			fmt.Sprintf(`sh -c 'cat >%s'`, told))...)...)
		if o.code != code || !strings.Contains(o.stdout+o.stderr, says) {
			t.Errorf("drill %q: %+v, want %d and %q", more, o, code, says)
		}
	}
	wantCode(2, "the account needs SELECT", "--compare", "--socket", source.Socket, "--user", "few")
	wantCode(2, "NOT CARRIED OUT", "--mariadbd-option", "--no-such-option")
	packs, err := filepath.Glob(filepath.Join(repository, "backups", "*", "data-*.pack"))
	if err != nil || len(packs) == 0 {
		t.Fatal(packs, err)
	}
	damage(t, packs[0])
	wantCode(3, "DAMAGED")
	text, err := os.ReadFile(told)
	if err != nil {
		t.Fatal(err)
	}
	wantValid(t, "notice", string(text))
	var notice job.Notice
	if err := json.Unmarshal(text, &notice); err != nil || notice.Event != job.EventDrill || notice.ExitCode != 3 ||
		!strings.Contains(notice.Text, "DAMAGED, 1 finding") {
		t.Errorf("told: %s, %v", text, err)
	}
	if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
		t.Errorf("left in the scratch folder: %v, %v", left, err)
	}
}
