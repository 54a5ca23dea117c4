package cli_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mbk/internal/repo"
	"mbk/internal/repo/repotest"
	"mbk/internal/repo/store/folder"
)

// Ids of the backups of newChains: two chains.
const (
	oldFull  = "20261101T003000Z-full"
	oldIncr  = "20261102T003000Z-incr"
	oldIncr2 = "20261103T003000Z-incr"
	newFull  = "20261108T003000Z-full"
	newIncr  = "20261109T003000Z-incr"
)

// newChains makes a repository with two chains of small backups.
func newChains(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	st, err := folder.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	repotest.Chains(t, st, [2]string{oldFull}, [2]string{oldIncr, oldFull}, [2]string{oldIncr2, oldIncr},
		[2]string{newFull}, [2]string{newIncr, newFull})
	return dir
}

// printsLines checks that a text has these lines, whatever the space within them is.
func printsLines(t *testing.T, text string, want ...string) {
	t.Helper()
	var have []string
	for line := range strings.Lines(text) {
		have = append(have, strings.Join(strings.Fields(line), " "))
	}
	for _, line := range want {
		if !slices.Contains(have, line) {
			t.Errorf("no line %q in\n%s", line, text)
		}
	}
}

func idsOf(t *testing.T, repository string) []string {
	t.Helper()
	d := document[struct {
		Backups []repo.Summary `json:"backups"`
	}](t, "list", "--repo", repository)
	var ids []string
	for _, b := range d.Backups {
		ids = append(ids, b.ID)
	}
	return ids
}

// A pin keeps a backup with all that it needs, and every command tells of it.
func TestPinnedBackups(t *testing.T) {
	t.Parallel()
	anyKind(t)
	at := newChains(t)
	reason := "before the\tupgrade"
	must(t, "pin", oldIncr, "--repo", at, "--reason", reason, "--dry-run")
	if _, err := os.Stat(filepath.Join(at, "pins")); err == nil {
		t.Error("a dry run has pinned")
	}
	printsLines(t, must(t, "pin", "20261102", "--repo", at, "--reason", reason).stdout,
		"pinned "+oldIncr+" before the upgrade", "needs "+oldFull)
	if list := must(t, "list", "--repo", at).stdout; !strings.Contains(list, "  never, pinned\n") ||
		!strings.Contains(list, "\n"+oldIncr+"  pinned: before the upgrade\n") || strings.Count(list, "\n  20") != 3 {
		t.Errorf("list prints\n%s", list)
	}
	show := must(t, "show", oldIncr, "--repo", at).stdout
	printsLines(t, show, "kind increment 1 of its chain, on "+oldFull, "needs "+oldFull, "needed by "+oldIncr2,
		"chain 3.9 KiB stored, 2 backups")
	if !strings.Contains(show, ": before the upgrade\n") {
		t.Errorf("show prints\n%s", show)
	}
	shown := document[struct {
		Label    string     `json:"label"`
		Needs    repo.Needs `json:"needs"`
		NeededBy []string   `json:"needed_by"`
		Pin      *repo.Pin  `json:"pin"`
	}](t, "show", oldIncr, "--repo", at)
	if len(shown.Label) != 64 || !slices.Equal(shown.Needs.IDs, []string{oldFull, oldIncr}) ||
		!slices.Equal(shown.NeededBy, []string{oldIncr2}) || shown.Pin == nil || shown.Pin.Reason != reason {
		t.Errorf("show --json: %+v", shown)
	}

	mbk(t, "remove", oldIncr, "--repo", at, "--with-dependents").wantRefusal(t, 2, `"mbk unpin `+oldIncr+`"`,
		"backup "+oldIncr+" is pinned: before the")
	printsLines(t, must(t, "expire", "--repo", at, "--keep-full", "1").stdout,
		"kept "+newIncr+" 2.0 KiB increment of "+newFull, "kept "+newFull+" 2.0 KiB full",
		"kept "+oldIncr+" 2.0 KiB pinned: before the upgrade", "kept "+oldFull+" 2.0 KiB needed by "+oldIncr,
		"removed "+oldIncr2+" 2.0 KiB full 1: 1 newer")
	if got, want := idsOf(t, at), []string{oldFull, oldIncr, newFull, newIncr}; !slices.Equal(got, want) {
		t.Errorf("left: %q, want %q", got, want)
	}
	if got := must(t, "unpin", oldIncr, "--repo", at).stdout; got != "unpinned  "+oldIncr+"\n" {
		t.Errorf("unpin prints %q", got)
	}
	if got := must(t, "unpin", oldIncr, "--repo", at).stdout; got != "was not pinned  "+oldIncr+"\n" {
		t.Errorf("a second unpin prints %q", got)
	}
	expired := document[repo.Plan](t, "expire", "--repo", at, "--keep-last", "1", "--keep-weekly", "1")
	if !slices.Equal(expired.Removed, []string{oldIncr, oldFull}) ||
		!slices.Equal(expired.Remove[0].Reasons, []string{"last 1: 2 newer", "weekly 1: 1 week newer"}) {
		t.Errorf("expire --json: %+v", expired)
	}
	mbk(t, "pin", newFull, "--repo", at, "--reason", strings.Repeat("x", 1001)).wantRefusal(t, 2, "", "--reason: ")
	mbk(t, "pin", oldFull, "--repo", at).wantRefusal(t, 2, "mbk list", "no backup ")
}

// A backup that others need is not removed without them, and a dry run removes nothing.
func TestRemovedBackups(t *testing.T) {
	t.Parallel()
	anyKind(t)
	at := newChains(t)
	before := idsOf(t, at)
	mbk(t, "remove", oldIncr, "--repo", at).wantRefusal(t, 2, "or all of them with --with-dependents",
		"backup "+oldIncr+" is needed by 1 other: "+oldIncr2)
	mbk(t, "remove", oldFull, "--repo", at).wantRefusal(t, 2, "or all of them with --with-dependents",
		"is needed by 2 others: "+oldIncr2+", "+oldIncr)
	mbk(t, "remove", "latest", "--repo", at).wantRefusal(t, 2, "", `"latest" is not the same backup the next time`)
	mbk(t, "remove", "--repo", at).wantRefusal(t, 2, "", "mbk remove needs the id of a backup\n")
	mbk(t, "remove", "2026110", "--repo", at).wantRefusal(t, 2, "give more of the id", "stands for 5 backups")
	printsLines(t, must(t, "remove", oldIncr, "--repo", at, "--with-dependents", "--dry-run").stdout,
		"would remove "+oldIncr2+" 2.0 KiB", "would remove "+oldIncr+" 2.0 KiB")
	if got := idsOf(t, at); !slices.Equal(got, before) {
		t.Errorf("left: %q, want %q", got, before)
	}
	removed := document[repo.Removal](t, "remove", oldIncr, "--repo", at, "--with-dependents")
	if !slices.Equal(removed.Removed, []string{oldIncr2, oldIncr}) || removed.Left != 3 {
		t.Errorf("remove --json: %+v", removed)
	}
	if o := must(t, "remove", newFull, "--repo", at, "--with-dependents"); o.stderr != "" {
		t.Errorf("remove says %q", o.stderr)
	}
	file := filepath.Join(t.TempDir(), "mbk.prom")
	if o := must(t, "remove", oldFull, "--repo", at, "--metrics-file", file); !strings.Contains(o.stderr,
		"mbk: warning: the repository has no other good backup") {
		t.Errorf("remove of the last one says %q", o.stderr)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	scrape(t, string(text), at).want(t, "after all are removed",
		scraped{"mbk_repository_backups,full": 0, "mbk_repository_backups,incr": 0, "mbk_backup_attempts_total,ok": 5})
	if got := idsOf(t, at); len(got) > 0 {
		t.Errorf("left: %q", got)
	}
}

// An increment without what it needs is shown as what it is, and is nobody's latest.
func TestBrokenChain(t *testing.T) {
	t.Parallel()
	at := newChains(t)
	if err := os.RemoveAll(filepath.Join(at, "backups", newFull)); err != nil {
		t.Fatal(err)
	}
	printsLines(t, must(t, "show", "latest", "--repo", at, "--quiet").stdout, "backup "+oldIncr2)
	why := "backup " + newFull + ", which it needs, is missing"
	printsLines(t, must(t, "show", newIncr, "--repo", at).stdout, "BROKEN "+why)
	if list := must(t, "list", "--repo", at).stdout; !strings.Contains(list, "BROKEN: "+why+"\n") {
		t.Errorf("list prints\n%s", list)
	}
	if o := must(t, "pin", newIncr, "--repo", at); !strings.Contains(o.stderr, "cannot be restored: "+why) {
		t.Errorf("pin says %q", o.stderr)
	}
	metrics := scrape(t, must(t, "metrics", "--repo", at).stdout, at)
	metrics.want(t, "with a broken chain", scraped{"mbk_repository_damaged_backups": 1, "mbk_repository_pinned_backups": 1,
		"mbk_repository_backups,full": 1, "mbk_repository_backups,incr": 3, "mbk_repository_stored_bytes,incr": 6000,
		"mbk_backup_full_stored_bytes": 2000, "mbk_backup_incremental": 1})
}
