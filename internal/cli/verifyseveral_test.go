package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// All backups are verified whatever is wrong with one, a sample takes those that have waited
// longest, and what is damaged and what could not be done are not mixed up.
func TestVerifySeveral(t *testing.T) {
	t.Parallel()
	at := newChains(t)
	all := []string{"verify", "--repo", at, "--depth", "stored"}
	sample := func(want string) {
		t.Helper()
		type report struct {
			ID string `json:"id"`
		}
		d := document[struct{ Verified []report }](t, append(all, "--sample", "2")...)
		var got []string
		for _, v := range d.Verified {
			got = append(got, v.ID)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("a sample is %q, want %s", got, want)
		}
	}
	sample(newIncr + " " + newFull)
	sample(oldIncr2 + " " + oldIncr)
	must(t, append(all, newIncr)...)
	if err := os.RemoveAll(filepath.Join(at, "backups", newFull)); err != nil {
		t.Fatal(err)
	}
	o := mbk(t, append(all, "--all")...)
	if o.code != 3 || !strings.Contains(o.stdout, oldIncr2+"  whole") ||
		!strings.Contains(o.stdout, newIncr+"  DAMAGED") ||
		!strings.HasSuffix(o.stdout, " 1 DAMAGED, 0 not carried out\n") {
		t.Errorf("it ends with %d and prints\n%s%s", o.code, o.stdout, o.stderr)
	}
	if o := mbk(t, append(all, "--all", "--quiet")...); o.code != 3 || strings.Contains(o.stdout, "whole at") {
		t.Errorf("quietly it ends with %d and prints\n%s%s", o.code, o.stdout, o.stderr)
	}
	mbk(t, append(all, "--all", newIncr)...).wantRefusal(t, 2, "lists the options", "takes either an id or --all, but")
	empty := t.TempDir()
	must(t, "init", "--repo", empty)
	mbk(t, "verify", "--all", "--repo", empty).wantRefusal(t, 2, "first backup", "no backup in ")
}
