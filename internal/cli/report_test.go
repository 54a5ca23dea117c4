package cli_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"mbk/internal/repo"
	"mbk/internal/test/mariadbtest"
)

// reported is what the tests read of "report --json".
type reported struct {
	repo.Attempt
	DurationMS int64   `json:"duration_ms"`
	Ratio      float64 `json:"ratio"`
	Rate       int64   `json:"bytes_per_second"`
}

// The record of a backup, and of one that failed, has measures of how it went on, which end where
// its totals are; lists of attempts do without.
func TestSamplesOfABackup(t *testing.T) {
	t.Parallel()
	srv := mariadbtest.New(t, mariadbtest.Some(t, mariadbtest.Versions()...)[0])
	srv.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.n (a INT) ENGINE=InnoDB",
		"INSERT INTO d.n SELECT seq FROM d.seq_1_to_50000")
	repository := t.TempDir()
	must(t, append(backupArgs(srv, repository), "--rate-limit=100MB")...)
	r := document[reported](t, "report", "latest", "--repo", repository)
	all := r.Samples.All()
	if len(all) < 2 || len(all) != len(r.Samples.MS) {
		t.Fatalf("the samples are %+v", r.Samples)
	}
	last := all[len(all)-1]
	low := r.RedoCapacity
	for _, s := range all {
		if s.Headroom >= 0 {
			low = min(low, s.Headroom)
		}
	}
	// What was read of the redo is not in it, but in the total.
	if low != r.LowestHeadroom || last.Read > r.BytesRead || last.Read < r.BytesRead-r.RedoBytes-1<<20 {
		t.Errorf("lowest head-room %d of %d, read %d of %d", low, r.LowestHeadroom, last.Read, r.BytesRead)
	}
	if last.MS < r.DurationMS*9/10 || last.Redo < r.RedoBytes {
		t.Errorf("the last sample is %+v of %d ms, with %d bytes of redo", last, r.DurationMS, r.RedoBytes)
	}

	uptime, err := strconv.Atoi(srv.MustValue(t, "SELECT variable_value FROM information_schema.global_status "+
		"WHERE variable_name = 'Uptime'"))
	if err != nil {
		t.Fatal(err)
	}
	soon := fmt.Sprintf("--abort-if=Uptime>%d", uptime+2)
	if o := mbk(t, append(backupArgs(srv, repository), "--rate-limit=1MB", soon)...); o.code != 4 {
		t.Fatalf("a backup that is to be cancelled exits %d: %s", o.code, o.stderr)
	}
	if r := document[reported](t, "report", "latest", "--repo", repository); r.Outcome != repo.OutcomeFailed ||
		len(r.Samples.All()) == 0 {
		t.Errorf("the failed attempt: %s, samples %+v", r.Outcome, r.Samples)
	}
	page := filepath.Join(t.TempDir(), "backup.html")
	r = document[reported](t, "report", "latest", "--repo", repository, "--html", page)
	html, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	for field, n := range map[string]int64{"duration_ms": r.DurationMS, "bytes_read": r.BytesRead,
		"bytes_stored": r.BytesStored, "headroom_low": r.LowestHeadroom} {
		if want := fmt.Sprintf(`data-field="%s" value="%d"`, field, n); !strings.Contains(string(html), want) {
			t.Errorf("the page has no %s", want)
		}
	}
	if !strings.Contains(string(html), "Uptime") {
		t.Error("the page does not say why the attempt failed")
	}
	o := mbk(t, "report", "latest", "--repo", repository, "--html", filepath.Join(page, "none"))
	if o.code == 0 || !strings.Contains(o.stderr, "--html") {
		t.Errorf("a page under a file: code %d, %s", o.code, o.stderr)
	}
	attempts := document[struct{ Attempts []repo.Attempt }](t, "history", "--repo", repository).Attempts
	if len(attempts) != 2 || slices.ContainsFunc(attempts, func(a repo.Attempt) bool { return a.Samples != nil }) {
		t.Errorf("the history has %+v", attempts)
	}
}
