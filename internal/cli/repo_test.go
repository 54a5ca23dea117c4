package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A repository is made once, is shown with what it holds, and another init changes nothing.
func TestRepo(t *testing.T) {
	t.Parallel()
	onlyIn(t, "it is about what is said of folders", inFolder)
	type made struct {
		ID         string
		Existed    bool
		Repository string
	}
	plain := t.TempDir()
	if err := os.Chmod(plain, 0o777); err != nil {
		t.Fatal(err)
	}
	o := must(t, "init", "--repo", plain)
	for _, want := range []string{"encrypted to  nobody", "\"mbk check --repo " + plain + "\"", "chmod -R go-w " + plain} {
		if !strings.Contains(o.stdout+o.stderr, want) {
			t.Errorf("init does not say %q:\n%s%s", want, o.stdout, o.stderr)
		}
	}
	before, err := os.ReadFile(filepath.Join(plain, "mbk-repository.json"))
	if err != nil {
		t.Fatal(err)
	}
	again := document[made](t, "init", "--repo", plain)
	after, err := os.ReadFile(filepath.Join(plain, "mbk-repository.json"))
	if err != nil || string(after) != string(before) || !again.Existed || again.Repository != plain {
		t.Errorf("init again: %v, %+v, and the repository is\n%s", err, again, after)
	}
	type shown struct {
		ID          string
		Kind        string
		Full        int    `json:"full_backups"`
		Incremental int    `json:"incremental_backups"`
		Damaged     int    `json:"damaged_backups"`
		Pinned      int    `json:"pinned_backups"`
		Newest      string `json:"newest"`
		LockedBy    string `json:"locked_by"`
		Space       *struct{ Free, Total int64 }
	}
	empty := document[shown](t, "repo", "--repo", plain, "--probe")
	if empty.ID != again.ID || empty.Kind != "folder" || empty.Full != 0 || empty.Newest != "" || empty.Space == nil {
		t.Errorf("repo prints %+v", empty)
	}
	full := newChains(t)
	must(t, "pin", newFull, "--repo", full)
	if err := os.WriteFile(filepath.Join(full, "backups", oldIncr, "label.json"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := document[shown](t, "repo", "--repo", full); r.Full != 2 || r.Incremental != 3 || r.Damaged == 0 ||
		r.Pinned != 1 || r.Newest != newIncr || r.LockedBy != "" {
		t.Errorf("repo prints %+v", r)
	}
	printsLines(t, must(t, "repo", "--repo", full).stdout, "kind folder, format 2",
		"backups 2 full, 3 incremental, 9.8 KiB",
		"pinned 1 backup", "locked by nobody", "Object Lock no")
	if o := mbk(t, "repo", "--repo", "db1:/backup"); o.code != 2 || strings.Contains(o.stderr, "mkdir") ||
		!strings.Contains(o.stderr, "sftp://db1/backup") {
		t.Errorf("repo of scp's form exits with %d: %s", o.code, o.stderr)
	}
	both := document[struct {
		shown
		Others []struct {
			Error string
			Full  int `json:"full_backups"`
		}
	}](t, "repo", "--repo", plain, "--repo", full)
	if both.ID != again.ID || len(both.Others) != 1 || both.Others[0].Full != 2 || both.Others[0].Error != "" {
		t.Errorf("repo of two repositories prints %+v", both)
	}
	if o := mbk(t, "repo", "--repo", t.TempDir(), "--repo", plain); o.code != 2 || !strings.Contains(o.stdout, again.ID) {
		t.Errorf("repo of one that is none, and another, exits with %d: %s%s", o.code, o.stdout, o.stderr)
	}
	if o := mbk(t, "repo", "--repo", t.TempDir()); o.code != 2 || !strings.Contains(o.stderr, "not an mbk repository") {
		t.Errorf("repo of an empty folder exits with %d: %s", o.code, o.stderr)
	}
}
