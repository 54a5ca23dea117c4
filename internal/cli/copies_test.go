package cli_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"mbk/internal/test/mariadbtest"
)

// A backup is copied to other repositories within its job. If one of them cannot take it, the
// backup is whole all the same, and everything that tells of it says which copy is missing.
func TestCopyAfterBackup(t *testing.T) {
	t.Parallel()
	ownEncryption(t)
	srv := mariadbtest.New(t, newest())
	srv.MustExec(t, "CREATE DATABASE d", "CREATE TABLE d.t (a INT)", "INSERT INTO d.t VALUES (1)")
	main, usb, off := t.TempDir(), t.TempDir(), t.TempDir()
	w := workshop{t.TempDir()}
	after := w.program(t, "after", "true")
	metrics := filepath.Join(t.TempDir(), "mbk.prom")
	file := optionFile(t, "[client]", "socket="+srv.Socket, "user=root", "[mbk]", "progress=none", "[mbk-backup]",
		"copy-after-backup=off", "copy-after-backup="+usb, "hook-success="+after, "metrics-file="+metrics,
		"[mbk repo=main]", "repo="+main, "[mbk repo=off]", "repo="+off)
	run := func(more ...string) outcome {
		return mbk(t, append([]string{"backup", "--defaults-file=" + file, "--repo", "main", "--history-table"}, more...)...)
	}
	for range 2 { // the second copies the increment only
		o := run("--incremental")
		text := strings.Join(strings.Fields(o.stdout), " ")
		if o.code != 0 || !strings.Contains(text, "copied off 1 backup, ") ||
			!strings.Contains(text, "copied "+usb+" 1 backup, ") {
			t.Fatalf("exit code %d:\n%s%s", o.code, o.stdout, o.stderr)
		}
		time.Sleep(time.Second) // ids are of seconds
	}
	for _, r := range []string{usb, off} {
		if !slices.Equal(ids(t, r), ids(t, main)) || len(ids(t, r)) != 2 {
			t.Errorf("%s has %q, the first repository %q", r, ids(t, r), ids(t, main))
		}
	}
	identity, recipient := newIdentity(t)
	sealed := newEncrypted(t, recipient) // the copy is encrypted on its way, and read like any other
	must(t, "copy", "latest", "--repo", main, "--to", sealed, "--quiet")
	must(t, "verify", "latest", "--depth", "pages", "--repo", sealed, "--identity", identity, "--quiet")
	if o := mbk(t, "verify", "latest", "--depth", "pages", "--repo", sealed); o.code != 2 {
		t.Errorf("the encrypted copy is read without an identity: exit code %d", o.code)
	}
	e := w.environment(t, "after")
	if e["MBK_NOT_COPIED_TO"] != "" || e["MBK_REPO"] != "main" || e["MBK_EXIT_CODE"] != "0" {
		t.Errorf("the program saw %q", e)
	}
	if o := run("--copy-after-backup", main); o.code != 2 || !strings.Contains(o.stderr, "itself") {
		t.Errorf("a copy into itself exits with %d: %s", o.code, o.stderr)
	}
	if err := os.Rename(off, off+"-gone"); err != nil { // its disk is not mounted
		t.Fatal(err)
	}
	o := run()
	newest := ids(t, main)[len(ids(t, main))-1]
	for _, want := range []string{"backup " + newest + " is whole and in the repository, but it was not copied to off:",
		"no such file", `hint: "mbk copy ` + newest + ` --to off" copies it`} {
		if o.code != 5 || !strings.Contains(o.stderr, want) {
			t.Errorf("exit code %d, and it does not say %q:\n%s", o.code, want, o.stderr)
		}
	}
	if len(ids(t, main)) != 3 || len(ids(t, usb)) != 3 ||
		!strings.Contains(strings.Join(strings.Fields(o.stdout), " "), "copied off FAILED: ") {
		t.Errorf("the others have %q and %q:\n%s", ids(t, main), ids(t, usb), o.stdout)
	}
	e = w.environment(t, "after")
	if e["MBK_NOT_COPIED_TO"] != "off" || e["MBK_EXIT_CODE"] != "5" || e["MBK_OUTCOME"] != "ok" {
		t.Errorf("the program saw %q", e)
	}
	text, err := os.ReadFile(metrics)
	if err != nil || !strings.Contains(string(text), "\nmbk_backup_copies_failed{") {
		t.Errorf("the metrics, %v, are\n%s", err, text)
	}
	for args, want := range map[string]string{
		"history latest": "COPIES - off: FAILED: ", "report latest": "COPIES - off: FAILED: ",
		"show latest": "copied off FAILED: ",
	} {
		o := must(t, append(strings.Fields(args), "--repo", main)...)
		if !strings.Contains(strings.Join(strings.Fields(o.stdout), " "), want) {
			t.Errorf("%s does not print %q:\n%s", args, want, o.stdout)
		}
	}
	o = mbk(t, "check", "--defaults-file="+file, "--repo", "main", "--copy-after-backup", "off",
		"--copy-after-backup", usb)
	if o.code != 2 || !strings.Contains(o.stdout, "copied to off") ||
		!strings.Contains(o.stdout, "can be copied to "+usb) {
		t.Errorf("check exits with %d:\n%s%s", o.code, o.stdout, o.stderr)
	}
}
