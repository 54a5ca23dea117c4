package cli_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// --quiet leaves nothing for a mail of cron if all went well, and says what is wrong if not.
func TestQuiet(t *testing.T) {
	t.Parallel()
	at := newChains(t)
	silent := func(args ...string) {
		t.Helper()
		if o := must(t, append(args, "--repo", at, "--quiet")...); o.stdout+o.stderr != "" {
			t.Errorf("%q prints %q, %q", args, o.stdout, o.stderr)
		}
	}
	silent("verify", newIncr, "--depth", "stored")
	o := must(t, "expire", "--keep-last", "1", "--dry-run", "--repo", at, "--quiet")
	if !strings.Contains(o.stdout, oldFull) {
		t.Errorf("a dry run says %q", o.stdout)
	}
	o = must(t, "verify", newIncr, "--depth", "stored", "--repo", at, "--quiet", "--json")
	if !strings.Contains(o.stdout, newIncr) {
		t.Errorf("the document is %q", o.stdout)
	}
	silent("expire", "--keep-last", "1")
	if list := must(t, "list", "--repo", at, "--quiet").stdout; !strings.Contains(list, newIncr) {
		t.Errorf("list prints %q", list)
	}
	packs, err := filepath.Glob(filepath.Join(at, "backups", newIncr, "*.pack"))
	if err != nil || len(packs) == 0 {
		t.Fatalf("%q, %v", packs, err)
	}
	b, err := os.ReadFile(packs[0])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(packs[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	if o := mbk(t, "verify", newIncr, "--depth", "stored", "--repo", at, "--quiet"); o.code != 3 ||
		!strings.Contains(o.stdout, "DAMAGED") || !strings.Contains(o.stdout, filepath.Base(packs[0])) {
		t.Errorf("of damage it says, with %d, %q, %q", o.code, o.stdout, o.stderr)
	}
}

// All that is missing in a call is named at once.
func TestAllThatIsMissing(t *testing.T) {
	t.Parallel()
	for call, want := range map[string]string{
		"restore":          `mbk restore needs the id of a backup, or "latest", and --repo and --target`,
		"restore --repo x": `mbk restore needs the id of a backup, or "latest", and --target`,
		"show":             `mbk show needs the id of a backup, or "latest", and --repo`,
		"remove --repo x":  "mbk remove needs the id of a backup",
	} {
		args := append(strings.Fields(call), "--no-defaults")
		mbk(t, args...).wantRefusal(t, 2, `--help" lists the options`, want+"\n")
	}
}
