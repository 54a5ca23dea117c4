package cli_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"mbk/internal/transfer"
)

// A chain is copied to another repository, then all that this does not have.
func TestCopy(t *testing.T) {
	t.Parallel()
	from, to := newChains(t), t.TempDir()
	must(t, "copy", "latest", "--repo", from, "--to", to, "--dry-run")
	if list, err := os.ReadDir(to); err != nil || len(list) > 0 {
		t.Errorf("a dry run has written %v, %v", list, err)
	}
	printsLines(t, must(t, "copy", "latest", "--repo", from, "--to", to).stdout,
		"copied "+newFull+" 2.9 KiB", "copied "+newIncr+" 2.9 KiB")
	if ids := idsOf(t, to); !slices.Equal(ids, []string{newFull, newIncr}) {
		t.Errorf("the copy has %v", ids)
	}
	r := document[transfer.Result](t, "copy", "--all", "--repo", from, "--to", to, "--quiet")
	if len(r.Backups) != 5 || r.BytesWritten == 0 || len(r.LeftOut) > 0 {
		t.Errorf("copy prints %+v", r)
	}
	if ids := idsOf(t, to); !slices.Equal(ids, idsOf(t, from)) {
		t.Errorf("the copy has %v", ids)
	}
	if again := document[transfer.Result](t, "copy", "--all", "--repo", from, "--to", to); again.BytesWritten != 0 {
		t.Errorf("what was there is written again: %+v", again)
	}
	for _, id := range idsOf(t, to) {
		must(t, "verify", id, "--repo", to, "--depth", "stored", "--quiet")
	}
}

// With --all a damaged backup is left out, and those that need it; the exit code is that of
// damage. A backup that is named is not copied in part.
func TestCopyOfDamaged(t *testing.T) {
	t.Parallel()
	from, to := newChains(t), t.TempDir()
	pack := filepath.Join(from, "backups", oldIncr, "data-0001.pack")
	if err := os.WriteFile(pack, []byte("something else"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := mbk(t, "copy", "--all", "--repo", from, "--to", to)
	if o.code != 3 || !strings.Contains(o.stdout, "left out") || !strings.Contains(o.stderr, oldIncr) {
		t.Errorf("copy exits with %d and prints\n%s%s", o.code, o.stdout, o.stderr)
	}
	if ids := idsOf(t, to); !slices.Equal(ids, []string{oldFull, newFull, newIncr}) {
		t.Errorf("the copy has %v", ids)
	}
	o = mbk(t, "copy", oldIncr, "--repo", from, "--to", to)
	if o.code != 3 || !strings.Contains(o.stderr, "data-0001.pack") {
		t.Errorf("copy exits with %d and says\n%s", o.code, o.stderr)
	}
}

func TestCopyCalls(t *testing.T) {
	t.Parallel()
	from := newChains(t)
	for name, tt := range map[string]struct {
		args []string
		code int
		says string
	}{
		"nothing to copy":   {[]string{"--repo", from, "--to", t.TempDir()}, 2, "needs the id of a backup"},
		"two things":        {[]string{"latest", "--all", "--repo", from, "--to", t.TempDir()}, 2, "copies all backups"},
		"nowhere":           {[]string{"latest", "--repo", from}, 2, "--to REPO"},
		"an unknown id":     {[]string{"2020", "--repo", from, "--to", t.TempDir()}, 2, "no backup"},
		"a missing folder":  {[]string{"latest", "--repo", from, "--to", filepath.Join(from, "none")}, 2, "mkdir"},
		"into itself":       {[]string{"latest", "--repo", from, "--to", from}, 2, "into itself"},
		"another's folder":  {[]string{"latest", "--repo", from, "--to", "/etc"}, 2, "not an mbk repository"},
		"no such kind here": {[]string{"latest", "--repo", from, "--to", "ftp://x/y"}, 2, "ftp://"},
	} {
		o := mbk(t, append([]string{"copy"}, tt.args...)...)
		if o.code != tt.code || !strings.Contains(o.stderr, tt.says) {
			t.Errorf("%s: exit code %d, want %d and %q in\n%s", name, o.code, tt.code, tt.says, o.stderr)
		}
	}
}
